"""Sensors for OpenAnalyst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_nenoa.sensors.base import POKE_INTERVAL, RunSensor
from airflow_provider_nenoa.triggers import whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
    from airflow_provider_nenoa.runs import Run


class OpenAnalystAgentRunSensor(RunSensor):
    """
    Wait until an agent run has ended.

    Returns a dict: ``run_id``, ``status`` (the vendor's word) and ``result`` (the vendor's whole payload).

    :param run_id: The ``run_id`` of the run, for example from an `OpenAnalystRunAgentOperator` with
        ``wait_for_completion=False``. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
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

    kind_name = "agent"
    id_key = "run_id"
    conn_key = "openanalyst_conn_id"
    template_fields: Sequence[str] = ("run_id", "openanalyst_conn_id")

    def __init__(
        self,
        *,
        run_id: str,
        openanalyst_conn_id: str = "openanalyst_default",
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
        self.run_id = run_id
        self.openanalyst_conn_id = openanalyst_conn_id
        self._start_in_triggerer()


class OpenAnalystQuerySensor(RunSensor):
    """
    Wait until a query has ended.

    Returns a dict: ``query_id``, ``status`` (the vendor's word) and ``result`` (the vendor's whole payload).

    :param query_id: The ``id`` of the query, for example from an `OpenAnalystExecuteQueryOperator` with
        ``wait_for_completion=False``. (templated)
    :param max_xcom_rows: How many rows may be returned through XCom, which goes through Airflow's database. Default
        1,000.
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
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
        self.query_id = query_id
        self.max_xcom_rows = whole_number("max_xcom_rows", max_xcom_rows, least=0)
        self.openanalyst_conn_id = openanalyst_conn_id
        self._start_in_triggerer()

    def finish(self, run: Run) -> dict[str, Any]:
        """Return what OpenAnalyst sent, unless that is too much."""
        from airflow_provider_nenoa.results.reply import UpTo
        from airflow_provider_nenoa.results.rows import are_left, check_fit_for_xcom

        if are_left(run.payload):
            hook: OpenAnalystHook = self._hook()  # type: ignore[assignment]
            run = hook.get_query_results(run.run_id, large=UpTo(self.max_xcom_rows))
        check_fit_for_xcom(run.payload, self.max_xcom_rows)
        return super().finish(run)


class OpenAnalystExportSensor(RunSensor):
    """
    Wait until the file of an export is ready; `OpenAnalystHook.download_export` then fetches it.

    Returns a dict: ``export_id`` and ``status`` (the vendor's word).

    :param export_id: The ``id`` of the export, for example from an `OpenAnalystExportOperator` with
        ``wait_for_completion=False``. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
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

    kind_name = "export"
    id_key = "export_id"
    conn_key = "openanalyst_conn_id"
    template_fields: Sequence[str] = ("export_id", "openanalyst_conn_id")

    def __init__(
        self,
        *,
        export_id: str,
        openanalyst_conn_id: str = "openanalyst_default",
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
        self.export_id = export_id
        self.openanalyst_conn_id = openanalyst_conn_id
        self._start_in_triggerer()

    def finish(self, run: Run) -> dict[str, Any]:
        """Return no payload: it may have a link to the file, which is a secret."""
        return {"export_id": run.run_id, "status": run.word}
