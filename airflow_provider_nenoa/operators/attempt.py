"""
One attempt of a task at its run: start, remember, wait, finish; written once for all operators.

A vendor's operator says only how its run is started and what it returns. This module is loaded when a task runs, not
when its DAG is parsed.
"""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.exceptions import (
    DeadlinePassed,
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
from airflow_provider_nenoa.operators import base
from airflow_provider_nenoa.operators.memory import Note
from airflow_provider_nenoa.runs import status_of
from airflow_provider_nenoa.waiting import asking
from airflow_provider_nenoa.waiting.kinds import Ended, RunKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import Context

    from airflow_provider_nenoa.runs import Run


class Attempt:
    """
    What one attempt does, from its beginning or from where it was deferred.

    :param operator: The operator, its arguments templated and checked.
    :param context: The task's context.
    """

    def __init__(self, operator: base.RunOperator, context: Context) -> None:
        self.operator = operator
        self.context = context
        self.hook = operator.hook
        self.kind = operator.kind
        self.log = operator.log
        self.memory = operator.memory(context)
        self._began = time.monotonic()

    def begin(self) -> Any:
        """Adopt the run of an earlier attempt, or start one; then wait for it and finish."""
        note = self.memory.recall()
        if note is None:
            return self._start()
        if note.run_id is None:
            self.log.warning("An earlier attempt sent a start and did not see the reply.")
            return self._look_for(note, inherited=True)
        return self._adopt(note)

    def complete(self, event: dict[str, Any]) -> Any:
        """
        Go on after the trigger waited for the run.

        :param event: The event of `RunTrigger.run`.
        """
        note = Note(event["ref"] or "", event["started_at"], event["told"], event["run_id"])
        self.operator.remote_run_id = note.run_id
        if "error" in event:
            raise base.error_of(event)
        if "timeout" in event:
            return self._look_once_more(note, event["timeout"])
        return self._ended(note, Ended.from_event(event))

    def look_on(self, event: dict[str, Any], note: Note, inherited: bool) -> Any:
        """
        Go on after the trigger looked for a run whose start's reply was lost.

        :param event: The event of `RunTrigger.run`.
        :param note: What is known of the start.
        :param inherited: Whether an earlier attempt sent it.
        """
        if "error" in event:
            raise base.error_of(event)
        if "timeout" in event:
            return self._not_found(note, inherited)
        return self._found(replace(note, run_id=event["run_id"]), inherited)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Draw from errors what they mean for the run and for the next attempt."""
        try:
            yield
        except NotFound:
            self.memory.forget()  # nobody can go on with it: whoever clears the task starts anew
            raise
        except TaskDeferralTimeout:  # Airflow itself gave the trigger up
            note = self.memory.recall()
            the_run = self.operator.the_run(note.run_id) if note and note.run_id else "The remote run, if there is one,"
            raise RunTimeout(
                f"The time to wait was over, and no triggerer had said so {base.GRACE:.0f} s later, so Airflow ended "
                f"the wait. {the_run} goes on{self.operator.next_attempt()}. Check that a triggerer runs."
            ) from None

    def _start(self) -> Any:
        ref = secrets.token_urlsafe(18)
        callback_url = self._callback_url(ref)
        note = Note(ref, time.time(), callback_url is not None)

        def announce() -> None:
            nonlocal note
            note = replace(note, started_at=time.time())
            self.memory.write(note)

        try:
            run = self.operator.start(callback_url, announce)
        except StartOutcomeUnknown as error:
            self._count_start("unknown")
            self.log.warning("%s", error)
            return self._look_for(note, inherited=False)
        except NenoaError:
            self._count_start("refused")
            self.memory.forget()  # a clear refusal: nothing was started
            raise
        self._count_start("started")
        if run.run_id:  # a query that ends at once may have none
            note = replace(note, run_id=run.run_id)
            self.memory.write(note)
            self._push_id(note)
            self.log.info("Started %s.", self.operator.the_run(run.run_id))
        if run.status.is_end and (self.operator.wait_for_completion or not run.run_id):
            return self._conclude(note, run)
        return self._go_on(note)

    def _adopt(self, note: Note) -> Any:
        try:
            ended = None
            if self.operator.wait_for_completion:
                ended = asking.ask(self.hook, self._key(note), on_word=self._log_status)
        except asking.TRANSIENT as error:
            self.log.warning("%s The run of the earlier attempt is taken to be running.", error)
            ended = None
        if ended is not None and not ended.status.is_success:
            the_run = self.operator.the_run(note.run_id)
            self.log.warning("%s, which an earlier attempt started, ended in '%s'.", the_run, ended.word)
            self.memory.forget()
            return self._start()
        self._count_start("adopted")
        self._push_id(note)
        self.log.info("Going on with %s, which an earlier attempt started.", self.operator.the_run(note.run_id))
        if ended is not None:
            return self._ended(note, ended)
        return self._go_on(note)

    def _go_on(self, note: Note) -> Any:
        """Wait for a run that is known to be there, or leave it to somebody else to wait."""
        if not self.operator.wait_for_completion:
            self.memory.close(note)
            return note.run_id
        deadline = time.time() + self._patience()
        if self.operator.deferrable:
            self._defer(note, deadline, "execute_complete")
        try:
            ended = self._wait(note, deadline)
        except DeadlinePassed as passed:
            return self._look_once_more(note, str(passed))
        return self._ended(note, ended)

    def _ended(self, note: Note, ended: Ended) -> Any:
        return self._conclude(note, asking.read(self.hook, self._key(note), ended))

    def _look_once_more(self, note: Note, word: str) -> Any:
        """Ask before giving up: its webhook may be lost, or it may have ended while no triggerer ran."""
        words = [word]
        try:
            ended = asking.ask(self.hook, self._key(note), on_word=words.append)
        except asking.TRANSIENT as error:
            self.log.warning("%s", error)
            ended = None
        if ended is None:
            raise self._timed_out(note, words[-1]) from None
        return self._ended(note, ended)

    def _conclude(self, note: Note, run: Run) -> Any:
        if not run.status.is_success or note.run_id is None:
            self.memory.forget()  # there is nothing that another attempt could go on with
        if not run.status.is_success:
            words = run.error or "it gave no reason"
            the_run = self.operator.the_run(run.run_id)
            raise RunFailed(f"{self.kind.vendor} ended {the_run} with '{run.word}': {words}")
        result = self.operator.finish(run, self.context)
        if note.run_id is not None:
            self.memory.close(note)
        return result

    def _look_for(self, note: Note, *, inherited: bool) -> Any:
        """
        Wait a bounded while for a webhook with the ``ref`` of a start whose reply was lost.

        :param inherited: Whether an earlier attempt sent it.
        """
        lost_for = min(self.kind.lost_for, self._patience())
        deadline = note.started_at + lost_for
        if not note.told or deadline <= time.time():
            return self._not_found(note, inherited)
        self.log.info("Looking for it by its webhook, until %.0f s after it was sent.", lost_for)
        if self.operator.deferrable:
            self._defer(note, deadline, "execute_found", lost=asdict(note), inherited=inherited)
        try:
            ended = self._wait(note, deadline)
        except DeadlinePassed:
            return self._not_found(note, inherited)
        return self._found(replace(note, run_id=ended.run_id), inherited)

    def _found(self, note: Note, inherited: bool) -> Any:
        self.memory.write(note)
        if inherited:
            return self._adopt(note)
        # This attempt's own run: should it have failed already, this attempt has failed.
        self._push_id(note)
        self.log.info("Found %s.", self.operator.the_run(note.run_id))
        return self._go_on(note)

    def _not_found(self, note: Note, inherited: bool) -> Any:
        if note.told:
            # Nothing was heard, or it was too late to wait: that says something only if the receiver answers.
            if (run := asking.find(self.hook, note.ref)) is not None:
                return self._found(replace(note, run_id=run.run_id), inherited)
            what = "no webhook told of a run"
            then = "it goes on with the run if a webhook has told of it by then, and starts anew if not"
        else:
            what = "without a webhook_secret no webhook can tell of a run"
            then = "it starts anew"
        if note.given_up or (note.told and self.kind.announces) or self.operator.on_lost_start == "restart":
            self.memory.forget()
            if not inherited:
                # One start an attempt: Airflow's retries and their delay bound how often a broken vendor is asked.
                raise StartOutcomeUnknown(f"A start's reply was lost, and {what}. The next attempt starts anew.")
            self.log.warning("An earlier start's reply was lost, and %s. Starting anew.", what)
            return self._start()
        self.memory.write(replace(note, given_up=True))
        raise PermanentError(
            f"A start was sent to {self.kind.vendor}, its reply was lost, and {what}. A {self.kind.name} run may or "
            "may not have been started; it was not started again, because that could pay for the same work twice. "
            f"Look at the vendor's own list of runs, then clear this task: {then}. To have it started anew without "
            "asking, set on_lost_start='restart'."
        )

    def _callback_url(self, ref: str) -> str | None:
        """Return what the vendor shall call; before anything is spent, check that the run's end can be learnt."""
        can_poll = self.kind.can_poll(self.hook)
        receiver = asking.receiver_of(self.hook)
        if receiver is None:
            if self.operator.wait_for_completion and not can_poll:
                raise InvalidConnection(
                    f"Connection '{self.operator.conn_id}' has no 'webhook_secret': the end of a {self.kind.name} run "
                    "could not be learnt, and nothing was started. Set the secret with which the vendor signs its "
                    "webhooks, or set wait_for_completion=False."
                )
            return None
        try:
            url = asking.callback_url(self.hook, ref)
            if self.operator.wait_for_completion:
                receiver.check()
        except ReceiverUnavailable as error:
            if not can_poll:
                raise
            self.log.warning("%s The run will be polled instead.", error)
            return None
        return url

    def _defer(self, note: Note, deadline: float, method_name: str, **kwargs: Any) -> None:
        self.operator.defer(
            trigger=self.operator.make_trigger(
                note.run_id,
                poll_interval=self.operator.poll_interval,
                deadline=deadline,
                started_at=note.started_at,
                told=note.told,
                ref=note.ref,
            ),
            method_name=method_name,
            kwargs={"attempt": self.context["ti"].try_number, **kwargs},
            timeout=timedelta(seconds=deadline - time.time() + base.GRACE),
        )

    def _wait(self, note: Note, deadline: float) -> Ended:
        return asking.wait(
            self.hook,
            self._key(note),
            deadline=deadline,
            poll_interval=self.operator.poll_interval,
            started_at=note.started_at,
            told=note.told,
            on_change=self._log_status,
        )

    def _patience(self) -> float:
        """Seconds that this attempt may wait from now on."""
        if self.operator.execution_timeout is None:
            return self.operator.timeout
        # A little less than Airflow's own limit, so that the error is ours: it knows about the run.
        left = self.operator.execution_timeout.total_seconds() - 2.0 - (time.monotonic() - self._began)
        return min(self.operator.timeout, max(1.0, left))

    def _push_id(self, note: Note) -> None:
        self.operator.remote_run_id = note.run_id
        self.context["ti"].xcom_push(key=self.operator.id_key, value=note.run_id)

    def _key(self, note: Note) -> RunKey:
        return RunKey(self.operator.conn_id, self.operator.kind_name, note.run_id, None if note.run_id else note.ref)

    def _timed_out(self, note: Note, word: str) -> RunTimeout:
        last = f"its last known status is '{word}'" if word else "nothing was heard of its status"
        if word and status_of(word) is None:
            last += ", which is no word we know"
        waited = time.time() - note.started_at
        return RunTimeout(
            f"{self.operator.the_run(note.run_id)} did not end in time: {waited:.0f} s after its start {last}. It goes "
            f"on, because {self.kind.vendor}'s API cannot cancel it{self.operator.next_attempt()}. Raise 'timeout' "
            f"(now {self.operator.timeout:.0f} s) or 'execution_timeout' if such runs take longer."
        )

    def _count_start(self, outcome: str) -> None:
        metrics.count_in_task(f"start.{outcome}", self.operator.conn_id, kind=self.operator.kind_name)

    def _log_status(self, word: str) -> None:
        if status_of(word) is None:
            self.log.warning("The status is %r, which is no word we know; waiting on.", word)
        else:
            self.log.info("The status is '%s'.", word)
