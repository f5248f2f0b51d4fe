"""
One attempt of a task at its run: start, remember, wait, finish; written once for all operators.

A vendor's operator says only how its run is started and what it returns. This module is loaded when a task runs, not
when its DAG is parsed.
"""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.exceptions import (
    TRANSIENT,
    AirflowTaskTimeout,
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
from airflow_provider_nenoa.lineage.assets import tell_outlets
from airflow_provider_nenoa.links import RunLink
from airflow_provider_nenoa.operators import lost_start
from airflow_provider_nenoa.operators.earlier import fingerprints_of, goes_on
from airflow_provider_nenoa.operators.giving_up import not_found, timed_out
from airflow_provider_nenoa.operators.memory import Note
from airflow_provider_nenoa.results.xcom import fit_for_airflow
from airflow_provider_nenoa.runs import status_of
from airflow_provider_nenoa.triggers import GRACE, error_of
from airflow_provider_nenoa.waiting import asking
from airflow_provider_nenoa.waiting.kinds import Ended, RunKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk import Context

    from airflow_provider_nenoa.operators.lost_start import Finding
    from airflow_provider_nenoa.operators.starter import Starter
    from airflow_provider_nenoa.runs import Run


class Attempt:
    """
    What one attempt does, from its beginning or from where it was deferred.

    :param operator: The operator, its arguments templated and checked.
    :param context: The task's context.
    """

    def __init__(self, operator: Starter, context: Context) -> None:
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
        if note is None or not goes_on(note, self.operator, self.context["ti"]):
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
            raise error_of(event)
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
            raise error_of(event)
        if "timeout" in event:
            return self._look_for(note, inherited=inherited)
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
                f"The time to wait was over, and no triggerer had said so {GRACE:.0f} s later, so Airflow ended "
                f"the wait.\n{the_run} goes on{self.operator.next_attempt()}. Check that a triggerer runs."
            ) from None

    def _start(self) -> Any:
        from airflow_provider_nenoa.http import Turn

        ref = secrets.token_urlsafe(18)
        callback_url = self._callback_url(ref)
        note = Note(
            ref,
            time.time(),
            callback_url is not None,
            asked=fingerprints_of(self.operator, ref) if self.operator.durable else {},
            conn_id=self.operator.conn_id,
        )

        def announce() -> None:
            nonlocal note
            note = replace(note, started_at=time.time())
            try:
                self.memory.write(note)
            except (Exception, AirflowTaskTimeout):
                # It may be there all the same. But nothing is sent now, so the next attempt has nothing to look for.
                with suppress(Exception):
                    self.memory.forget()
                raise

        # While it waits its turn, nothing has been started: whoever comes after a worker that died meanwhile starts it.
        self.hook.api.turn = Turn(self._patience(), self.memory.forget)
        try:
            run = self.operator.start(callback_url, announce)
        except StartOutcomeUnknown as error:
            self._count_start("unknown")
            self.log.warning("%s", error)
            note = replace(note, lost=error.why)
            self.memory.write(note)
            return self._look_for(note, inherited=False)
        except NenoaError:
            self._count_start("refused")
            self.memory.forget()  # a clear refusal: nothing was started
            raise
        self._count_start("started")
        if run.run_id:  # a query that ends at once may have none
            note = replace(note, run_id=run.run_id)
            # First: should the note not be written, whoever looks for the run finds its id here.
            self.log.info("Started %s.", self.operator.the_run(run.run_id))
            self.memory.write(note)
            self._push_id(note)
        if run.status.is_end and (self.operator.wait_for_completion or not run.run_id):
            return self._conclude(note, run)
        return self._go_on(note)

    def _adopt(self, note: Note) -> Any:
        try:
            ended = None
            if self.operator.wait_for_completion:
                ended = self._ask(note, self._log_status)
        except TRANSIENT as error:
            self.log.warning("%s The run of the earlier attempt is taken to be running.", error)
            ended = None
        if ended is not None and not ended.status.is_success:
            the_run = self.operator.the_run(note.run_id)
            self.log.warning("%s, which an earlier attempt started, ended in '%s'.", the_run, ended.word)
            asking.last_words(self.hook, self.kind, ended.run_id)
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
            tell_outlets(self.context, self.operator.outlets, {"run_id": note.run_id})
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
            ended = self._ask(note, words.append)
        except TRANSIENT as error:
            self.log.warning("%s", error)
            ended = None
        if ended is None:
            raise timed_out(note, self.operator, words[-1]) from None
        return self._ended(note, ended)

    def _conclude(self, note: Note, run: Run) -> Any:
        self.operator.ended = run
        if not run.status.is_success or note.run_id is None:
            self.memory.forget()  # there is nothing that another attempt could go on with
        if not run.status.is_success:
            words = run.error or "it gave no reason"
            the_run = self.operator.the_run(run.run_id)
            asking.last_words(self.hook, self.kind, run.run_id)
            raise RunFailed(f"{the_run} ended in '{run.word}': {words}")
        result = fit_for_airflow(self.operator.finish(run, self.context), "The result")
        stored = result.get("files") if isinstance(result, dict) else None
        files = [file["path"] for file in stored or ()]
        told = {"run_id": run.run_id or note.run_id, "status": run.word, "files": files}
        tell_outlets(self.context, self.operator.outlets, told)
        if note.run_id is not None:
            self.memory.close(note)
        return result

    def _look_for(self, note: Note, *, inherited: bool) -> Any:
        """
        Look for a run whose start's reply was lost: by its webhook, in the vendor's list of runs, or both at once.

        :param inherited: Whether an earlier attempt sent it.
        """
        listed, settled = self.operator.has_list(), lost_start.settled_after(self.hook.settings.timeout)
        deadline = 0.0  # there is nothing to look for
        if listed:
            lost_for = self.kind.lost_for if note.told else settled
            deadline = min(note.started_at + lost_for, time.time() + self._patience())
        elif note.told:
            deadline = note.started_at + min(self.kind.lost_for, self._patience())
        while True:
            age, over = time.time() - note.started_at, time.time() >= deadline
            look = listed and (inherited or over or age >= lost_start.FIRST_LOOK)
            finding = self._look_in_list(note) if look else None
            if finding is not None and finding.run_id is not None:
                return self._found(replace(note, run_id=finding.run_id), inherited)
            if over or (finding is not None and finding.is_empty and age >= settled):
                return self._not_found(note, inherited, finding)
            until = min(deadline, time.time() + lost_start.next_look(age)) if listed else deadline
            self.log.info("Looking for the run, for %.0f s more.", deadline - time.time())
            if self.operator.deferrable:
                self._defer(note, until, "execute_found", lost=asdict(note), inherited=inherited)
            if not note.told:
                time.sleep(max(0.0, until - time.time()))
                continue
            try:
                ended = self._wait(note, until)
            except DeadlinePassed:
                continue
            return self._found(replace(note, run_id=ended.run_id), inherited)

    def _look_in_list(self, note: Note) -> Finding | None:
        """Look at what has been told, and into the vendor's list of runs; None: it cannot be read."""
        try:
            if note.told and (run := asking.find(self.hook, note.ref)) is not None:
                return lost_start.Finding(run.run_id, (run.run_id,), True)
            return self.operator.look_in_list(note.started_at, note.ref, self.context)
        except NenoaError as error:
            self.log.warning("%s", error)
            return None

    def _found(self, note: Note, inherited: bool) -> Any:
        self.memory.write(note)
        if inherited:
            return self._adopt(note)
        # This attempt's own run: should it have failed already, this attempt has failed.
        self._push_id(note)
        self.log.info("Found %s.", self.operator.the_run(note.run_id))
        return self._go_on(note)

    def _not_found(self, note: Note, inherited: bool, finding: Finding | None = None) -> Any:
        # Nothing was heard, or it was too late to wait: that says something only if the receiver answers.
        if note.told and (run := asking.find(self.hook, note.ref)) is not None:
            return self._found(replace(note, run_id=run.run_id), inherited)
        what, next_step = not_found(note, self.operator, finding)
        if next_step == "look again":
            raise StartOutcomeUnknown(what, why=note.lost)
        if next_step == "ask a person":
            self.memory.write(replace(note, given_up=True))
            asking.tell_lost(self.hook, self.kind, note.ref, note.started_at)
            raise PermanentError(what)
        if note.given_up:
            asking.tell_found(self.hook, note.ref)  # by the person who cleared the task
        self.memory.forget()
        if not inherited:
            # One start an attempt: Airflow's retries and their delay bound how often a broken vendor is asked.
            raise StartOutcomeUnknown(f"{what} The next attempt starts anew.", why=note.lost)
        self.log.warning("%s Starting anew.", what)
        return self._start()

    def _callback_url(self, ref: str) -> str | None:
        """Return what the vendor shall call; before anything is spent, check that the run's end can be learnt."""
        can_poll = self.kind.can_poll(self.hook)
        receiver = asking.receiver_of(self.hook)
        if receiver is None:
            if self.operator.wait_for_completion and not can_poll:
                raise InvalidConnection(
                    f"Connection '{self.operator.conn_id}' has neither a 'webhook_secret' nor an 'mcp_url': the end of "
                    f"{self.kind.a_run} could not be learnt, and nothing was started.\nSet the secret with which "
                    "the vendor signs its webhooks, or the address of its MCP server, or wait_for_completion=False."
                )
            return None
        if not self.hook.takes_callbacks:
            return None
        try:
            url = asking.callback_url(self.hook, ref, self.kind.name)
            if self.operator.wait_for_completion:
                receiver.check()
        except ReceiverUnavailable as error:
            if not can_poll:
                raise
            self.log.warning("%s The run will be polled instead.", error)
            return None
        return url

    def _defer(self, note: Note, deadline: float, method_name: str, **kwargs: Any) -> None:
        self.log.info(
            "%s",
            asking.how_noticed(
                self.hook,
                self.kind,
                told=note.told,
                poll_interval=self.operator.poll_interval,
                deadline=deadline,
            ),
        )
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
            timeout=timedelta(seconds=deadline - time.time() + GRACE),
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

    def _ask(self, note: Note, on_word: Callable[[str], None]) -> Ended | None:
        return asking.ask(self.hook, self._key(note), told=note.told, started_at=note.started_at, on_word=on_word)

    def _patience(self) -> float:
        """Seconds that this attempt may wait from now on."""
        bound = self.operator.timeout
        if self.operator.execution_timeout is not None:
            # A little less than Airflow's own limit, so that the error is ours: it knows about the run.
            bound = min(bound, max(1.0, self.operator.execution_timeout.total_seconds() - 2.0))
        return max(min(1.0, bound), bound - (time.monotonic() - self._began))

    def _push_id(self, note: Note) -> None:
        self.operator.remote_run_id = note.run_id
        if not note.run_id:
            self.log.warning("The webhook that told of the run did not name it: its id is not known.")
            return
        ti = self.context["ti"]
        if self.operator.do_xcom_push:
            ti.xcom_push(key=self.operator.id_key, value=note.run_id)
        for link in self.operator.operator_extra_links:
            if isinstance(link, RunLink):  # Airflow stores a task's links when the task pauses or ends, in XCom too
                ti.xcom_push(key=link.xcom_key, value=link.url(note.run_id))

    def _key(self, note: Note) -> RunKey:
        return RunKey(self.operator.conn_id, self.operator.kind_name, note.run_id or None, note.ref or None)

    def _count_start(self, outcome: str) -> None:
        metrics.count_in_task(f"start.{outcome}", self.operator.conn_id, kind=self.operator.kind_name)

    def _log_status(self, word: str) -> None:
        if status_of(word) is None:
            self.log.warning("The status is %r, which is no word we know; waiting on.", word)
        else:
            self.log.info("The status is '%s'.", word)
