"""Links from a task to its run in a vendor's own user interface."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class RunLink(BaseOperatorLink):
    """
    The run in the browser.

    Airflow asks for a task's links in the task's own process, each time the task pauses or ends, and shows what it got.
    The operators store it earlier, as soon as the run's id is known.
    """

    @abstractmethod
    def url(self, run_id: str | None) -> str:
        """Return the run's address; empty for None."""

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the run that the operator's process has to do with; empty while there is none."""
        return self.url(getattr(operator, "remote_run_id", None))
