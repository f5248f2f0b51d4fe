"""
Run a NenAI workflow, query OpenAnalyst with its outcome, and let an agent summarise.

It needs the connections ``nenai_default`` and ``openanalyst_default``, both with a ``webhook_secret``. The workflow
and the agent are waited for in the triggerer, and a webhook tells their end: each costs its vendor one request.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={
        "workflow_id": Param("6f9619ff-8b86-4d01-b42d-00cf4fc964ff", type="string"),
        "dataset_id": Param("ds_abc123", type="string"),
        "agent_id": Param("agent_xyz789", type="string"),
        "region": Param("South", type="string"),
    },
)
def nenoa_pipeline() -> None:
    workflow = NenAIRunWorkflowOperator(
        task_id="fetch_invoices",
        workflow_id="{{ params.workflow_id }}",
        workflow_params={"region": "{{ params.region }}"},
        deferrable=True,
    )
    query = OpenAnalystExecuteQueryOperator(
        task_id="weekly_sales",
        dataset_id="{{ params.dataset_id }}",
        query="SELECT strftime('%W', date) AS week, SUM(revenue) AS revenue FROM sales "
        "WHERE region = :region GROUP BY week ORDER BY revenue LIMIT 5",
        parameters={"region": "{{ params.region }}"},
    )
    summary = OpenAnalystRunAgentOperator(
        task_id="summarise",
        agent_id="{{ params.agent_id }}",
        task_prompt="Summarise the weakest weeks of {{ params.region }}, and what the invoices say about them.",
        context={"invoices": workflow.output["message_id"], "sales": query.output},
        deferrable=True,
    )

    @task
    def report(message_id: str, rows: dict[str, Any], summary: dict[str, Any]) -> None:
        print("NenAI's run:", message_id)
        print("Rows:", rows["rows"])
        print("Agent:", summary["result"])

    workflow >> query
    # Not all of the workflow's result, which has its files' URLs: Airflow keeps, and shows, what a task is given.
    report(workflow.output["message_id"], query.output, summary.output)  # type: ignore[arg-type]


nenoa_pipeline()
