"""PEP 249, point by point; the words in quotes are the PEP's."""

from __future__ import annotations

import datetime
import time
from typing import Any

import pytest

from airflow_provider_nenoa import exceptions
from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.hooks.openanalyst_sql import OpenAnalystSqlHook
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.sql import dbapi
from tests.unit.conftest import requests_to

THREE = "SELECT 1 AS n, 'one' AS word UNION SELECT 2, 'two' UNION SELECT 3, 'three' ORDER BY n"
ROWS = [(1, "one"), (2, "two"), (3, "three")]


@pytest.fixture
def conn_id(connect: Any, emulator: Emulator) -> str:
    return connect("openanalyst_sql", emulator.openanalyst_url)


def connection_of(conn_id: str, dataset_id: str = "ds_abc123", **kwargs: Any) -> dbapi.Connection:
    hook = OpenAnalystSqlHook(conn_id, schema=dataset_id, poll_interval=0.05, **kwargs)
    hook.api_hook.retry_for = 0
    return hook.get_conn()


@pytest.fixture
def connection(conn_id: str) -> dbapi.Connection:
    return connection_of(conn_id)


@pytest.fixture
def cursor(connection: dbapi.Connection) -> dbapi.Cursor:
    return connection.cursor()


# --- module interface


def test_globals() -> None:
    assert dbapi.apilevel == "2.0"
    assert dbapi.threadsafety in (0, 1, 2, 3)
    assert dbapi.paramstyle == "named"
    assert callable(dbapi.connect)


def test_exceptions_have_the_peps_inheritance() -> None:
    assert issubclass(dbapi.Warning, Exception)
    assert issubclass(dbapi.Error, Exception)
    assert not issubclass(dbapi.Warning, dbapi.Error)
    assert issubclass(dbapi.InterfaceError, dbapi.Error)
    assert not issubclass(dbapi.InterfaceError, dbapi.DatabaseError)
    assert issubclass(dbapi.DatabaseError, dbapi.Error)
    for name in ("Data", "Operational", "Integrity", "Internal", "Programming", "NotSupported"):
        assert issubclass(getattr(dbapi, f"{name}Error"), dbapi.DatabaseError)


def test_exceptions_are_attributes_of_a_connection(connection: dbapi.Connection) -> None:
    for name in ("Warning", "Error", "InterfaceError", "DatabaseError", "ProgrammingError", "NotSupportedError"):
        assert getattr(connection, name) is getattr(dbapi, name)


def test_constructors() -> None:
    assert dbapi.Date(2024, 1, 31) == datetime.date(2024, 1, 31)
    assert dbapi.Time(12, 30) == datetime.time(12, 30)
    assert dbapi.Timestamp(2024, 1, 31, 12) == datetime.datetime(2024, 1, 31, 12)
    moment = datetime.datetime(2024, 1, 31, 12, 30, 15)
    ticks = moment.timestamp()
    assert dbapi.DateFromTicks(ticks) == moment.date()
    assert dbapi.TimeFromTicks(ticks) == moment.time()
    assert dbapi.TimestampFromTicks(ticks) == moment
    assert dbapi.Binary(b"x") == b"x"


def test_type_objects() -> None:
    objects = [dbapi.STRING, dbapi.BINARY, dbapi.NUMBER, dbapi.DATETIME, dbapi.ROWID]
    assert len(set(objects)) == 5
    for kind in (str, int, float, bool, list, dict, bytes, datetime.datetime):
        assert sum(one == kind for one in objects) == 1
    assert all(one == one and one != 7 for one in objects)


# --- connection objects


def test_closing_a_connection_closes_its_cursors(connection: dbapi.Connection, cursor: dbapi.Cursor) -> None:
    cursor.execute(THREE)
    connection.close()
    connection.close()
    for use in (
        connection.cursor,
        connection.commit,
        connection.rollback,
        cursor.fetchone,
        lambda: cursor.execute(THREE),
    ):
        with pytest.raises(dbapi.Error, match="closed"):
            use()


def test_context_managers_close_what_they_manage(conn_id: str) -> None:
    with connection_of(conn_id) as connection:
        with connection.cursor() as cursor:
            cursor.execute(THREE)
            assert cursor.fetchall() == ROWS
        with pytest.raises(dbapi.Error, match="cursor is closed"):
            cursor.fetchone()
        with pytest.raises(ZeroDivisionError), connection.cursor() as failing:
            raise ZeroDivisionError
        with pytest.raises(dbapi.Error, match="cursor is closed"):
            failing.fetchone()
    with pytest.raises(dbapi.Error, match="connection is closed"):
        connection.cursor()
    with pytest.raises(dbapi.Error, match="connection is closed"), connection:
        pass


def test_without_transactions_commit_is_void(connection: dbapi.Connection) -> None:
    assert connection.commit() is None  # type: ignore[func-returns-value]


def test_rollback_is_not_supported(connection: dbapi.Connection) -> None:
    with pytest.raises(dbapi.NotSupportedError):
        connection.rollback()


def test_streaming_cursors_are_not_supported(connection: dbapi.Connection) -> None:
    with pytest.raises(dbapi.NotSupportedError, match="streaming"):
        connection.cursor("a server-side one")
    with pytest.raises(dbapi.NotSupportedError):
        connection.cursor(withhold=True)


# --- cursor objects


def test_attributes_before_any_query(connection: dbapi.Connection, cursor: dbapi.Cursor) -> None:
    assert cursor.description is None
    assert cursor.rowcount == -1
    assert cursor.arraysize == 1
    assert cursor.connection is connection


def test_description_and_rowcount(cursor: dbapi.Cursor) -> None:
    cursor.execute("SELECT 1 AS i, 1.5 AS f, 'x' AS t, NULL AS missing")
    assert cursor.description is not None
    assert all(len(column) == 7 and column[2:] == (None,) * 5 for column in cursor.description)
    assert [column[0] for column in cursor.description] == ["i", "f", "t", "missing"]
    codes = [column[1] for column in cursor.description]
    assert codes == [dbapi.NUMBER, dbapi.NUMBER, dbapi.STRING, dbapi.STRING]
    assert codes == [int, float, str, str]
    assert cursor.rowcount == 1


def test_whole_and_broken_numbers_in_one_column(cursor: dbapi.Cursor) -> None:
    cursor.execute("SELECT 1 AS n UNION ALL SELECT 1.5 UNION ALL SELECT NULL")
    assert cursor.description is not None
    assert cursor.description[0][1] is float


def test_fetching(cursor: dbapi.Cursor) -> None:
    cursor.execute(THREE)
    assert cursor.fetchone() == ROWS[0]
    assert cursor.fetchall() == ROWS[1:]
    assert cursor.fetchone() is None
    assert cursor.fetchall() == []
    assert cursor.fetchmany(5) == []


def test_fetchmany(cursor: dbapi.Cursor) -> None:
    cursor.execute(THREE)
    assert cursor.fetchmany() == ROWS[:1], "arraysize says how many"
    assert cursor.fetchmany(2) == ROWS[1:]
    cursor.execute(THREE)
    cursor.arraysize = 2
    assert cursor.fetchmany() == ROWS[:2]
    assert cursor.fetchmany() == ROWS[2:]
    cursor.execute(THREE)
    assert cursor.fetchmany(0) == []
    assert cursor.fetchall() == ROWS, "none may be lost"


def test_iterating(cursor: dbapi.Cursor) -> None:
    cursor.execute(THREE)
    assert next(cursor) == ROWS[0]
    assert list(cursor) == ROWS[1:]


def test_an_empty_result_is_a_result(cursor: dbapi.Cursor) -> None:
    cursor.execute("SELECT region, quantity FROM sales WHERE 1 = 0")
    assert cursor.description is not None
    assert [column[0] for column in cursor.description] == ["region", "quantity"]
    assert (cursor.rowcount, cursor.fetchone(), cursor.fetchall()) == (0, None, [])


def test_fetching_what_was_not_asked_for(cursor: dbapi.Cursor) -> None:
    for fetch in (cursor.fetchone, cursor.fetchmany, cursor.fetchall, lambda: next(cursor)):
        with pytest.raises(dbapi.Error, match="no query was run"):
            fetch()


def test_a_query_that_fails_leaves_nothing_of_the_one_before(cursor: dbapi.Cursor) -> None:
    cursor.execute(THREE)
    with pytest.raises(dbapi.ProgrammingError):
        cursor.execute("SELEKT")
    assert (cursor.description, cursor.rowcount) == (None, -1)
    with pytest.raises(dbapi.Error):
        cursor.fetchone()


def test_a_closed_cursor(connection: dbapi.Connection, cursor: dbapi.Cursor) -> None:
    cursor.execute(THREE)
    cursor.close()
    cursor.close()
    for use in (cursor.fetchone, cursor.fetchmany, cursor.fetchall, cursor.nextset, lambda: cursor.execute(THREE)):
        with pytest.raises(dbapi.Error, match="closed"):
            use()
    assert connection.cursor() is not cursor


def test_sizes_do_nothing(cursor: dbapi.Cursor) -> None:
    assert cursor.setinputsizes([int]) is None  # type: ignore[func-returns-value]
    assert cursor.setoutputsize(10) is None  # type: ignore[func-returns-value]
    assert cursor.setoutputsize(10, 1) is None  # type: ignore[func-returns-value]


def test_what_the_api_has_nothing_like(cursor: dbapi.Cursor, emulator: Emulator) -> None:
    for use in (
        lambda: cursor.executemany("INSERT INTO t VALUES (:a)", [{"a": 1}]),
        lambda: cursor.callproc("p"),
        cursor.nextset,
    ):
        with pytest.raises(dbapi.NotSupportedError):
            use()
    assert requests_to(emulator) == {}


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO sales VALUES (1)",
        "  -- a comment\n /* another */ update sales SET quantity = 1",
        "(DELETE FROM sales)",
        "CREATE TABLE t (a int)",
        "DROP TABLE sales",
        "BEGIN",
        "commit",
        "SAVEPOINT a",
        "/* one */\n" * 40 + "-- two\n" * 40 + "( /* *** */ /**/ delete from sales",
    ],
)
def test_writes_and_transactions_are_not_supported(cursor: dbapi.Cursor, emulator: Emulator, statement: str) -> None:
    with pytest.raises(dbapi.NotSupportedError, match="Nothing was sent"):
        cursor.execute(statement)
    assert requests_to(emulator) == {}


@pytest.mark.parametrize("query", ["SELECT 1 AS updates", "WITH inserted AS (SELECT 1) SELECT * FROM inserted"])
def test_queries_that_only_sound_like_writes(cursor: dbapi.Cursor, query: str) -> None:
    cursor.execute(query)
    assert cursor.fetchall() == [(1,)]


@pytest.mark.parametrize("before", ["/* a comment */\n", "/*", "*/", "(", " ", "--\n", "--", "/**/", "/* -- */ ("])
def test_what_stands_before_a_query_takes_no_time(cursor: dbapi.Cursor, before: str) -> None:
    began = time.thread_time()
    for count in (20, 20_000):
        dbapi._check_reads(before * count + "SELECT 1")
    assert time.thread_time() - began < 1


def test_parameters_are_named(cursor: dbapi.Cursor) -> None:
    cursor.execute("SELECT :a AS a, :b AS b", {"a": "O'Brien", "b": -1.5})
    assert cursor.fetchone() == ("O'Brien", -1.5)
    cursor.execute("SELECT ':a' AS a")
    assert cursor.fetchone() == (":a",)


@pytest.mark.parametrize("parameters", [{"b": 1}, {"a": "\\"}, ["a"], ("a",), {"a": 1, "b": 2}])
def test_wrong_parameters_are_a_programming_error(cursor: dbapi.Cursor, emulator: Emulator, parameters: Any) -> None:
    with pytest.raises(dbapi.ProgrammingError):
        cursor.execute("SELECT :a", parameters)
    assert requests_to(emulator) == {}


def test_a_long_query_is_waited_for(cursor: dbapi.Cursor, emulator: Emulator) -> None:
    cursor.execute(f"/* slow: 0.3 */ {THREE}")
    assert cursor.fetchall() == ROWS
    assert cursor.query_id
    assert requests_to(emulator)["POST /v1/queries"] == 1


def test_a_query_that_takes_too_long(conn_id: str) -> None:
    connection = connection_of(conn_id, query_timeout=0.2)
    with pytest.raises(dbapi.OperationalError, match=r"did not end within query_timeout = 0\.2 s.*'running'") as caught:
        connection.cursor().execute('/* emulate: {"seconds": null} */ SELECT 1')
    assert not isinstance(caught.value, exceptions.PermanentError)


@pytest.mark.parametrize("name", ["query_timeout", "poll_interval"])
@pytest.mark.parametrize("wrong", ["600", 0, True])
def test_times_that_are_none_are_refused_before_a_query_is_sent(name: str, wrong: Any) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=f"'{name}' must be more than 0 seconds, not {wrong!r}"):
        OpenAnalystSqlHook("sql", **{name: wrong})
    assert getattr(OpenAnalystSqlHook("sql", **{name: datetime.timedelta(minutes=2)}), name) == 120


def test_a_query_that_fails_later(cursor: dbapi.Cursor) -> None:
    with pytest.raises(dbapi.DatabaseError, match="no such table: nowhere"):
        cursor.execute("/* slow: 0.1 */ SELECT * FROM nowhere")


# --- errors of the vendor


@pytest.mark.parametrize(
    ("status", "raised", "permanent"),
    [
        (401, dbapi.OperationalError, True),
        (403, dbapi.OperationalError, True),
        (404, dbapi.ProgrammingError, True),
        (422, dbapi.ProgrammingError, True),
        (429, dbapi.OperationalError, False),
        (500, dbapi.OperationalError, False),
    ],
)
def test_errors_of_the_vendor(
    cursor: dbapi.Cursor, emulator: Emulator, status: int, raised: type[Exception], permanent: bool
) -> None:
    emulator.control.fault("status", status=status)
    with pytest.raises(raised, match=str(status)) as caught:
        cursor.execute("SELECT 1")
    assert isinstance(caught.value, exceptions.PermanentError) == permanent
    assert isinstance(caught.value.__cause__, exceptions.NenoaError)


def test_an_unknown_dataset(conn_id: str) -> None:
    with pytest.raises(dbapi.ProgrammingError, match="DATASET_NOT_FOUND"):
        connection_of(conn_id, "ds_gone").cursor().execute("SELECT 1")


@pytest.mark.parametrize("payload", [{"rows": [[1]]}, {"data": []}, {"rows": {}}, {"columns": "a", "rows": []}])
def test_an_answer_that_makes_no_sense(
    cursor: dbapi.Cursor, monkeypatch: pytest.MonkeyPatch, payload: dict[str, Any]
) -> None:
    monkeypatch.setattr(OpenAnalystHook, "execute_query", lambda *args: Run("q", "completed", payload))
    with pytest.raises(dbapi.InterfaceError):
        cursor.execute("SELECT 1")


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"columns": ["id", "id"], "rows": [[1, 2]]}, r"with the name 'id', .*\nGive each an alias"),
        ({"columns": ["id", {"name": "id"}], "rows": [{"id": 2}]}, "alias"),
        ({"columns": ["a"], "rows": [[1]], "row_count": 1_000}, "has 1,000 rows, but sent 1"),
        ({"columns": ["a"], "rows": [[1]], "has_more": True}, "has more rows, but sent 1"),
    ],
)
def test_rows_that_cannot_be_taken_as_they_came(
    cursor: dbapi.Cursor, monkeypatch: pytest.MonkeyPatch, payload: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(OpenAnalystHook, "execute_query", lambda *args: Run("q", "completed", payload))
    with pytest.raises(dbapi.DataError, match=words) as caught:
        cursor.execute("SELECT 1")
    assert isinstance(caught.value, exceptions.PermanentError)
    with pytest.raises(dbapi.Error, match="no query was run"):
        cursor.fetchall()


def test_rows_as_lists(cursor: dbapi.Cursor, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = {"columns": ["b", "a"], "rows": [[1, 2], {"a": 4, "b": 3}]}
    monkeypatch.setattr(OpenAnalystHook, "execute_query", lambda *args: Run("q", "completed", payload))
    cursor.execute("SELECT 1")
    assert cursor.fetchall() == [(1, 2), (3, 4)]


def test_no_answer(connect: Any) -> None:
    conn_id = connect("openanalyst_sql", "http://127.0.0.1:9")
    with pytest.raises(dbapi.OperationalError, match="Connection refused"):
        connection_of(conn_id).cursor().execute("SELECT 1")
