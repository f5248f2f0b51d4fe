"""The read API's bearer tokens: JWT, HS256 with the connection's webhook secret, for that connection, for a minute."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import jwt

LIFETIME = 60
"""Seconds for which a token is good."""
SKEW = 60
"""Seconds by which the clock of who made a token may be ahead of ours. A token that lives longer is none of ours."""


def issue(conn_id: str, secret: str) -> str:
    """Make a token that lets its bearer read the events of a connection for `LIFETIME` seconds."""
    return jwt.encode({"aud": conn_id, "exp": int(time.time()) + LIFETIME}, _key(secret), algorithm="HS256")


def verify(token: str, conn_id: str, secrets: str | Sequence[str]) -> bool:
    """
    Whether a token was made for this connection with one of its secrets, and has not expired. Never raises.

    Each secret is tried, also after one was right, so that the time does not tell which.
    """
    good = [_is_good(token, conn_id, each) for each in ((secrets,) if isinstance(secrets, str) else secrets)]
    return any(good)


def _is_good(token: str, conn_id: str, secret: str) -> bool:
    options = {"require": ["exp", "aud"]}
    try:
        claims = jwt.decode(token, _key(secret), algorithms=["HS256"], audience=conn_id, options=options)  # type: ignore[arg-type]
        return int(claims["exp"]) <= time.time() + LIFETIME + SKEW
    except Exception:  # PyJWT's own errors, and whatever hostile JSON does to a parser
        return False


def _key(secret: str) -> bytes:
    """
    Bring a secret to the length that PyJWT asks for.

    A webhook secret is as long as the vendor made it; PyJWT warns of short keys with every use. This is what HMAC
    itself does to its key (RFC 2104, section 2), so the tokens are those of the secret as it stands.
    """
    key = secret.encode("utf-8", "surrogatepass")
    return hashlib.sha256(key).digest() if len(key) > 64 else key.ljust(64, b"\0")
