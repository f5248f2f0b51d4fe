"""Start an agent in one DAG, and wait for it in another: the second is triggered with the run's id."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param, dag

from airflow_provider_nenoa.operators.openanalyst import OpenAnalystRunAgentOperator
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystAgentRunSensor

DEFAULT_ARGS = {"retries": 2, "retry_delay": timedelta(seconds=30)}


@dag(schedule=None, tags=["nenoa", "example"], default_args=DEFAULT_ARGS, params={"agent_id": "agent_xyz789"})
def openanalyst_start_only() -> None:
    start = OpenAnalystRunAgentOperator(
        task_id="start",
        agent_id="{{ params.agent_id }}",
        task_prompt="Generate the monthly revenue summary.",
        wait_for_completion=False,
    )
    TriggerDagRunOperator(task_id="hand_over", trigger_dag_id="openanalyst_wait_only", conf={"run_id": start.output})


@dag(schedule=None, tags=["nenoa", "example"], default_args=DEFAULT_ARGS, params={"run_id": Param("", type="string")})
def openanalyst_wait_only() -> None:
    OpenAnalystAgentRunSensor(task_id="wait", run_id="{{ params.run_id }}", deferrable=True, timeout=3600)


openanalyst_start_only()
openanalyst_wait_only()
