"""
### An agent is told of a failure

The task's query cannot work. An OpenAnalyst agent is told so, with the error, and what it says about it goes on to
whom it may concern: here to the task's log, in earnest to the notifier of your mail or chat.

Runs as it is against the emulator, with the connection `openanalyst_default`. Airflow grants callbacks
`[core] task_success_overtime`, 20 s, after the end of the task: raise it for an agent that needs longer.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, dag

from airflow_provider_nenoa.notifications.agent import OpenAnalystAgentNotifier
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator


def tell(context: Any) -> None:
    """Stand in for another notifier, whose templates would name `{{ agent_answer }}`."""
    print("About the failure of", context["ti"].task_id, "the agent says:", context["agent_answer"])


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    params={"dataset_id": Param("ds_abc123", type="string")},
)
def nenoa_notifier() -> None:
    OpenAnalystExecuteQueryOperator(
        task_id="misspelt",
        dataset_id="{{ params.dataset_id }}",
        query="SELECT revenue FORM sales",
        on_failure_callback=OpenAnalystAgentNotifier(agent_id="agent_xyz789", then=tell),
    )


nenoa_notifier()
