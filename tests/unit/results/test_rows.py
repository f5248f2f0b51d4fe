"""Rows become files, and what JSON tells apart stays apart where the format can."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidReply, ResultRefused
from airflow_provider_nenoa.results import rows as rows_module
from airflow_provider_nenoa.results.rows import format_of, write_object, write_objects, write_table
from airflow_provider_nenoa.vendors.rows import Table, table_of
from tests.unit.results.conftest import content_of, names_in

ROWS: list[dict[str, Any]] = [
    {"region": "South", "quantity": 3, "revenue": 1.5, "open": True, "note": None},
    {"region": "", "quantity": None, "revenue": 2, "open": False, "note": 'say "hi",\nthen go'},
    {"region": "Zürich 東京", "quantity": -(2**63), "revenue": None, "open": None, "note": " "},
]
COLUMNS = ["quantity", "region", "note", "open", "revenue"]
TABLE = Table(COLUMNS, ROWS, 3)


def stored(table: Table, directory: Path, name: str, output_format: str | None = None) -> bytes:
    return content_of(write_table(table, f"file://{directory}/{name}", output_format)["path"])


# --- reading the payload


def test_columns_are_in_the_vendors_order() -> None:
    table = table_of({"columns": ["b", "a"], "rows": [{"a": 1, "b": 2}], "row_count": 1})
    assert table == Table(["b", "a"], [{"a": 1, "b": 2}], 1)


@pytest.mark.parametrize(
    ("payload", "columns", "count"),
    [
        ({"rows": [{"x": 1, "y": 2}, {"z": 3, "x": 4}]}, ["x", "y", "z"], 2),
        ({"columns": ["y"], "rows": [{"x": 1, "y": 2}]}, ["y", "x"], 1),
        ({"columns": [{"name": "x", "type": "integer"}], "rows": []}, ["x"], 0),
        ({"columns": ["x"], "rows": None, "row_count": None}, ["x"], 0),
        ({"columns": [{"field": "x"}, {"column_name": "y"}], "rows": [[1, 2]]}, ["x", "y"], 1),
        ({"columns": None, "rows": []}, [], 0),
        ({"columns": ["x"], "rows": [{"x": 1}], "row_count": "many"}, ["x"], 1),
        ({"columns": ["x"], "rows": [{"x": 1}], "row_count": -1}, ["x"], 1),
        ({"columns": ["x"], "rows": [{"x": 1}], "row_count": [7], "has_more": "no"}, ["x"], 1),
        ({"columns": ["x"], "rows": [{"x": 1}], "row_count": True}, ["x"], 1),
        ({"columns": ["x", "y"], "rows": [[1, 2], {"y": 3, "z": 4}]}, ["x", "y", "z"], 2),
        ({"status": "completed", "data": {"columns": ["x"], "rows": [[1]], "row_count": 1}}, ["x"], 1),
        ({"run_id": "q", "status": "completed", "result": {"columns": ["x"], "rows": []}}, ["x"], 0),
    ],
)
def test_payloads_that_say_less_or_more(payload: dict[str, Any], columns: list[str], count: int) -> None:
    table = table_of(payload)
    assert table is not None
    assert (table.columns, table.row_count) == (columns, count)


@pytest.mark.parametrize("payload", [{}, {"result": None}, {"result": "text"}, {"status": "completed", "result": {}}])
def test_payloads_without_rows(payload: dict[str, Any]) -> None:
    assert table_of(payload) is None


@pytest.mark.parametrize("rows", [[[1, 2]], "rows", {"a": 1}, [None], [{"a": 1}, 7], [{"a": 1}, [1, 2]]])
def test_rows_that_are_no_objects(rows: object) -> None:
    with pytest.raises(InvalidReply, match=r"by column|not a list"):
        table_of({"rows": rows, "columns": ["a"]})


def test_rows_as_lists_are_told_apart_by_the_columns() -> None:
    table = table_of({"columns": [{"name": "b"}, "a"], "rows": [[1, None], [2, [3]]], "row_count": 2})
    assert table == Table(["b", "a"], [{"b": 1, "a": None}, {"b": 2, "a": [3]}], 2)


@pytest.mark.parametrize("columns", [["a", None], [{"label": "a"}, "b"], [["a"]], [{"name": {}}]])
def test_a_column_without_a_name(columns: list[Any]) -> None:
    with pytest.raises(InvalidReply, match="one has no name"):
        table_of({"columns": columns, "rows": [{"a": 1}]})


@pytest.mark.parametrize("columns", [["a", "b", "a"], ["a", {"name": "a"}], [1, "1"]])
@pytest.mark.parametrize("rows", [[], [{"a": 1}], [[1, 2, 3]]])
def test_two_columns_of_one_name(columns: list[Any], rows: list[Any]) -> None:
    with pytest.raises(ResultRefused, match=r"more than one column with the name '[a1]'.*\n.*alias"):
        table_of({"columns": columns, "rows": rows})


@pytest.mark.parametrize(
    "more",
    [
        *({"row_count": count} for count in (7, "7", 7.0)),
        *({"has_more": flag} for flag in (True, "true", 1)),
        {"truncated": True},
        {"pagination": {"has_more": True}},
        {"meta": {"truncated": "True"}},
        {"pagination": {"cursor": "c"}},
        {"hasMore": True},
        {"pagination": {"nextCursor": "c"}},
        {"meta": {"totalPages": 2}},
        {"meta": {"page": 1, "total_pages": 3}},
        {"meta": {"page": "2", "total_pages": "3", "has_more": None}},
        {"pagination": {"cursor": None, "total": 7}},
    ],
)
@pytest.mark.parametrize("place", ["beside the rows", "above them"])
def test_missing_rows_are_an_error_unless_told_otherwise(
    more: dict[str, Any], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = {"columns": ["x"], "rows": [{"x": 1}]}
    payload = rows | more if place == "beside the rows" else {"result": rows} | more
    with pytest.raises(ResultRefused, match=r"has (7|more) rows, but sent 1\. .*allow_partial=True"):
        table_of(payload)
    table = table_of(payload, allow_partial=True)
    assert table is not None
    counted = more.get("row_count") or more.get("pagination", {}).get("total", 1)
    assert (table.rows, table.row_count) == ([{"x": 1}], int(counted))
    assert "but sent 1" in caplog.text


@pytest.mark.parametrize(
    "said",
    [
        {"pagination": {"cursor": "c", "has_more": False, "total": 1}},
        {"pagination": {"cursor": None, "has_more": "false"}},
        {"pagination": None, "meta": {"page": 1, "per_page": 20, "total": 1, "total_pages": 1}},
        {"meta": {"page": 3, "total_pages": 3, "total": "many"}},
        {"row_count": 1, "meta": {"total": 7}},
        {"cursor": "c", "total": 7},
    ],
)
def test_rows_that_are_all_there(said: dict[str, Any]) -> None:
    """What stands outside of ``pagination`` and ``meta`` may be about anything; ``row_count`` is about the rows."""
    table = table_of({"columns": ["x"], "rows": [{"x": 1}], **said})
    assert table is not None
    assert table.row_count == 1


def test_fewer_rows_than_there_are_said_to_be_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    table = table_of({"columns": ["x"], "rows": [{"x": 1}, {"x": 2}], "row_count": 1})
    assert table is not None
    assert len(table.rows) == 2
    assert "has 1 rows, but sent 2" in caplog.text


# --- the format


@pytest.mark.parametrize(
    ("path", "given", "meant"),
    [
        ("s3://b/x.csv", None, "csv"),
        ("s3://b/x.Parquet", None, "parquet"),
        ("x.ndjson", None, "jsonl"),
        ("x.jsonl", None, "jsonl"),
        ("x.csv", "parquet", "parquet"),
        ("dir/", "jsonl", "jsonl"),
    ],
)
def test_the_format(path: str, given: str | None, meant: str) -> None:
    assert format_of(path, given) == meant


@pytest.mark.parametrize(("path", "given"), [("x", None), ("x.txt", None), ("a.csv/x", None), ("x.csv", "xlsx")])
def test_no_format(path: str, given: str | None) -> None:
    with pytest.raises(InvalidArgument, match="'output_format' to one of jsonl, csv, parquet"):
        format_of(path, given)


def test_parquet_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "find_spec", lambda name: None)
    with pytest.raises(InvalidArgument, match=r"airflow-provider-nenoa\[parquet\]"):
        format_of("x.parquet", None)
    assert format_of("x.csv", None) == "csv"


def test_the_rest_does_without_pyarrow() -> None:
    # This very module imports it, so another process has to be asked.
    import subprocess

    code = "import sys; import airflow_provider_nenoa.results.rows; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- JSON Lines


def test_jsonl_keeps_everything(tmp_path: Path) -> None:
    lines = stored(TABLE, tmp_path, "rows.jsonl").decode().splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    assert [list(json.loads(line)) for line in lines] == [COLUMNS] * 3
    assert "東京" in lines[2]


def test_a_column_that_a_row_lacks_is_null(tmp_path: Path) -> None:
    table = Table(["a", "b"], [{"b": 1}], 1)
    assert stored(table, tmp_path, "x.jsonl") == b'{"a": null, "b": 1}\n'
    assert stored(table, tmp_path, "x.csv") == b"a,b\n,1\n"
    assert parquet.read_table(io.BytesIO(stored(table, tmp_path, "x.parquet"))).to_pylist() == [{"a": None, "b": 1}]


# --- CSV


def test_csv_tells_a_null_from_an_empty_text(tmp_path: Path) -> None:
    assert stored(TABLE, tmp_path, "rows.csv").decode() == (
        "quantity,region,note,open,revenue\n"
        "3,South,,true,1.5\n"
        ',"","say ""hi"",\nthen go",false,2\n'
        "-9223372036854775808,Zürich 東京, ,,\n"
    )


def test_csv_is_read_by_others_as_it_was_meant(tmp_path: Path) -> None:
    read = pyarrow.csv.read_csv(
        io.BytesIO(stored(TABLE, tmp_path, "rows.csv")),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    assert read.to_pylist() == [{name: row[name] for name in COLUMNS} for row in ROWS]


def test_a_single_column_has_no_empty_lines(tmp_path: Path) -> None:
    table = Table(["x"], [{"x": 1}, {"x": None}, {"x": 3}], 3)
    assert stored(table, tmp_path, "x.csv") == b'x\n1\n""\n3\n'


def test_nested_values_are_json_in_csv(tmp_path: Path) -> None:
    table = Table(["x", "y"], [{"x": {"a": [1, None]}, "y": []}], 1)
    assert list(csv.reader(io.StringIO(stored(table, tmp_path, "x.csv").decode()))) == [
        ["x", "y"],
        ['{"a": [1, null]}', "[]"],
    ]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_any_text_survives_csv(rows: list[tuple[str, str]]) -> None:
    table = Table(["a", "b"], [{"a": a, "b": b} for a, b in rows], len(rows))
    written = content_of(write_table(table, "memory://hypothesis/rows.csv")["path"]).decode()
    assert list(csv.reader(io.StringIO(written, newline=""))) == [["a", "b"], *map(list, rows)]


# --- Parquet


def test_parquet_keeps_the_types(tmp_path: Path) -> None:
    read = parquet.read_table(io.BytesIO(stored(TABLE, tmp_path, "rows.parquet")))
    assert read.column_names == COLUMNS
    assert [field.type for field in read.schema] == [
        pyarrow.int64(),
        pyarrow.string(),
        pyarrow.string(),
        pyarrow.bool_(),
        pyarrow.float64(),
    ]
    assert read.to_pylist() == [{name: row[name] for name in COLUMNS} for row in ROWS]


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, 2.5, None], pyarrow.float64(), [1.0, 2.5, None]),
        ([None, None], pyarrow.null(), [None, None]),
        ([[1, 2], None, []], pyarrow.list_(pyarrow.int64()), [[1, 2], None, []]),
        ([{"a": 1}], pyarrow.struct({"a": pyarrow.int64()}), [{"a": 1}]),
        ([1, "a", None], pyarrow.string(), ["1", "a", None]),
        ([True, 1], pyarrow.string(), ["true", "1"]),
        ([2**63], pyarrow.string(), ["9223372036854775808"]),
        ([2**60 + 1, 0.5], pyarrow.string(), ["1152921504606846977", "0.5"]),
        ([{}, None], pyarrow.string(), ["{}", None]),
        ([[{"a": {}}]], pyarrow.string(), ['[{"a": {}}]']),
        (["half \ud800"], pyarrow.string(), ["half \\ud800"]),
    ],
)
def test_parquet_types(tmp_path: Path, values: list[Any], kind: pyarrow.DataType, read: list[Any]) -> None:
    table = Table(["x"], [{"x": value} for value in values], len(values))
    found = parquet.read_table(io.BytesIO(stored(table, tmp_path, "x.parquet")))
    assert found.schema.field("x").type == kind
    assert found["x"].to_pylist() == read


# --- all formats


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "parquet"])
def test_an_empty_result(tmp_path: Path, output_format: str) -> None:
    content = stored(Table(["a", "b"], [], 0), tmp_path, f"x.{output_format}")
    if output_format == "parquet":
        read = parquet.read_table(io.BytesIO(content))
        assert (read.column_names, read.num_rows) == (["a", "b"], 0)
    else:
        assert content == {"jsonl": b"", "csv": b"a,b\n"}[output_format]


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "parquet"])
def test_half_a_surrogate_pair_is_no_error(tmp_path: Path, output_format: str) -> None:
    table = table_of(json.loads('{"columns": ["a\\ud800"], "rows": [{"a\\ud800": "\\udfff"}]}'))
    assert table is not None
    content = stored(table, tmp_path, f"x.{output_format}")
    if output_format == "jsonl":
        assert json.loads(content) == table.rows[0]


@pytest.mark.parametrize("output_format", ["jsonl", "csv", "parquet"])
def test_batches_join_without_a_seam(directory: str, output_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BATCH", 3)
    monkeypatch.setattr(rows_module, "ROW_GROUP", 3)
    table = Table(["n", "t"], [{"n": n, "t": f"t{n}"} for n in range(10)], 10)
    file = write_table(table, f"{directory}/rows.{output_format}")
    content = content_of(file["path"])
    assert file["size"] == len(content)
    assert file["name"] == "rows"
    if output_format == "parquet":
        assert parquet.ParquetFile(io.BytesIO(content)).num_row_groups == 4
        assert parquet.read_table(io.BytesIO(content)).to_pylist() == table.rows
    elif output_format == "csv":
        assert content.decode() == "n,t\n" + "".join(f"{n},t{n}\n" for n in range(10))
    else:
        assert [json.loads(line) for line in content.splitlines()] == table.rows


def test_a_directory_gets_a_file_named_rows(directory: str) -> None:
    assert write_table(TABLE, directory + "/", "csv")["path"] == f"{directory}/rows.csv"
    assert names_in(directory) == ["rows.csv"]


# --- objects


def objects(count: int) -> Iterator[dict[str, Any]]:
    yield from ({"id": number, "text": "東"} for number in range(count))


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_lists_of_objects(directory: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BATCH", 3)
    written, lines = write_objects(objects(count), f"{directory}/", "reports")
    assert (written, lines["path"], lines["name"]) == (count, f"{directory}/reports.jsonl", "reports")
    assert [json.loads(line) for line in content_of(lines["path"]).splitlines()] == list(objects(count))

    written, whole = write_objects(objects(count), f"{directory}/all.json", "reports")
    assert written == count
    assert json.loads(content_of(whole["path"])) == list(objects(count))


def test_objects_are_not_collected_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "BATCH", 2)

    def failing() -> Iterator[dict[str, Any]]:
        yield from objects(5)
        raise RuntimeError("the vendor is gone")

    with pytest.raises(RuntimeError):
        write_objects(failing(), f"file://{tmp_path}/x.jsonl", "x")
    assert list(tmp_path.iterdir()) == []


def test_one_object(directory: str) -> None:
    file = write_object({"id": "rep_1", "data": [1, None, "Köln"]}, f"{directory}/", "report")
    assert file["path"] == f"{directory}/report.json"
    assert json.loads(content_of(file["path"])) == {"id": "rep_1", "data": [1, None, "Köln"]}
    assert "Köln".encode() in content_of(file["path"]), "to be read by people, too"
