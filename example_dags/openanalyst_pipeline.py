"""
List the data sets, query one of them, let an agent explain the rows, and use its answer.

It needs a connection ``openanalyst_default``. The agent is waited for in the triggerer: no worker is held meanwhile.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystListDatasetsOperator,
    OpenAnalystRunAgentOperator,
)


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={"agent_id": Param("agent_xyz789", type="string"), "table": Param("sales", type="string")},
)
def openanalyst_pipeline() -> None:
    datasets = OpenAnalystListDatasetsOperator(task_id="list_datasets")

    @task
    def choose(datasets: list[dict[str, Any]]) -> str:
        return datasets[0]["id"]

    dataset_id = choose(datasets.output)  # type: ignore[arg-type]

    revenue = OpenAnalystExecuteQueryOperator(
        task_id="revenue",
        dataset_id=dataset_id,  # type: ignore[arg-type]
        query="SELECT region, SUM(revenue) AS revenue FROM {{ params.table }} GROUP BY region ORDER BY revenue DESC",
    )
    explain = OpenAnalystRunAgentOperator(
        task_id="explain",
        agent_id="{{ params.agent_id }}",
        task_prompt="Explain the revenue by region, and flag any anomalies.",
        context={"dataset_id": dataset_id, "revenue": revenue.output},
        deferrable=True,
    )

    @task
    def use(answer: dict[str, Any]) -> None:
        print(answer["result"])

    use(explain.output)  # type: ignore[arg-type]


openanalyst_pipeline()
