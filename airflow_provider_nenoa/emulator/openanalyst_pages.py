"""One page of a list, in each form (OpenAnalyst docs: "Pagination")."""

from __future__ import annotations

import base64
import math
from typing import Any

from fastapi import Request

from airflow_provider_nenoa.emulator.openanalyst_errors import OpenAnalystError
from airflow_provider_nenoa.emulator.state import State
from airflow_provider_nenoa.emulator.wire import whole_number

_DEFAULT_PER_PAGE = 25
_DEFAULT_LIMIT = 20  # of the form "server"
_MAX_PER_PAGE = 100
_GAP = "~"


def paged(request: Request, items: list[dict[str, Any]], state: State) -> dict[str, Any]:
    """One page of a list, in the form of the vendor's page or cursor (OpenAnalyst docs: "Pagination")."""
    asked = request.query_params
    form = state.settings.pagination
    if form == "endless":
        return {"data": [], "pagination": {"cursor": "again", "has_more": True}}
    if form == "gaps":
        return _page_after_a_gap(asked.get("limit") or asked.get("per_page"), asked.get("after"), items)
    if state.settings.api_form == "server" and form == "page":
        form = "cursor"
    if form == "cursor" or (form == "page" and ("limit" in asked or "after" in asked)):
        return _cursor_page(asked.get("limit") or asked.get("per_page"), asked.get("after"), items)
    per_page = _whole("per_page", asked.get("per_page"), _DEFAULT_PER_PAGE, _MAX_PER_PAGE)
    page = _whole("page", asked.get("page"), 1)
    total_pages = math.ceil(len(items) / per_page)
    if form == "repeat":
        page, total_pages = 1, 1_000_000
    return {
        "data": items[(page - 1) * per_page : page * per_page],
        "meta": {"page": page, "per_page": per_page, "total": len(items), "total_pages": total_pages},
    }


def _page_after_a_gap(limit: str | None, after: str | None, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Each page but the first is announced by an empty one that promises more."""
    if after and not after.endswith(_GAP):
        pagination = {"cursor": after + _GAP, "has_more": True, "total": len(items)}
        return {"data": [], "pagination": pagination}
    return _cursor_page(limit, (after or "").removesuffix(_GAP), items)


def _cursor_page(limit: str | None, after: str | None, items: list[dict[str, Any]]) -> dict[str, Any]:
    count = _whole("limit", limit, _DEFAULT_LIMIT, _MAX_PER_PAGE)
    start = 0
    if after:
        places = [place for place, item in enumerate(items) if _cursor(item) == after]
        if not places:
            raise OpenAnalystError(422, "after: not a cursor of this list.")
        start = places[0] + 1
    shown = items[start : start + count]
    has_more = start + count < len(items)
    return {
        "data": shown,
        "pagination": {
            "cursor": _cursor(shown[-1]) if shown and has_more else None,
            "has_more": has_more,
            "total": len(items),
        },
    }


def _cursor(item: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(f"after:{item['id']}".encode()).decode().rstrip("=")


def _whole(name: str, value: str | None, default: int, largest: int = 10**9) -> int:
    if value is None:
        return default
    number = whole_number(value)
    if number is None or not 1 <= number <= largest:
        raise OpenAnalystError(422, f"{name}: must be a whole number from 1 to {largest}.")
    return number
