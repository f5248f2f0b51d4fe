"""
The rows of an OpenAnalyst query, as its pages show them: ``columns``, ``rows``, ``row_count``.

Rows are objects, or lists in the order of the columns. A webhook has them in its ``result``; ``data`` and ``run`` are
looked into as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidReply, ResultRefused, RowsMissing
from airflow_provider_nenoa.vendors.openanalyst_pages import said
from airflow_provider_nenoa.vendors.openanalyst_schema import COLUMN_NAMES

log = logging.getLogger(__name__)

_MORE = ("has_more", "truncated")
"""What says that there are more rows than came."""
NESTED = ("result", "data", "run")
"""Where a payload may have its rows, if not at its top."""


@dataclass(frozen=True)
class Table:
    """
    The rows of a query.

    :param columns: The columns' names, in the vendor's order; after them those that only rows have.
    :param rows: One dict per row; a column that a row lacks is null.
    :param row_count: How many rows the vendor says there are.
    """

    columns: list[str]
    rows: list[dict[str, Any]]
    row_count: int


def part_with_rows(payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the object in a payload that has the rows, which may be the payload itself; None if there are none."""
    for part in (payload, *(payload.get(key) for key in NESTED)):
        if isinstance(part, Mapping) and "rows" in part:
            return part
    return None


def without_rows(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that a payload says besides its rows, such as how long the query took, where it says it."""
    part = part_with_rows(payload)
    if part is None or part is payload:
        return {key: value for key, value in payload.items() if key != "rows"}
    return {key: without_rows(part) if value is part else value for key, value in payload.items()}


def table_of(payload: Mapping[str, Any], *, allow_partial: bool = False) -> Table | None:
    """
    Read the rows in a payload about a query that has ended.

    :param payload: The payload.
    :param allow_partial: Take fewer rows than the vendor says there are.
    :return: The table; None if the payload has no rows.
    :raises InvalidReply: The rows are neither objects nor lists.
    :raises ResultRefused: Rows are missing, or two columns have the same name.
    """
    part = part_with_rows(payload)
    if part is None:
        return None
    rows = [] if part["rows"] is None else part["rows"]
    if not isinstance(rows, list):
        raise InvalidReply(f"OpenAnalyst sent 'rows' that are a {type(rows).__name__}, not a list.")
    columns = columns_of(part)
    found = as_objects(rows, columns)
    names = dict.fromkeys(columns)
    for row in found:
        if not row.keys() <= names.keys():
            names |= dict.fromkeys(row)
    return Table(list(names), found, checked_count(payload, len(found), allow_partial=allow_partial))


def columns_of(part: Mapping[str, Any]) -> list[str]:
    """
    Read the columns' names: texts, or objects that have a ``name``, or what else it may be called.

    :raises InvalidReply: One has none.
    :raises ResultRefused: Two have the same one.
    """
    named = part.get("columns")
    named = [] if named is None else named
    if not isinstance(named, list):
        raise InvalidReply(f"OpenAnalyst sent 'columns' that are a {type(named).__name__}, not a list.")
    columns = list(map(_name, named))
    if len(set(columns)) < len(columns):
        repeated = ", ".join(repr(name) for name in dict.fromkeys(columns) if columns.count(name) > 1)
        raise ResultRefused(
            f"The query has more than one column with the name {repeated}, so that their values cannot be told apart.\n"
            "Give each an alias of its own, as in SELECT a.id AS a_id, b.id AS b_id."
        )
    return columns


def as_objects(rows: Iterable[Any], columns: list[str]) -> list[dict[str, Any]]:
    """
    Return rows as dicts; those that are lists get the columns' names.

    :raises InvalidReply: One is neither, or is a list of another length.
    """
    return [row if isinstance(row, dict) else _named(row, columns) for row in rows]


def checked_count(payload: Mapping[str, Any], count: int, *, allow_partial: bool = False) -> int:
    """
    Compare how many rows came with what the vendor says of them, beside them or at the top.

    :param payload: The payload that has the rows.
    :param count: How many came.
    :param allow_partial: Fewer than the vendor says are a warning only.
    :return: How many there are.
    :raises RowsMissing: The vendor says that there are more.
    """
    parts = [part_with_rows(payload) or payload, payload]
    pages = [page for part in parts for name in ("pagination", "meta") if isinstance(page := part.get(name), Mapping)]
    counts = [said(part, "row_count") for part in parts + pages] + [page.get("total") for page in pages]
    told = next((number for count in counts if (number := _number(count)) is not None), None)
    more = any(_is_true(said(part, name)) for part in parts + pages for name in _MORE) or any(map(_goes_on, pages))
    if (told is not None and told > count) or more:
        there = f"{told:,} rows" if told is not None and told > count else "more rows"
        message = f"OpenAnalyst says that the query has {there}, but sent {count:,}."
        if not allow_partial:
            raise RowsMissing(
                f"{message} Ask for fewer at once, by WHERE or LIMIT; or, if a part of them is enough, set "
                "allow_partial=True."
            )
        log.warning("%s", message)
    elif told is not None and told < count:
        log.warning("OpenAnalyst says that the query has %d rows, but sent %d.", told, count)
    return count if told is None else told


def _goes_on(page: Mapping[str, Any]) -> bool:
    """Whether what a reply says of its pages promises another one, in one of the ways in which lists do."""
    if (more := said(page, "has_more")) is not None:
        return _is_true(more)
    cursor = said(page, "cursor") or said(page, "next_cursor")
    return bool(cursor) or (_number(said(page, "total_pages")) or 1) > (_number(said(page, "page")) or 1)


def _is_true(value: Any) -> bool:
    return str(value).strip().lower() in ("true", "1")


def _name(column: Any) -> str:
    if isinstance(column, dict):
        column = next((column[key] for key in COLUMN_NAMES if column.get(key) is not None), None)
    if not isinstance(column, (str, int, float)):
        raise InvalidReply("OpenAnalyst sent 'columns' of which one has no name.")
    return str(column)


def _number(value: Any) -> int | None:
    """Read how many there are, which may have come as a text or as ``7.0``; below 0 stands for not known."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        return None
    return int(number) if 0 <= number < 1e15 else None


def _named(row: Any, columns: list[str]) -> dict[str, Any]:
    if not isinstance(row, list):
        raise InvalidReply(
            "OpenAnalyst sent rows that are not objects and not lists; they cannot be told apart by column."
        )
    if len(row) != len(columns):
        raise InvalidReply(
            f"OpenAnalyst sent a row of {len(row)} values for {len(columns)} columns; they cannot be told apart by "
            "column."
        )
    return dict(zip(columns, row, strict=True))
