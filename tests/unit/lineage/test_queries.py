"""Lineage of queries: our operator, Airflow's operators, and what OpenLineage makes of both."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.sql.operators.sql import SQLCheckOperator, SQLExecuteQueryOperator
from airflow.utils.state import TaskInstanceState
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import RunFailed
from airflow_provider_nenoa.lineage.queries import ReadQueries
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator
from airflow_provider_nenoa.sql.dbapi import ProgrammingError
from airflow_provider_nenoa.vendors.openanalyst_schema import tables_of
from tests.support.task import StateStore, TaskInstance

BY_REGION = "SELECT region, sum(quantity) AS total FROM sales WHERE region <> :region GROUP BY region"
EventOf = Callable[..., dict[str, Any]]


@pytest.fixture
def conn_id(emulator: Emulator, connect: Callable[..., str]) -> str:
    return connect("openanalyst_sql", emulator.openanalyst_url, schema="ds_abc123")


def names(datasets: list[dict[str, Any]]) -> list[str]:
    return [each["name"] for each in datasets]


def paths(emulator: Emulator) -> list[str]:
    return [request["path"] for request in emulator.control.requests()]


def query(**options: Any) -> OpenAnalystExecuteQueryOperator:
    arguments = {"dataset_id": "ds_abc123", "query": BY_REGION, "parameters": {"region": "East"}, "deferrable": False}
    return OpenAnalystExecuteQueryOperator(
        **{"task_id": "t", "openanalyst_conn_id": "my_openanalyst", **arguments, **options}
    )


def run(operator: Any) -> Any:
    return operator.execute({"ti": TaskInstance(), "task_state_store": StateStore()})


# --- Airflow's SQL operators


def test_airflows_operators_tell_tables_and_columns(conn_id: str, emulator: Emulator, event_of: EventOf) -> None:
    operator = SQLExecuteQueryOperator(task_id="t", conn_id=conn_id, sql=BY_REGION, parameters={"region": "East"})
    run(operator)
    event = event_of(operator)
    (table,) = event["inputs"]
    assert (table["namespace"], table["name"]) == (
        emulator.openanalyst_url.replace("http:", "openanalyst:").removesuffix("/v1"),
        "ds_abc123.sales",
    )
    columns = {field["name"]: field["type"] for field in table["facets"]["schema"]["fields"]}
    assert {"region", "quantity"} <= set(columns)
    assert all(columns.values())
    assert event["job"]["facets"]["sql"]["query"] == BY_REGION  # no values
    assert event["run"]["facets"]["externalQuery"]["externalQueryId"]
    assert paths(emulator) == ["/v1/queries", "/v1/datasets/ds_abc123"]


def test_nothing_is_asked_before_the_query(conn_id: str, emulator: Emulator, event_of: EventOf) -> None:
    event = event_of(SQLExecuteQueryOperator(task_id="t", conn_id=conn_id, sql=BY_REGION), TaskInstanceState.RUNNING)
    assert (event.get("inputs", []), paths(emulator)) == ([], [])


@pytest.mark.parametrize("status", [403, 404, 429, 500])
def test_tables_without_columns_where_the_vendor_does_not_tell_them(
    conn_id: str, emulator: Emulator, event_of: EventOf, status: int
) -> None:
    operator = SQLCheckOperator(task_id="t", conn_id=conn_id, sql="SELECT count(*) FROM sales", database="ds_000002")
    run(operator)
    emulator.control.fault("status", status=status)
    event = event_of(operator)
    assert names(event["inputs"]) == ["ds_000002.sales"]
    assert "schema" not in event["inputs"][0].get("facets", {})
    assert len(paths(emulator)) == 2  # asked once


def test_several_queries(conn_id: str, event_of: EventOf) -> None:
    operator = SQLExecuteQueryOperator(
        task_id="t", conn_id=conn_id, sql=["SELECT 1 FROM sales", "SELECT 2 FROM sales"], split_statements=False
    )
    run(operator)
    event = event_of(operator)
    assert names(event["inputs"]) == ["ds_abc123.sales"]
    assert "externalQuery" not in event["run"].get("facets", {})


def test_a_failed_query_has_its_lineage_too(conn_id: str, emulator: Emulator, event_of: EventOf) -> None:
    operator = SQLExecuteQueryOperator(task_id="t", conn_id=conn_id, sql="SELECT nothing FROM sales")
    with pytest.raises(ProgrammingError, match="nothing"):
        run(operator)
    assert names(event_of(operator, TaskInstanceState.FAILED)["inputs"]) == ["ds_abc123.sales"]


# --- our operator


def test_our_operator_before_and_after(openanalyst: str, emulator: Emulator, event_of: EventOf, tmp_path: Path) -> None:
    operator = query(output_path=f"file://{tmp_path}/rows.csv")
    before = event_of(operator, TaskInstanceState.RUNNING)
    assert names(before["inputs"]) == ["ds_abc123.sales"]
    assert before["job"]["facets"]["nenoa_job"]["datasetIds"] == ["ds_abc123"]
    assert before["run"]["facets"]["nenoa_run"].get("runId") is None
    assert paths(emulator) == []

    run(operator)
    event = event_of(operator)
    assert "East" not in json.dumps(event["job"])
    assert event["inputs"][0]["facets"]["schema"]["fields"]
    run_id = event["run"]["facets"]["externalQuery"]["externalQueryId"]
    assert event["run"]["facets"]["nenoa_run"].items() >= {"runId": run_id, "status": "completed"}.items()
    (file,) = event["outputs"]
    assert (file["namespace"], file["name"]) == ("file", f"{tmp_path}/rows.csv")
    fields = file["facets"]["columnLineage"]["fields"]
    assert {name: [source["field"] for source in field["inputFields"]] for name, field in fields.items()} == {
        "region": ["region"],
        "total": ["quantity"],
    }
    assert fields["total"]["inputFields"][0]["name"] == "ds_abc123.sales"


def test_a_question_reads_the_dataset(emulator: Emulator, connect: Callable[..., str], event_of: EventOf) -> None:
    connect("openanalyst", emulator.openanalyst_url, extra={"api_form": "server"})
    event = event_of(query(query=None, parameters=None, question="How much in the East?"), TaskInstanceState.RUNNING)
    assert names(event["inputs"]) == ["ds_abc123"]
    assert "sql" not in event["job"]["facets"]


def test_a_dataset_that_another_process_has_looked_up_by_its_name(openanalyst: str) -> None:
    operator = query(openanalyst_conn_id=openanalyst, dataset_id=None, dataset_name="Sales", query="SELECT 1")
    for lineage in (operator.get_openlineage_facets_on_start(), operator.get_openlineage_facets_on_complete(None)):
        assert lineage.inputs == []
        job: Any = lineage.job_facets["nenoa_job"]
        assert (job.kind, job.datasetIds) == ("query", None)


def test_the_vendors_words_about_a_failure(openanalyst: str, event_of: EventOf) -> None:
    operator = query(query="/* slow: 0.01 */ SELECT nothing FROM sales", parameters=None)
    with pytest.raises(RunFailed) as caught:
        run(operator)
    facet = event_of(operator, TaskInstanceState.FAILED)["run"]["facets"]["nenoa_run"]
    assert facet["status"] == "failed"
    assert facet["error"] in str(caught.value)


# --- what the parser finds


@pytest.mark.parametrize(
    ("sql", "tables", "columns"),
    [
        ("WITH x AS (SELECT * FROM a) SELECT x.i FROM x JOIN s.b AS o ON x.i = o.i", ["a", "s.b"], {}),
        ('SELECT "A b".c FROM "A b"', ["A b"], {"c": ["c"]}),
        ("SELECT t.a + u.b AS sum FROM t, u", ["t", "u"], {"sum": ["a", "b"]}),
        ("SELECT 1", [], {}),
    ],
)
def test_tables_and_columns(sql: str, tables: list[str], columns: dict[str, list[str]]) -> None:
    read = ReadQueries(sql, "ds", "https://user:secret@API.openanalyst.com:8443/v1")
    assert sorted(each.name for each in read.inputs()) == [f"ds.{table}" for table in tables]
    assert read.namespace == "openanalyst://api.openanalyst.com:8443"
    facet = read.column_lineage()
    found = {name: sorted(i.field for i in field.inputFields) for name, field in facet.fields.items()} if facet else {}
    assert found == columns


def test_sql_that_cannot_be_parsed_reads_the_dataset() -> None:
    lineage = ReadQueries("SELEC", "ds", "https://api.openanalyst.com/v1").lineage()
    assert [each.name for each in lineage.inputs] == ["ds"]
    assert "SELEC" in lineage.run_facets["extractionError"].errors[0].errorMessage


# --- the schema in GET /datasets/{id}


@pytest.mark.parametrize(
    "payload",
    [
        {"tables": [{"name": "sales", "columns": [{"name": "a", "type": "int"}, {"name": "b"}]}]},
        {"schema": {"tables": [{"table_name": "sales", "fields": [{"column_name": "a", "data_type": "int"}, "b"]}]}},
        {"data": {"tables": {"sales": {"a": "int", "b": None}}}},
        {"tables": [{"name": "sales", "columns": {"a": {"type": "int"}, "b": {}}}]},
        {"table": "sales", "columns": [{"field": "a", "dtype": "int"}, {"name": "b", "type": 7}]},
        {"table": "sales", "schema": {"columns": [{"name": "a", "type": "int"}, "b", "", 3]}},
    ],
)
def test_forms_of_a_schema(payload: dict[str, Any]) -> None:
    assert tables_of(payload) == {"sales": [("a", "int"), ("b", None)]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["sales", "a", "int", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["tables", "columns", "schema", "name", "table", "data"]), inner, max_size=4)
    ),
)


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["tables", "columns", "schema", "table", "data"]), JSON, max_size=4))
def test_whatever_a_schema_looks_like_nothing_breaks(payload: dict[str, Any]) -> None:
    for name, columns in tables_of(payload).items():
        assert name
        assert all(column.name and (column.type is None or isinstance(column.type, str)) for column in columns)


def test_without_openlineage_nothing_of_it_is_imported() -> None:
    script = (
        "import sys\n"
        "import airflow_provider_nenoa.operators.openanalyst, airflow_provider_nenoa.operators.nenai\n"
        "import airflow_provider_nenoa.hooks.openanalyst_sql, airflow_provider_nenoa.results.storage\n"
        "import airflow_provider_nenoa.operators.attempt\n"
        "print(*[name for name in sys.modules if name.startswith(('openlineage', 'airflow.providers.openlineage.e'))])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == ""  # Airflow 3.0 logs there, too
