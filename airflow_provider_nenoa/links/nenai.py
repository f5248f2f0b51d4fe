"""A link from the task to the run in NenAI's own user interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


def run_url(message_id: str) -> str:
    """Return the address of a run in the browser (NenAI's public documentation)."""
    return f"https://app.getnen.ai/runs/{message_id}"


class NenAIRunLink(BaseOperatorLink):
    """The run in the browser."""

    name = "NenAI run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the run's address; empty while no run was started."""
        from airflow.sdk.execution_time.xcom import XCom

        message_id = XCom.get_value(ti_key=ti_key, key="message_id")
        return run_url(message_id) if message_id else ""
