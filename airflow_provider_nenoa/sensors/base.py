"""Wait for a run that was started elsewhere: by another task, another DAG, or outside Airflow."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_nenoa.exceptions import (
    TRANSIENT,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    InvalidArgument,
    RunFailed,
    RunTimeout,
    SensorTimeout,
    TaskDeferralTimeout,
)
from airflow_provider_nenoa.triggers import GRACE, default_deferrable, error_of, positive_seconds, yes_or_no

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.triggers.base import RunTrigger
    from airflow_provider_nenoa.waiting.kinds import Ended, Kind, RunKey


POKE_INTERVAL = 60.0


class RunSensor(BaseSensorOperator):
    """
    Wait until a run has ended. Subclasses say whose.

    It works in ``poke`` and ``reschedule`` mode, and deferrable. Where the connection has a ``webhook_secret``, our
    receiver is asked first, and the vendor only every ten minutes (in ``reschedule`` mode, with each poke).

    Returns a dict: the run's id, ``status`` (the vendor's word) and ``result`` (the vendor's whole payload).

    :param deferrable: Wait in the triggerer, without holding a worker. Default: ``[operators] default_deferrable``.
    :param poll_interval: Shortest interval in seconds at which the vendor is asked in deferrable mode; it grows with
        the time waited. Default: ``poke_interval``.
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

    kind_name: ClassVar[str]
    id_key: ClassVar[str]
    conn_key: ClassVar[str]

    def __init__(
        self,
        *,
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
        if timeout is not None:  # Airflow 3.0 has no None for its default
            kwargs["timeout"] = positive_seconds("timeout", timeout)
        super().__init__(
            poke_interval=positive_seconds("poke_interval", poke_interval),
            mode=mode,
            soft_fail=soft_fail,
            never_fail=never_fail,
            **kwargs,
        )
        switches = {
            "soft_fail": soft_fail,
            "never_fail": never_fail,
            "start_from_trigger": start_from_trigger,
            "end_from_trigger": end_from_trigger,
        }
        for name, value in switches.items():
            yes_or_no(name, value)
        by_triggerer = start_from_trigger or end_from_trigger
        if by_triggerer and deferrable is False:
            name = "start_from_trigger" if start_from_trigger else "end_from_trigger"
            raise InvalidArgument(f"'{name}' is for a deferrable sensor: leave 'deferrable' out.")
        if end_from_trigger and self.outlets:
            raise InvalidArgument("'end_from_trigger' is for a sensor without 'outlets': a worker makes their events.")
        self.start_from_trigger = start_from_trigger
        self.end_from_trigger = end_from_trigger
        self.deferrable = by_triggerer or (
            default_deferrable() if deferrable is None else yes_or_no("deferrable", deferrable)
        )
        if poll_interval is None:
            poll_interval = self.poke_interval
        self.poll_interval = positive_seconds("poll_interval", poll_interval)
        self._word = ""
        self._hook_options: dict[str, Any] = {"retry_for": 0}  # one try a question: the next poke is the retry
        self._asked_vendor_at: float | None = None

    def _start_in_triggerer(self) -> None:
        """Let the scheduler defer the task, if that was asked for. Subclasses call it when all arguments are there."""
        if not self.start_from_trigger:
            return
        from airflow_provider_nenoa.sensors.start import start_trigger_args

        self.start_trigger_args = start_trigger_args(
            self.kind_name,
            self.awaited_id,
            self.conn_id,
            timeout=float(self.timeout),
            execution_timeout=self.execution_timeout,
            **self._trigger_options(),
        )
        self.start_from_trigger = self.start_trigger_args is not None

    def _trigger_options(self) -> dict[str, Any]:
        """Return what the trigger is told, whoever defers the task."""
        return {"poll_interval": self.poll_interval, "end_from_trigger": self.end_from_trigger}

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

    def make_trigger(self, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run; ``kwargs`` are those of `RunTrigger`."""
        from airflow_provider_nenoa.triggers.kinds import trigger_of

        return trigger_of(self.kind_name, self.awaited_id, self.conn_id, **kwargs)

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
        began = time.monotonic()
        self._check_id()
        with self._as_when_poking():
            if not self.deferrable:
                try:
                    return super().execute(context)
                except AirflowSensorTimeout:
                    raise SensorTimeout(self._too_long("timeout", self.timeout, self._word)) from None
            if found := self._look():
                return found.xcom_value
        self._defer(time.time(), time.monotonic() - began)
        return None

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral, by a worker or by the scheduler."""
        self._check_id()
        with self._as_when_poking():
            try:
                # Not the sensors' own, which under soft_fail skips after whatever error (apache/airflow issue 71255).
                return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
            except TaskDeferralTimeout:  # Airflow itself gave the trigger up
                raise self._timed_out(self._word) from None

    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Ask once how the run stands."""
        return self._look() or False

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the trigger fired."""
        from airflow_provider_nenoa.waiting.kinds import Ended

        if "error" in event:
            raise error_of(event)
        is_over = "timeout" in event
        if not is_over:
            self._hook_options = {}  # to defer again, in the midst of an outage, would cost more than to try again
        # At its time-out, too: it may have ended while no triggerer ran.
        if found := self._look(None if is_over else Ended.from_event(event)):
            return found.xcom_value
        if is_over:
            raise self._timed_out(self._word or event["timeout"])
        self._defer(event["started_at"])
        return None

    def _check_id(self) -> None:
        from airflow_provider_nenoa.vendors.arguments import required

        setattr(self, self.id_key, required(self.id_key, self.awaited_id))  # a template may render to a number

    @contextmanager
    def _as_when_poking(self) -> Iterator[None]:
        """
        Let ``soft_fail`` and ``never_fail`` mean the same in every mode and at every moment: what they do when poking.

        An error that another try would not cure skips under both, and so does ``execution_timeout``; the sensor's own
        time-out under ``soft_fail`` only, and any other error, such as a run that failed, under ``never_fail`` only.
        """
        try:
            yield
        except (AirflowSkipException, AirflowRescheduleException):
            raise
        except SensorTimeout as error:
            if not self.soft_fail:
                raise
            raise AirflowSkipException(str(error)) from error
        except (AirflowFailException, AirflowTaskTimeout, RunTimeout) as error:
            if not (self.soft_fail or self.never_fail):
                raise
            raise AirflowSkipException(str(error)) from error
        except Exception as error:
            if not self.never_fail:
                raise
            raise AirflowSkipException(str(error)) from error

    def _defer(self, started_at: float, worked: float = 0.0) -> None:
        """
        Wait in the triggerer.

        :param started_at: When the wait began, in Unix seconds.
        :param worked: Seconds that a worker has spent on the task before.
        """
        from airflow_provider_nenoa.waiting import asking

        hook, patience = self._hook(), float(self.timeout)
        if self.execution_timeout is not None:
            # Airflow does not count the time that a task is deferred; a little less, as when it does.
            left = self.execution_timeout.total_seconds() - 2.0 - worked
            patience = min(patience, max(1.0, left))
        told, deadline = hook.may_be_told, started_at + patience
        how = asking.how_noticed(hook, self.kind, told=told, poll_interval=self.poll_interval, deadline=deadline)
        self.log.info("Waiting for %s. %s", self._the_run(), how)
        self.defer(
            trigger=self.make_trigger(deadline=deadline, started_at=started_at, told=told, **self._trigger_options()),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, deadline - time.time()) + GRACE),
        )

    def _look(self, ended: Ended | None = None) -> PokeReturnValue | None:
        """
        Return the task's result if the run has ended, and whoever has the result answers; None: wait on.

        :param ended: How it ended, if that is known.
        """
        try:
            ended = ended or self._ask()
            return None if ended is None else PokeReturnValue(True, self._result(ended))
        except TRANSIENT as error:
            self.log.warning("%s Waiting on.", error)
            return None

    def _ask(self) -> Ended | None:
        from airflow_provider_nenoa.pacing.pace import SAFETY_INTERVAL
        from airflow_provider_nenoa.waiting import asking

        hook = self._hook()
        told = hook.may_be_told
        if not told and not self.kind.can_poll(hook):
            raise self.kind.cannot_be_learnt(self.conn_id)
        now = time.monotonic()
        vendor = not told or self._asked_vendor_at is None or now - self._asked_vendor_at >= SAFETY_INTERVAL
        if vendor:
            self._asked_vendor_at = now
        return asking.ask(hook, self._key(), vendor=vendor, on_word=self._log_status)

    def _result(self, ended: Ended) -> dict[str, Any] | None:
        from airflow_provider_nenoa.results.xcom import fit_for_airflow
        from airflow_provider_nenoa.waiting import asking

        hook = self._hook()
        run = asking.read(hook, self._key(), ended)
        if not run.status.is_success:
            asking.last_words(hook, self.kind, run.run_id)
            raise RunFailed(f"{self._the_run()} ended in '{run.word}': {run.error or 'no reason was given'}")
        self.log.info("%s ended in '%s'.", self._the_run(), run.word)
        # The same, whoever was the first to hear of the end.
        return None if self.end_from_trigger else fit_for_airflow(self.finish(run), "The result")

    def _timed_out(self, word: str) -> RunTimeout:
        """Return the error for a deferred sensor whose time is over, by whichever limit came first."""
        limit = float("inf") if self.execution_timeout is None else self.execution_timeout.total_seconds()
        if limit < self.timeout:
            return RunTimeout(self._too_long("execution_timeout", limit, word))
        return SensorTimeout(self._too_long("timeout", self.timeout, word))

    def _too_long(self, limit: str, seconds: float, word: str) -> str:
        from airflow_provider_nenoa.runs import status_of

        last = f"its last known status is '{word}'" if word else "nothing was heard of its status"
        if word and status_of(word) is None:
            last += ", which is no word we know"
        return (
            f"{self._the_run()} did not end within the sensor's {limit} of {seconds:.0f} s; {last}.\nThe run goes on. "
            f"{'' if word else self._silence()}Raise '{limit}' if such runs take longer."
        )

    def _silence(self) -> str:
        from airflow_provider_nenoa.exceptions import NenoaError
        from airflow_provider_nenoa.waiting import asking

        try:
            hook = self._hook()
            return f"{asking.see_whether_webhooks_arrive(hook)} " if hook.may_be_told else ""
        except NenoaError:  # the connection cannot be read by now
            return ""

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
        return self.kind.hook(self.conn_id, **self._hook_options)

    def _key(self) -> RunKey:
        from airflow_provider_nenoa.waiting.kinds import RunKey

        return RunKey(self.conn_id, self.kind_name, self.awaited_id)

    def _the_run(self) -> str:
        return f"{self.kind.vendor} {self.kind.name} run {self.awaited_id}"
