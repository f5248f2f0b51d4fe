"""Rows of any number, in any order of keys, come to the file as they were sent, and memory does not grow with them."""

from __future__ import annotations

import csv
import io
import json
import resource
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import InvalidReply, NenoaError, PermanentError, ResultRefused, RowsMissing
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator
from airflow_provider_nenoa.results import reply, scanner
from airflow_provider_nenoa.results import rows as rows_module
from airflow_provider_nenoa.results.reply import Head, LargeRows, OnDisk, UpTo
from airflow_provider_nenoa.results.rows import store, write_rows
from airflow_provider_nenoa.results.scanner import Scanner
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystQuerySensor
from tests.unit.conftest import requests_to
from tests.unit.results.conftest import content_of
from tests.unit.results.test_operators import Store, TaskInstance


def pieces(raw: bytes, size: int) -> Callable[[], bytes]:
    parts = iter([raw[start : start + size] for start in range(0, len(raw), size)])
    return lambda: next(parts, b"")


def stored(payload: Any, directory: Path, output_format: str, **kwargs: Any) -> tuple[list[str], int, bytes]:
    raw = payload if isinstance(payload, bytes) else json.dumps(payload, ensure_ascii=False).encode()
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(raw)
    columns, count, stored_file, _ = write_rows(
        LargeRows(file), f"file://{directory}/x.{output_format}", output_format, **kwargs
    )
    return columns, count, content_of(stored_file["path"])


def read_back(content: bytes, output_format: str) -> list[dict[str, Any]]:
    if output_format == "jsonl":
        return [json.loads(line) for line in content.splitlines()]
    return list(parquet.read_table(io.BytesIO(content)).to_pylist())


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "PIECE", 300)
    monkeypatch.setattr(reply, "PIECE", 300)


# --- the scanner

names = st.sampled_from(["a", "b", "rows", "}", '"', "\\", "é"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(
    st.lists(st.dictionaries(names, values, max_size=3) | st.lists(values, max_size=3), max_size=12),
    st.integers(1, 40),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " : ")]),
    st.booleans(),
)
def test_any_rows_are_read_as_json_reads_them(
    rows: list[Any], size: int, separators: tuple[str, str], escaped: bool
) -> None:
    payload = {"n": 12, "rows": rows, "columns": [{"name": "}"}, {"name": "b"}], "last": 1.5}
    raw = json.dumps(payload, separators=separators, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    found: list[Any] = []
    rest: dict[str, Any] = {}
    before, scanner.PIECE = scanner.PIECE, size
    try:
        scan = Scanner(pieces(raw, size))
        for name in scan.members():
            if name == "rows":
                for batch in scan.batches():
                    found += batch
            else:
                rest[name] = scan.value()
    except InvalidReply:
        assert not escaped, "half a surrogate pair is no UTF-8"
        return
    finally:
        scanner.PIECE = before
    assert found == rows
    assert rest == {name: value for name, value in payload.items() if name != "rows"}
    assert scan.next() == ""


@pytest.mark.parametrize(
    "raw",
    [
        b'{"rows":[{"a":1}',
        b'{"rows":[{"a":1},',
        b'{"rows":[{"a":1} {"a":2}]}',
        b'{"rows":[{"a":1},]}',
        b'{"rows":[{"a":1}]',
        b'{"rows":[{"a":1}]} x',
        b'{"rows":[{"a":\xff}]}',
        b'{"rows":[{"a":"\xff"}]}',
        b'{"rows" [{"a":1}]}',
        b'{1:2,"rows":[]}',
        b'{"rows":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
        b'{"rows":[{"a":1}],"columns":tru',
        b"{",
    ],
)
def test_what_is_no_json(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(InvalidReply, match=r"no JSON|by column"):
        stored(raw, tmp_path, "jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_value_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "LARGEST", 10_000)
    with pytest.raises(InvalidReply, match="more than 10,000 characters"):
        stored(b'{"columns":["a"],"rows":[{"a":"' + b"x" * 100_000, tmp_path, "jsonl")


# --- numbers

DIGITS = "12345678901234567.89"


@pytest.mark.parametrize("output_format", ["jsonl", "csv"])
@pytest.mark.parametrize(
    "number",
    [
        DIGITS,
        "-" + DIGITS,
        "0.1234567890123456789",
        "1e-400",
        "4.9e-324",
        "9007199254740993.0",
        "1.5",
        "0.1",
        "1e22",
        "2.50",
    ],
)
def test_a_number_keeps_its_digits(tmp_path: Path, output_format: str, number: str) -> None:
    raw = f'{{"columns":["x","y"],"rows":[{{"x":{number},"y":[{{"z":{number}}}]}}]}}'.encode()
    _, _, content = stored(raw, tmp_path, output_format)
    if output_format == "jsonl":
        row = json.loads(content, parse_float=Decimal)
        found = [row["x"], row["y"][0]["z"]]
    else:
        (_, (x, y)) = csv.reader(io.StringIO(content.decode()))
        found = [Decimal(x), json.loads(y, parse_float=Decimal)[0]["z"]]
    assert found == [Decimal(number)] * 2


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        ([DIGITS], pyarrow.decimal128(19, 2)),
        ([DIGITS, "null", "1", "0.125"], pyarrow.decimal128(20, 3)),
        (["0.5"] * 50 + [DIGITS], pyarrow.decimal128(19, 2)),
        (["1"] * 50 + [DIGITS, "-5"], pyarrow.decimal128(19, 2)),
        (["1" * 40 + ".5"], pyarrow.decimal256(41, 1)),
        (["1" * 80 + ".5"], pyarrow.string()),
        (["1" * 37 + ".5"], pyarrow.decimal128(38, 1)),
        (["1" * 38 + ".5"], pyarrow.decimal256(39, 1)),
        (["1" * 75 + ".5"], pyarrow.decimal256(76, 1)),
        (["1" * 76 + ".5"], pyarrow.string()),
        ([str(2**63 - 1), str(-(2**63))], pyarrow.int64()),
        ([str(2**63)], pyarrow.string()),
        ([str(-(2**63) - 1)], pyarrow.string()),
        ([str(2**53), "0.5"], pyarrow.float64()),
        ([str(-(2**53) - 1), "0.5"], pyarrow.string()),
        (["0.5"] * 50 + ["1e-300", DIGITS], pyarrow.string()),
        (["0.1234567890123456", "0.30000000000000004"], pyarrow.float64()),
    ],
)
def test_a_number_keeps_its_digits_in_parquet(tmp_path: Path, numbers: list[str], kind: pyarrow.DataType) -> None:
    rows = ",".join(f'{{"x":{number},"pad":"{"p" * 50}"}}' for number in numbers)
    _, _, content = stored(f'{{"columns":["x","pad"],"rows":[{rows}]}}'.encode(), tmp_path, "parquet")
    table = parquet.read_table(io.BytesIO(content))
    assert table.schema.field("x").type == kind
    found = [None if value is None else Decimal(str(value)) for value in table["x"].to_pylist()]
    assert found == [None if number == "null" else Decimal(number) for number in numbers]


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 5_000])
def test_what_is_no_number_is_null(
    tmp_path: Path, output_format: str, number: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw = f'{{"columns":["x"],"rows":[{{"x":1.5}},{{"x":{number}}},{{"x":{number}}}]}}'.encode()
    _, _, content = stored(raw, tmp_path, output_format)
    assert read_back(content, output_format) == [{"x": 1.5}, {"x": None}, {"x": None}]
    assert len([record for record in caplog.records if "no number" in record.message]) == 1


@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("form", ["{}", '{{"y": {}}}', "[0.5, {}]", '[{{"y": {}, "z": "NaN"}}]'])
def test_it_is_null_among_rows_that_are_read_fast_too(
    tmp_path: Path, output_format: str, number: str, form: str
) -> None:
    rows = [f'{{"x":{form.format(value)}}}' for value in [1.5] * 100 + [number] + [1.5] * 100]
    _, _, content = stored(f'{{"columns":["x"],"rows":[{",".join(rows)}]}}'.encode(), tmp_path, output_format)
    finite, none = (json.loads(form.format(value)) for value in ("1.5", "null"))
    assert [row["x"] for row in read_back(content, output_format)] == [finite] * 100 + [none] + [finite] * 100


# --- the order of keys, and what shows late

ROWS = [{"n": number, "t": f"t{number}, }},{{]", "x": None if number % 3 else number / 4} for number in range(100)]
HEAD = {"id": "q", "status": "completed"}
COLUMNS = {"columns": ["x", {"name": "n", "type": "integer"}, "t"]}
COUNT = {"row_count": 100, "execution_time_ms": 12.5}
AS_OBJECTS = {"rows": ROWS}
AS_LISTS = {"rows": [[row["x"], row["n"], row["t"]] for row in ROWS]}
ARRANGED = [
    lambda rows: {**HEAD, **COLUMNS, **rows, **COUNT},
    lambda rows: {**COLUMNS, **rows, **COUNT, **HEAD},
    lambda rows: {**rows, **COUNT, **HEAD, **COLUMNS},
    lambda rows: {**HEAD, "result": {**COLUMNS, **COUNT, **rows}},
    lambda rows: {"data": {**rows, **COLUMNS, **COUNT}, **HEAD},
    lambda rows: {"extra": {"rows": [1]}, **COLUMNS, **rows},
]


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("rows", [AS_OBJECTS, AS_LISTS])
@pytest.mark.parametrize("arrange", ARRANGED)
def test_all_but_the_rows_is_returned(tmp_path: Path, output_format: str, rows: dict[str, Any], arrange: Any) -> None:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(json.dumps(arrange(rows)).encode())
    result = store({"rows": LargeRows(file)}, f"{tmp_path}/x", output_format, allow_partial=False)["result"]
    assert result == {
        key: {name: part for name, part in value.items() if name != "rows"} if key in ("result", "data") else value
        for key, value in arrange(rows).items()
        if key != "rows"
    }


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("rows", [AS_OBJECTS, AS_LISTS])
@pytest.mark.parametrize("arrange", ARRANGED)
def test_any_order_of_keys(tmp_path: Path, output_format: str, rows: dict[str, Any], arrange: Any) -> None:
    columns, count, content = stored(arrange(rows), tmp_path, output_format)
    assert (columns, count) == (["x", "n", "t"], 100)
    if output_format == "csv":
        header, *lines = csv.reader(io.StringIO(content.decode(), newline=""))
        assert header == columns
        assert [(int(n), t, float(x) if x else None) for x, n, t in lines] == [tuple(row.values()) for row in ROWS]
    else:
        assert read_back(content, output_format) == ROWS
        assert list(read_back(content, output_format)[0]) == columns
    if output_format == "parquet":
        kinds = [field.type for field in parquet.read_schema(io.BytesIO(content))]
        assert kinds == [pyarrow.float64(), pyarrow.int64(), pyarrow.string()]


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "parquet"])
def test_a_column_that_only_later_rows_have(tmp_path: Path, output_format: str) -> None:
    payload = {"columns": ["b"], "rows": [{"b": 1}] * 60 + [{"a": "late", "b": 2}]}
    columns, count, content = stored(payload, tmp_path, output_format)
    assert (columns, count) == (["b", "a"], 61)
    if output_format == "csv":
        assert content.decode() == "b,a\n" + "1,\n" * 60 + "2,late\n"
    else:
        assert read_back(content, output_format) == [{"b": 1, "a": None}] * 60 + [{"b": 2, "a": "late"}]


@pytest.mark.parametrize(
    ("early", "late", "kind"),
    [
        (None, "text", pyarrow.string()),
        (1, 2.5, pyarrow.float64()),
        (2.5, 1, pyarrow.float64()),
        (1, 2**70, pyarrow.string()),
        (2**60 + 1, 0.5, pyarrow.string()),
        (0.5, 2**60 + 1, pyarrow.string()),
        (1, "a", pyarrow.string()),
        ("a", 1, pyarrow.string()),
        ("a", {"b": [1.5]}, pyarrow.string()),
        (1, True, pyarrow.string()),
        (True, 1, pyarrow.string()),
        (None, [1], pyarrow.list_(pyarrow.int64())),
        ({"a": 1}, {"b": "x"}, pyarrow.struct({"a": pyarrow.int64(), "b": pyarrow.string()})),
        ([1], [2.5], pyarrow.list_(pyarrow.float64())),
        ([1], ["a"], pyarrow.string()),
        ({"a": 1}, {}, pyarrow.struct({"a": pyarrow.int64()})),
        ("2024-01-31", "2024-01-31T12:00:00Z", pyarrow.string()),
        ("a", "half \ud800", pyarrow.string()),
    ],
)
def test_types_that_change_late(tmp_path: Path, early: Any, late: Any, kind: pyarrow.DataType) -> None:
    rows = [{"pad": "p" * 20, "x": early}] * 60 + [{"pad": "", "x": late}] + [{"pad": "", "x": early}] * 60
    raw = json.dumps({"columns": ["pad", "x"], "rows": rows}).encode()
    _, count, content = stored(raw, tmp_path, "parquet")
    table = parquet.read_table(io.BytesIO(content))
    assert count == table.num_rows == 121
    assert table.schema.field("x").type == kind
    found = table["x"].to_pylist()

    def written(value: Any) -> Any:
        if kind != pyarrow.string() or value is None:
            return {"a": None, "b": None} | value if kind.num_fields == 2 else value
        return value.replace("\ud800", "\\ud800") if isinstance(value, str) else json.dumps(value)

    if late != {}:
        assert found == [written(row["x"]) for row in rows]


def test_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "ROW_GROUP", 30)
    _, _, content = stored({**COLUMNS, **AS_OBJECTS}, tmp_path, "parquet")
    metadata = parquet.ParquetFile(io.BytesIO(content)).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [30, 30, 30, 10]


# --- what is refused, and then nothing is there


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    ("payload", "raised", "words"),
    [
        ({**COLUMNS, **AS_OBJECTS, "status": "failed"}, InvalidReply, "status is 'failed'. Nothing was stored"),
        ({**COLUMNS, **AS_OBJECTS, "status": "running"}, InvalidReply, "status is 'running'"),
        ({**COLUMNS, **AS_OBJECTS, "row_count": 101}, RowsMissing, "has 101 rows, but sent 100"),
        ({**AS_LISTS, "columns": ["x", "n", "n"]}, ResultRefused, "with the name 'n'.*\\n.*alias"),
        ({"columns": ["x", "n", "n"], **AS_OBJECTS}, ResultRefused, "alias"),
        ({"columns": ["x"], **AS_LISTS}, InvalidReply, "3 values for 1 columns"),
        ({"rows": [[1]]}, InvalidReply, "1 values for 0 columns"),
        ({"columns": ["x"], "rows": [{"x": 1}, None]}, InvalidReply, "not objects"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, output_format: str, payload: dict[str, Any], raised: type[Exception], words: str
) -> None:
    with pytest.raises(raised, match=words):
        stored(payload, tmp_path, output_format)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_the_rows_may_do(tmp_path: Path) -> None:
    payload = {**COLUMNS, **AS_OBJECTS, "row_count": 101}
    assert stored(payload, tmp_path, "jsonl", allow_partial=True)[1] == 101


# --- reading no further than is needed


class Source:
    """An endless reply."""

    def __init__(self, head: bytes, row: bytes) -> None:
        self.head, self.row, self.read = head, row, 0

    def __call__(self) -> bytes:
        self.read += 1
        return self.head if self.read == 1 else self.row * 100


@pytest.mark.parametrize("large", [Head(), UpTo(1_000)])
def test_an_endless_reply_is_left(large: Any) -> None:
    source = Source(b'{"id":"q","status":"completed","columns":["a"],"rows":[{"a":0}', b',{"a":1}')
    payload = large(source)
    assert (payload["id"], payload["columns"]) == ("q", ["a"])
    assert isinstance(payload["rows"], LargeRows)
    assert source.read < 100


def test_what_the_vendor_says_beforehand_is_enough() -> None:
    source = Source(b'{"row_count":5856,"rows":[{"a":0}', b',{"a":1}')
    assert UpTo(1_000)(source)["rows"].at_least == 5856
    assert source.read < 5


@pytest.mark.parametrize(
    "payload", [{**COLUMNS, **AS_OBJECTS, **COUNT}, {**COUNT, **COLUMNS, **AS_OBJECTS}, {**COLUMNS, **AS_OBJECTS}]
)
def test_up_to(payload: dict[str, Any]) -> None:
    raw = json.dumps(payload).encode()
    assert UpTo(100)(pieces(raw, 50)) == payload
    assert UpTo(99)(pieces(raw, 50))["rows"].at_least == 100


def test_the_temporary_file_goes_with_the_rows() -> None:
    payload = OnDisk()(pieces(json.dumps({**HEAD, **AS_OBJECTS}).encode(), 50))
    assert {name: payload[name] for name in HEAD} == HEAD
    file = payload["rows"].file
    assert not file.closed
    assert OnDisk()(pieces(b'{"id":"q","status":"running"}', 5)) == {"id": "q", "status": "running"}


# --- through the operators, over HTTP

MANY = "SELECT a.date || b.date AS word, a.quantity AS n, b.revenue AS x FROM sales a, sales b LIMIT 40000"


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for module in (scanner, reply):
        monkeypatch.setattr(module, "PIECE", 2**20)
    return {"ti": TaskInstance(), "task_state_store": Store()}


def query(conn_id: str, sql: str, **kwargs: Any) -> OpenAnalystExecuteQueryOperator:
    return OpenAnalystExecuteQueryOperator(
        task_id="query",
        dataset_id="ds_abc123",
        query=sql,
        openanalyst_conn_id=conn_id,
        poll_interval=0.05,
        deferrable=False,
        **kwargs,
    )


@pytest.mark.parametrize("slow", ["", "/* slow: 0.2 */ "])
@pytest.mark.parametrize("output_format", ["jsonl", "parquet"])
def test_many_rows_are_stored(
    openanalyst: str, emulator: Emulator, tmp_path: Path, context: Any, slow: str, output_format: str
) -> None:
    result = query(openanalyst, slow + MANY, output_path=f"{tmp_path}/x.{output_format}").execute(context)
    assert (result["columns"], result["row_count"]) == (["word", "n", "x"], 40_000)
    found = read_back(content_of(result["files"][0]["path"]), output_format)
    assert len(found) == 40_000
    assert {len(row["word"]) for row in found} == {20}
    assert requests_to(emulator)["POST /v1/queries"] == 1


@pytest.mark.parametrize("slow", ["", "/* slow: 0.2 */ "])
def test_a_disk_without_room_is_not_the_vendors_fault(
    openanalyst: str, emulator: Emulator, tmp_path: Path, context: Any, slow: str
) -> None:
    task = query(openanalyst, slow + MANY, output_path=f"{tmp_path}/x.csv")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, limit[1]))
    try:
        with pytest.raises(
            NenoaError, match=r"came, but cannot be kept on this machine's disk.*File too large"
        ) as caught:
            task.execute(context)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert type(caught.value) is NenoaError, "it is tried again: elsewhere there may be room"
    assert task.execute(context)["row_count"] == 40_000
    assert requests_to(emulator)["POST /v1/queries"] == (1 if slow else 2), "rows without an id are asked for anew"


@pytest.mark.parametrize("slow", ["", "/* slow: 0.2 */ "])
def test_too_many_rows_are_not_read_to_their_end(openanalyst: str, context: Any, slow: str) -> None:
    with pytest.raises(ResultRefused, match="at least 1,001 rows, more than max_xcom_rows = 1,000"):
        query(openanalyst, slow + MANY).execute(context)
    assert context["task_state_store"] == {}


def test_many_rows_through_xcom(openanalyst: str, context: Any) -> None:
    result = query(openanalyst, "/* slow: 0.2 */ " + MANY, max_xcom_rows=40_000).execute(context)
    assert len(result["rows"]) == 40_000


def test_a_sensor_sees_the_end_of_a_query_with_many_rows(openanalyst: str, emulator: Emulator, context: Any) -> None:
    query_id = query(openanalyst, "/* slow: 0.1 */ " + MANY, wait_for_completion=False).execute(context)

    def sensor(most: int) -> OpenAnalystQuerySensor:
        return OpenAnalystQuerySensor(
            task_id="sensor", query_id=query_id, openanalyst_conn_id=openanalyst, poke_interval=0.1, max_xcom_rows=most
        )

    with pytest.raises(ResultRefused, match="at least 1,001 rows"):
        sensor(1_000).execute(context)
    assert len(sensor(40_000).execute(context)["result"]["rows"]) == 40_000


def test_a_reply_without_an_id_that_is_no_json_is_not_paid_for_twice(
    openanalyst: str, tmp_path: Path, context: Any
) -> None:
    file = tempfile.TemporaryFile()  # noqa: SIM115
    file.write(b'{"columns":["a"],"rows":[{"a":1},}')
    broken = Run("", "completed", {"columns": ["a"], "rows": LargeRows(file)})
    with pytest.raises(PermanentError, match="no id by which its rows"):
        query(openanalyst, "SELECT 1", output_path=f"{tmp_path}/x.csv").finish(broken, context)
    with pytest.raises(InvalidReply) as caught:
        query(openanalyst, "SELECT 1", output_path=f"{tmp_path}/x.csv").finish(
            Run("q", "completed", broken.payload), context
        )
    assert not isinstance(caught.value, PermanentError)
