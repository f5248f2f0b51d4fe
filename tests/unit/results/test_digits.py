"""Numbers of a batch keep their digits, or it is noticed that they would not."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import json as pyarrow_json

from airflow_provider_nenoa.results.digits import has_floats, keeps_digits


def batch_of(raw: bytes, kinds: dict[str, pyarrow.DataType]) -> pyarrow.RecordBatch:
    options = pyarrow_json.ParseOptions(explicit_schema=pyarrow.schema(kinds))
    lines = b"\n".join(json.dumps(row).encode() for row in json.loads(raw, parse_float=float))
    return pyarrow_json.read_json(io.BytesIO(lines), parse_options=options).combine_chunks().to_batches()[0]


KINDS = {
    "x": pyarrow.float64(),
    "n": pyarrow.int64(),
    "t": pyarrow.string(),
    "o": pyarrow.struct({"l": pyarrow.list_(pyarrow.float64()), "i": pyarrow.int64()}),
}


def kept(x: str, *, n: str = "1", t: str = "a", nested: str = "0.5", i: str = "1") -> bool:
    raw = f'{{"x":1,"n":1,"t":"b","o":null}},{{"x":{x},"n":{n},"t":"{t}","o":{{"l":[{nested}],"i":{i}}}}}'.encode()
    return keeps_digits(raw, batch_of(b"[" + raw + b"]", KINDS))


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("0.1234567890123456", True),
        ("0.30000000000000004", True),
        ("-1.2345678901234567e-08", True),
        ("5.188912636955312e-05", True),
        ("123456789.5000000000", True),
        ("1E+5", True),
        ("9007199254740992", True),
        ("9007199254740993", False),
        ("12345678901234567.89", False),
        ("0.1234567890123456789", False),
        ("1e-400", False),
        ("5e-324", True),
        ("4e-324", False),
    ],
)
def test_a_number_in_a_column_of_floats(number: str, expected: bool) -> None:
    assert kept(number) is expected
    assert kept("1", nested=number) is expected


@pytest.mark.parametrize("x", ["0.5", "0.1234567890123456"])
def test_texts_and_whole_numbers_keep_theirs_anyhow(x: str) -> None:
    long = "1234567890123456789"
    assert kept(x, n=long, t=f"no. {long}, {long}.5e", i=f"-{long}")
    assert kept(x, t="2024-01-01-2024-01-02 +49-123-456-7890-123")
    assert not kept(f"{long}.5", n=long, t=long, i=long)


def test_long_whole_numbers_hide_no_fraction_and_no_text() -> None:
    long = "1234567890123456789"
    assert kept("0.1234567890123456", n=long, i=f"-{long}")
    assert not kept("0.1234567890123456789", n=long, i=long)
    assert not kept(long, n="1", i="1")  # in a column of floats, beside none and one that has as many digits
    assert not kept(long, n=long, i="1")
    assert kept("0.1234567890123456", n=long, t=f"1234567890123456.70 {long}")
    assert not kept("12345678901234567.89", n=long, t="12345678901234567")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["0.5", "1e300", "0.1234567890123456", "9007199254740992", "0.12345678901234567"]),
            st.integers(-(2**63), 2**63 - 1),
            st.text("019.-e ", max_size=20),
        ),
        min_size=1,
    ),
    st.booleans(),
)
def test_whole_numbers_and_texts_beside_floats(given: list[tuple[str, int, str]], lossy: bool) -> None:
    x = [number for number, _, _ in given]
    if lossy:
        x[-1] = "9007199254740993"
    rows = [f'{{"x":{number},"n":{n},"t":"{t}"}}' for number, (_, n, t) in zip(x, given, strict=True)]
    columns = {"x": list(map(float, x)), "n": [n for _, n, _ in given], "t": [t for _, _, t in given]}
    exact = all(Decimal(repr(float(number))) == Decimal(number) for number in x)
    assert keeps_digits(",".join(rows).encode(), pyarrow.RecordBatch.from_pydict(columns)) is exact


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_what_a_float_writes_is_kept(numbers: list[float]) -> None:
    raw = ",".join(json.dumps({"x": number}) for number in numbers).encode()
    assert keeps_digits(raw, batch_of(b"[" + raw + b"]", {"x": pyarrow.float64()}))


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_what_a_float_loses_is_noticed(number: Decimal) -> None:
    raw = f'{{"x":{str(number).replace("E+", "E")}}}'.encode()
    value = float(number)
    same = value not in (float("inf"), float("-inf")) and Decimal(repr(value)) == number
    rows = pyarrow.RecordBatch.from_pydict({"x": [value]})
    assert keeps_digits(raw, rows) is same


def test_floats_in_a_type() -> None:
    assert has_floats(pyarrow.struct({"a": pyarrow.list_(pyarrow.float64())}))
    assert not has_floats(pyarrow.struct({"a": pyarrow.list_(pyarrow.int64()), "b": pyarrow.string()}))


def test_pandas_is_not_loaded_for_it(tmp_path: Path) -> None:
    code = """
import sys, tempfile
from airflow_provider_nenoa.results.reply import LargeRows
from airflow_provider_nenoa.results.rows import write_rows
file = tempfile.TemporaryFile()
row = '{"x":0.1234567890123456,"n":1234567890123456789,"t":"1234567890123456789"}'
file.write(('{"columns":["x","n","t"],"rows":[' + ",".join([row] * 5_000) + "]}").encode())
assert write_rows(LargeRows(file), sys.argv[1] + "/x.parquet")[1] == 5_000
assert "pandas" not in sys.modules
"""
    no_examples = {**os.environ, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}  # those of Airflow 3.0 load pandas
    subprocess.run([sys.executable, "-c", code, f"file://{tmp_path}"], check=True, env=no_examples)
