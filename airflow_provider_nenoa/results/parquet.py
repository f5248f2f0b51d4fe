"""Rows as a Parquet file, by row group; pyarrow is loaded for it."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow
from pyarrow import json, parquet, types

from airflow_provider_nenoa.results.batch import Batch, TypesChanged
from airflow_provider_nenoa.results.columns import Column
from airflow_provider_nenoa.results.digits import has_floats, keeps_digits
from airflow_provider_nenoa.results.storage import NewFile
from airflow_provider_nenoa.results.text import json_text, plain_text

GROUP_BYTES = 32 * 2**20
"""Of a row group in memory: wide rows make smaller groups."""

_FAILURES = 3
"""So often in a row the fast way may fail before it is not tried any more."""
_UNFIT = (OverflowError, TypeError, ValueError, pyarrow.ArrowException)
_HELD: dict[int, set[type]] = {
    pyarrow.null().id: set(),
    pyarrow.bool_().id: {bool},
    pyarrow.int64().id: {int},
    pyarrow.float64().id: {int, float},
    pyarrow.string().id: {str},
    pyarrow.decimal128(1).id: {int, float, Decimal},
    pyarrow.decimal256(1).id: {int, float, Decimal},
}
"""What the types take; pyarrow itself would turn a boolean into a number, and cut a decimal off."""


class ParquetWriter:
    """
    Writes rows into a file.

    :param file: The file.
    :param columns: The columns with their types, in their order.
    :param group: Rows of a row group.
    """

    def __init__(self, file: NewFile, columns: Sequence[Column], group: int) -> None:
        self._columns = columns
        self._group = group
        self._schema = pyarrow.schema([(plain_text(column.name), column.type) for column in columns])
        self._sink = _Sink(file)
        self._writer = parquet.ParquetWriter(self._sink, self._schema)
        self._pending: list[pyarrow.RecordBatch] = []
        self._rows = self._bytes = 0
        self._failures = 0
        as_they_are = [column.name for column in columns] == self._schema.names and bool(columns)
        special = any(column.as_text or types.is_decimal(column.type) for column in columns)
        self._form = pyarrow.struct(list(self._schema)) if as_they_are and not special else None
        self._has_floats = self._form is not None and has_floats(self._form)

    def convert(self, raw: bytes) -> pyarrow.RecordBatch | None:
        """
        Read rows from their JSON text by pyarrow, which is several times as fast.

        :param raw: The rows, with commas between them.
        :return: None: there is something in them that only the slow way gets right.
        """
        if self._form is None or self._failures >= _FAILURES:
            return None
        self._failures += 1
        try:
            read = json.read_json(
                pyarrow.BufferReader(b'{"r":[' + raw + b"]}"),
                read_options=json.ReadOptions(use_threads=False, block_size=len(raw) + 64),
                parse_options=json.ParseOptions(
                    explicit_schema=pyarrow.schema([("r", pyarrow.list_(self._form))]),
                    unexpected_field_behavior="error",
                ),
            )
            (chunk,) = read["r"].chunks
            if len(chunk) != 1:
                return None
            batch = pyarrow.RecordBatch.from_struct_array(chunk.flatten())
        except _UNFIT:
            return None
        if self._has_floats and not keeps_digits(raw, batch):
            return None
        self._failures = 0
        return batch

    def write(self, rows: Batch | pyarrow.RecordBatch) -> None:
        """
        Append some rows.

        :param rows: The rows, or what `convert` returned.
        :raises TypesChanged: See there.
        """
        if isinstance(rows, Batch) and (converted := self._through_json(rows)) is not None:
            rows = converted
        if isinstance(rows, Batch):
            arrays = [self._array(*each) for each in zip(self._columns, self._schema, rows.columns(), strict=True)]
            rows = pyarrow.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._pending.append(rows)
        self._rows += rows.num_rows
        self._bytes += rows.nbytes
        if self._rows >= self._group or self._bytes >= GROUP_BYTES:
            self._flush(self._rows // self._group * self._group or self._rows)

    def close(self) -> None:
        """Finish the file."""
        self._flush(self._rows)
        self._writer.close()

    def discard(self) -> None:
        """Give the file up: what pyarrow writes at the end goes nowhere."""
        self._sink.given_up = True
        self._writer.close()

    def _through_json(self, rows: Batch) -> pyarrow.RecordBatch | None:
        # For the few that were read the slow way: from Python's objects, pyarrow makes nothing before it has loaded
        # pandas, if that is installed, which takes a second and 60 MiB.
        if self._form is None or self._failures >= _FAILURES or "pandas" in sys.modules:
            return None
        names = self._schema.names
        return self.convert(",".join([json_text(dict(zip(names, row, strict=True))) for row in rows.rows()]).encode())

    def _array(self, column: Column, field: pyarrow.Field, values: Sequence[Any]) -> pyarrow.Array:
        if column.as_text:
            return pyarrow.array([None if value is None else plain_text(value) for value in values], field.type)
        kinds = set(map(type, values)) - {type(None)}
        if not kinds <= _HELD.get(field.type.id, {dict, list}):
            raise TypesChanged(column)
        if kinds & {dict, list} and not column.holds(values):
            raise TypesChanged(column)
        if types.is_decimal(field.type):
            values = [None if value is None else Decimal(str(value)) for value in values]
        try:
            return pyarrow.array(values, field.type)
        except UnicodeError:  # half a surrogate pair
            if not types.is_string(field.type):
                raise TypesChanged(column) from None
            return pyarrow.array([None if value is None else plain_text(value) for value in values], field.type)
        except _UNFIT:
            raise TypesChanged(column) from None

    def _flush(self, count: int) -> None:
        if count:
            table = pyarrow.Table.from_batches(self._pending)
            self._writer.write_table(table.slice(0, count), row_group_size=self._group)
            rest = table.slice(count)
            self._pending, self._rows, self._bytes = rest.to_batches(), rest.num_rows, rest.nbytes


class _Sink(io.RawIOBase):
    """A `NewFile` as pyarrow wants a file to be."""

    def __init__(self, file: NewFile) -> None:
        super().__init__()
        self._file = file
        self.given_up = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.given_up:
            return len(data)
        return self._file.write(bytes(data))  # pyarrow goes on to use the memory for what comes next

    def tell(self) -> int:
        return self._file.size
