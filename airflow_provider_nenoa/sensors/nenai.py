"""Sensors for NenAI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_nenoa.sensors.base import POKE_INTERVAL, RunSensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta


class NenAIWorkflowRunSensor(RunSensor):
    """
    Wait until a workflow run has ended, wherever it was started, as long as it was given our webhook URL.

    Returns a dict: ``message_id``, ``status`` (NenAI's word) and ``result`` (the webhook's whole body).

    :param message_id: The ``messageId`` of the run, for example from a `NenAIRunWorkflowOperator` with
        ``wait_for_completion=False``. (templated)
    :param nenai_conn_id: The connection. Default ``nenai_default``. (templated)
    :param deferrable: Wait in the triggerer, without holding a worker. Default: ``[operators] default_deferrable``.
    :param poll_interval: Shortest interval, in seconds or as a timedelta, at which the vendor is asked in deferrable
        mode; it grows with the time waited. Default: ``poke_interval``.
    :param poke_interval: Seconds, or a timedelta, between two questions in ``poke`` and ``reschedule`` mode. Default
        60.
    :param timeout: Seconds, or a timedelta, after which the sensor fails, without retries. Default: ``[sensors]
        default_timeout``.
    :param mode: ``poke`` (the default) or ``reschedule``.
    :param soft_fail: Skip instead of failing at the time-out, and where no other try would help. Default False.
    :param never_fail: Skip instead of failing after an error, such as a run that failed. Default False.
    :param start_from_trigger: Have the scheduler defer the task, so that no worker begins it: with Airflow 3.3 and
        later; before, and in a mapped task, a worker begins it. It makes the sensor deferrable. Default False.
    :param end_from_trigger: Have the triggerer end the task if the run has succeeded, so that no worker ends it. The
        task then returns nothing. It makes the sensor deferrable. Default False.
    :param kwargs: Those of every sensor.
    """

    kind_name = "workflow"
    id_key = "message_id"
    conn_key = "nenai_conn_id"
    template_fields: Sequence[str] = ("message_id", "nenai_conn_id")

    def __init__(
        self,
        *,
        message_id: str,
        nenai_conn_id: str = "nenai_default",
        deferrable: bool | None = None,
        poll_interval: float | timedelta | None = None,
        poke_interval: float | timedelta = POKE_INTERVAL,
        timeout: float | timedelta | None = None,
        mode: Literal["poke", "reschedule"] = "poke",
        soft_fail: bool = False,
        never_fail: bool = False,
        start_from_trigger: bool = False,
        end_from_trigger: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            deferrable=deferrable,
            poll_interval=poll_interval,
            poke_interval=poke_interval,
            timeout=timeout,
            mode=mode,
            soft_fail=soft_fail,
            never_fail=never_fail,
            start_from_trigger=start_from_trigger,
            end_from_trigger=end_from_trigger,
            **kwargs,
        )
        self.message_id = message_id
        self.nenai_conn_id = nenai_conn_id
        self._start_in_triggerer()
