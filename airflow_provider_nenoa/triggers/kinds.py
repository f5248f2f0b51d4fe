"""Which trigger waits for which kind of run."""

from __future__ import annotations

from typing import Any

from airflow_provider_nenoa.triggers.base import RunTrigger
from airflow_provider_nenoa.triggers.nenai import NenAIWorkflowRunTrigger
from airflow_provider_nenoa.triggers.openanalyst import (
    OpenAnalystAgentRunTrigger,
    OpenAnalystExportTrigger,
    OpenAnalystQueryTrigger,
)

_TRIGGERS: dict[str, type[RunTrigger]] = {
    trigger.kind: trigger
    for trigger in (
        NenAIWorkflowRunTrigger,
        OpenAnalystAgentRunTrigger,
        OpenAnalystQueryTrigger,
        OpenAnalystExportTrigger,
    )
}


def trigger_class(kind: str) -> type[RunTrigger]:
    """Return the class of the trigger that waits for a kind of run."""
    return _TRIGGERS[kind]


def trigger_of(kind: str, run_id: str | None, conn_id: str, **kwargs: Any) -> RunTrigger:
    """
    Make the trigger that waits for a run.

    :param kind: The name of the run's `Kind`.
    :param run_id: The vendor's id of the run; None: it is looked for by ``ref``.
    :param conn_id: The Airflow connection.
    :param kwargs: Those of `RunTrigger`.
    """
    return _TRIGGERS[kind](run_id, conn_id, **kwargs)
