"""Signatures of webhooks, in every encoding in which an HMAC is commonly written."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Literal

SignatureForm = Literal["hex", "prefixed", "upper", "base64", "base64url", "stripe"]


def signature(form: str, secret: str, body: bytes, now: float) -> str:
    """HMAC-SHA256 over the raw body (NenAI docs: "Webhook Security"; OpenAnalyst docs: "Webhooks").

    :param form: ``hex``: lowercase digits; ``prefixed``: after ``sha256=``, as NenAI documents it; ``upper``: uppercase
        digits; ``base64`` or ``base64url``; ``stripe``: ``t=<Unix seconds>,v1=<hex>``, over the seconds, a dot, and the
        body.
    :param now: Unix time.
    """
    if form == "stripe":
        seconds = str(int(now))
        return f"t={seconds},v1={_digest(secret, seconds.encode() + b'.' + body).hex()}"
    digest = _digest(secret, body)
    if form == "base64":
        return base64.b64encode(digest).decode()
    if form == "base64url":
        return base64.urlsafe_b64encode(digest).decode()
    return {"hex": digest.hex(), "prefixed": f"sha256={digest.hex()}", "upper": digest.hex().upper()}[form]


def _digest(secret: str, content: bytes) -> bytes:
    return hmac.new(secret.encode(), content, hashlib.sha256).digest()
