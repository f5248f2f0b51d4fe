"""
The rows of a query, as files: JSON Lines, CSV, Parquet.

The vendor answers with objects, and with the names of their columns in order (OpenAnalyst's public documentation:
``columns``, ``rows``, ``row_count``). What JSON tells apart stays apart where the format can: see docs/rows.md.
"""

from __future__ import annotations

import io
import json
import logging
import re
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidReply, ResultRefused
from airflow_provider_nenoa.storage import NewFile, Place, StoredFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pyarrow

log = logging.getLogger(__name__)

BATCH = 10_000
"""Rows that are formatted and written at once."""
ROW_GROUP = 100_000
"""Rows of a row group of a Parquet file."""

_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
_TO_BE_QUOTED = re.compile(r'[",\r\n]|^$')


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


def table_of(payload: Mapping[str, Any]) -> Table | None:
    """
    Read the rows in a payload about a query that has ended; a webhook has them in its ``result``.

    :return: The table; None if the payload has no rows.
    :raises InvalidReply: The rows are not objects.
    """
    part = _part_with_rows(payload)
    if part is None:
        return None
    rows: list[dict[str, Any]] = part["rows"] or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidReply("OpenAnalyst sent rows that are not objects; they cannot be told apart by column.")
    named = [column.get("name") if isinstance(column, dict) else column for column in part.get("columns") or []]
    columns = dict.fromkeys(str(column) for column in named)
    for row in rows:
        if not row.keys() <= columns.keys():
            columns |= dict.fromkeys(row)
    row_count = part.get("row_count")
    return Table(list(columns), rows, row_count if isinstance(row_count, int) else len(rows))


def count_of(payload: Mapping[str, Any]) -> int:
    """Count the rows in a payload about a query that has ended, whatever they look like."""
    part = _part_with_rows(payload)
    return len(part["rows"]) if part is not None and isinstance(part["rows"], list) else 0


def check_fit_for_xcom(count: int, max_xcom_rows: int) -> None:
    """
    Check that rows may be returned by a task.

    :param count: How many there are.
    :param max_xcom_rows: How many may be.
    :raises ResultRefused: There are too many.
    """
    if count > max_xcom_rows:
        raise ResultRefused(
            f"The query has {count:,} rows, more than max_xcom_rows = {max_xcom_rows:,}: too many for XCom, which goes "
            "through Airflow's database. Set output_path of OpenAnalystExecuteQueryOperator to store them in a file "
            "instead."
        )


def format_of(output_path: str, output_format: str | None) -> str:
    """
    Decide on a file's format: the one that is named, or else the one that the path's suffix means.

    :return: ``jsonl``, ``csv`` or ``parquet``.
    :raises InvalidArgument: There is no such format, or pyarrow is missing.
    """
    chosen = output_format or _SUFFIXES.get(_suffix(output_path))
    if chosen not in _WRITERS:
        what = f"'output_format' cannot be {output_format!r}" if output_format else f"{output_path!r} tells no format"
        raise InvalidArgument(f"{what}. Set 'output_format' to one of {', '.join(_WRITERS)}.")
    if chosen == "parquet" and find_spec("pyarrow") is None:
        raise InvalidArgument("For Parquet, pyarrow is needed: pip install 'airflow-provider-nenoa[parquet]'.")
    return chosen


def write_table(table: Table, output_path: str, output_format: str | None = None) -> StoredFile:
    """
    Store rows as one file, which is there whole or not at all.

    :param table: The rows.
    :param output_path: Any URL that Airflow's ``ObjectStoragePath`` understands: a file, or a directory for a file
        ``rows.<format>``.
    :param output_format: ``jsonl``, ``csv`` or ``parquet``. Default: by the suffix of ``output_path``.
    """
    chosen = format_of(output_path, output_format)
    with NewFile(Place(output_path).file_or_in(f"rows.{chosen}"), "rows") as file:
        _WRITERS[chosen](table, file)
    return file.stored


def write_objects(objects: Iterable[Mapping[str, Any]], output_path: str, name: str) -> tuple[int, StoredFile]:
    """
    Store objects as they come, a batch at a time: JSON Lines, or one JSON list if the path ends in ``.json``.

    :param objects: The objects; they need not have the same keys.
    :param output_path: A file, or a directory for a file ``<name>.jsonl``.
    :param name: What they are.
    :return: How many there were, and the file.
    """
    count = 0
    with NewFile(Place(output_path).file_or_in(f"{name}.jsonl"), name) as file:
        is_list = _suffix(str(file.place)) == ".json"
        for batch in _batches(objects):
            lines = [_json(item) for item in batch]
            if is_list:
                file.write(_bytes(("[\n" if count == 0 else ",\n") + ",\n".join(lines)))
            else:
                file.write(_bytes("\n".join(lines) + "\n"))
            count += len(lines)
        if is_list:
            file.write(b"\n]\n" if count else b"[]\n")
    return count, file.stored


def write_object(value: Mapping[str, Any], output_path: str, name: str) -> StoredFile:
    """
    Store one object as JSON.

    :param output_path: A file, or a directory for a file ``<name>.json``.
    :param name: What it is called.
    """
    with NewFile(Place(output_path).file_or_in(f"{name}.json"), name) as file:
        file.write(_bytes(json.dumps(value, ensure_ascii=False, indent=2) + "\n"))
    return file.stored


def _part_with_rows(payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for part in (payload, payload.get("result")):
        if isinstance(part, dict) and "rows" in part:
            return part
    return None


def _write_jsonl(table: Table, file: NewFile) -> None:
    for batch in _batches(table.rows):
        lines = [_json({name: row.get(name) for name in table.columns}) for row in batch]
        file.write(_bytes("\n".join(lines) + "\n"))


def _write_csv(table: Table, file: NewFile) -> None:
    # A null is nothing, an empty text is "". In a single column nothing would be an empty line, which readers skip.
    null = "" if len(table.columns) > 1 else '""'
    file.write(_bytes(",".join(map(_quoted, table.columns)) + "\n"))
    for batch in _batches(table.rows):
        lines = [",".join([_field(row.get(name), null) for name in table.columns]) for row in batch]
        file.write(_bytes("\n".join(lines) + "\n"))


def _write_parquet(table: Table, file: NewFile) -> None:
    import pyarrow
    from pyarrow import parquet

    arrays = [_array(name, [row.get(name) for row in table.rows]) for name in table.columns]
    arrow = pyarrow.Table.from_arrays(arrays, [_text(name) for name in table.columns])
    parquet.write_table(arrow, _Sink(file), row_group_size=ROW_GROUP)


_WRITERS: dict[str, Callable[[Table, NewFile], None]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
    "parquet": _write_parquet,
}


def _array(name: str, values: list[Any]) -> pyarrow.Array:
    import pyarrow

    try:
        array = pyarrow.array(values)
        if _is_storable(array.type):
            return array
    except (OverflowError, UnicodeError, pyarrow.ArrowException):
        pass
    log.warning("Column %r has values that no one Parquet type holds: it is stored as text.", name)
    return pyarrow.array([None if value is None else _text(value) for value in values], pyarrow.string())


def _is_storable(kind: pyarrow.DataType) -> bool:
    """Whether Parquet has this type: it lacks a structure without fields."""
    from pyarrow import types

    if types.is_list(kind):
        return _is_storable(kind.value_type)
    if types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_storable(field.type) for field in kind)
    return True


class _Sink(io.RawIOBase):
    """A `NewFile` as pyarrow wants a file to be."""

    def __init__(self, file: NewFile) -> None:
        super().__init__()
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(bytes(data))  # pyarrow goes on to use the memory for what comes next

    def tell(self) -> int:
        return self._file.size


def _field(value: Any, null: str) -> str:
    return null if value is None else _quoted(value if isinstance(value, str) else _json(value))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _TO_BE_QUOTED.search(text) else text


def _text(value: Any) -> str:
    return _bytes(value if isinstance(value, str) else _json(value)).decode()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bytes(text: str) -> bytes:
    # JSON can carry half a surrogate pair, UTF-8 cannot: it is written as JSON would escape it.
    return text.encode("utf-8", "backslashreplace")


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _suffix(path: str) -> str:
    return "." + path.rpartition("/")[2].rpartition(".")[2].lower()
