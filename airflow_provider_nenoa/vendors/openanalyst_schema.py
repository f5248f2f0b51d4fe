"""
The tables and columns of an OpenAnalyst dataset, in the answer to ``GET /datasets/{id}``.

That it has "metadata and schema" is all that the vendor's pages say. So what is read is what is common: ``tables`` with
their ``columns``, as lists of objects or as objects by name. What looks like neither is not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_NESTED = ("schema", "data", "dataset")
_TABLES = ("tables",)
_COLUMNS = ("columns", "fields", "schema")
_TABLE_NAMES = ("name", "table", "table_name")
COLUMN_NAMES = ("name", "column", "column_name", "field")
"""Where the object that describes a column may have its name."""
_TYPES = ("type", "data_type", "dtype")


class Column(NamedTuple):
    """
    A column.

    :param name: Its name.
    :param type: The vendor's word for its type; None if it gave none.
    """

    name: str
    type: str | None


def tables_of(payload: Mapping[str, Any]) -> dict[str, list[Column]]:
    """
    Read the tables in a dataset's description.

    :param payload: The answer to ``GET /datasets/{id}``.
    :return: The columns of each table, by the tables' names; empty if none can be made out.
    """
    for part in (payload, *(payload.get(key) for key in _NESTED)):
        if not isinstance(part, Mapping):
            continue
        if any(isinstance(part.get(key), (list, Mapping)) for key in _TABLES):
            return {name: list(_columns(table)) for name, table in _named(_first(part, _TABLES), _TABLE_NAMES)}
        name = _text(part, ("table", "table_name"))
        if name and isinstance(_first(part, _COLUMNS), (list, Mapping)):
            return {name: list(_columns(part))}
    return {}


def _columns(table: Any) -> Iterator[Column]:
    columns = _first(table, _COLUMNS) if isinstance(table, Mapping) else table
    if isinstance(table, Mapping) and columns is None:
        columns = table  # types by the columns' names
    if isinstance(columns, Mapping) and isinstance(columns.get("columns"), (list, Mapping)):
        columns = columns["columns"]
    for name, column in _named(columns, COLUMN_NAMES):
        kind = _text(column, _TYPES) if isinstance(column, Mapping) else column
        yield Column(name, kind if isinstance(kind, str) else None)


def _named(things: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Give things with their names: from an object by name, or from a list of objects or of mere names."""
    if isinstance(things, Mapping):
        yield from ((name, thing) for name, thing in things.items() if name)
    elif isinstance(things, list):
        for thing in things:
            if isinstance(thing, Mapping):
                name = _text(thing, names)
            else:
                name, thing = thing, None
            if isinstance(name, str) and name:
                yield name, thing


def _first(part: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((part[key] for key in keys if part.get(key) is not None), None)


def _text(part: Any, keys: tuple[str, ...]) -> str | None:
    return next((part[key] for key in keys if isinstance(part.get(key), str) and part[key]), None)
