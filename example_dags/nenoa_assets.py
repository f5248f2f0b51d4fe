"""
One DAG asks an agent for a summary each day; another is scheduled on what it made, and learns which run that was.

They need a connection ``openanalyst_default``.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, dag, task

from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator

SALES = Asset("openanalyst://datasets/ds_abc123/sales")
SUMMARY = Asset("openanalyst://agents/agent_xyz789")


@dag(schedule="@daily", catchup=False, tags=["nenoa", "example"], doc_md=__doc__)
def nenoa_assets_producer() -> None:
    revenue = OpenAnalystExecuteQueryOperator(
        task_id="revenue",
        dataset_id="ds_abc123",
        query="SELECT region, sum(revenue) AS revenue FROM sales GROUP BY region",
        inlets=[SALES],
    )
    OpenAnalystRunAgentOperator(
        task_id="summarize",
        agent_id="agent_xyz789",
        task_prompt="Summarize the revenue by region.",
        context={"revenue": revenue.output},
        deferrable=True,
        outlets=[SUMMARY],
    )


@dag(schedule=[SUMMARY], tags=["nenoa", "example"], doc_md=__doc__)
def nenoa_assets_consumer() -> None:
    @task(inlets=[SUMMARY])
    def use(*, inlet_events: Any) -> str:
        told = inlet_events[SUMMARY][-1].extra
        return f"run {told['run_id']} ended with {told['status']}"

    use()


nenoa_assets_producer()
nenoa_assets_consumer()
