"""A bound value is a value in every dialect of SQL, and never anything else."""

from __future__ import annotations

import datetime
import enum
import re
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus
from typing import Any

import numpy
import pandas
import pendulum
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.sql.binding import bind, bind_each, literal


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        (None, "NULL"),
        (True, "TRUE"),
        (False, "FALSE"),
        (0, "0"),
        (42, "42"),
        (-5, "(-5)"),
        (1.5, "1.5"),
        (-1e-7, "(-1e-07)"),
        (Decimal("1E+3"), "1000"),
        (Decimal("-0.10"), "(-0.10)"),
        ("", "''"),
        ("South", "'South'"),
        ("O'Brien", "'O''Brien'"),
        ("; DROP TABLE sales; --", "'; DROP TABLE sales; --'"),
        ('say "hi" :x /* not', "'say \"hi\" :x /* not'"),
        ("Zürich 東京", "'Zürich 東京'"),
        (datetime.date(2024, 1, 31), "'2024-01-31'"),
        (datetime.datetime(2024, 1, 31, 12), "'2024-01-31 12:00:00'"),
        (pendulum.datetime(2024, 1, 31, 12), "'2024-01-31 12:00:00+00:00'"),
        (datetime.datetime(2024, 1, 31, 12, 0, 0, 500), "'2024-01-31 12:00:00.000500'"),
        (datetime.datetime(999, 1, 1), "'0999-01-01 00:00:00'"),
        (uuid.UUID("12345678123456781234567812345678"), "'12345678-1234-5678-1234-567812345678'"),
    ],
)
def test_literals(value: object, sql: str) -> None:
    assert literal(value, "x") == sql


@pytest.mark.parametrize(
    "value",
    [
        "\\' OR 1=1 --",
        "C:\\temp",
        "'; DROP TABLE sales; --",
        "ends with '",
        "two '' in a row",
        "'",
        "a\0b",
        float("nan"),
        float("-inf"),
        Decimal("NaN"),
        b"bytes",
        ["a", "b"],
        {"a": 1},
        datetime.time(12),
        datetime.timedelta(1),
        object(),
        Decimal("sNaN"),
        Decimal("Infinity"),
        Decimal("1E+999999999"),
        Decimal("1E-999999999"),
        10**1001,
        pytest.param(-(10**5000), id="long"),
        1j,
        Fraction(1, 3),
        datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=5))),
        enum.Enum("Colour", {"RED": "red"}).RED,
        numpy.float64("nan"),
        numpy.float32("-inf"),
        numpy.longdouble("1.5"),
        numpy.complex128(1),
        numpy.bytes_(b"bytes"),
        numpy.timedelta64(1, "s"),
        numpy.timedelta64(1, "ns"),
        numpy.timedelta64(1, "Y"),
        numpy.timedelta64("NaT"),
        numpy.datetime64("NaT"),
        numpy.datetime64("2024-01-31T00:00:00.000000001"),
        numpy.datetime64("20000-01-01"),
        numpy.datetime64(10**17, "s"),  # in microseconds, NumPy makes it a day of the year 8319
        numpy.datetime64(2**62, "m"),
        numpy.array(1),
        pandas.NaT,
        pandas.NA,
        pandas.Timestamp("2024-01-31 00:00:00.000000001"),
        pandas.Timestamp(numpy.datetime64(10**12, "s")),
        pandas.Timestamp(numpy.datetime64(-(10**11), "s")),
        pandas.Timestamp(numpy.datetime64(10**12, "s")).tz_localize("UTC"),
        pandas.Timedelta(1),
    ],
)
def test_what_is_refused(value: object) -> None:
    with pytest.raises(InvalidArgument, match="parameter 'secret_name'") as caught:
        literal(value, "secret_name")
    assert not (isinstance(value, str) and len(value) > 3 and value in str(caught.value)), "it may be a secret"


class Liar:
    """Says of itself what is not so, and what would be a way out of its literal."""

    def __str__(self) -> str:
        return "1 OR 1=1 --"

    __repr__ = __format__ = isoformat = __str__  # type: ignore[assignment]

    def __add__(self, other: object) -> Any:
        return self

    def replace(self, *args: Any, **kwargs: Any) -> Any:
        return str(self)


class LyingInt(Liar, int): ...


class LyingFloat(Liar, float): ...


class LyingDecimal(Liar, Decimal): ...


class LyingText(Liar, str): ...


class LyingDate(Liar, datetime.date): ...


class LyingDatetime(Liar, datetime.datetime): ...


class Level(enum.IntEnum):
    HIGH = 3


class Region(enum.StrEnum):
    SOUTH = "So'uth"


class Product(str, enum.Enum):  # noqa: UP042
    DESK = "Desk"


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        (LyingInt(-7), "(-7)"),
        (LyingFloat(1.5), "1.5"),
        (LyingDecimal("-0.10"), "(-0.10)"),
        (LyingText("O'Brien"), "'O''Brien'"),
        (LyingDate(2024, 1, 31), "'2024-01-31'"),
        (LyingDatetime(2024, 1, 31, 12), "'2024-01-31 12:00:00'"),
        (Level.HIGH, "3"),
        (Region.SOUTH, "'So''uth'"),
        (Product.DESK, "'Desk'"),
        (HTTPStatus.OK, "200"),
        (numpy.float64(1.5), "1.5"),
        (numpy.float64(-0.0), "(-0.0)"),
        (numpy.float32(0.5), "0.5"),
        (numpy.float16(-2), "(-2.0)"),
        (numpy.int64(-3), "(-3)"),
        (numpy.uint8(3), "3"),
        (numpy.bool_(True), "TRUE"),
        (numpy.str_("O'Brien"), "'O''Brien'"),
        (numpy.datetime64("2024-01-31"), "'2024-01-31'"),
        (numpy.datetime64("2024-01"), "'2024-01-01'"),
        (numpy.datetime64("2024-01-31T12:00:00"), "'2024-01-31 12:00:00'"),
        (numpy.datetime64("2024-01-31T12:00:00.000000000"), "'2024-01-31 12:00:00'"),
        (pandas.Timestamp("2024-01-31 12:00"), "'2024-01-31 12:00:00'"),
        (pandas.Timestamp("2024-07-31 12:00", tz="Europe/Berlin"), "'2024-07-31 10:00:00+00:00'"),
        (pendulum.datetime(2024, 7, 31, 12, tz="America/New_York"), "'2024-07-31 16:00:00+00:00'"),
        (pendulum.date(2024, 1, 31), "'2024-01-31'"),
        (pandas.Series([2**53 + 1]).iloc[0], "9007199254740993"),
        (pandas.DataFrame({"x": [1.5]})["x"].max(), "1.5"),
    ],
)
def test_a_value_is_what_it_is_whatever_its_class(value: object, sql: str) -> None:
    assert literal(value, "x") == sql


@given(
    st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False)
)
def test_a_number_is_read_back_as_it_was(value: Any) -> None:
    try:
        text = literal(value, "x")
    except InvalidArgument:
        assert len(f"{Decimal(value):f}") > 900, "only what no database has room for"
        return
    assert re.fullmatch(r"\(-[0-9.e+-]+\)|[0-9][0-9.e+-]*", text)
    assert type(value)(text.strip("()")) == value


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_a_moment_is_read_back_as_it_was(value: datetime.datetime) -> None:
    try:
        text = literal(value, "x")
    except InvalidArgument:
        assert value.year in (1, 9999)
        return
    read = datetime.datetime.fromisoformat(text.strip("'"))
    assert read == (value if value.tzinfo is None else value.astimezone(datetime.UTC))
    assert read.utcoffset() in (None, datetime.timedelta(0))


def test_numpy_is_not_loaded_for_it() -> None:
    code = "import sys; from airflow_provider_nenoa.sql import binding; binding.bind(':a', {'a': 1.5})"
    code += "; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("names", "query", "bound"),
    [
        ("ab", "SELECT :a, :b", "SELECT 1, 'two'"),
        ("a", "SELECT :a+:a-:a", "SELECT 1+1-1"),
        ("a", "SELECT x::int, (:a)::text FROM t[1:2]", "SELECT x::int, (1)::text FROM t[1:2]"),
        ("b", "SELECT ':a', \":b\", `:a`, :b", "SELECT ':a', \":b\", `:a`, 'two'"),
        ("a", "SELECT 'it''s :a', :a", "SELECT 'it''s :a', 1"),
        ("a", "SELECT :a -- don't bind :b\nFROM t", "SELECT 1 -- don't bind :b\nFROM t"),
        ("a", "SELECT :a --:b\r\n/* 'nor' :b */ -- end :a", "SELECT 1 --:b\r\n/* 'nor' :b */ -- end :a"),
        ("a", "SELECT a / :a, 12:30, x LIKE '%:a' OR y % 2", "SELECT a / 1, 12:30, x LIKE '%:a' OR y % 2"),
        ("c", "SELECT (:c_long_2)", "SELECT (3)"),
        ("a", "SELECT 'ä', :a", "SELECT 'ä', 1"),
        ("a", "SELECT [the :a], t.[:b], x['a'], ['b', 'c'], :a", "SELECT [the :a], t.[:b], x['a'], ['b', 'c'], 1"),
        ("a", "SELECT src\\:customer.name, :a, y\\:z", "SELECT src:customer.name, 1, y:z"),
        ("a", "SELECT '12:30', x::date, :a ::text", "SELECT '12:30', x::date, 1 ::text"),
        ("", "", ""),
    ],
)
def test_placeholders(names: str, query: str, bound: str) -> None:
    values = {"a": 1, "b": "two", "c_long_2": 3}
    assert bind(query, {name: values[name] for name in values if name[0] in names}) == bound


@pytest.mark.parametrize("query", ["SELECT 1", "SELECT ':region', \":region\" -- :region", "SELECT [:region]"])
def test_a_value_without_a_placeholder(query: str) -> None:
    with pytest.raises(InvalidArgument, match=r"has 'region', for which .* has none\. .*Nothing was sent"):
        bind(query, {"region": "South"})


def test_a_value_without_a_placeholder_beside_others() -> None:
    with pytest.raises(InvalidArgument, match=r"has 'regoin', 'yaer', for .*; these are there: 'day', 'month'\."):
        bind("SELECT :month, :day, :day", {"day": 1, "regoin": "South", "month": 2, "yaer": 3})


def test_queries_that_share_their_parameters() -> None:
    values = {"a": 1, "b": 2}
    assert bind_each(["SELECT :a", "SELECT 0", "SELECT :b, :a"], values) == ["SELECT 1", "SELECT 0", "SELECT 2, 1"]
    with pytest.raises(InvalidArgument, match="has 'c'"):
        bind_each(["SELECT :a", "SELECT :b"], values | {"c": 3})


@pytest.mark.parametrize(
    "query",
    [
        r"SELECT 'it\'s', :a",
        r'SELECT "a\"b", :a',
        "SELECT $$ :a $$",
        "SELECT 1 # a comment with a ' :a",
        "SELECT 1 // a comment with a ' :a",
        "SELECT /* outer /* inner */ :a */ 1",
        "SELECT /*! :a */ 1",
        "SELECT 1 --a comment that's none in MySQL\n, :a",
        "SELECT 1 -- a comment that some end here\r, :a",
        "SELECT '''triple :a'''",
        "SELECT 'a''''b', :a",
        "SELECT r'raw', :a",
        "SELECT q'[it's :a]'",
        "SELECT 'open :a",
        'SELECT "open :a',
        "SELECT /* open :a",
        "SELECT [it's], :a, [it's]",
        "SELECT [ 'x], :a, [y' ]",
        'SELECT [say "], :a, ["]',
        "SELECT ['a]'], :a",
        "SELECT [a -- b], :a",
        "SELECT [a /* b], :a, [*/]",
        "SELECT [a]] , :a]",
        "SELECT [[a], :a]",
        "SELECT [open, :a",
        "SELECT x], :a",
        "SELECT [`a], :a",
        r"SELECT \a, :a",
    ],
)
def test_queries_that_dialects_read_differently_are_refused(query: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be bound into this query safely"):
        bind(query, {"a": 1})


@pytest.mark.parametrize(
    "query",
    [
        "N:a",
        ":a'b'",
        "'b':a",
        ":a.5",
        "1.:a",
        "@:a",
        "U&:a",
        ':a"b"',
        "7:a",
        ":::a",
        r"\::a",
        "[x]:a",
        ":a[1]",
        ":a::a",
    ],
)
def test_a_literal_does_not_grow_together_with_its_neighbours(query: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^:a stands beside .*\nPut a space around it"):
        bind(query, {"a": "v"})


def test_a_missing_value() -> None:
    with pytest.raises(InvalidArgument, match=r"no value for :region .*has 'regoin', which .*Nothing was sent"):
        bind("SELECT :region, :year", {"regoin": "South", "year": 2024})
    with pytest.raises(InvalidArgument, match=r"no value for :customer in the query\. .*\n.* written \\:customer"):
        bind("SELECT src:customer, :year", {"year": 2024})


@pytest.mark.parametrize("parameters", [["a"], ("a",), "a", 1])
def test_only_names_are_bound(parameters: Any) -> None:
    with pytest.raises(InvalidArgument, match="must be a mapping"):
        bind("SELECT ?", parameters)


# --- Three ways in which dialects read a string. A bound value must begin and end at the same places in all of them.


def standard(sql: str, start: int) -> int:
    """SQL standard: a quote ends it, two quotes are one."""
    end = start + 1
    while True:
        end = sql.index("'", end) + 1
        if sql[end : end + 1] != "'":
            return end
        end += 1


def backslashes(sql: str, start: int) -> int:
    """MySQL, Databricks, ClickHouse, Snowflake: a backslash takes away the next character's meaning, too."""
    end = start + 1
    while True:
        if sql[end] == "\\":
            end += 2
        elif sql[end] != "'":
            end += 1
        elif sql[end + 1 : end + 2] == "'":
            end += 2
        else:
            return end + 1


def triple(sql: str, start: int) -> int:
    """BigQuery: three quotes begin a string that three quotes end; a second string may follow at once."""
    mark = "'''" if sql.startswith("'''", start) else "'"
    end = start + len(mark)
    while not sql.startswith(mark, end):
        end += 2 if sql[end] == "\\" else 1
        if end >= len(sql):
            raise ValueError("the string does not end")
    end += len(mark)
    return triple(sql, end) if sql.startswith("'", end) else end


DIALECTS: list[Callable[[str, int], int]] = [standard, backslashes, triple]
hostile = st.text(alphabet=st.sampled_from("'\"\\`-/*#;:$ \n\0aN=1%"), max_size=12) | st.text()


@given(hostile, hostile)
@example("'", "'' OR 1=1 --")
@example("\\", " OR 1=1 --")
def test_a_text_ends_at_the_same_place_in_every_dialect(first: str, second: str) -> None:
    template = "SELECT * FROM t WHERE a = :first AND b = :second AND c = 'x'"
    try:
        sql = bind(template, {"first": first, "second": second})
    except InvalidArgument:
        assume(False)
    for ends in DIALECTS:
        outside, position = "", 0
        while (start := sql.find("'", position)) >= 0:
            outside += sql[position:start] + "?"
            position = ends(sql, start)
        assert outside + sql[position:] == "SELECT * FROM t WHERE a = ? AND b = ? AND c = ?"


pieces = ["'", '"', "`", "--", "/*", "*/", "\n", "\r", " ", ":v", "x", "''", "\\", "$", "#", "/", "-", "::", "[", "]"]
pieces += ["'a'", '"b"', "[c]", "['d']", "/* e */", "-- f\n"]
sql_text = st.lists(st.sampled_from(pieces), max_size=12).map(lambda parts: "".join([*parts, " :v"]))


@given(sql_text)
@example("\\:v :v")
def test_a_placeholder_is_bound_only_outside_of_strings_and_comments(query: str) -> None:
    marked = "\x01"
    try:
        bound = bind(query, {"v": 12345})
    except InvalidArgument:
        return
    spots = [match.start() for match in re.finditer("12345", bound)]
    assert re.sub("12345", ":v", bound).replace("\\:", ":") == query.replace("\\:", ":"), "of \\: the colon is left"
    for spot in spots:
        text = bound[:spot] + marked + bound[spot:]
        assert marked in "".join(code_of(text, STANDARD))
        assert marked in "".join(code_of(text, [*STANDARD, ("[", "]")])), "for SQL Server, brackets quote"


STANDARD = [("'", "'"), ('"', '"'), ("`", "`"), ("--", "\n"), ("/*", "*/")]


def code_of(sql: str, quotes: list[tuple[str, str]]) -> Iterator[str]:
    """What is left of some SQL without strings, quoted names and comments, by the standard's rules."""
    position = 0
    while position < len(sql):
        for opening, closing in quotes:
            if sql.startswith(opening, position):
                end = sql.find(closing, position + len(opening))
                position = len(sql) if end < 0 else end + len(closing)
                break
        else:
            yield sql[position]
            position += 1


values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | hostile
)


@given(values)
def test_a_database_reads_back_what_was_bound(value: Any) -> None:
    try:
        sql = bind("SELECT 1-:value, :value", {"value": value})
    except InvalidArgument:
        assume(False)
    (_, read), *_ = sqlite3.connect(":memory:").execute(sql)
    # SQLite's own reading of a decimal fraction may be off by its last bit.
    assert read == (pytest.approx(value, rel=1e-15) if isinstance(value, float) else value)
