"""Rows as text: JSON Lines and CSV, in UTF-8."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from airflow_provider_nenoa.results.batch import Batch
from airflow_provider_nenoa.results.storage import NewFile

_TO_BE_QUOTED = re.compile(r'[",\r\n]|^$')
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


class JsonlWriter:
    """
    Writes one JSON object a line.

    :param file: The file.
    :param names: The columns.
    """

    def __init__(self, file: NewFile, names: Sequence[str]) -> None:
        self._file = file
        self._names = names

    def write(self, batch: Batch) -> None:
        """Append some rows."""
        lines = [json_text(dict(zip(self._names, row, strict=True))) for row in batch.rows()]
        self._file.write(utf8("\n".join(lines) + "\n"))

    def close(self) -> None:
        """Finish the file: there is nothing to do."""

    discard = close


class CsvWriter:
    """
    Writes a header and one line a row.

    :param file: The file.
    :param names: The columns.
    """

    def __init__(self, file: NewFile, names: Sequence[str]) -> None:
        self._file = file
        # A null is nothing, an empty text is "". In a single column nothing would be an empty line, which readers skip.
        self._null = "" if len(names) > 1 else '""'
        file.write(utf8(",".join(map(_quoted, names)) + "\n"))

    def write(self, batch: Batch) -> None:
        """Append some rows."""
        lines = [",".join([self._field(value) for value in row]) for row in batch.rows()]
        self._file.write(utf8("\n".join(lines) + "\n"))

    def close(self) -> None:
        """Finish the file: there is nothing to do."""

    discard = close

    def _field(self, value: Any) -> str:
        if isinstance(value, str):
            return _quoted(value)
        text = "null" if value is None else json_text(value)
        return self._null if text == "null" else _quoted(text)


def json_text(value: Any) -> str:
    """Write a value as JSON; a `Decimal` is a number, and what JSON has no number for is null."""
    try:
        return _encode(value)
    except (TypeError, ValueError):
        pass
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_encode(str(name))}: {json_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(json_text, value)) + "]"
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    if isinstance(value, (float, Decimal)) and not math.isfinite(value):
        return "null"
    raise TypeError(f"a {type(value).__name__} is no JSON")


def plain_text(value: Any) -> str:
    """Write any value as text: a text as it is, what else there is as JSON."""
    return utf8(value if isinstance(value, str) else json_text(value)).decode()


def utf8(text: str) -> bytes:
    """Encode a text. JSON can carry half a surrogate pair, UTF-8 cannot: it is written as JSON would escape it."""
    return text.encode("utf-8", "backslashreplace")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _TO_BE_QUOTED.search(text) else text
