"""The DAGs of the benchmark ``workers``: one run awaited in each of our ways, and by each peer."""

from __future__ import annotations

from typing import Any

from airflow.providers.airbyte.sensors.airbyte import AirbyteJobSensor
from airflow.providers.anthropic.operators.agent import AnthropicAgentSessionOperator
from airflow.providers.databricks.operators.databricks import DatabricksSubmitRunOperator
from airflow.providers.dbt.cloud.sensors.dbt import DbtCloudJobRunSensor
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG

from airflow_provider_nenoa.operators.openanalyst import OpenAnalystRunAgentOperator
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystAgentRunSensor

SOON = 5.0
"""Seconds between two questions, where that can be set: it changes nothing about who asks."""

with DAG("ours", params={"run_id": ""}):
    OpenAnalystRunAgentOperator(
        task_id="operator",
        agent_id="agent_xyz789",
        task_prompt="Wait",
        context={"emulate": {"seconds": None}},
        deferrable=True,
    )
    ways: dict[str, dict[str, Any]] = {
        "sensor": {"deferrable": True},
        "start_from_trigger": {"start_from_trigger": True},
        "start_and_end_from_trigger": {"start_from_trigger": True, "end_from_trigger": True},
    }
    for name, options in ways.items():
        OpenAnalystAgentRunSensor(task_id=name, run_id="{{ params.run_id }}", **options)

with DAG("peers"):
    AirbyteJobSensor(task_id="airbyte", airbyte_conn_id="airbyte", airbyte_job_id=1, deferrable=True)
    AnthropicAgentSessionOperator(
        task_id="anthropic",
        conn_id="anthropic",
        agent_id="a",
        environment_id="e",
        message="Wait",
        deferrable=True,
        poll_interval=SOON,
    )
    DatabricksSubmitRunOperator(
        task_id="databricks",
        databricks_conn_id="databricks",
        tasks=[{"task_key": "t", "notebook_task": {"notebook_path": "/n"}}],
        deferrable=True,
        polling_period_seconds=int(SOON),
    )
    DbtCloudJobRunSensor(
        task_id="dbt-cloud", dbt_cloud_conn_id="dbt_cloud", run_id=1, account_id=1, deferrable=True, poke_interval=SOON
    )
    HttpSensor(task_id="http", http_conn_id="http", endpoint="runs/1", deferrable=True, poke_interval=SOON)
