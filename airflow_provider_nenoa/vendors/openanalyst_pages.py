"""OpenAnalyst's lists: how a page is read, and how the vendor says that there is another one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidReply
from airflow_provider_nenoa.vendors.openanalyst_forms import MOST_PER_PAGE

MOST_EMPTY = 100
"""Pages without an object, in a row, after which a promise of more is believed no longer."""

_OTHERS_NEXT = ("next_cursor", "next_page", "next_page_token", "next_token", "next", "next_url")
"""How other vendors name the next page."""


class Listing:
    """
    A list on its way, page by page, in whichever form the vendor answers.

    Its pages tell of the next one by ``meta`` (``page``, ``per_page``, ``total``, ``total_pages``) or by
    ``pagination`` (``cursor``, ``has_more``, ``total``). What they say decides, not what a page looks like: an empty
    page may be followed by others.

    :param path: Where the list is, for messages.
    :param first: The parameters that ask for its first page.
    """

    def __init__(self, path: str, first: Mapping[str, Any]) -> None:
        self.path = path
        self.params: dict[str, Any] | None = dict(first)
        self.count = 0
        self.total: int | None = None
        self._size = first.get("per_page") or first.get("limit")
        self._seen: set[int] = set()
        self._empty = 0

    def take(self, reply: Mapping[str, Any]) -> list[dict[str, Any]]:
        """
        Take the page that was asked for with ``params``; these then ask for the next one, and are None after the last.

        :return: The objects on it.
        :raises InvalidReply: There is no list of them, or the vendor says that there are more and not how to get
            them, or repeats itself.
        """
        objects = reply.get("data")
        if not isinstance(objects, list):
            raise InvalidReply(f"OpenAnalyst answered GET {self.path} without a list in 'data'.")
        asked = self.params or {}
        if objects:
            page = hash(json.dumps(objects, sort_keys=True))
            if page in self._seen:
                raise self._stuck("it sent the same page twice")
            self._seen.add(page)
        self.count += len(objects)
        self.total = _whole(self._said(reply, "total"))
        self.params = self._following(reply, asked, bool(objects))
        self._empty = 0 if objects else self._empty + 1
        if self._empty and self.params is not None and (self.params == asked or self._empty == MOST_EMPTY):
            raise self._stuck("it promises more and sends nothing")
        return objects

    @property
    def missing(self) -> int:
        """How many objects fewer came than the vendor says there are; known once the last page was taken."""
        return 0 if self.total is None else max(0, self.total - self.count)

    def _following(self, reply: Mapping[str, Any], asked: Mapping[str, Any], any_here: bool) -> dict[str, Any] | None:
        has_more = self._flag(self._said(reply, "has_more"))
        cursor = self._said(reply, "cursor")
        if cursor not in (None, "") and cursor is not False and has_more is not False:
            if cursor is True or not isinstance(cursor, (str, int)):
                raise self._stuck(f"its cursor is a {type(cursor).__name__}")
            return {"limit": self._size and min(self._size, MOST_PER_PAGE), "after": cursor}
        page = asked.get("page") or _whole(self._said(reply, "page"))
        pages = self._said(reply, "total_pages")
        if pages is not None:
            if (last := _whole(pages)) is None:
                raise self._stuck(f"its 'total_pages' is {pages!r}")
            more = (page or 1) < last
        elif self._said(reply, "page") is None:
            more = False  # the number of a page means nothing where the vendor does not speak of pages
        else:
            more = has_more or (has_more is None and any_here and self.missing > 0)
        if more:
            # Whoever was asked in the other form may have chosen the size of the page itself.
            size = asked.get("per_page") or _whole(self._said(reply, "per_page")) or self._size
            return {"page": (page or 1) + 1, "per_page": size}
        if has_more:
            raise self._stuck("it says that there are more, and names neither a cursor nor a page behind this one")
        if has_more is None and pages is None and (name := self._unknown_next(reply)):
            raise self._stuck(f"it names a next page by {name!r}, and no page of its documentation says how to ask so")
        return None

    def _unknown_next(self, reply: Mapping[str, Any]) -> str | None:
        if name := next((name for name in _OTHERS_NEXT if self._said(reply, name)), None):
            return name
        links = self._said(reply, "links") or self._said(reply, "_links")
        return "links.next" if isinstance(links, Mapping) and links.get("next") else None

    def _said(self, reply: Mapping[str, Any], name: str) -> Any:
        """Look for a word of the pagination where the vendor may have put it."""
        return next((found for part in _parts(reply) if (found := said(part, name)) is not None), None)

    def _flag(self, value: Any) -> bool | None:
        if value is None or isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word not in ("true", "1", "false", "0"):
            raise self._stuck(f"its 'has_more' is {value!r}")
        return word in ("true", "1")

    def _stuck(self, why: str) -> InvalidReply:
        return InvalidReply(
            f"OpenAnalyst's list GET {self.path} cannot be read to its end: {why}.\n{self.count} objects had come."
        )


def said(part: Mapping[str, Any], name: str) -> Any:
    """Return what an object has under a name, such as ``has_more``, or under its twin, ``hasMore``; None: nothing."""
    first, *rest = name.split("_")
    found = part.get(name)
    return part.get(first + "".join(map(str.capitalize, rest))) if found is None else found


def _parts(reply: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for part in (reply.get("pagination"), reply.get("meta"), reply):
        if isinstance(part, Mapping):
            yield part


def _whole(value: Any) -> int | None:
    """Read a number, which may have come as a text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if math.isfinite(number) else None
