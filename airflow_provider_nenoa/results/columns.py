"""The types that Parquet is to have for columns, learnt from all their values; pyarrow is loaded for it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow
from pyarrow import types

log = logging.getLogger(__name__)

_EXACT = 2**53
"""Up to here, a double has every whole number."""
_UNFIT = (OverflowError, TypeError, ValueError, pyarrow.ArrowException)
_LONGEST = 76
"""Digits that a decimal of Parquet may have."""


class Column:
    """
    What has been seen of one column's values.

    :param name: The column's name, for a warning.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.as_text = False
        self._kinds: set[type] = set()
        self._least = self._most = 0
        self._whole_digits = self._places = 0
        self._nested: pyarrow.DataType | None = None

    def see(self, values: Sequence[Any]) -> None:
        """Learn from some values."""
        if self.as_text:
            return
        kinds = set(map(type, values)) - {type(None)}
        self._kinds |= kinds
        if kinds & {int, bool} == {int}:
            whole = [value for value in values if type(value) is int]
            self._least, self._most = min(self._least, *whole, 0), max(self._most, *whole, 0)
        if kinds & {float, Decimal}:
            self._see_digits(values)
        if kinds & {dict, list}:
            self._see_nested(values)

    @property
    def type(self) -> pyarrow.DataType:
        """The type that has all values; text where there is none."""
        kinds = self._kinds
        if self.as_text:
            return pyarrow.string()
        if not kinds:
            return pyarrow.null()
        if kinds == {bool}:
            return pyarrow.bool_()
        if kinds == {str}:
            return pyarrow.string()
        if kinds == {int} and self._least >= -(2**63) and self._most < 2**63:
            return pyarrow.int64()
        if kinds in ({float}, {int, float}) and max(-self._least, self._most) <= _EXACT:
            return pyarrow.float64()
        if Decimal in kinds and kinds <= {int, float, Decimal}:
            whole = max(self._whole_digits, len(str(max(-self._least, self._most))))
            if whole + self._places <= _LONGEST:
                make = pyarrow.decimal128 if whole + self._places <= 38 else pyarrow.decimal256
                return make(whole + self._places, self._places)
        if self._nested is not None and kinds <= {dict, list}:
            return self._nested
        return self.text()

    def text(self) -> pyarrow.DataType:
        """Make it text, for good."""
        if not self.as_text:
            self.as_text = True
            log.warning("Column %r has values that no one Parquet type holds: it is stored as text.", self.name)
        return pyarrow.string()

    def _see_digits(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, float | Decimal):
                _, digits, exponent = (value if isinstance(value, Decimal) else Decimal(repr(value))).as_tuple()
                places = -int(exponent)
                self._whole_digits = max(self._whole_digits, len(digits) - places)
                self._places = max(self._places, places)

    def holds(self, values: Sequence[Any]) -> bool:
        """Whether its type has a place for all that is in some objects or lists; pyarrow would leave out the rest."""
        try:
            return self._nested is not None and _both(self._nested, pyarrow.array(values).type) == self._nested
        except _UNFIT:
            return False

    def _see_nested(self, values: Sequence[Any]) -> None:
        try:
            found = pyarrow.array(values).type
            if self._nested is not None:
                found = _both(self._nested, found)
            if not _is_storable(found):
                self.text()
            self._nested = found
        except _UNFIT:
            self.text()


def _both(first: pyarrow.DataType, second: pyarrow.DataType) -> pyarrow.DataType:
    """Return the type that has the values of two."""
    schemas = [pyarrow.schema([("x", kind)]) for kind in (first, second)]
    return pyarrow.unify_schemas(schemas, promote_options="permissive").field("x").type


def _is_storable(kind: pyarrow.DataType) -> bool:
    """Whether Parquet has this type: it lacks a structure without fields."""
    if types.is_list(kind):
        return _is_storable(kind.value_type)
    if types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_storable(field.type) for field in kind)
    return True
