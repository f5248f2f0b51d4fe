"""
Start an agent in one DAG, and wait for it in another: the second is triggered with the run's id.

The scheduler itself defers the sensor (Airflow 3.3 and later): no worker begins to wait, one ends it.

They need a connection ``openanalyst_default``.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Param, dag

from airflow_provider_nenoa.operators.openanalyst import OpenAnalystRunAgentOperator
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystAgentRunSensor

DEFAULT_ARGS = {"retries": 2, "retry_delay": timedelta(seconds=30)}


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    default_args=DEFAULT_ARGS,
    params={"agent_id": "agent_xyz789"},
)
def openanalyst_start_only() -> None:
    start = OpenAnalystRunAgentOperator(
        task_id="start",
        agent_id="{{ params.agent_id }}",
        task_prompt="Generate the monthly revenue summary.",
        wait_for_completion=False,
    )
    TriggerDagRunOperator(task_id="hand_over", trigger_dag_id="openanalyst_wait_only", conf={"run_id": start.output})


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    default_args=DEFAULT_ARGS,
    params={"run_id": Param("", type="string")},
)
def openanalyst_wait_only() -> None:
    OpenAnalystAgentRunSensor(task_id="wait", run_id="{{ params.run_id }}", start_from_trigger=True, timeout=3600)


openanalyst_start_only()
openanalyst_wait_only()
