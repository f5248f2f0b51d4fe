"""Wait for a run that was started elsewhere: by another task, another DAG, or outside Airflow."""

from __future__ import annotations

import time
from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_nenoa.exceptions import (
    AirflowSensorTimeout,
    InvalidArgument,
    RunFailed,
    SensorTimeout,
)
from airflow_provider_nenoa.operators.base import GRACE, default_deferrable, error_of, positive_seconds

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.triggers.base import RunTrigger
    from airflow_provider_nenoa.waiting.kinds import Ended, Kind, RunKey


class RunSensor(BaseSensorOperator):
    """
    Wait until a run has ended. Subclasses say whose.

    It works in ``poke`` and ``reschedule`` mode, and deferrable. Where the connection has a ``webhook_secret``, our
    receiver is asked first, and the vendor only every ten minutes (in ``reschedule`` mode, with each poke).

    Returns a dict: the run's id, ``status`` (the vendor's word) and ``result`` (the vendor's whole payload).

    :param deferrable: Wait in the triggerer, without holding a worker. Default: ``[operators] default_deferrable``.
    :param poll_interval: Shortest interval in seconds at which the vendor is asked in deferrable mode; it grows with
        the time waited. Default: ``poke_interval``.
    :param kwargs: ``poke_interval``, ``timeout``, ``mode``, ``soft_fail`` and the others of every sensor.
    """

    kind_name: ClassVar[str]
    id_key: ClassVar[str]
    conn_key: ClassVar[str]

    def __init__(self, *, deferrable: bool | None = None, poll_interval: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("poke_interval", "timeout"):
            positive_seconds(name, getattr(self, name))
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        if poll_interval is None:
            poll_interval = self.poke_interval
        self.poll_interval = positive_seconds("poll_interval", poll_interval)
        self._word = ""
        self._asked_vendor_at: float | None = None

    @property
    def conn_id(self) -> str:
        """The Airflow connection, under whatever name the subclass takes it."""
        conn_id: str = getattr(self, self.conn_key)
        return conn_id

    @property
    def awaited_id(self) -> str:
        """The vendor's id of the run, under whatever name the subclass takes it."""
        run_id: str = getattr(self, self.id_key)
        return run_id

    @abstractmethod
    def make_trigger(self, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run; ``kwargs`` are those of `RunTrigger`."""

    def finish(self, run: Run) -> dict[str, Any]:
        """Return the task's result for a run that has succeeded."""
        return {self.id_key: run.run_id, "status": run.word, "result": run.payload}

    @property
    def kind(self) -> Kind:
        """What kind of run is awaited."""
        from airflow_provider_nenoa.waiting.kinds import KINDS

        return KINDS[self.kind_name]

    def execute(self, context: Context) -> Any:
        """Ask once; then poke on, or defer."""
        if not isinstance(self.awaited_id, str) or not self.awaited_id.strip():
            raise InvalidArgument(f"'{self.id_key}' must be a non-empty string, not {self.awaited_id!r}.")
        if not self.deferrable:
            try:
                return super().execute(context)
            except AirflowSensorTimeout:
                raise self._timed_out(self._word) from None
        if (ended := self._ask()) is not None:
            return self._result(self._hook(), ended)
        now = time.time()
        self.defer(
            trigger=self.make_trigger(
                poll_interval=self.poll_interval,
                deadline=now + self.timeout,
                started_at=now,
                told=bool(self._hook().settings.webhook_secret),
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout + GRACE),
        )
        return None

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Ask once how the run stands."""
        ended = self._ask()
        return False if ended is None else PokeReturnValue(True, self._result(self._hook(), ended))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the trigger fired."""
        from airflow_provider_nenoa.waiting.kinds import Ended

        if "error" in event:
            raise error_of(event)
        if "timeout" in event:
            # It may have ended while no triggerer ran.
            if (ended := self._ask()) is not None:
                return self._result(self._hook(), ended)
            raise self._timed_out(self._word or event["timeout"])
        return self._result(self._hook(), Ended.from_event(event))

    def _ask(self) -> Ended | None:
        from airflow_provider_nenoa.waiting import asking
        from airflow_provider_nenoa.waiting.pace import SAFETY_INTERVAL

        hook = self._hook()
        told = bool(hook.settings.webhook_secret)
        if not told and not self.kind.can_poll(hook):
            raise asking.cannot_be_learnt(hook, self.kind)
        now = time.monotonic()
        vendor = not told or self._asked_vendor_at is None or now - self._asked_vendor_at >= SAFETY_INTERVAL
        if vendor:
            self._asked_vendor_at = now
        try:
            return asking.ask(hook, self._key(), vendor=vendor, on_word=self._log_status)
        except asking.TRANSIENT as error:
            self.log.warning("%s Waiting on.", error)
            return None

    def _result(self, hook: VendorHook, ended: Ended) -> dict[str, Any]:
        from airflow_provider_nenoa.waiting import asking

        run = asking.read(hook, self._key(), ended)
        if not run.status.is_success:
            raise RunFailed(f"{self._the_run()} ended in '{run.word}': {run.error or 'no reason was given'}")
        self.log.info("%s ended in '%s'.", self._the_run(), run.word)
        return self.finish(run)

    def _timed_out(self, word: str) -> SensorTimeout:
        from airflow_provider_nenoa.runs import status_of

        last = f"its last known status is '{word}'" if word else "nothing was heard of its status"
        if word and status_of(word) is None:
            last += ", which is no word we know"
        return SensorTimeout(
            f"{self._the_run()} did not end within the sensor's timeout of {self.timeout:.0f} s; {last}. The run goes "
            "on. Raise 'timeout' if such runs take longer."
        )

    def _log_status(self, word: str) -> None:
        from airflow_provider_nenoa.runs import status_of

        if word == self._word:
            return
        self._word = word
        if status_of(word) is None:
            self.log.warning("The status is %r, which is no word we know; waiting on.", word)
        else:
            self.log.info("The status is '%s'.", word)

    def _hook(self) -> VendorHook:
        # One try a question: the next poke is the retry.
        return self.kind.hook(self.conn_id, retry_for=0)

    def _key(self) -> RunKey:
        from airflow_provider_nenoa.waiting.kinds import RunKey

        return RunKey(self.conn_id, self.kind_name, self.awaited_id)

    def _the_run(self) -> str:
        return f"{self.kind.vendor} {self.kind.name} run {self.awaited_id}"
