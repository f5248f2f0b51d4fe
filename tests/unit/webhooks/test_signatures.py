from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from airflow_provider_nenoa.webhooks.signatures import SCHEMES, sign, verify

VENDORS = st.sampled_from(sorted(SCHEMES))


def digest(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers(name: str, value: str | bytes) -> Headers:
    raw = value if isinstance(value, bytes) else value.encode()
    return Headers(raw=[(name.lower().encode(), raw)])


@given(VENDORS, st.text(min_size=1), st.binary())
def test_what_was_signed_is_verified(vendor: str, secret: str, body: bytes) -> None:
    assert verify(vendor, secret, body, headers(*sign(vendor, secret, body)))


@given(VENDORS, st.text(min_size=1), st.binary(), st.text(min_size=1), st.binary())
def test_another_secret_or_body_is_not(vendor: str, secret: str, body: bytes, secret2: str, body2: bytes) -> None:
    # HMAC itself takes a key and the same key with zero bytes after it for one.
    if (secret.encode().rstrip(b"\0"), body) == (secret2.encode().rstrip(b"\0"), body2):
        return
    assert not verify(vendor, secret2, body2, headers(*sign(vendor, secret, body)))


@given(VENDORS, st.binary())
def test_hostile_header_text_is_refused_and_never_raises(vendor: str, value: bytes) -> None:
    assert not verify(vendor, "secret", b"{}", headers(SCHEMES[vendor].header, value))


@given(VENDORS, st.text(st.characters(codec=None), max_size=80))
def test_any_text_from_any_server_is_refused(vendor: str, value: str) -> None:
    assert not verify(vendor, "secret", b"{}", {SCHEMES[vendor].header: value})


@given(VENDORS, st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_one_wrong_digit_is_enough(vendor: str, position: int, digit: str) -> None:
    name, value = sign(vendor, "secret", b"{}")
    at = len(value) - 64 + position
    changed = value[:at] + digit + value[at + 1 :]
    assert verify(vendor, "secret", b"{}", headers(name, changed)) == (changed == value)


@pytest.mark.parametrize(
    ("vendor", "written", "accepted"),
    [
        ("nenai", "sha256={}", True),
        ("nenai", "{}", False),
        ("nenai", "sha256={:.63}", False),
        ("nenai", "sha256=sha256={}", False),
        ("nenai", "sha1={}", False),
        ("nenai", " sha256={}", False),
        ("openanalyst", "{}", True),
        ("openanalyst", "sha256={}", True),
        ("openanalyst", "sha1={}", False),
        ("openanalyst", "{:.63}", False),
        ("openanalyst", "", False),
    ],
)
def test_how_a_signature_is_written(vendor: str, written: str, accepted: bool) -> None:
    value = written.format(digest("secret", b"body"))
    assert verify(vendor, "secret", b"body", headers(SCHEMES[vendor].header, value)) is accepted


def test_the_vendors_headers_are_those_of_their_documentation() -> None:
    body = b'{"a": 1}'
    assert sign("nenai", "s", body) == ("X-Hmac-Signature", f"sha256={digest('s', body)}")
    assert sign("openanalyst", "s", body)[0] == "X-OpenAnalyst-Signature"
    assert not verify("openanalyst", "s", body, headers(*sign("nenai", "s", body)))
    assert not verify("nenai", "s", body, {})
