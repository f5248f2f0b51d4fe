"""Triggers that wait for OpenAnalyst."""

from __future__ import annotations

from typing import Any

from airflow_provider_nenoa.triggers.base import RunTrigger


class OpenAnalystAgentRunTrigger(RunTrigger):
    """
    Wait until an agent run has ended.

    :param run_id: The ``run_id`` of the run.
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``.
    :param kwargs: ``poll_interval``, ``deadline``, ``started_at``, ``told`` and ``ref`` of `RunTrigger`.
    """

    kind = "agent"
    conn_parameter = "openanalyst_conn_id"

    def __init__(self, run_id: str | None, openanalyst_conn_id: str = "openanalyst_default", **kwargs: Any) -> None:
        super().__init__(run_id, openanalyst_conn_id, **kwargs)


class OpenAnalystQueryTrigger(RunTrigger):
    """
    Wait until a query has ended.

    :param query_id: The ``id`` of the query.
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``.
    :param kwargs: ``poll_interval``, ``deadline``, ``started_at``, ``told`` and ``ref`` of `RunTrigger`.
    """

    kind = "query"
    id_parameter = "query_id"
    conn_parameter = "openanalyst_conn_id"

    def __init__(self, query_id: str | None, openanalyst_conn_id: str = "openanalyst_default", **kwargs: Any) -> None:
        super().__init__(query_id, openanalyst_conn_id, **kwargs)
