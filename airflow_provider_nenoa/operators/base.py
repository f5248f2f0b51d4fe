"""
Start, remember, wait, finish: the life of a run, written once.

A vendor's operator says only how its run is started and what it returns.
"""

from __future__ import annotations

import secrets
import time
from abc import abstractmethod
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.configuration import conf
from airflow.sdk import BaseOperator

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.exceptions import (
    DeadlinePassed,
    InvalidArgument,
    InvalidConnection,
    NenoaError,
    NotFound,
    PermanentError,
    ReceiverUnavailable,
    RunFailed,
    RunTimeout,
    StartOutcomeUnknown,
    TaskDeferralTimeout,
)
from airflow_provider_nenoa.operators.memory import Note, memory_of
from airflow_provider_nenoa.runs import Run, RunStatus, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk import Context

    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.triggers.base import RunTrigger
    from airflow_provider_nenoa.waiting.kinds import Ended, Kind, RunKey

GRACE = 600.0
"""Seconds after our own deadline at which Airflow gives up on a trigger that no triggerer runs."""


class RunOperator(BaseOperator):
    """
    Start a run of a vendor, wait for its end, return its result. Subclasses say which.

    :param deferrable: Wait in the triggerer, without holding a worker. Default: ``[operators] default_deferrable``.
    :param wait_for_completion: False: return the run's id as soon as it was started. Default True.
    :param poll_interval: Shortest interval in seconds at which the vendor is asked, where no webhook tells the end;
        it grows with the run's age. Default 15.
    :param timeout: Seconds, or a timedelta, after which the task stops waiting and fails; ``execution_timeout``
        counts too. The remote run goes on: neither vendor's API can cancel one. Default 24 hours.
    :param durable: Go on with the run that an earlier attempt of this task instance left, instead of starting
        another one. Default True.
    :param on_lost_start: What to do when a start's reply was lost and no webhook told of a run: ``fail`` (the
        default) and say so, or ``restart``, which may pay for the same work twice.
    """

    kind_name: ClassVar[str]
    id_key: ClassVar[str]

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        wait_for_completion: bool = True,
        poll_interval: float = 15.0,
        timeout: float | timedelta = 86_400.0,
        durable: bool = True,
        on_lost_start: Literal["fail", "restart"] = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.wait_for_completion = wait_for_completion
        self.poll_interval = positive_seconds("poll_interval", poll_interval)
        self.timeout = positive_seconds("timeout", timeout)
        self.durable = durable
        if on_lost_start not in ("fail", "restart"):
            raise InvalidArgument(f"'on_lost_start' must be 'fail' or 'restart', not {on_lost_start!r}.")
        self.on_lost_start = on_lost_start
        self._run_id: str | None = None
        self._began = time.monotonic()

    @property
    @abstractmethod
    def conn_id(self) -> str:
        """The Airflow connection."""

    @abstractmethod
    def make_hook(self) -> VendorHook:
        """Make the hook for the connection."""

    @abstractmethod
    def check(self) -> None:
        """
        Look at the arguments, after templating and before anything is sent.

        :raises InvalidArgument: One of them makes no sense.
        """

    @abstractmethod
    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """
        Start the run.

        :param callback_url: What the vendor shall call; None: nothing.
        :param before_send: To be called immediately before the request goes out.
        """

    @abstractmethod
    def finish(self, run: Run, context: Context) -> Any:
        """Return the task's result for a run that has succeeded."""

    @abstractmethod
    def make_trigger(self, run_id: str | None, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run; ``kwargs`` are those of `RunTrigger`."""

    @cached_property
    def hook(self) -> VendorHook:
        """The hook for the connection."""
        return self.make_hook()

    @property
    def kind(self) -> Kind:
        """What kind of run this is."""
        from airflow_provider_nenoa.waiting.kinds import KINDS

        return KINDS[self.kind_name]

    def execute(self, context: Context) -> Any:
        """Adopt the run of an earlier attempt, or start one; then wait for it and finish."""
        self._began = time.monotonic()
        self.check()
        with self._forgetting_what_is_gone(context):
            note = memory_of(context, self.durable).recall()
            if note is None:
                return self._start(context)
            if note.run_id is None:
                self.log.warning("An earlier attempt sent a start and did not see the reply.")
                return self._look_for(context, note, inherited=True)
            return self._adopt(context, note)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral; where Airflow itself gave the trigger up, say what that means for the run."""
        next_kwargs = dict(next_kwargs or {})
        attempt = context["ti"].try_number
        if next_kwargs.pop("attempt", attempt) != attempt:
            return self.execute(context)  # Airflow 3.0 resumes a retry as it resumed the attempt before
        try:
            with self._forgetting_what_is_gone(context):
                return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            note = memory_of(context, self.durable).recall()
            the_run = self._the_run(note.run_id) if note and note.run_id else "The remote run, if there is one,"
            raise RunTimeout(
                f"The time to wait was over, and no triggerer had said so {GRACE:.0f} s later, so Airflow ended the "
                f"wait. {the_run} goes on{self._next_attempt()}. Check that a triggerer runs."
            ) from None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the trigger fired."""
        from airflow_provider_nenoa.waiting.kinds import Ended

        note = Note(event["ref"] or "", event["started_at"], event["told"], event["run_id"])
        self._run_id = note.run_id
        if "error" in event:
            raise error_of(event)
        if "timeout" in event:
            return self._look_once_more(context, note, event["timeout"])
        return self._ended(context, note, Ended.from_event(event))

    def execute_found(self, context: Context, event: dict[str, Any], lost: dict[str, Any], inherited: bool) -> Any:
        """Go on after the trigger looked for a run whose start's reply was lost."""
        note = Note(**lost)
        if "error" in event:
            raise error_of(event)
        if "timeout" in event:
            return self._not_found(context, note, inherited)
        return self._found(context, replace(note, run_id=event["run_id"]), inherited)

    def on_kill(self) -> None:
        """Say that the remote run goes on: neither vendor's API can cancel one."""
        if self._run_id is not None:
            self.log.warning("The task was ended, but %s goes on%s.", self._the_run(self._run_id), self._next_attempt())

    def _start(self, context: Context) -> Any:
        memory = memory_of(context, self.durable)
        ref = secrets.token_urlsafe(18)
        callback_url = self._callback_url(ref)
        note = Note(ref, time.time(), callback_url is not None)

        def announce() -> None:
            nonlocal note
            note = replace(note, started_at=time.time())
            memory.write(note)

        try:
            run = self.start(callback_url, announce)
        except StartOutcomeUnknown as error:
            self._count_start("unknown")
            self.log.warning("%s", error)
            return self._look_for(context, note, inherited=False)
        except NenoaError:
            self._count_start("refused")
            memory.forget()  # a clear refusal: nothing was started
            raise
        self._count_start("started")
        if run.run_id:  # a query that ends at once may have none
            note = replace(note, run_id=run.run_id)
            memory.write(note)
            self._push_id(context, note)
            self.log.info("Started %s.", self._the_run(run.run_id))
        if run.status.is_end and (self.wait_for_completion or not run.run_id):
            return self._conclude(context, note, run)
        return self._go_on(context, note)

    def _adopt(self, context: Context, note: Note) -> Any:
        from airflow_provider_nenoa.waiting import asking

        memory = memory_of(context, self.durable)
        try:
            ended = None
            if self.wait_for_completion:
                ended = asking.ask(self.hook, self._key(note), on_word=self._log_status)
        except asking.TRANSIENT as error:
            self.log.warning("%s The run of the earlier attempt is taken to be running.", error)
            ended = None
        if ended is not None and ended.status is not RunStatus.SUCCESS:
            the_run = self._the_run(note.run_id)
            self.log.warning("%s, which an earlier attempt started, ended in '%s'.", the_run, ended.word)
            memory.forget()
            return self._start(context)
        self._count_start("adopted")
        self._push_id(context, note)
        self.log.info("Going on with %s, which an earlier attempt started.", self._the_run(note.run_id))
        if ended is not None:
            return self._ended(context, note, ended)
        return self._go_on(context, note)

    def _go_on(self, context: Context, note: Note) -> Any:
        """Wait for a run that is known to be there, or leave it to somebody else to wait."""
        from airflow_provider_nenoa.waiting import asking

        if not self.wait_for_completion:
            memory_of(context, self.durable).close(note)
            return note.run_id
        deadline = time.time() + self._patience()
        if self.deferrable:
            self._defer(context, note, deadline, "execute_complete")
        try:
            ended = asking.wait(self.hook, self._key(note), **self._wait_arguments(note, deadline))
        except DeadlinePassed as passed:
            raise self._timed_out(note, str(passed)) from None
        return self._ended(context, note, ended)

    @contextmanager
    def _forgetting_what_is_gone(self, context: Context) -> Iterator[None]:
        """Where the vendor knows no such run, let whoever clears the task start anew: nobody can go on with it."""
        try:
            yield
        except NotFound:
            memory_of(context, self.durable).forget()
            raise

    def _ended(self, context: Context, note: Note, ended: Ended) -> Any:
        from airflow_provider_nenoa.waiting import asking

        return self._conclude(context, note, asking.read(self.hook, self._key(note), ended))

    def _look_once_more(self, context: Context, note: Note, word: str) -> Any:
        """Ask before giving up: the run may have ended while no triggerer ran."""
        from airflow_provider_nenoa.waiting import asking

        words = [word]
        try:
            ended = asking.ask(self.hook, self._key(note), on_word=words.append)
        except asking.TRANSIENT as error:
            self.log.warning("%s", error)
            ended = None
        if ended is None:
            raise self._timed_out(note, words[-1])
        return self._ended(context, note, ended)

    def _conclude(self, context: Context, note: Note, run: Run) -> Any:
        memory = memory_of(context, self.durable)
        if run.status is not RunStatus.SUCCESS or note.run_id is None:
            memory.forget()  # there is nothing that another attempt could go on with
        if run.status is not RunStatus.SUCCESS:
            words = run.error or "it gave no reason"
            raise RunFailed(f"{self.kind.vendor} ended {self._the_run(run.run_id)} with '{run.word}': {words}")
        result = self.finish(run, context)
        if note.run_id is not None:
            memory.close(note)
        return result

    def _look_for(self, context: Context, note: Note, *, inherited: bool) -> Any:
        """
        Wait a bounded while for a webhook with the ``ref`` of a start whose reply was lost.

        :param inherited: Whether an earlier attempt sent it.
        """
        from airflow_provider_nenoa.waiting import asking

        lost_for = min(self.kind.lost_for, self._patience())
        deadline = note.started_at + lost_for
        if not note.told or deadline <= time.time():
            return self._not_found(context, note, inherited)
        self.log.info("Looking for it by its webhook, until %.0f s after it was sent.", lost_for)
        if self.deferrable:
            self._defer(context, note, deadline, "execute_found", lost=asdict(note), inherited=inherited)
        try:
            ended = asking.wait(self.hook, self._key(note), **self._wait_arguments(note, deadline))
        except DeadlinePassed:
            return self._not_found(context, note, inherited)
        return self._found(context, replace(note, run_id=ended.run_id), inherited)

    def _found(self, context: Context, note: Note, inherited: bool) -> Any:
        memory_of(context, self.durable).write(note)
        if inherited:
            return self._adopt(context, note)
        # This attempt's own run: should it have failed already, this attempt has failed.
        self._push_id(context, note)
        self.log.info("Found %s.", self._the_run(note.run_id))
        return self._go_on(context, note)

    def _not_found(self, context: Context, note: Note, inherited: bool) -> Any:
        from airflow_provider_nenoa.waiting import asking

        memory = memory_of(context, self.durable)
        if note.told:
            # Nothing was heard, or it was too late to wait: that says something only if the receiver answers.
            if (run := asking.find(self.hook, note.ref)) is not None:
                return self._found(context, replace(note, run_id=run.run_id), inherited)
            what = "no webhook told of a run"
            then = "it goes on with the run if a webhook has told of it by then, and starts anew if not"
        else:
            what = "without a webhook_secret no webhook can tell of a run"
            then = "it starts anew"
        if note.given_up or (note.told and self.kind.announces) or self.on_lost_start == "restart":
            memory.forget()
            if not inherited:
                # One start an attempt: Airflow's retries and their delay bound how often a broken vendor is asked.
                raise StartOutcomeUnknown(f"A start's reply was lost, and {what}. The next attempt starts anew.")
            self.log.warning("An earlier start's reply was lost, and %s. Starting anew.", what)
            return self._start(context)
        memory.write(replace(note, given_up=True))
        raise PermanentError(
            f"A start was sent to {self.kind.vendor}, its reply was lost, and {what}. A {self.kind.name} run may or "
            "may not have been started; it was not started again, because that could pay for the same work twice. "
            f"Look at the vendor's own list of runs, then clear this task: {then}. To have it started anew without "
            "asking, set on_lost_start='restart'."
        )

    def _callback_url(self, ref: str) -> str | None:
        """Return what the vendor shall call; before anything is spent, check that the run's end can be learnt."""
        from airflow_provider_nenoa.waiting import asking

        can_poll = self.kind.can_poll(self.hook)
        receiver = asking.receiver_of(self.hook)
        if receiver is None:
            if self.wait_for_completion and not can_poll:
                raise InvalidConnection(
                    f"Connection '{self.conn_id}' has no 'webhook_secret': the end of a {self.kind.name} run could "
                    "not be learnt, and nothing was started. Set the secret with which the vendor signs its "
                    "webhooks, or set wait_for_completion=False."
                )
            return None
        try:
            url = asking.callback_url(self.hook, ref)
            if self.wait_for_completion:
                receiver.check()
        except ReceiverUnavailable as error:
            if not can_poll:
                raise
            self.log.warning("%s The run will be polled instead.", error)
            return None
        return url

    def _defer(self, context: Context, note: Note, deadline: float, method_name: str, **kwargs: Any) -> None:
        self.defer(
            trigger=self.make_trigger(
                note.run_id,
                poll_interval=self.poll_interval,
                deadline=deadline,
                started_at=note.started_at,
                told=note.told,
                ref=note.ref,
            ),
            method_name=method_name,
            kwargs={"attempt": context["ti"].try_number, **kwargs},
            timeout=timedelta(seconds=deadline - time.time() + GRACE),
        )

    def _wait_arguments(self, note: Note, deadline: float) -> dict[str, Any]:
        return {
            "deadline": deadline,
            "poll_interval": self.poll_interval,
            "started_at": note.started_at,
            "told": note.told,
            "on_change": self._log_status,
        }

    def _patience(self) -> float:
        """Seconds that this attempt may wait from now on."""
        if self.execution_timeout is None:
            return self.timeout
        # A little less than Airflow's own limit, so that the error is ours: it knows about the run.
        left = self.execution_timeout.total_seconds() - 2.0 - (time.monotonic() - self._began)
        return min(self.timeout, max(1.0, left))

    def _push_id(self, context: Context, note: Note) -> None:
        self._run_id = note.run_id
        context["ti"].xcom_push(key=self.id_key, value=note.run_id)

    def _key(self, note: Note) -> RunKey:
        from airflow_provider_nenoa.waiting.kinds import RunKey

        return RunKey(self.conn_id, self.kind_name, note.run_id, None if note.run_id else note.ref)

    def _timed_out(self, note: Note, word: str) -> RunTimeout:
        last = f"its last known status is '{word}'" if word else "nothing was heard of its status"
        if word and status_of(word) is None:
            last += ", which is no word we know"
        waited = time.time() - note.started_at
        return RunTimeout(
            f"{self._the_run(note.run_id)} did not end in time: {waited:.0f} s after its start {last}. It goes on, "
            f"because {self.kind.vendor}'s API cannot cancel it{self._next_attempt()}. Raise 'timeout' "
            f"(now {self.timeout:.0f} s) or 'execution_timeout' if such runs take longer."
        )

    def _next_attempt(self) -> str:
        if self.durable:
            return "; the next attempt of this task goes on waiting for it"
        return "; with durable=False, the next attempt of this task will start another one"

    def _the_run(self, run_id: str | None) -> str:
        """Name the run in a message."""
        return f"{self.kind.vendor} {self.kind.name} run {run_id}"

    def _count_start(self, outcome: str) -> None:
        metrics.count_in_task(f"start.{outcome}", self.conn_id, kind=self.kind_name)

    def _log_status(self, word: str) -> None:
        if status_of(word) is None:
            self.log.warning("The status is %r, which is no word we know; waiting on.", word)
        else:
            self.log.info("The status is '%s'.", word)


def error_of(event: dict[str, Any]) -> NenoaError:
    """Return the error that a trigger's event tells of."""
    error = NotFound if event["not_found"] else PermanentError if event["permanent"] else NenoaError
    return error(event["error"])


def default_deferrable() -> bool:
    """Return ``[operators] default_deferrable``."""
    return conf.getboolean("operators", "default_deferrable", fallback=False)


def positive_seconds(name: str, value: float | timedelta) -> float:
    """
    Return a duration in seconds.

    :raises InvalidArgument: It is not a number or timedelta above 0, or does not end.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        raise InvalidArgument(f"'{name}' must be more than 0 seconds, not {value!r}.")
    return float(seconds)
