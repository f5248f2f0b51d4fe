"""
One task for each kind of run and way of waiting. The conf of the DAG's run says on which connection, with which
arguments, and where the process of the first try is killed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Context, TaskGroup
from requests import Response

from airflow_provider_nenoa.hooks.base import VendorHook
from airflow_provider_nenoa.operators import attempt
from airflow_provider_nenoa.operators.attempt import Attempt
from airflow_provider_nenoa.operators.base import RunOperator
from airflow_provider_nenoa.operators.memory import Note
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator
from airflow_provider_nenoa.runs import Run


class MortalAttempt(Attempt):
    """What a mortal operator does: it may die when it has remembered its run."""

    operator: Mortal

    def _go_on(self, note: Note) -> Any:
        self.operator.reach("remembered")
        return super()._go_on(note)


class Mortal(RunOperator):
    """An operator whose first try is killed with SIGKILL at the point that ``conf["dies"]`` names."""

    _dies: str | None = None

    def pre_execute(self, context: Context) -> None:
        conf = context["dag_run"].conf
        if context["ti"].try_number == 1:
            self._dies = conf.get("dies")
        for name, value in conf.get("arguments", {}).items():
            setattr(self, name, value)
        attempt.GRACE = conf.get("grace", attempt.GRACE)

    def make_hook(self) -> VendorHook:
        hook = super().make_hook()
        hook.on_response = self._read
        return hook

    def _read(self, response: Response) -> None:
        if response.request.method == "POST" and "/mcp" not in str(response.request.url):
            self.reach("reply unread")

    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        def announce() -> None:
            before_send()
            self.reach("announced")

        self.reach("not announced")
        run = super().start(callback_url, announce)
        self.reach("not remembered")
        return run

    def execute(self, context: Context) -> Any:
        result = super().execute(context)
        self.reach("finished")
        return result

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        result = super().execute_complete(context, event)
        self.reach("finished")
        return result

    def finish(self, run: Run, context: Context) -> Any:
        self.reach("finishing")
        return super().finish(run, context)

    def _attempt(self, context: Context) -> Attempt:
        return MortalAttempt(self, context)

    def reach(self, point: str) -> None:
        if self._dies == point:
            os.kill(os.getpid(), signal.SIGKILL)


class Agent(Mortal, OpenAnalystRunAgentOperator):
    pass


class Workflow(Mortal, NenAIRunWorkflowOperator):
    pass


class Query(Mortal, OpenAnalystExecuteQueryOperator):
    pass


CONNECTION = "{{ dag_run.conf['conn_id'] }}"
SUBJECT = "{{ run_id }}"
ARGUMENTS: dict[type[Mortal], dict[str, Any]] = {
    Agent: {"agent_id": "agent_xyz789", "task_prompt": f"Summarise {SUBJECT}", "openanalyst_conn_id": CONNECTION},
    Workflow: {
        "workflow_id": "8b0c7d1e-52a4-4c3f-9a9b-0d2f6f3f1c11",
        "workflow_params": {"subject": SUBJECT},
        "nenai_conn_id": CONNECTION,
    },
    Query: {
        "dataset_id": "ds_abc123",
        "query": f"SELECT '{SUBJECT}' AS subject, count(*) AS sales FROM sales",
        "openanalyst_conn_id": CONNECTION,
    },
}
RETRIES: dict[str, Any] = {"retries": 3, "retry_delay": timedelta(seconds=1)}

for operator, arguments in ARGUMENTS.items():
    kind = operator.__name__.lower()
    for mode in ("blocking", "deferrable"):
        common: dict[str, Any] = {"task_id": "task", "deferrable": mode == "deferrable", **arguments}
        with DAG(f"{kind}_{mode}", default_args=RETRIES):
            operator(**common)

        # Airflow looks at an execution_timeout before a conf can change it.
        with DAG(f"{kind}_{mode}_limited", default_args=RETRIES):
            operator(execution_timeout=timedelta(seconds=20), **common)

for mode in ("blocking", "deferrable"):
    with (
        DAG(
            f"agent_{mode}_mapped", default_args=RETRIES | {"retry_exponential_backoff": True, "depends_on_past": True}
        ),
        TaskGroup("group"),
    ):
        Agent.partial(
            task_id="mapped", agent_id="agent_xyz789", openanalyst_conn_id=CONNECTION, deferrable=mode == "deferrable"
        ).expand(task_prompt=[f"Describe {number} of {SUBJECT}" for number in ("one", "two", "three")])

with DAG("agent_deferrable_changing", default_args=RETRIES):
    # A test makes another version of this DAG by making the file.
    changed = Path(os.environ["AIRFLOW_HOME"], "changed").exists()
    Agent(task_id="task", deferrable=True, doc="Another version" if changed else None, **ARGUMENTS[Agent])
