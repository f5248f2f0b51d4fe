"""The read API's bearer tokens: JWT, HS256 with the connection's webhook secret, for that connection, for a minute."""

from __future__ import annotations

import hashlib
import time

import jwt

LIFETIME = 60
"""Seconds for which a token is good."""


def issue(conn_id: str, secret: str) -> str:
    """Make a token that lets its bearer read the events of a connection for `LIFETIME` seconds."""
    return jwt.encode({"aud": conn_id, "exp": int(time.time()) + LIFETIME}, _key(secret), algorithm="HS256")


def verify(token: str, conn_id: str, secret: str) -> bool:
    """Whether a token was made for this connection with this secret and has not expired. Never raises."""
    try:
        jwt.decode(token, _key(secret), algorithms=["HS256"], audience=conn_id, options={"require": ["exp", "aud"]})
    except Exception:  # PyJWT's own errors, and whatever hostile JSON does to a parser
        return False
    return True


def _key(secret: str) -> bytes:
    """
    Bring a secret to the length that PyJWT asks for.

    A webhook secret is as long as the vendor made it; PyJWT warns of short keys with every use. This is what HMAC
    itself does to its key (RFC 2104, section 2), so the tokens are those of the secret as it stands.
    """
    key = secret.encode()
    return hashlib.sha256(key).digest() if len(key) > 64 else key.ljust(64, b"\0")
