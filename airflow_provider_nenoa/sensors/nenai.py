"""Sensors for NenAI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.sensors.base import RunSensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_nenoa.triggers.base import RunTrigger


class NenAIWorkflowRunSensor(RunSensor):
    """
    Wait until a workflow run has ended, wherever it was started, as long as it was given our webhook URL.

    Returns a dict: ``message_id``, ``status`` (NenAI's word) and ``result`` (the webhook's whole body).

    :param message_id: The ``messageId`` of the run, for example from a `NenAIRunWorkflowOperator` with
        ``wait_for_completion=False``. (templated)
    :param nenai_conn_id: The connection. Default ``nenai_default``. (templated)
    :param kwargs: ``deferrable`` and ``poll_interval`` of `RunSensor`, and those of every sensor.
    """

    kind_name = "workflow"
    id_key = "message_id"
    conn_key = "nenai_conn_id"
    template_fields: Sequence[str] = ("message_id", "nenai_conn_id")

    def __init__(self, *, message_id: str, nenai_conn_id: str = "nenai_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message_id = message_id
        self.nenai_conn_id = nenai_conn_id

    def make_trigger(self, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run."""
        from airflow_provider_nenoa.triggers.nenai import NenAIWorkflowRunTrigger

        return NenAIWorkflowRunTrigger(self.message_id, self.nenai_conn_id, **kwargs)
