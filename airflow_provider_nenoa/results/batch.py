"""Some rows on their way from the vendor's reply to a file, and what may show on that way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.vendors.rows import as_objects

if TYPE_CHECKING:
    from airflow_provider_nenoa.results.columns import Column


class ColumnsUnknown(Exception):
    """The columns are not known yet, or a row has one that is not among them."""


class TypesChanged(Exception):
    """
    A column has a value that its type does not hold: the types must be learnt from all rows.

    :param column: The column.
    """

    def __init__(self, column: Column) -> None:
        super().__init__(column.name)
        self.column = column


class Batch:
    """
    Some rows.

    :param rows: Objects, or lists in the order of the columns.
    :param names: The columns.
    :raises ColumnsUnknown: A row has a column that is not among them.
    :raises InvalidReply: A row is neither, or is a list of another length.
    """

    def __init__(self, rows: list[Any], names: Sequence[str]) -> None:
        self.names = names
        self._lists = set(map(type, rows)) == {list} and set(map(len, rows)) == {len(names)}
        self._rows: list[Any] = rows if self._lists else as_objects(rows, list(names))
        if not self._lists and not set().union(*self._rows) <= set(names):
            raise ColumnsUnknown

    def columns(self) -> list[Sequence[Any]]:
        """Return the values of each column."""
        if self._lists:
            return list(zip(*self._rows, strict=True))
        return [[row.get(name) for row in self._rows] for name in self.names]

    def rows(self) -> list[list[Any]]:
        """Return the values of each row, in the order of the columns."""
        if self._lists:
            return self._rows
        return [[row.get(name) for name in self.names] for row in self._rows]
