"""
Name a data set and a report as OpenAnalyst's pages show them, instead of by their ids.

A name is looked up when the task runs. Where there is none, or several, the task fails before anything is started, and
says which there are.

It needs a connection ``openanalyst_default``.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystGetReportOperator


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    params={
        "dataset": Param("Sales 2024", type="string"),
        "report": Param("Revenue by month: South", type="string"),
    },
)
def openanalyst_names() -> None:
    query = OpenAnalystExecuteQueryOperator(
        task_id="best_product",
        dataset_name="{{ params.dataset }}",
        query="SELECT product, SUM(revenue) AS revenue FROM sales GROUP BY product ORDER BY revenue DESC LIMIT 1",
    )
    report = OpenAnalystGetReportOperator(task_id="report", report_name="{{ params.report }}")

    @task
    def tell(best: dict[str, Any], report: dict[str, Any]) -> str:
        return f"{report['name']}, and most of it with {best['rows'][0]['product']}"

    tell(query.output, report.output)  # type: ignore[arg-type]


openanalyst_names()
