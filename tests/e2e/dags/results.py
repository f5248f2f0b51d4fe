"""DAGs for the end-to-end tests of results: files, rows, and Airflow's own SQL operators."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from airflow.providers.common.sql.operators.sql import (
    BranchSQLOperator,
    SQLColumnCheckOperator,
    SQLExecuteQueryOperator,
    SQLTableCheckOperator,
    SQLValueCheckOperator,
)
from airflow.providers.common.sql.sensors.sql import SqlSensor
from airflow.sdk import DAG, ObjectStoragePath, task

from airflow_provider_nenoa.operators.nenai import NenAIDownloadResultsOperator, NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystGetReportOperator,
    OpenAnalystListReportsOperator,
)
from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor

WORKFLOW = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
FILES = [{"name": "invoice.pdf", "size": 3_000_000}, {"name": "../summary.csv", "content": "a,b\n1,2"}]
AFTER_A_MOMENT = {"seconds": 0.5, "files": FILES}
SQL = {"conn_id": "openanalyst_sql"}
ROWS = {"dataset_id": "ds_abc123", "openanalyst_conn_id": "openanalyst_polled"}
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=1)}


@task
def digests(result: Any) -> dict[str, str]:
    """Read files back from where they were stored."""
    files = result["files"] if isinstance(result, dict) else result
    paths = [ObjectStoragePath(file["path"]) for file in files]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@task
def read_parquet(result: dict[str, Any]) -> dict[str, Any]:
    from pyarrow import parquet

    (file,) = result["files"]
    with ObjectStoragePath(file["path"]).open("rb") as opened:
        table = parquet.read_table(opened)
    return {
        "columns": table.column_names,
        "types": [str(field.type) for field in table.schema],
        "rows": table.num_rows,
        "quantity": sum(table["quantity"].to_pylist()),
    }


with DAG("results", params={"out": "/nowhere", "region": "South"}):
    workflow = NenAIRunWorkflowOperator(
        task_id="workflow",
        workflow_id=WORKFLOW,
        workflow_params={"emulate": AFTER_A_MOMENT},
        output_path="file://{{ params.out }}/files",
        nenai_conn_id="nenai_told",
        deferrable=True,
    )
    checks = [
        SqlSensor(task_id="data_there", sql="SELECT count(*) AS n FROM sales", poke_interval=1, **SQL),
        SQLColumnCheckOperator(
            task_id="columns",
            table="sales",
            column_mapping={
                "quantity": {"min": {"geq_to": 0}, "null_check": {"equal_to": 0}},
                "region": {"distinct_check": {"equal_to": 4}},
            },
            **SQL,
        ),
        SQLTableCheckOperator(
            task_id="table",
            table="sales",
            checks={"rows": {"check_statement": "COUNT(*) = 366 * 16"}, "money": {"check_statement": "revenue >= 0"}},
            **SQL,
        ),
        SQLValueCheckOperator(
            task_id="value",
            sql="/* slow: 1 */ SELECT count(*) AS n FROM sales WHERE region = '{{ params.region }}'",
            pass_value=366 * 4,
            **SQL,
        ),
    ]
    branch = BranchSQLOperator(
        task_id="branch",
        sql="SELECT sum(quantity) > 0 AS good FROM sales WHERE region = :region",
        parameters={"region": "South"},
        follow_task_ids_if_true="export",
        follow_task_ids_if_false="alarm",
        **SQL,
    )
    export = OpenAnalystExecuteQueryOperator(
        task_id="export",
        query="SELECT date, product, quantity, revenue FROM sales WHERE region = :region",
        parameters={"region": "{{ params.region }}"},
        output_path="file://{{ params.out }}/{{ params.region }}.parquet",
        **ROWS,
    )
    alarm = SQLExecuteQueryOperator(task_id="alarm", sql="SELECT 1 AS one", **SQL)
    workflow >> checks >> branch >> [export, alarm]
    digests.override(task_id="files_back")(workflow.output)
    read_parquet.override(task_id="rows_back")(export.output)

with DAG("results_later", params={"out": "/nowhere"}):
    started = NenAIRunWorkflowOperator(
        task_id="start",
        workflow_id=WORKFLOW,
        workflow_params={"emulate": AFTER_A_MOMENT},
        nenai_conn_id="nenai_told",
        wait_for_completion=False,
    )
    wait = NenAIWorkflowRunSensor(
        task_id="wait", message_id=started.output, nenai_conn_id="nenai_told", deferrable=True, poke_interval=1
    )
    download = NenAIDownloadResultsOperator(
        task_id="download",
        message_id=started.output,
        output_path="file://{{ params.out }}/later",
        nenai_conn_id="nenai_told",
    )
    wait >> download
    digests.override(task_id="files_back")(download.output)

with DAG("results_reports", params={"out": "/nowhere"}):
    listed = OpenAnalystListReportsOperator(
        task_id="list", output_path="file://{{ params.out }}/", openanalyst_conn_id="openanalyst_polled"
    )
    OpenAnalystGetReportOperator(
        task_id="get",
        report_id="rep_000001",
        output_path="file://{{ params.out }}/report.json",
        openanalyst_conn_id="openanalyst_polled",
    )

with DAG("results_bad_quality", params={"out": "/nowhere"}, default_args=RETRIES):
    SQLTableCheckOperator(
        task_id="table",
        table="sales",
        checks={"rows": {"check_statement": "COUNT(*) = 1"}},
        retry_on_failure=False,
        **SQL,
    ) >> OpenAnalystExecuteQueryOperator(
        task_id="export", query="SELECT 1 AS one", output_path="file://{{ params.out }}/never.csv", **ROWS
    )

with DAG("results_impossible", default_args=RETRIES):
    SQLExecuteQueryOperator(task_id="write", sql="DELETE FROM sales", **SQL)
    SQLExecuteQueryOperator(task_id="syntax", sql="SELEKT 1", **SQL)
    OpenAnalystExecuteQueryOperator(task_id="too_many", query="SELECT * FROM sales", **ROWS)

with DAG("results_expired", params={"out": "/nowhere"}, default_args=RETRIES):
    NenAIRunWorkflowOperator(
        task_id="workflow",
        workflow_id=WORKFLOW,
        workflow_params={"emulate": AFTER_A_MOMENT},
        output_path="file://{{ params.out }}/expired",
        nenai_conn_id="nenai_told",
    )
