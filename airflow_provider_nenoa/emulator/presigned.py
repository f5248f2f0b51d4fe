"""URLs that serve something to everybody who has them, until they expire."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import time
from datetime import UTC, datetime
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from fastapi import Request
from fastapi.responses import Response

from airflow_provider_nenoa.emulator.clock import Clock
from airflow_provider_nenoa.emulator.wire import whole_number

_DATE = "%Y%m%dT%H%M%SZ"
_A_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_signing_key = secrets.token_bytes(32)


def presigned(base: str, path: str, now: float, seconds: float) -> tuple[str, int]:
    """A presigned URL, and the Unix time at which it expires.

    :param base: for example ``http://127.0.0.1:8090``.
    :param path: quoted, from the root.
    :param seconds: how long it is valid; it expires at a whole second.
    """
    begins = math.floor(now)
    expires = math.floor(now + seconds)
    date = time.strftime(_DATE, time.gmtime(begins))
    valid = max(0, expires - begins)
    query = {"X-Amz-Date": date, "X-Amz-Expires": valid, "X-Amz-Signature": _signature(path, date, valid)}
    return f"{base}{path}?{urlencode(query)}", expires


def problem(request: Request, clock: Clock) -> Response | None:
    """The answer to a URL that was made up or has expired; None if it is good."""
    asked = request.query_params
    date, valid = asked.get("X-Amz-Date", ""), whole_number(asked.get("X-Amz-Expires", ""))
    path = request.scope["raw_path"].decode()
    given = asked.get("X-Amz-Signature", "")
    if (
        valid is None
        or not _A_DATE.fullmatch(date)
        or not hmac.compare_digest(_signature(path, date, valid).encode(), given.encode())
    ):
        return refused(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
    begins = datetime.strptime(date, _DATE).replace(tzinfo=UTC).timestamp()
    if clock.time() >= begins + valid:
        return refused(403, "AccessDenied", "Request has expired")
    return None


def refused(status: int, code: str, message: str) -> Response:
    """An error as an object store writes it."""
    xml = f"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>{escape(message)}</Message><RequestId>{secrets.token_hex(8).upper()}</RequestId></Error>
"""
    return Response(xml, status, media_type="application/xml")


def _signature(path: str, date: str, seconds: int) -> str:
    return hmac.new(_signing_key, f"{path}?{date}+{seconds}".encode(), hashlib.sha256).hexdigest()
