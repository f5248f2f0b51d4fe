"""Sensors for OpenAnalyst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.sensors.base import RunSensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.triggers.base import RunTrigger


class OpenAnalystAgentRunSensor(RunSensor):
    """
    Wait until an agent run has ended.

    Returns a dict: ``run_id``, ``status`` (the vendor's word) and ``result`` (the vendor's whole payload).

    :param run_id: The ``run_id`` of the run, for example from an `OpenAnalystRunAgentOperator` with
        ``wait_for_completion=False``. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    :param kwargs: ``deferrable`` and ``poll_interval`` of `RunSensor`, and those of every sensor.
    """

    kind_name = "agent"
    id_key = "run_id"
    conn_key = "openanalyst_conn_id"
    template_fields: Sequence[str] = ("run_id", "openanalyst_conn_id")

    def __init__(self, *, run_id: str, openanalyst_conn_id: str = "openanalyst_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.run_id = run_id
        self.openanalyst_conn_id = openanalyst_conn_id

    def make_trigger(self, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run."""
        from airflow_provider_nenoa.triggers.openanalyst import OpenAnalystAgentRunTrigger

        return OpenAnalystAgentRunTrigger(self.run_id, self.openanalyst_conn_id, **kwargs)


class OpenAnalystQuerySensor(RunSensor):
    """
    Wait until a query has ended.

    Returns a dict: ``query_id``, ``status`` (the vendor's word) and ``result`` (the vendor's whole payload).

    :param query_id: The ``id`` of the query, for example from an `OpenAnalystExecuteQueryOperator` with
        ``wait_for_completion=False``. (templated)
    :param max_xcom_rows: How many rows may be returned through XCom, which goes through Airflow's database. Default
        1,000.
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    :param kwargs: ``deferrable`` and ``poll_interval`` of `RunSensor`, and those of every sensor.
    """

    kind_name = "query"
    id_key = "query_id"
    conn_key = "openanalyst_conn_id"
    template_fields: Sequence[str] = ("query_id", "openanalyst_conn_id")

    def __init__(
        self,
        *,
        query_id: str,
        max_xcom_rows: int = 1_000,
        openanalyst_conn_id: str = "openanalyst_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.query_id = query_id
        self.max_xcom_rows = max_xcom_rows
        self.openanalyst_conn_id = openanalyst_conn_id

    def finish(self, run: Run) -> dict[str, Any]:
        """Return what OpenAnalyst sent, unless that is too much."""
        from airflow_provider_nenoa.rows import check_fit_for_xcom, count_of

        check_fit_for_xcom(count_of(run.payload), self.max_xcom_rows)
        return super().finish(run)

    def make_trigger(self, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the query."""
        from airflow_provider_nenoa.triggers.openanalyst import OpenAnalystQueryTrigger

        return OpenAnalystQueryTrigger(self.query_id, self.openanalyst_conn_id, **kwargs)
