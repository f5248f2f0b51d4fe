"""
Check a data set with Airflow's own SQL operators, store some of its rows as Parquet, and read them back.

It needs the connections ``openanalyst_default`` and ``openanalyst_sql_default`` (with the data set's id as its schema),
and the extras ``sql`` and ``parquet`` of this package. ``output`` may be any URL that Airflow's object storage
understands, for example ``s3://aws_default@bucket/sales``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.sql.operators.sql import SQLColumnCheckOperator, SQLTableCheckOperator
from airflow.sdk import ObjectStoragePath, Param, dag, task

from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={
        "dataset_id": Param("ds_abc123", type="string"),
        "region": Param("South", type="string"),
        "output": Param("file:///tmp/nenoa/sales", type="string"),
    },
)
def openanalyst_quality_and_export() -> None:
    columns = SQLColumnCheckOperator(
        task_id="check_columns",
        conn_id="openanalyst_sql_default",
        database="{{ params.dataset_id }}",
        table="sales",
        column_mapping={
            "quantity": {"min": {"geq_to": 0}, "null_check": {"equal_to": 0}},
            "region": {"distinct_check": {"geq_to": 1}},
        },
    )
    table = SQLTableCheckOperator(
        task_id="check_table",
        conn_id="openanalyst_sql_default",
        database="{{ params.dataset_id }}",
        table="sales",
        checks={"has_rows": {"check_statement": "COUNT(*) > 0"}, "no_debts": {"check_statement": "revenue >= 0"}},
    )
    export = OpenAnalystExecuteQueryOperator(
        task_id="export",
        dataset_id="{{ params.dataset_id }}",
        query="SELECT date, product, quantity, revenue FROM sales WHERE region = :region ORDER BY date",
        parameters={"region": "{{ params.region }}"},  # bound as a value, whatever somebody types in
        output_path="{{ params.output }}/{{ ds_nodash | default('now') }}.parquet",
    )

    @task
    def summarise(exported: dict[str, Any]) -> dict[str, Any]:
        from pyarrow import parquet

        (file,) = exported["files"]
        with ObjectStoragePath(file["path"]).open("rb") as opened:
            rows = parquet.read_table(opened)
        return {"rows": rows.num_rows, "revenue": round(sum(rows["revenue"].to_pylist()), 2)}

    [columns, table] >> export
    summarise(export.output)  # type: ignore[arg-type]


openanalyst_quality_and_export()
