"""A bound value is a value in every dialect of SQL, and never anything else."""

from __future__ import annotations

import datetime
import re
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pendulum
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from airflow_provider_nenoa.binding import bind, literal
from airflow_provider_nenoa.exceptions import InvalidArgument


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
        object(),
    ],
)
def test_what_is_refused(value: object) -> None:
    with pytest.raises(InvalidArgument, match="parameter 'secret_name'") as caught:
        literal(value, "secret_name")
    assert not (isinstance(value, str) and len(value) > 3 and value in str(caught.value)), "it may be a secret"


@pytest.mark.parametrize(
    ("query", "bound"),
    [
        ("SELECT :a, :b", "SELECT 1, 'two'"),
        ("SELECT :a+:a-:a", "SELECT 1+1-1"),
        ("SELECT x::int, (:a)::text FROM t[1:2]", "SELECT x::int, (1)::text FROM t[1:2]"),
        ("SELECT ':a', \":b\", `:a`, :b", "SELECT ':a', \":b\", `:a`, 'two'"),
        ("SELECT 'it''s :a', :a", "SELECT 'it''s :a', 1"),
        ("SELECT :a -- don't bind :b\nFROM t", "SELECT 1 -- don't bind :b\nFROM t"),
        ("SELECT :a --:b\r\n/* 'nor' :b */ -- end :a", "SELECT 1 --:b\r\n/* 'nor' :b */ -- end :a"),
        ("SELECT a / :a, 12:30, x LIKE '%:a' OR y % 2", "SELECT a / 1, 12:30, x LIKE '%:a' OR y % 2"),
        ("SELECT (:long_name_2)", "SELECT (3)"),
        ("SELECT 'ä', :a", "SELECT 'ä', 1"),
        ("", ""),
    ],
)
def test_placeholders(query: str, bound: str) -> None:
    assert bind(query, {"a": 1, "b": "two", "long_name_2": 3, "unused": object()}) == bound


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
    ],
)
def test_queries_that_dialects_read_differently_are_refused(query: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot be bound into this query safely"):
        bind(query, {"a": 1})


@pytest.mark.parametrize("query", ["N:a", ":a'b'", "'b':a", ":a.5", "1.:a", "@:a", "U&:a", ':a"b"', "7:a"])
def test_a_literal_does_not_grow_together_with_its_neighbours(query: str) -> None:
    with pytest.raises(InvalidArgument, match="a space around :a"):
        bind(query, {"a": "v"})


def test_a_missing_value() -> None:
    with pytest.raises(InvalidArgument, match=r"no value for :region.*Nothing was sent"):
        bind("SELECT :region", {"regoin": "South"})


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


sql_text = st.lists(
    st.sampled_from(
        ["'", '"', "`", "--", "/*", "*/", "\n", "\r", " ", ":v", "x", "''", "\\", "$", "#", "/", "-", "::"]
    ),
    max_size=12,
).map("".join)


@given(sql_text)
def test_a_placeholder_is_bound_only_outside_of_strings_and_comments(query: str) -> None:
    marked = "\x01"
    try:
        bound = bind(query, {"v": 12345})
    except InvalidArgument:
        assume(False)
    spots = [match.start() for match in re.finditer("12345", bound)]
    assert re.sub("12345", ":v", bound) == query
    for spot in spots:
        text = bound[:spot] + marked + bound[spot:]
        assert marked in "".join(code_of(text))


def code_of(sql: str) -> Iterator[str]:
    """What is left of some SQL without strings, quoted names and comments, by the standard's rules."""
    position = 0
    while position < len(sql):
        for opening, closing in (("'", "'"), ('"', '"'), ("`", "`"), ("--", "\n"), ("/*", "*/")):
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
