"""DAGs for the end-to-end tests of what Airflow expects of a provider: lineage, decorators, retry policies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import DAG, task

from airflow_provider_nenoa.exceptions import AirflowOptionalProviderFeatureException
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator

WORKFLOW = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"

with DAG("lineage", params={"out": "/nowhere"}):
    OpenAnalystExecuteQueryOperator(
        task_id="query",
        dataset_id="ds_abc123",
        query="SELECT region, SUM(revenue) AS revenue FROM sales WHERE product <> :product GROUP BY region",
        parameters={"product": "none of them"},
        output_path="file://{{ params.out }}/revenue.csv",
        openanalyst_conn_id="openanalyst_polled",
    )
    SQLExecuteQueryOperator(task_id="sql", sql="SELECT product, quantity FROM sales LIMIT 3", conn_id="openanalyst_sql")

    @task.openanalyst_agent(agent_id="agent_xyz789", openanalyst_conn_id="openanalyst_told", deferrable=True)
    def agent(subject: str) -> str:
        return f"Summarise {subject}"

    agent.override(task_id="agents", retries=0).expand(subject=["sales", "costs"])
    NenAIRunWorkflowOperator(
        task_id="failing",
        workflow_id=WORKFLOW,
        workflow_params={"emulate": {"outcome": "failed", "error": "The window never opened"}},
        nenai_conn_id="nenai_told",
        deferrable=True,
    )

try:
    from airflow_provider_nenoa.retries import RetryAfterPolicy
except AirflowOptionalProviderFeatureException:  # Airflow 3.0 to 3.2
    pass
else:
    with DAG("retry_after"):
        hurry: dict[str, Any] = {"timeout": 2, "retries": 1, "retry_delay": timedelta(days=1)}
        OpenAnalystRunAgentOperator(
            task_id="agent",
            agent_id="agent_xyz789",
            task_prompt="As soon as you can",
            openanalyst_conn_id="openanalyst_polled",
            retry_policy=RetryAfterPolicy(),
            **hurry,
        )
