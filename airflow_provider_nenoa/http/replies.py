"""What an answer says: its JSON, its error, and when to come back."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests

from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    InvalidReply,
    InvalidRequest,
    NenoaError,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
)
from airflow_provider_nenoa.vendors.errors import ErrorWords, read_error
from airflow_provider_nenoa.vendors.json_text import read_json
from airflow_provider_nenoa.vendors.presigned import without_queries

log = logging.getLogger(__name__)

QUOTED = 300
"""Characters of a vendor's words that an error message repeats, at most."""

_IN_PASSING = (408, 425)  # what the same request need not get again
LOOKED_AT = 20_000
"""Characters of a body that are looked at to quote a few."""


def json_of(response: requests.Response) -> Any:
    """
    Read the JSON of a body; what JSON cannot carry is null, and the log tells where.

    :raises ValueError: It has none.
    """
    read = read_json(response.content)
    if read.warning:
        log.warning("Answer to %s %s: %s", response.request.method, urlsplit(response.url).path, read.warning)
    return read.value


def quoted(text: str, scrub: Callable[[str], str]) -> str:
    """
    Return a vendor's words as an error message may repeat them: short, on one line, printable, without what is secret.

    A URL loses its query, which is where presigned ones have their signature.

    :param scrub: Takes secrets out. It comes before the cut, which could leave a half of one.
    """
    words = "".join(letter if letter.isprintable() else " " for letter in scrub(text[:LOOKED_AT]))
    return without_queries(" ".join(words.split()))[:QUOTED]


def words_of(response: requests.Response, scrub: Callable[[str], str]) -> ErrorWords:
    """Return what a body says about an error, in any form, or its text where it has none."""
    try:
        words = read_error(json_of(response))
    except ValueError:
        words = None
    words = words or ErrorWords(message=response.content[:LOOKED_AT].decode("utf-8-sig", "replace"))
    if not words.request_id:
        words = words._replace(request_id=response.headers.get("X-Request-Id"))
    return ErrorWords(*(quoted(part, scrub) or None if part else None for part in words))


def kind_of(status: int) -> type[NenoaError]:
    """Return the error that a status stands for."""
    kinds = {401: AuthenticationError, 403: PermissionDenied, 404: NotFound, 429: RateLimited}
    if status in kinds:
        return kinds[status]
    if status >= 500 or status in _IN_PASSING:
        return ServerError
    return InvalidRequest if status >= 300 else InvalidReply


def advice_for(status: int, connection: str, address: str, the_id: str) -> str:
    """
    Say what to do about a status.

    :param connection: The connection's name, in words.
    :param address: What of it has the address, in words.
    :param the_id: What may not exist, in words.
    """
    if status == 401:
        return f"Check the API key: it is the password of {connection}."
    if status == 403:
        return (
            f"The API key in {connection} has no permission for this: it may lack a scope (such as read:data or "
            "manage:agents), or have an allow-list of IP addresses that this machine's is not on. Use another key, or "
            "have this one changed."
        )
    if status == 404:
        return (
            f"Check {the_id}, and that it belongs to the workspace of the API key in {connection}. If it does, check "
            f"that {address} is the API's base URL."
        )
    if status == 429:
        return "The workspace's rate limit is used up. Start fewer jobs at once, or take a larger plan."
    if status in _IN_PASSING:
        return "The request took too long, or came too early. The next one may be in time."
    if status >= 500:
        return "This is an error at the vendor's end. If it lasts, tell their support."
    if status >= 400:
        return "Correct what the message names; the same request will be refused again."
    if status >= 300:
        return f"Redirects are not followed. Set {address} to the API's real base URL."
    return f"That is not what its API promises. Check that {address} is the API's base URL."


def retry_after_of(response: requests.Response) -> float | None:
    """
    Return the seconds after which a vendor will listen again, if it said so.

    A date is judged against the vendor's own clock, by the ``Date`` of the same answer: ours may be wrong.
    """
    now = _http_date(response.headers.get("Date"))
    return retry_after_seconds(response.headers.get("Retry-After"), now)


def retry_after_seconds(value: str | None, now: datetime | None = None) -> float | None:
    """
    Read a ``Retry-After`` header, given in seconds or as an HTTP date.

    :param value: The header's text, or None if there was none.
    :param now: The sender's present time. Default: ours.
    :return: Seconds from now, never negative; None if there is no header or it cannot be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        when = _http_date(value)
        if when is None:
            return None
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _http_date(value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
