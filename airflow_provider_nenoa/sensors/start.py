"""How the scheduler defers a sensor, so that no worker begins it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import XComArg
from airflow.triggers.base import BaseTrigger, StartTriggerArgs

from airflow_provider_nenoa.triggers import GRACE
from airflow_provider_nenoa.triggers.kinds import trigger_class


def start_trigger_args(
    kind: str,
    run_id: Any,
    conn_id: Any,
    *,
    timeout: float,
    execution_timeout: timedelta | None,
    **kwargs: Any,
) -> StartTriggerArgs | None:
    """
    Return the trigger with which the scheduler defers a sensor; None where a worker must begin it.

    That is before Airflow 3.3, which is the first to render templates on a trigger, and for an id that a triggerer
    cannot render: the output of a task through ``map`` or ``zip``, an ``xcom_pull`` without ``map_indexes``.

    :param kind: The name of the run's `Kind`.
    :param run_id: The run, a template, or the output of a task.
    :param conn_id: The connection, the same.
    :param timeout: Seconds for which the sensor waits.
    :param execution_timeout: That of the task.
    :param kwargs: Others of `RunTrigger`, known before the task is deferred.
    """
    trigger = trigger_class(kind)
    texts = {trigger.id_parameter: _as_text(run_id), trigger.conn_parameter: _as_text(conn_id)}
    if not hasattr(BaseTrigger, "render_template_fields") or None in texts.values():
        return None
    bound = float("inf") if execution_timeout is None else execution_timeout.total_seconds()
    arguments: dict[str, Any] = {
        **texts,
        "told": None,
        # As `RunSensor` has it when it defers itself; but here Airflow counts the execution_timeout, too.
        "patience": min(timeout, max(1.0, bound - 2.0)),
        "lifetime": min(timeout + GRACE, bound),
        **kwargs,
    }
    return StartTriggerArgs(
        trigger_cls=f"{trigger.__module__}.{trigger.__qualname__}",
        trigger_kwargs=arguments,
        next_method="execute_complete",
        timeout=timedelta(seconds=timeout + GRACE),
    )


def _as_text(value: Any) -> str | None:
    """
    Return a text, or the template that renders to the output of a task; None: what a triggerer cannot render.

    A triggerer of Airflow 3.3 never answers an ``xcom_pull`` without ``map_indexes``: it knows the request for one
    XCom only, and the trigger would hang.
    """
    if isinstance(value, XComArg):
        text = str(value)
        return text.replace(") }}", ", map_indexes=-1) }}") if text.startswith("{{") else None
    if not isinstance(value, str) or ("xcom_pull" in value and "map_indexes" not in value):
        return None
    return value
