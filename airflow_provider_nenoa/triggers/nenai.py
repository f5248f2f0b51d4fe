"""The trigger that waits for NenAI."""

from __future__ import annotations

from typing import Any

from airflow_provider_nenoa.triggers.base import RunTrigger, another_name


class NenAIWorkflowRunTrigger(RunTrigger):
    """
    Wait until a workflow run has ended.

    :param message_id: The ``messageId`` of the run.
    :param nenai_conn_id: The connection. Default ``nenai_default``.
    :param kwargs: ``poll_interval``, ``deadline``, ``started_at``, ``told`` and ``ref`` of `RunTrigger`.
    """

    kind = "workflow"
    id_parameter = "message_id"
    conn_parameter = "nenai_conn_id"
    message_id = another_name("run_id")
    nenai_conn_id = another_name("conn_id")

    def __init__(self, message_id: str | None, nenai_conn_id: str = "nenai_default", **kwargs: Any) -> None:
        super().__init__(message_id, nenai_conn_id, **kwargs)

    def _the_run(self) -> str:
        from airflow_provider_nenoa.vendors.nenai import run_url

        return super()._the_run() + (f" ({run_url(self.run_id)})" if self.run_id else "")
