"""
### TaskFlow

Functions say what is asked for: the SQL and its values, the agent's prompt, the workflow's parameters.

Runs as it is against the emulator, with the connections `openanalyst_default` and `nenai_default`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import Param, dag, task
from airflow.sdk.definitions.template import literal  # from 3.2 on, also of airflow.sdk


@dag(
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    params={
        "dataset_id": Param("ds_abc123", type="string"),
        "agent_id": Param("agent_xyz789", type="string"),
        "workflow_id": Param("6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11", type="string", format="uuid"),
    },
)
def nenoa_taskflow() -> None:
    @task.openanalyst_query(dataset_id="{{ params.dataset_id }}")
    def sales(region: str) -> tuple[str, dict[str, Any]]:
        return (
            "SELECT product, SUM(revenue) AS revenue FROM sales WHERE region = :region GROUP BY product",
            {"region": region},
        )

    @task.openanalyst_agent(agent_id="{{ params.agent_id }}", deferrable=True, poll_interval=5)
    def explain(rows: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return "Explain these sales, in one sentence for each product.", {"sales": rows["rows"]}

    @task.nenai_workflow(workflow_id="{{ params.workflow_id }}", deferrable=True, poll_interval=5, retries=2)
    def publish(explained: dict[str, Any]) -> dict[str, Any]:
        # An agent may write anything, braces too: that is no template.
        return {"text": literal(str(explained["final_answer"] or explained["result"]))}

    publish.expand(explained=explain.expand(rows=sales.expand(region=["North", "South"])))


nenoa_taskflow()
