"""Triggers that wait for OpenAnalyst."""

from __future__ import annotations

from typing import Any

from airflow_provider_nenoa.triggers.base import RunTrigger, another_name


class OpenAnalystAgentRunTrigger(RunTrigger):
    """
    Wait until an agent run has ended.

    :param run_id: The ``run_id`` of the run.
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``.
    :param kwargs: ``poll_interval``, ``deadline``, ``started_at``, ``told`` and ``ref`` of `RunTrigger`.
    """

    kind = "agent"
    conn_parameter = "openanalyst_conn_id"
    openanalyst_conn_id = another_name("conn_id")

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
    query_id = another_name("run_id")
    openanalyst_conn_id = another_name("conn_id")

    def __init__(self, query_id: str | None, openanalyst_conn_id: str = "openanalyst_default", **kwargs: Any) -> None:
        super().__init__(query_id, openanalyst_conn_id, **kwargs)


class OpenAnalystExportTrigger(RunTrigger):
    """
    Wait until the file of an export is ready.

    :param export_id: The ``id`` of the export.
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``.
    :param kwargs: ``poll_interval``, ``deadline``, ``started_at``, ``told`` and ``ref`` of `RunTrigger`.
    """

    kind = "export"
    id_parameter = "export_id"
    conn_parameter = "openanalyst_conn_id"
    export_id = another_name("run_id")
    openanalyst_conn_id = another_name("conn_id")

    def __init__(self, export_id: str | None, openanalyst_conn_id: str = "openanalyst_default", **kwargs: Any) -> None:
        super().__init__(export_id, openanalyst_conn_id, **kwargs)
