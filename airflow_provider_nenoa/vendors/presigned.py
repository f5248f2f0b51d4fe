"""
Presigned URLs, as object stores make them: how one looks, and until when it says that it is valid.

By the stores' own pages: Amazon S3 (Signature Version 4 and 2), CloudFront, Google Cloud Storage (V4 and V2), Azure
Blob Storage (shared access signatures), and those that copy them with a prefix of their own. Names of query parameters
are compared without regard to case, because not all stores write them alike.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

_SIGNATURE = re.compile(r"(x-([a-z0-9]+-)?|q-)signature")  # X-Amz-Signature, X-Goog-Signature, X-Oss-Signature, ...
# Also as JSON writes one within a text: with \/ for a slash, or \u0026 for an ampersand. What was begun is taken whole,
# so that a text of many beginnings is read once.
_URL = re.compile(r"""(https?:\\?/\\?/[^\s"'<>?]*+)(\?[^\s"'<>]++)?+""", re.IGNORECASE)
_ALONE = {"sig", "token"}  # Azure's, and what smaller stores call theirs
_WITH_SIGNATURE = {"expires", "policy"}  # beside a bare "Signature": S3's Version 2, CloudFront, Google's V2
_SHORTEST_SECRET = 8
_TIMES = (("x-amz-date", "x-amz-expires"), ("x-goog-date", "x-goog-expires"))


def is_presigned(url: str) -> bool:
    """Whether a URL carries its own authorization: a signature or token in its query."""
    names = {name for name, value in _query(url).items() if value}
    return (
        bool(names & _ALONE)
        or any(_SIGNATURE.fullmatch(name) for name in names)
        or ("signature" in names and bool(names & _WITH_SIGNATURE))
    )


def expiry_of(url: str) -> float | None:
    """Return when a presigned URL stops being valid, in Unix seconds by the store's clock; None: it does not say."""
    query = _query(url)
    try:
        for signed_at, seconds in _TIMES:
            if signed_at in query and seconds in query:
                start = datetime.strptime(query[signed_at], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                return start.timestamp() + int(query[seconds])
        if "se" in query:
            end = datetime.fromisoformat(query["se"])
            return (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp()
        if re.fullmatch("[0-9]{1,11}", query.get("expires", "")):
            return float(query["expires"])
    except (OverflowError, ValueError):
        pass
    return None


def without_queries(text: str) -> str:
    """Take the queries out of the URLs in a text, which is where presigned ones have their signature."""
    return _URL.sub(lambda found: f"{found[1]}?***" if found[2] else found[0], text)


def secrets_in(url: str) -> list[str]:
    """Return what of a URL must not be repeated to anybody: the values in its query, as written and as meant."""
    try:
        raw = urlsplit(url).query
    except ValueError:
        return []
    written = {part.partition("=")[2] for part in raw.split("&")}
    meant = {value for _, value in parse_qsl(raw)}
    return sorted((text for text in written | meant if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)


def _query(url: str) -> dict[str, str]:
    try:
        return {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    except ValueError:
        return {}
