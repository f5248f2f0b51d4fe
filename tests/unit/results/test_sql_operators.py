"""Airflow's own SQL operators and sensors, unchanged, over OpenAnalyst."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pandas
import polars
import pytest
from airflow.exceptions import AirflowException
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.providers.common.sql.operators.generic_transfer import GenericTransfer
from airflow.providers.common.sql.operators.sql import (
    BranchSQLOperator,
    SQLCheckOperator,
    SQLColumnCheckOperator,
    SQLExecuteQueryOperator,
    SQLIntervalCheckOperator,
    SQLTableCheckOperator,
    SQLThresholdCheckOperator,
    SQLValueCheckOperator,
)
from airflow.providers.common.sql.sensors.sql import SqlSensor
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Connection

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import InvalidConnection, PermanentError
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.hooks.openanalyst_sql import OpenAnalystSqlHook
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.sql import dbapi
from tests.unit.conftest import API_KEY, requests_to

BY_REGION = "SELECT region, sum(quantity) AS quantity FROM sales GROUP BY region ORDER BY region"
QUANTITIES = [("East", 14707), ("North", 18378), ("South", 23475), ("West", 20410)]


@pytest.fixture
def conn_id(emulator: Emulator, connect: Callable[..., str]) -> str:
    return connect("openanalyst_sql", emulator.openanalyst_url, schema="ds_abc123", extra={"timeout": 30})


def run(operator: Any) -> Any:
    return operator.execute({})


# --- the connection


def test_airflow_makes_the_hook_from_the_connection_type(conn_id: str) -> None:
    hook = SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql="").get_db_hook()
    assert isinstance(hook, OpenAnalystSqlHook)
    assert isinstance(hook, DbApiHook)


def test_the_schema_is_the_dataset_and_no_part_of_the_url(conn_id: str, emulator: Emulator) -> None:
    hook = OpenAnalystSqlHook(conn_id)
    hook.get_records("SELECT 1")
    (request,) = emulator.control.requests()
    assert (request["path"], request["body"]["dataset_id"]) == ("/v1/queries", "ds_abc123")


def test_the_operators_database_is_the_dataset(conn_id: str, emulator: Emulator) -> None:
    run(SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql="SELECT 1", database="ds_000002"))
    OpenAnalystSqlHook(conn_id, schema="ds_000003").get_records("SELECT 1")
    assert [request["body"]["dataset_id"] for request in emulator.control.requests()] == ["ds_000002", "ds_000003"]


def test_no_dataset_at_all(emulator: Emulator, connect: Callable[..., str]) -> None:
    hook = OpenAnalystSqlHook(connect("openanalyst_sql", emulator.openanalyst_url))
    with pytest.raises(InvalidConnection, match="schema field, or into the operator's 'database'"):
        hook.get_records("SELECT 1")


def test_a_connection_of_another_type(openanalyst: str) -> None:
    with pytest.raises(dbapi.OperationalError, match="of type 'openanalyst'") as caught:
        OpenAnalystSqlHook(openanalyst, schema="ds_abc123").get_records("SELECT 1")
    assert isinstance(caught.value, PermanentError)


def test_extra_fields_do_not_get_in_the_way(emulator: Emulator, connect: Callable[..., str]) -> None:
    extra = {"timeout": 30, "plan": "pro", "webhook_secret": "whatever", "requests_per_minute": 100}
    conn_id = connect("openanalyst_sql", emulator.openanalyst_url, schema="ds_abc123", extra=extra)
    sql = "/* slow: 0.1 */ SELECT 1 AS one"
    assert run(SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql=sql, hook_params={"log_sql": False})) == [(1,)]


def test_the_test_button(emulator: Emulator, connect: Callable[..., str], conn_id: str) -> None:
    assert OpenAnalystSqlHook(conn_id).test_connection() == (
        True,
        "OpenAnalyst accepted the API key, and knows dataset ds_abc123.",
    )
    ok, message = OpenAnalystSqlHook(connect("openanalyst_sql", emulator.openanalyst_url)).test_connection()
    assert (ok, "accepted the API key" in message) == (True, True)
    gone = connect("openanalyst_sql", emulator.openanalyst_url, schema="ds_gone")
    ok, message = OpenAnalystSqlHook(gone).test_connection()
    assert (ok, "DATASET_NOT_FOUND" in message) == (False, True)
    emulator.control.fault("status", status=401)
    ok, message = OpenAnalystSqlHook(conn_id).test_connection()
    assert not ok
    assert API_KEY not in message


def test_airflow_knows_the_connection_type() -> None:
    hook = ProvidersManager().hooks["openanalyst_sql"]
    assert hook is not None
    assert hook.hook_class_name.endswith("OpenAnalystSqlHook")
    assert hook.connection_id_attribute_name == OpenAnalystSqlHook.conn_name_attr
    assert hook.hook_name == OpenAnalystSqlHook.hook_name
    assert hook.connection_testable


def test_a_connection_in_the_form_of_a_uri() -> None:
    from airflow.models.connection import Connection  # in Airflow 3.0, that of the SDK reads no URI

    connection = Connection(conn_id="x", uri=f"openanalyst-sql://:{API_KEY}@/ds_abc123")
    assert (connection.conn_type, connection.schema, connection.password) == ("openanalyst_sql", "ds_abc123", API_KEY)
    assert not connection.host, "so the vendor's own is taken"


# --- operators that run SQL


def test_execute_query(conn_id: str) -> None:
    assert run(SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql=BY_REGION)) == QUANTITIES


def test_execute_several_queries(conn_id: str) -> None:
    both = ["SELECT 1 AS a", "SELECT 2 AS b"]
    assert run(SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql=both)) == [[(1,)], [(2,)]]
    split = SQLExecuteQueryOperator(
        task_id="x", conn_id=conn_id, sql="; ".join(both), split_statements=True, return_last=False
    )
    assert run(split) == [[(1,)], [(2,)]]


def test_execute_with_parameters(conn_id: str) -> None:
    sql = "SELECT sum(quantity) AS n FROM sales WHERE region = :region"
    operator = SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql=sql, parameters={"region": "South"})
    assert run(operator) == [(23475,)]


@pytest.mark.parametrize("sql", [["SELECT :a AS x", "SELECT :b AS x"], "SELECT :a AS x; SELECT :b AS x"])
def test_several_queries_share_their_parameters(conn_id: str, emulator: Emulator, sql: Any) -> None:
    def execute(**parameters: Any) -> Any:
        return run(
            SQLExecuteQueryOperator(
                task_id="x",
                conn_id=conn_id,
                sql=sql,
                parameters=parameters,
                split_statements=isinstance(sql, str),
                return_last=False,
            )
        )

    assert execute(a=1, b="x; y") == [[(1,)], [("x; y",)]]
    sent = len(emulator.control.requests())
    with pytest.raises(dbapi.ProgrammingError, match="has 'c', for which"):
        execute(a=1, b=2, c=3)
    assert len(emulator.control.requests()) == sent


@pytest.mark.parametrize("extra", [{"webhook_secret": "s"}, {"plan": "pro", "timeout": 3}, {}])
def test_sql_with_a_connection_for_the_other_operators(
    emulator: Emulator, connect: Callable[..., str], extra: dict[str, Any]
) -> None:
    conn_id = connect("openanalyst", emulator.openanalyst_url, extra=extra)
    operator = SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql="SELECT 1")
    with pytest.raises(
        InvalidConnection, match="is of type 'openanalyst'; SQL operators need one of type 'openanalyst_sql'"
    ):
        run(operator)


def test_missing_rows_are_an_error_unless_told_otherwise(conn_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = {"columns": ["a"], "rows": [[1]], "row_count": 2}
    monkeypatch.setattr(OpenAnalystHook, "execute_query", lambda *args, **kwargs: Run("q", "completed", payload))
    with pytest.raises(dbapi.DataError, match="has 2 rows, but sent 1"):
        run(SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql="SELECT 1"))
    told = SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql="SELECT 1", hook_params={"allow_partial": True})
    assert run(told) == [(1,)]


def test_the_descriptions_name_the_columns(conn_id: str) -> None:
    operator = SQLExecuteQueryOperator(
        task_id="x", conn_id=conn_id, sql=BY_REGION, output_processor=lambda results, descriptions: [descriptions]
    )
    ((region, quantity),) = run(operator)
    assert (region[0], quantity[0]) == ("region", "quantity")


def test_autocommit_changes_nothing(conn_id: str) -> None:
    assert run(SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql="SELECT 1 AS a", autocommit=True)) == [(1,)]


def test_a_write_fails_without_retries(conn_id: str, emulator: Emulator) -> None:
    with pytest.raises(dbapi.NotSupportedError) as caught:
        run(SQLExecuteQueryOperator(task_id="x", conn_id=conn_id, sql="DELETE FROM sales"))
    assert isinstance(caught.value, PermanentError)
    with pytest.raises(dbapi.NotSupportedError):
        OpenAnalystSqlHook(conn_id).insert_rows("sales", [("a",)])
    with pytest.raises(dbapi.NotSupportedError):
        OpenAnalystSqlHook(conn_id).insert_rows("sales", [("a",)], executemany=True)
    assert requests_to(emulator) == {}


# --- checks


def test_column_check(conn_id: str) -> None:
    def check(**bounds: Any) -> SQLColumnCheckOperator:
        mapping = {
            "quantity": {"min": {"geq_to": 0}, "max": bounds, "null_check": {"equal_to": 0}},
            "region": {"distinct_check": {"equal_to": 4}},
        }
        return SQLColumnCheckOperator(task_id="x", conn_id=conn_id, table="sales", column_mapping=mapping)

    run(check(leq_to=100))
    with pytest.raises(AirflowException, match="Check: max"):
        run(check(less_than=10))


def test_table_check(conn_id: str) -> None:
    def check(rows: int) -> SQLTableCheckOperator:
        checks = {
            "row_count_check": {"check_statement": f"COUNT(*) = {rows}"},
            "money_check": {"check_statement": "revenue >= quantity", "partition_clause": "region = 'South'"},
        }
        return SQLTableCheckOperator(task_id="x", conn_id=conn_id, table="sales", checks=checks)

    run(check(5_856))
    with pytest.raises(AirflowException, match="row_count_check"):
        run(check(1))


def test_check(conn_id: str) -> None:
    run(SQLCheckOperator(task_id="x", conn_id=conn_id, sql="SELECT count(*) AS n FROM sales"))
    run(SQLCheckOperator(task_id="x", conn_id=conn_id, sql="SELECT :n AS n", parameters={"n": 1}))
    with pytest.raises(AirflowException, match="Test failed"):
        run(SQLCheckOperator(task_id="x", conn_id=conn_id, sql="SELECT count(*) AS n FROM sales WHERE 1 = 0"))
    with pytest.raises(AirflowException, match="zero rows"):
        run(SQLCheckOperator(task_id="x", conn_id=conn_id, sql="SELECT 1 FROM sales WHERE 1 = 0"))


def test_value_check(conn_id: str) -> None:
    sql = "SELECT sum(quantity) AS n FROM sales WHERE region = 'South'"
    run(SQLValueCheckOperator(task_id="x", conn_id=conn_id, sql=sql, pass_value=23_000, tolerance=0.05))
    with pytest.raises(AirflowException, match="Test failed"):
        run(SQLValueCheckOperator(task_id="x", conn_id=conn_id, sql=sql, pass_value=23_000))


def test_threshold_check(conn_id: str) -> None:
    def check(most: Any) -> SQLThresholdCheckOperator:
        return SQLThresholdCheckOperator(
            task_id="x",
            conn_id=conn_id,
            sql="SELECT max(quantity) AS n FROM sales",
            min_threshold="SELECT min(quantity) AS n FROM sales",
            max_threshold=most,
        )

    run(check(100))
    with pytest.raises(AirflowException):
        run(check(1))


def test_interval_check(conn_id: str) -> None:
    operator = SQLIntervalCheckOperator(
        task_id="x",
        conn_id=conn_id,
        table="sales",
        metrics_thresholds={"SUM(quantity)": 5},
        date_filter_column="date",
    )
    operator.sql1 = "SELECT SUM(quantity) FROM sales WHERE date = '2024-03-20'"
    operator.sql2 = "SELECT SUM(quantity) FROM sales WHERE date = '2024-03-13'"
    run(operator)


@pytest.mark.parametrize(("limit", "branch"), [(23_000, "good"), (24_000, "bad")])
def test_branch(conn_id: str, monkeypatch: pytest.MonkeyPatch, limit: int, branch: str) -> None:
    taken: list[Any] = []
    monkeypatch.setattr(BranchSQLOperator, "skip_all_except", lambda self, ti, branch: taken.append(branch))
    operator = BranchSQLOperator(
        task_id="x",
        conn_id=conn_id,
        sql=f"SELECT sum(quantity) > {limit} AS good FROM sales WHERE region = 'South'",
        follow_task_ids_if_true=["good"],
        follow_task_ids_if_false=["bad"],
    )
    operator.execute({"ti": None, "dag_run": None})  # type: ignore[arg-type,typeddict-item]
    assert taken == [[branch]]


def test_sensor(conn_id: str) -> None:
    def poke(sql: str, **kwargs: Any) -> bool:
        return SqlSensor(task_id="x", conn_id=conn_id, sql=sql, **kwargs).poke({})  # type: ignore[typeddict-item]

    assert poke("SELECT count(*) AS n FROM sales")
    assert not poke("SELECT 0 AS n")
    assert not poke("SELECT 1 FROM sales WHERE 1 = 0")
    assert poke("SELECT :n AS n", parameters={"n": 7}, success=lambda n: n == 7)
    with pytest.raises(AirflowException, match="Failure criteria"):
        poke("SELECT 1 AS n", failure=lambda n: n == 1)


# --- data frames


def test_pandas(conn_id: str) -> None:
    frame = OpenAnalystSqlHook(conn_id).get_df(BY_REGION)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["region", "quantity"]
    assert list(frame.itertuples(index=False, name=None)) == QUANTITIES
    assert str(frame["quantity"].dtype) == "int64"


def test_polars(conn_id: str) -> None:
    sql = "SELECT region, sum(quantity) AS quantity, avg(revenue) AS revenue FROM sales GROUP BY region ORDER BY region"
    frame = OpenAnalystSqlHook(conn_id).get_df(sql, df_type="polars")
    assert isinstance(frame, polars.DataFrame)
    assert frame.schema == {"region": polars.String, "quantity": polars.Int64, "revenue": polars.Float64}
    assert frame.select("region", "quantity").rows() == QUANTITIES


@pytest.mark.parametrize("df_type", ["pandas", "polars"])
def test_data_frames_with_parameters(conn_id: str, df_type: Any) -> None:
    hook = OpenAnalystSqlHook(conn_id)
    sql = "SELECT region FROM sales WHERE region = :region AND quantity > :least LIMIT 3"
    frame = hook.get_df(sql, parameters={"region": "South", "least": 1}, df_type=df_type)
    assert list(frame["region"]) == ["South"] * 3
    with pytest.raises(dbapi.ProgrammingError):
        hook.get_df(sql, parameters={"region": "\\"}, df_type=df_type)


@pytest.mark.parametrize("df_type", ["pandas", "polars"])
def test_empty_data_frames(conn_id: str, df_type: Any) -> None:
    frame = OpenAnalystSqlHook(conn_id).get_df("SELECT region, quantity FROM sales WHERE 1 = 0", df_type=df_type)
    assert list(frame.columns) == ["region", "quantity"]
    assert len(frame) == 0


def test_data_frames_with_nulls_and_nesting(conn_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"a": 1, "b": [1], "c": {"x": 1}, "d": None}, {"a": None, "b": [], "c": None, "d": None}]
    payload = {"columns": ["a", "b", "c", "d"], "rows": rows}
    monkeypatch.setattr(OpenAnalystHook, "execute_query", lambda *args, **kwargs: Run("q", "completed", payload))
    hook = OpenAnalystSqlHook(conn_id)
    assert hook.get_df("SELECT 1")["b"].tolist() == [[1], []]
    frame = hook.get_df("SELECT 1", df_type="polars")
    assert frame["a"].to_list() == [1, None]
    assert frame["d"].to_list() == [None, None]


@pytest.fixture
def pandas_2(monkeypatch: pytest.MonkeyPatch) -> None:
    """pandas 2 asks for a rollback after any error, and puts an error of its own in its place."""
    if pandas.__version__ < "3":
        return

    def execute(self: Any, sql: str, params: Any = None) -> Any:
        cursor = self.con.cursor()
        try:
            cursor.execute(sql, *([] if params is None else [params]))
        except Exception as error:
            try:
                self.con.rollback()
            except Exception as second:
                raise pandas.errors.DatabaseError(f"failed on {sql}\n{error}\nunable to rollback") from second
            raise pandas.errors.DatabaseError(f"failed on {sql}: {error}") from error
        return cursor

    monkeypatch.setattr("pandas.io.sql.SQLiteDatabase.execute", execute)


@pytest.mark.parametrize("version", ["the one that is installed", "2"])
@pytest.mark.parametrize(
    ("status", "raised", "permanent"),
    [(422, dbapi.ProgrammingError, True), (401, dbapi.AccessDenied, True), (500, dbapi.OperationalError, False)],
)
@pytest.mark.parametrize("df_type", ["pandas", "polars"])
def test_data_frames_raise_the_real_error(
    request: pytest.FixtureRequest,
    conn_id: str,
    emulator: Emulator,
    version: str,
    status: int,
    raised: type[dbapi.Error],
    permanent: bool,
    df_type: Any,
) -> None:
    if version == "2":
        request.getfixturevalue("pandas_2")
    hook = OpenAnalystSqlHook(conn_id)
    hook.api_hook.retry_for = 0
    for ask in (
        lambda: hook.get_df("SELECT 1", df_type=df_type),
        lambda: list(hook.get_df_by_chunks("SELECT 1", chunksize=2, df_type=df_type)),
    ):
        emulator.control.fault("status", status=status)
        with pytest.raises(raised, match=f"OpenAnalyst answered {status}") as caught:
            ask()
        assert isinstance(caught.value, PermanentError) == permanent
        assert "rollback" not in str(caught.value)


@pytest.mark.parametrize("version", ["the one that is installed", "2"])
def test_the_error_of_a_second_query_is_its_own(
    request: pytest.FixtureRequest, conn_id: str, emulator: Emulator, version: str
) -> None:
    """Asked where the first one's error is handled, which Python then keeps as the second one's context."""
    if version == "2":
        request.getfixturevalue("pandas_2")
    hook = OpenAnalystSqlHook(conn_id)
    hook.api_hook.retry_for = 0
    for again in (lambda: hook.get_df("SELECT 2"), lambda: list(hook.get_df_by_chunks("SELECT 2", chunksize=2))):
        emulator.control.fault("status", status=422)
        with pytest.raises(dbapi.OperationalError, match="OpenAnalyst answered 500"):  # noqa: PT012
            try:
                hook.get_df("SELECT 1")
            except dbapi.ProgrammingError:
                emulator.control.fault("status", status=500)
                again()


def test_an_error_of_pandas_itself_stays(conn_id: str) -> None:
    with pytest.raises(KeyError):
        OpenAnalystSqlHook(conn_id).get_df("SELECT 1 AS a", index_col="nowhere")


def test_pandas_by_chunks(conn_id: str) -> None:
    chunks = OpenAnalystSqlHook(conn_id).get_df_by_chunks("SELECT quantity FROM sales LIMIT 5", chunksize=2)
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]


def test_there_is_no_sqlalchemy(conn_id: str) -> None:
    hook = OpenAnalystSqlHook(conn_id)
    with pytest.raises(dbapi.NotSupportedError, match="SQLAlchemy"):
        hook.get_sqlalchemy_engine()
    assert hook.dialect_name == "default"


# --- transfers


class SqliteHook(DbApiHook):
    """A destination for a transfer."""

    conn_name_attr = "sqlite_conn_id"
    placeholder = "?"  # type: ignore[assignment]

    def __init__(self, path: str) -> None:
        super().__init__(connection=Connection(conn_id="there", conn_type="sqlite"))
        self.path = path

    def get_conn(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path)


@pytest.mark.parametrize("page_size", [None, 3])
def test_transfer_from_openanalyst(conn_id: str, tmp_path: Any, page_size: int | None) -> None:
    hook = SqliteHook(f"{tmp_path}/there.db")
    transfer = GenericTransfer(
        task_id="x",
        sql=BY_REGION,
        source_conn_id=conn_id,
        destination_conn_id="sqlite",
        destination_table="quantities",
        preoperator="CREATE TABLE quantities (region TEXT, quantity INTEGER)",
        page_size=page_size,
    )
    transfer.__dict__["destination_hook"] = hook
    run(transfer)
    assert hook.get_conn().execute("SELECT * FROM quantities").fetchall() == [
        (region, quantity) for region, quantity in QUANTITIES
    ]


# --- what is not installed


def test_without_the_common_sql_provider_only_this_hook_is_missing() -> None:
    code = """
import sys
sys.modules["airflow.providers.common.sql.hooks.sql"] = None
import airflow_provider_nenoa.sql.dbapi, airflow_provider_nenoa.results.rows
import airflow_provider_nenoa.operators.openanalyst
from airflow_provider_nenoa.exceptions import AirflowOptionalProviderFeatureException
try:
    import airflow_provider_nenoa.hooks.openanalyst_sql
except AirflowOptionalProviderFeatureException as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'airflow-provider-nenoa[sql]'" in done.stdout


def test_the_api_key_is_not_in_an_error(conn_id: str, emulator: Emulator) -> None:
    emulator.control.fault("status", status=401, body=json.dumps({"error": {"message": f"Bad key {API_KEY}"}}))
    with pytest.raises(dbapi.OperationalError) as caught:
        OpenAnalystSqlHook(conn_id).get_records("SELECT 1")
    assert API_KEY not in str(caught.value)
