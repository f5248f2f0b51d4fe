"""DAGs for the end-to-end tests of webhooks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, Param, task

from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystRunAgentOperator
from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor
from airflow_provider_nenoa.triggers.events import RunEventTrigger

WORKFLOW = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"
MANY = [{"number": number} for number in range(50)]
# Airflow's scheduler may fail a task that comes back before it has noticed that the task was gone.
SETTLED = 5
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=1)}

with DAG("many_workflows", default_args=RETRIES):
    NenAIRunWorkflowOperator.partial(
        task_id="run", workflow_id=WORKFLOW, nenai_conn_id="nenai_told", deferrable=True
    ).expand(workflow_params=MANY)

with DAG("many_agents", default_args=RETRIES):
    OpenAnalystRunAgentOperator.partial(
        task_id="run",
        agent_id="agent_xyz789",
        task_prompt="Count",
        openanalyst_conn_id="openanalyst_told",
        deferrable=True,
    ).expand(context=MANY)

with DAG("as_many_agents", params={"count": 1}, default_args=RETRIES):

    @task
    def contexts(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        # The emulator ends such a run when the test says so.
        return [{"number": number, "emulate": {"seconds": None}} for number in range((params or {})["count"])]

    OpenAnalystRunAgentOperator.partial(
        task_id="run",
        agent_id="agent_xyz789",
        task_prompt="Wait",
        openanalyst_conn_id="openanalyst_told",
        deferrable=True,
    ).expand(context=contexts())

with DAG("workflow_blocking"):
    NenAIRunWorkflowOperator(
        task_id="run", workflow_id=WORKFLOW, nenai_conn_id="nenai_told", deferrable=False, retries=0
    )

with DAG("workflow_failed", default_args={"retries": 0}):
    NenAIRunWorkflowOperator(
        task_id="run",
        workflow_id=WORKFLOW,
        workflow_params={"emulate": {"outcome": "failed", "error": "The window never opened"}},
        nenai_conn_id="nenai_told",
        deferrable=True,
    )

with DAG("secure_workflow", default_args={"retries": 0}):
    NenAIRunWorkflowOperator(
        task_id="run",
        workflow_id=WORKFLOW,
        secure_workflow_params={"pin": "{{ 'sesame' }}-8471"},
        nenai_conn_id="nenai_told",
    )

with DAG("started_elsewhere", params={"message_id": Param("", type="string")}, default_args=RETRIES):
    for mode, arguments in (
        ("poke", {"mode": "poke"}),
        ("reschedule", {"mode": "reschedule"}),
        ("deferred", {"deferrable": True}),
    ):
        common: dict[str, Any] = {"nenai_conn_id": "nenai_told", "poke_interval": SETTLED, **arguments}
        NenAIWorkflowRunSensor(task_id=mode, message_id="{{ params.message_id }}", **common)

with DAG("awaited_by_nobody", params={"message_id": Param("", type="string")}, default_args=RETRIES) as dag:

    @task
    def passed_on(params: dict[str, Any] | None = None) -> str:
        return str((params or {})["message_id"])

    common = {"nenai_conn_id": "nenai_told", "start_from_trigger": True}
    NenAIWorkflowRunSensor(task_id="template", message_id="{{ params.message_id }}", **common)
    NenAIWorkflowRunSensor(task_id="output", message_id=passed_on(), **common)  # type: ignore[arg-type]
    NenAIWorkflowRunSensor(
        task_id="too_long", message_id="{{ params.message_id }}", timeout=1, soft_fail=True, **common
    )
    pulling = "{{ ti.xcom_pull('passed_on') }}"  # no triggerer of Airflow 3.3 answers that: a worker begins
    pulled = NenAIWorkflowRunSensor(task_id="pulled", message_id=pulling, **common)
    dag.get_task("passed_on") >> pulled
    NenAIWorkflowRunSensor.partial(task_id="mapped", **common).expand(message_id=["{{ params.message_id }}"])

with DAG("ended_by_nobody", params={"succeeds": "", "fails": ""}):
    by_triggerer = {"nenai_conn_id": "nenai_told", "start_from_trigger": True, "end_from_trigger": True}
    for name in ("succeeds", "fails"):
        NenAIWorkflowRunSensor(task_id=name, message_id=f"{{{{ params.{name} }}}}", retries=0, **by_triggerer)

with DAG("nobody_listens", default_args=RETRIES):
    NenAIRunWorkflowOperator(task_id="run", workflow_id=WORKFLOW, nenai_conn_id="nenai_unheard", deferrable=True)

ended = Asset("told_run", watchers=[AssetWatcher(name="webhooks", trigger=RunEventTrigger("nenai_told"))])

with DAG("on_run_end", schedule=[ended]):

    @task
    def tell(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
        return [event.extra for event in triggering_asset_events[ended]]

    tell()
