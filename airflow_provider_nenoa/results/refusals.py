"""What it means when a store does not serve a file: busy, expired, refused or gone; in its own words, made harmless."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from airflow_provider_nenoa.exceptions import DownloadFailed, FilesMissing, NenoaError, ResultsExpired
from airflow_provider_nenoa.vendors.presigned import expiry_of, secrets_in

_CODE = re.compile(r"<Code>([^<]{1,1000})</Code>", re.IGNORECASE)
_MESSAGE = re.compile(r"<Message>([^<]{1,1000})", re.IGNORECASE)
_LONGEST_WORDS = 200
_BUSY = (408, 416, 425, 429)
_REFUSED = (401, 403)
_GONE = (404, 410)


def refusal_of(
    response: requests.Response, body: bytes, name: str, url: str, expires_at: float | None, clock: float
) -> NenoaError | str:
    """
    Say what an answer means that does not bring the file.

    :param response: The answer.
    :param body: The first few KiB of its body.
    :param name: What the file is called.
    :param url: What was asked for, after redirects.
    :param expires_at: When the file's URL expires by the payload, in Unix seconds.
    :param clock: The present time by this machine, for a store that does not tell its own.
    :return: The error to raise; a text: to be tried again, because of this.
    """
    status = response.status_code
    host = urlsplit(url).hostname
    answer = f"{host} answered {status} ({_words(body, url) or 'no explanation'})"
    if status in _BUSY or status >= 500:
        return answer
    if status in _GONE:
        return FilesMissing(f"The file {name} is not there: {answer}.")
    lower = answer.lower()
    if status in _REFUSED or "expired" in lower:
        # The store's own clock says whether a URL has expired, not the clock of whoever asks.
        now = _date(response) or clock
        ends = [at for at in (expires_at, expiry_of(url)) if at is not None]
        mismatch = "signaturedoesnotmatch" in lower
        if not mismatch and ("expired" in lower or (ends and now >= min(ends))):
            return ResultsExpired(f"The URL of the file {name} has expired: {answer}.\n{_when(ends, now)}")
        return FilesMissing(
            f"The file {name} is refused: {answer}. {_when(ends, now)} "
            + ("The URL is not the one that was signed." if mismatch else "Whoever keeps it does not take the URL.")
        )
    return DownloadFailed(f"The file {name} could not be fetched: {answer}.")


def _words(body: bytes, url: str) -> str:
    """Return a store's code and message: without line breaks and escapes, and without what is secret in the URL."""
    text = body.decode("utf-8", "replace")
    parts = [html.unescape(found[1]) for found in (_CODE.search(text), _MESSAGE.search(text)) if found]
    if not parts:
        try:
            error = json.loads(text)["error"]
            parts = [str(error[key]) for key in ("code", "message") if error.get(key)]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return ""
    words = ": ".join(" ".join("".join(c if c.isprintable() else " " for c in part).split()) for part in parts)
    for secret in secrets_in(url):
        words = words.replace(secret, "***")
    return words if len(words) <= _LONGEST_WORDS else words[:_LONGEST_WORDS] + "…"


def _date(response: requests.Response) -> float | None:
    try:
        when = parsedate_to_datetime(response.headers.get("Date", ""))
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (IndexError, OverflowError, TypeError, ValueError):
        return None


def _when(ends: list[float], now: float) -> str:
    if not ends:
        return "Neither the payload nor the URL says until when it is valid."
    at = min(ends)
    try:
        time = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OSError, OverflowError, ValueError):
        return "It says no usable time until when it is valid."
    if now >= at:
        return f"It was valid until {time}, {now - at:,.0f} s before this answer."
    return f"It is valid until {time}."
