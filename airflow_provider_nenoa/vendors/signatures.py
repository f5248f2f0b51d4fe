"""
The vendors' webhook signatures: HMAC-SHA256 with the connection's webhook secret, over the raw request body.

A signature says who wrote the body only if it is checked over the very bytes that came: check first, parse then.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MAX_AGE = 86_400.0
"""
Seconds by which a signed time may differ from ours. So many, because a repetition changes nothing anyway, while a run's
end must not be lost to a wrong clock, or because a failed delivery is tried again hours later.
"""
LONGEST = 4_096
"""Characters that a signature may have."""
MANY = 8
"""Signatures of one scheme version that a header may carry, as a sender does whose secret is being changed."""

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_EXACT = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"^(?:hmac-?)?sha-?256[=: ] ?", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43}=?")
_TIME = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")


class Scheme(NamedTuple):
    """
    How one vendor writes its signature.

    :param header: The header's name.
    :param prefix: What the vendor puts before the digits.
    :param exact: Whether the vendor says how it is written: the prefix, then lowercase hex. If not, every common way is
        read: hex in either case or base64 (both alphabets, with or without ``=``), with or without a prefix, and
        ``t=<time>,v1=<signature>``, where ``<time>.<body>`` or the body is signed.
    """

    header: str
    prefix: str
    exact: bool


class Given(NamedTuple):
    """
    A header's signature, well-formed but not yet checked.

    :param digests: The digests in it: one of them must be right.
    :param signed_at: The text of the time that is signed with the body, if there is one.
    """

    digests: tuple[bytes, ...]
    signed_at: str | None = None


def sign(scheme: Scheme, secret: str, body: bytes) -> tuple[str, str]:
    """
    Sign a body as the vendor does, for tests and the self-test.

    :param scheme: The vendor's.
    :param secret: The webhook secret shared with the vendor.
    :param body: The raw request body.
    :return: The header's name and its value.
    """
    return scheme.header, scheme.prefix + _digest(secret, body).hex()


def given(scheme: Scheme, headers: Mapping[str, str]) -> Given | None:
    """
    Read a request's signature. Never raises, whatever the headers say.

    :param scheme: The vendor's.
    :param headers: The request's headers; looking one up must ignore case.
    :return: What is to be checked; None if there is no signature, or it is malformed: then no secret makes it right.
    """
    text = headers.get(scheme.header) or ""
    if len(text) > LONGEST:
        return None
    if scheme.exact:
        digits = text.removeprefix(scheme.prefix)
        return Given((bytes.fromhex(digits),)) if digits != text and _EXACT.fullmatch(digits) else None
    fields = [part.strip().partition("=") for part in text.split(",")]
    versions = [value for name, _, value in fields if name.lower() == "v1"]
    times = [value for name, _, value in fields if name.lower() == "t"]
    if versions and times:
        digests = tuple(filter(None, map(_decoded, versions[:MANY])))
        return Given(digests, times[0]) if digests else None
    digest = _decoded(text)
    return Given((digest,)) if digest else None


def verify(
    scheme: Scheme,
    secrets: str | Sequence[str],
    body: bytes,
    headers: Mapping[str, str],
    now: float | None = None,
) -> bool:
    """
    Whether a body was signed with one of the secrets. Never raises, whatever the headers say.

    :param scheme: The vendor's.
    :param secrets: The webhook secret shared with the vendor; two while it is being changed. Each is tried, also after
        one was right, so that the time does not tell which.
    :param body: The raw request body, as it came.
    :param headers: The request's headers; looking one up must ignore case.
    :param now: The present time in Unix seconds. Default: the clock's.
    """
    signature = given(scheme, headers)
    # What is malformed costs the same work as what is wrong.
    digests, signed_at = signature or Given((bytes(32),))
    right = False
    for secret in (secrets,) if isinstance(secrets, str) else secrets:
        expected = [_digest(secret, body)]
        if signed_at is not None and _is_in_time(signed_at, time.time() if now is None else now):
            expected.append(_digest(secret, signed_at.encode("utf-8", "replace") + b".", body))
        for digest in digests:
            for each in expected:
                right |= hmac.compare_digest(each, digest)
    return right and signature is not None


def signed_time(scheme: Scheme, headers: Mapping[str, str]) -> float | None:
    """Return the time that is signed with a body, in Unix seconds; None: there is none, or it cannot be read."""
    signature = given(scheme, headers)
    return None if signature is None or signature.signed_at is None else _seconds(signature.signed_at)


def why_refused(scheme: Scheme, headers: Mapping[str, str], now: float | None = None) -> str:
    """
    Say what is wrong with a signature that is not right.

    :return: ``unsigned``, ``malformed``, ``too_old`` (the signed time is more than `MAX_AGE` away) or ``other_secret``.
    """
    if not headers.get(scheme.header):
        return "unsigned"
    signature = given(scheme, headers)
    if signature is None:
        return "malformed"
    if signature.signed_at is not None and not _is_in_time(signature.signed_at, time.time() if now is None else now):
        return "too_old"
    return "other_secret"


def _is_in_time(text: str, now: float) -> bool:
    seconds = _seconds(text)
    return seconds is None or abs(now - seconds) <= MAX_AGE  # None: signed, but in a form that we cannot read


def _seconds(text: str) -> float | None:
    if not _TIME.fullmatch(text):
        return None
    seconds = float(text)
    return seconds / 1000.0 if seconds > 1e11 else seconds  # milliseconds


def _decoded(text: str) -> bytes | None:
    text = _PREFIX.sub("", text.strip())
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    if not _BASE64.fullmatch(text):
        return None
    return base64.b64decode(text[:43].translate(_URLSAFE) + "=")


_URLSAFE = str.maketrans("-_", "+/")


def _digest(secret: str, *parts: bytes) -> bytes:
    digest = hmac.new(secret.encode("utf-8", "surrogatepass"), digestmod=hashlib.sha256)
    for part in parts:
        digest.update(part)
    return digest.digest()
