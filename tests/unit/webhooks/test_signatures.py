from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from airflow_provider_nenoa.vendors import VENDORS
from airflow_provider_nenoa.vendors.signatures import MAX_AGE, Scheme, sign, verify
from airflow_provider_nenoa.vendors.signatures import given as given_in

SCHEMES = {name: vendor.SIGNATURE for name, vendor in VENDORS.items()}
ANY = st.sampled_from(sorted(SCHEMES.values()))


def digest(secret: str, body: bytes) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers(name: str, value: str | bytes) -> Headers:
    raw = value if isinstance(value, bytes) else value.encode()
    return Headers(raw=[(name.lower().encode(), raw)])


@given(ANY, st.text(min_size=1), st.binary())
def test_what_was_signed_is_verified(scheme: Scheme, secret: str, body: bytes) -> None:
    assert verify(scheme, secret, body, headers(*sign(scheme, secret, body)))


@given(ANY, st.text(min_size=1), st.binary(), st.text(min_size=1), st.binary())
def test_another_secret_or_body_is_not(scheme: Scheme, secret: str, body: bytes, secret2: str, body2: bytes) -> None:
    # HMAC itself takes a key and the same key with zero bytes after it for one.
    if (secret.encode().rstrip(b"\0"), body) == (secret2.encode().rstrip(b"\0"), body2):
        return
    assert not verify(scheme, secret2, body2, headers(*sign(scheme, secret, body)))


@given(ANY, st.binary())
def test_hostile_header_text_is_refused_and_never_raises(scheme: Scheme, value: bytes) -> None:
    assert not verify(scheme, "secret", b"{}", headers(scheme.header, value))


@given(ANY, st.text(st.characters(codec=None), max_size=80))
def test_any_text_from_any_server_is_refused(scheme: Scheme, value: str) -> None:
    assert not verify(scheme, "secret", b"{}", {scheme.header: value})


@given(ANY, st.integers(0, 63), st.sampled_from("0123456789abcdef"))
def test_one_wrong_digit_is_enough(scheme: Scheme, position: int, digit: str) -> None:
    name, value = sign(scheme, "secret", b"{}")
    at = len(value) - 64 + position
    changed = value[:at] + digit + value[at + 1 :]
    assert verify(scheme, "secret", b"{}", headers(name, changed)) == (changed == value)


NOW = 1_800_000_000.0


def written(way: str, digest: bytes) -> str:
    """Write a digest in one of the ways of which no page of OpenAnalyst's says which it is."""
    standard, urlsafe = base64.b64encode(digest).decode(), base64.urlsafe_b64encode(digest).decode()
    return {
        "hex": digest.hex(),
        "HEX": digest.hex().upper(),
        "base64": standard,
        "base64 bare": standard.rstrip("="),
        "urlsafe": urlsafe,
        "urlsafe bare": urlsafe.rstrip("="),
    }[way]


WAYS = st.sampled_from(["hex", "HEX", "base64", "base64 bare", "urlsafe", "urlsafe bare"])
PREFIXES = st.sampled_from(["", "sha256=", "SHA256=", "sha256:", "sha256= ", "HMAC-SHA256 ", "hmac-sha256="])


@given(st.text(min_size=1), st.binary(), WAYS, PREFIXES, st.sampled_from(["", " ", "\t"]))
def test_every_way_of_writing_an_openanalyst_signature_is_read(
    secret: str, body: bytes, way: str, prefix: str, space: str
) -> None:
    scheme = SCHEMES["openanalyst"]
    raw = hmac.new(secret.encode(), body, hashlib.sha256).digest()
    given = headers(scheme.header, space + prefix + written(way, raw) + space)
    assert verify(scheme, secret, body, given)
    assert not verify(scheme, secret + "x", body, given)
    assert not verify(scheme, secret, body + b" ", given)


@given(
    st.text(min_size=1),
    st.binary(),
    WAYS,
    st.integers(int(NOW - 80_000), int(NOW + 80_000)),
    st.sampled_from([1, 1000]),
    st.lists(st.binary(min_size=32, max_size=32), max_size=4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_a_signature_with_a_time_is_read(
    secret: str, body: bytes, way: str, at: int, unit: int, others: list[bytes], over_time: bool, random: Any
) -> None:
    scheme, time = SCHEMES["openanalyst"], str(at * unit)
    signed = f"{time}.".encode() + body if over_time else body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    parts = [f"t={time}", f"v1={written(way, digest)}", *(f"v1={each.hex()}" for each in others), "v0=abc"]
    random.shuffle(parts)
    given = headers(scheme.header, ", ".join(parts))
    assert verify(scheme, secret, body, given, NOW)
    assert not verify(scheme, secret + "x", body, given, NOW)
    if over_time:
        assert not verify(scheme, secret, body, headers(scheme.header, given[scheme.header].replace("t=", "t=1")), NOW)


@pytest.mark.parametrize(("seconds", "accepted"), [(MAX_AGE, True), (MAX_AGE + 1, False), (-MAX_AGE - 1, False)])
def test_a_signed_time_must_not_be_too_far_from_ours(seconds: float, accepted: bool) -> None:
    scheme, time = SCHEMES["openanalyst"], int(NOW - seconds)
    given = headers(scheme.header, f"t={time},v1={digest('secret', f'{time}.body'.encode())}")
    assert verify(scheme, "secret", b"body", given, NOW) is accepted


@given(ANY, st.lists(st.text(min_size=1), min_size=1, max_size=3, unique=True), st.integers(0, 2))
def test_each_of_several_secrets_is_good(scheme: Scheme, secrets: list[str], index: int) -> None:
    secret = secrets[index % len(secrets)]
    assert verify(scheme, secrets, b"body", headers(*sign(scheme, secret, b"body")))
    assert not verify(scheme, secrets, b"other", headers(*sign(scheme, secret, b"body")))
    assert not verify(scheme, [], b"body", headers(*sign(scheme, secret, b"body")))


def test_the_same_work_is_done_whichever_secret_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: (compared.append(1), real(a, b))[1])
    scheme = SCHEMES["nenai"]
    for secret in ("new", "old", "wrong"):
        verify(scheme, ["new", "old"], b"body", headers(*sign(scheme, secret, b"body")))
    verify(scheme, ["new", "old"], b"body", {})
    assert len(compared) == 4 * 2


@pytest.mark.parametrize(
    ("vendor", "written", "accepted"),
    [
        ("nenai", "sha256={}", True),
        ("nenai", "{}", False),
        ("nenai", "sha256={:.63}", False),
        ("nenai", "sha256=sha256={}", False),
        ("nenai", "sha1={}", False),
        ("nenai", " sha256={}", False),
        ("nenai", "SHA256={}", False),
        ("nenai", "t=1,v1={}", False),
        ("openanalyst", "{}", True),
        ("openanalyst", "sha256={}", True),
        ("openanalyst", "sha256=sha256={}", False),
        ("openanalyst", "sha1={}", False),
        ("openanalyst", "{:.63}", False),
        ("openanalyst", "{}0", False),
        ("openanalyst", "v1={}", False),
        ("openanalyst", "t=1,v0={}", False),
        ("openanalyst", "t=,v1={}", True),
        ("openanalyst", "T=1, V1={}", True),
        ("openanalyst", "{}" + " " * 5000, False),
        ("openanalyst", "", False),
    ],
)
def test_how_a_signature_is_written(vendor: str, written: str, accepted: bool) -> None:
    scheme = SCHEMES[vendor]
    value = written.format(digest("secret", b"body"))
    assert verify(scheme, "secret", b"body", headers(scheme.header, value)) is accepted
    assert accepted <= (given_in(scheme, headers(scheme.header, value)) is not None)


@pytest.mark.parametrize("digits", ["A" * 64, "ab" * 31 + "é0", "AB" * 32])
def test_nenais_signature_stays_exact(digits: str) -> None:
    scheme = SCHEMES["nenai"]
    assert given_in(scheme, {scheme.header: f"sha256={digits}"}) is None
    raw = hmac.new(b"secret", b"body", hashlib.sha256).digest()
    for way in ("HEX", "base64", "urlsafe bare"):
        assert not verify(scheme, "secret", b"body", {scheme.header: f"sha256={written(way, raw)}"})


def test_the_vendors_headers_are_those_of_their_documentation() -> None:
    body = b'{"a": 1}'
    assert sign(SCHEMES["nenai"], "s", body) == ("X-Hmac-Signature", f"sha256={digest('s', body)}")
    assert sign(SCHEMES["openanalyst"], "s", body)[0] == "X-OpenAnalyst-Signature"
    assert not verify(SCHEMES["openanalyst"], "s", body, headers(*sign(SCHEMES["nenai"], "s", body)))
    assert not verify(SCHEMES["nenai"], "s", body, {})
