"""
The rows of a query, as files: JSON Lines, CSV, Parquet.

The vendor answers with objects or lists, and with the names of their columns in order (OpenAnalyst's public
documentation: ``columns``, ``rows``, ``row_count``). What JSON tells apart stays apart where the format can: see
docs/rows.md.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from itertools import islice
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidReply, ResultRefused
from airflow_provider_nenoa.results.batch import Batch, ColumnsUnknown, TypesChanged
from airflow_provider_nenoa.results.reply import LargeRows, walk
from airflow_provider_nenoa.results.storage import NewFile, Place, StoredFile
from airflow_provider_nenoa.results.text import CsvWriter, JsonlWriter, json_text, utf8
from airflow_provider_nenoa.runs import status_of
from airflow_provider_nenoa.vendors.rows import Table, checked_count, columns_of, part_with_rows, table_of, without_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from airflow_provider_nenoa.results.columns import Column
    from airflow_provider_nenoa.results.scanner import Scanner

BATCH = 10_000
"""Rows that are formatted and written at once."""
ROW_GROUP = 100_000
"""Rows of a row group of a Parquet file."""

FORMATS = ("jsonl", "csv", "parquet")
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def are_left(payload: Mapping[str, Any]) -> bool:
    """Whether the rows of a payload were left where they are: they have to be asked for."""
    part = part_with_rows(payload)
    rows = None if part is None else part["rows"]
    return isinstance(rows, LargeRows) and rows.file is None and not rows.at_least


def are_elsewhere(payload: Mapping[str, Any]) -> bool:
    """Whether the rows have to be asked for: they were left where they are, or the payload has none."""
    return part_with_rows(payload) is None or are_left(payload)


def check_fit_for_xcom(payload: Mapping[str, Any], max_xcom_rows: int) -> None:
    """
    Check that a payload's rows may be returned by a task.

    :param payload: The payload about a query that has ended.
    :param max_xcom_rows: How many may be.
    :raises ResultRefused: There are too many.
    """
    part = part_with_rows(payload)
    rows = None if part is None else part["rows"]
    if isinstance(rows, LargeRows):
        count, there = rows.at_least, f"at least {rows.at_least:,} rows"
    else:
        count = len(rows) if isinstance(rows, list) else 0
        there = f"{count:,} rows"
    if count > max_xcom_rows:
        raise ResultRefused(
            f"The query has {there}, more than max_xcom_rows = {max_xcom_rows:,}: too many for XCom, which goes "
            "through Airflow's database.\nSet output_path of OpenAnalystExecuteQueryOperator to store them in a file "
            "instead."
        )


def format_of(output_path: str, output_format: str | None) -> str:
    """
    Decide on a file's format: the one that is named, or else the one that the path's suffix means.

    :return: ``jsonl``, ``csv`` or ``parquet``.
    :raises InvalidArgument: There is no such format, or pyarrow is missing.
    """
    chosen = output_format or _SUFFIXES.get(_suffix(output_path))
    if chosen not in FORMATS:
        what = f"'output_format' cannot be {output_format!r}" if output_format else f"{output_path!r} tells no format"
        raise InvalidArgument(f"{what}.\nSet 'output_format' to one of {', '.join(FORMATS)}.")
    if chosen == "parquet" and find_spec("pyarrow") is None:
        raise InvalidArgument("For Parquet, pyarrow is needed: pip install 'airflow-provider-nenoa[parquet]'.")
    return chosen


def store(
    payload: Mapping[str, Any], output_path: str, output_format: str | None, *, allow_partial: bool
) -> dict[str, Any]:
    """
    Store the rows of a payload as one file, wherever they are.

    :return: ``columns``, ``row_count``, ``files`` and ``result``, for a task to return.
    :raises NenoaError: See `write_rows`.
    """
    part = part_with_rows(payload)
    assert part is not None
    if isinstance(part["rows"], LargeRows):
        columns, count, file, payload = write_rows(
            part["rows"], output_path, output_format, allow_partial=allow_partial
        )
    else:
        table = table_of(payload, allow_partial=allow_partial)
        assert table is not None
        columns, count, file = table.columns, table.row_count, write_table(table, output_path, output_format)
    return {"columns": columns, "row_count": count, "files": [file], "result": without_rows(payload)}


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
        writer = _writer(chosen, file, table.columns, Batch(table.rows, table.columns), None)
        for batch in _batches(table.rows):
            writer.write(Batch(batch, table.columns))
        writer.close()
    return file.stored


def write_rows(
    rows: LargeRows, output_path: str, output_format: str | None = None, *, allow_partial: bool = False
) -> tuple[list[str], int, StoredFile, dict[str, Any]]:
    """
    Store rows that may be too many to be held as one file, which is there whole or not at all.

    They are read once, if the columns come before them and keep the types of the first rows. What could not be known
    at that point (a column that only later rows have, a fraction after whole numbers) makes it begin anew, after all
    rows have been looked at.

    :param rows: What `OnDisk` has put in their place.
    :param output_path: As for `write_table`.
    :param output_format: As for `write_table`.
    :param allow_partial: Take fewer rows than the vendor says there are.
    :return: The columns, how many rows there are, the file, and the whole payload but for its rows.
    :raises InvalidReply: The answer is no JSON, or not that of a query that has succeeded.
    :raises ResultRefused: Rows are missing, or two columns have the same name.
    """
    chosen = format_of(output_path, output_format)
    names: list[str] | None = None
    types: list[Column] | None = None
    with NewFile(Place(output_path).file_or_in(f"rows.{chosen}"), "rows") as file:
        while True:
            copy = _Copy(rows, chosen, file, names, types)
            try:
                count = copy.run(allow_partial)
                break
            except ColumnsUnknown:
                names = _learn_names(rows)
            except TypesChanged as changed:
                names = names or _learn_names(rows)
                if types is None:
                    types = _learn_types(rows, names)
                else:
                    changed.column.text()
            file.restart()
    return copy.names, count, file.stored, copy.payload


class _Copy:
    """Writes the rows of a reply into a file, as far as it is known what they are."""

    def __init__(
        self, rows: LargeRows, chosen: str, file: NewFile, names: list[str] | None, types: list[Column] | None
    ) -> None:
        self.names = names or []
        self.payload: dict[str, Any] = {}
        self._known = names is not None
        self._rows = rows
        self._chosen = chosen
        self._file = file
        self._types = types
        self._count = 0
        self._writer: Any = None

    def run(self, allow_partial: bool) -> int:
        """Write all rows, then look at what the vendor says of them; return how many there are."""
        scanner = self._rows.scanner()
        try:
            payload = self.payload = walk(scanner, self._write)
        except BaseException:
            if self._writer is not None:
                self._writer.discard()
            raise
        part = part_with_rows(payload)
        if part is None or scanner.next():
            raise InvalidReply("OpenAnalyst sent a reply that is no JSON: something stands behind its end.")
        for status in (payload.get("status"), part.get("status")):
            known = status_of(status)
            if known is not None and not known.is_success:
                raise InvalidReply(f"OpenAnalyst sent rows of a query whose status is {status!r}. Nothing was stored.")
        columns_of(part)  # they may stand behind the rows
        return checked_count(payload, self._count, allow_partial=allow_partial)

    def _write(self, scanner: Scanner, part: dict[str, Any]) -> LargeRows:
        if not self._known:
            if "columns" not in part:
                raise ColumnsUnknown
            self.names = columns_of(part)
        for batch in scanner.batches(self._convert if self._chosen == "parquet" else None):
            if isinstance(batch, list):
                self._count += len(batch)
                rows = Batch(batch, self.names)
                self._writer = self._writer or self._new_writer(rows)
                self._writer.write(rows)
            else:
                self._count += batch.num_rows
                self._writer.write(batch)
        (self._writer or self._new_writer(Batch([], self.names))).close()
        return self._rows

    def _new_writer(self, first: Batch) -> Any:
        return _writer(self._chosen, self._file, self.names, first, self._types)

    def _convert(self, raw: bytes) -> Any:
        return None if self._writer is None else self._writer.convert(raw)


def _learn_names(rows: LargeRows) -> list[str]:
    """Look at all rows for columns: first those that the vendor names, in its order, then those that only rows have."""
    names: dict[str, None] = {}

    def read(scanner: Scanner, part: dict[str, Any]) -> LargeRows:
        for batch in scanner.batches():
            for row in batch:
                if isinstance(row, dict) and not row.keys() <= names.keys():
                    names.update(dict.fromkeys(row))
        return rows

    part = part_with_rows(walk(rows.scanner(), read)) or {}
    return list(dict.fromkeys(columns_of(part)) | names)


def _learn_types(rows: LargeRows, names: list[str]) -> list[Column]:
    """Look at all rows for the types of their columns."""
    from airflow_provider_nenoa.results.columns import Column

    columns = [Column(name) for name in names]

    def read(scanner: Scanner, part: dict[str, Any]) -> LargeRows:
        for batch in scanner.batches():
            for column, values in zip(columns, Batch(batch, names).columns(), strict=True):
                column.see(values)
        return rows

    walk(rows.scanner(), read)
    return columns


def _writer(chosen: str, file: NewFile, names: Sequence[str], first: Batch, types: Sequence[Column] | None) -> Any:
    """
    Return what writes rows in a format.

    :param first: The first rows.
    :param types: For Parquet: the types; None: those that the first rows have.
    """
    if chosen == "jsonl":
        return JsonlWriter(file, names)
    if chosen == "csv":
        return CsvWriter(file, names)
    from airflow_provider_nenoa.results.columns import Column
    from airflow_provider_nenoa.results.parquet import ParquetWriter

    if types is None:
        types = [Column(name) for name in names]
        for column, values in zip(types, first.columns(), strict=True):
            column.see(values)
    return ParquetWriter(file, types, ROW_GROUP)


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
            lines = [json_text(item) for item in batch]
            if is_list:
                file.write(utf8(("[\n" if count == 0 else ",\n") + ",\n".join(lines)))
            else:
                file.write(utf8("\n".join(lines) + "\n"))
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
        file.write(utf8(json.dumps(value, ensure_ascii=False, indent=2) + "\n"))
    return file.stored


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _suffix(path: str) -> str:
    return "." + path.rpartition("/")[2].rpartition(".")[2].lower()
