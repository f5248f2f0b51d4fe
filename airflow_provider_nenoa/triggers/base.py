"""The trigger that waits for one run, in the hub of its triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_nenoa.exceptions import DeadlinePassed, InvalidArgument, NenoaError, NotFound, PermanentError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


SETTLE = 5.0
"""
Seconds that a trigger lives at least. Airflow's scheduler fails a task whose trigger fires before the scheduler has
seen that the deferring process is done (apache/airflow issues 66374, 67287 and 72716, the last still open in 3.3.2).
"""


def another_name(attribute: str) -> Any:
    """
    Return a property by which an attribute has another name.

    Where the scheduler has deferred a task, Airflow renders on the trigger what has the name of a templated argument
    of the task.
    """
    return property(lambda self: getattr(self, attribute), lambda self, value: setattr(self, attribute, value))


class RunTrigger(BaseTrigger):
    """
    Wait until a run has ended. Subclasses name the vendor's words for it.

    The event says that the run ended, and how. Its payload, which may be large and may hold presigned URLs, stays
    where it is until the task reads it; only the small one of a polled agent run comes along, to save a request.

    :param run_id: The vendor's id of the run; None: it is looked for by ``ref``.
    :param conn_id: The Airflow connection.
    :param poll_interval: Shortest interval in seconds at which the vendor is asked, where no webhook tells. Default 15.
    :param deadline: When to give up, in Unix seconds; None: never.
    :param started_at: When the run was started, in Unix seconds; None: now.
    :param told: Whether the vendor was given our webhook. Then it is asked every ten minutes only. None: the connection
        says whether it may have been.
    :param ref: The token in the run's callback URL: a webhook may name the run otherwise, or not at all.
    :param patience: Seconds for which to wait, instead of a ``deadline``, where the scheduler has deferred the task and
        no worker has worked that out.
    :param lifetime: Seconds after which Airflow then gives the trigger up: by them, ``patience`` is counted from when
        the task was deferred, by whatever triggerer the trigger is run.
    :param end_from_trigger: Whether to end the task where the run has succeeded, without a worker. Any other end is
        told to the task, whose worker knows what to do about it. The task then has no result: Airflow stores what a
        trigger gives as one as text, and other tasks would get that.
    """

    kind: ClassVar[str]
    id_parameter: ClassVar[str] = "run_id"
    conn_parameter: ClassVar[str] = "conn_id"

    def __init__(
        self,
        run_id: str | None,
        conn_id: str,
        *,
        poll_interval: float = 15.0,
        deadline: float | None = None,
        started_at: float | None = None,
        told: bool | None = False,
        ref: str | None = None,
        patience: float | None = None,
        lifetime: float | None = None,
        end_from_trigger: bool = False,
    ) -> None:
        super().__init__()
        if not run_id and not ref:
            raise InvalidArgument(f"'{self.id_parameter}' is empty: there is no run to wait for.")
        if poll_interval <= 0:
            raise InvalidArgument(f"'poll_interval' must be more than 0 seconds, not {poll_interval!r}.")
        self.run_id = run_id
        self.conn_id = conn_id
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.started_at = started_at
        self.told = told
        self.ref = ref
        self.patience = patience
        self.lifetime = lifetime
        self.end_from_trigger = end_from_trigger

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments with which another triggerer goes on waiting."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                self.id_parameter: self.run_id,
                self.conn_parameter: self.conn_id,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "started_at": self.started_at,
                "told": self.told,
                "ref": self.ref,
                "patience": self.patience,
                "lifetime": self.lifetime,
                "end_from_trigger": self.end_from_trigger,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Wait, and yield one event.

        :return: ``{"run_id", "word", "by_webhook"}`` of the end, perhaps with ``payload``; or
            ``{"timeout": <last status word>}``; or ``{"error": <message>, "permanent": <bool>, "not_found": <whether
            the vendor knows no such run>}``; each with ``ref``, ``told`` and ``started_at``. With
            ``end_from_trigger``, for a run that has succeeded: the event that ends the task.
        """
        import asyncio
        import time

        from airflow_provider_nenoa.results.xcom import fit_for_airflow
        from airflow_provider_nenoa.waiting.hub import Hub
        from airflow_provider_nenoa.waiting.kinds import RunKey

        # dag.test() and airflow tasks test run a trigger themselves: it has no id, and no event of it ends a task.
        in_triggerer = self.trigger_id is not None
        settled_at = time.monotonic() + (SETTLE if in_triggerer else 0.0)
        if self.run_id is not None:  # a template that the triggerer has rendered may have become a number
            self.run_id = str(self.run_id).strip()
        if self.patience is not None:
            self._begin(self.patience)
        started_at = time.time() if self.started_at is None else self.started_at
        fired: TriggerEvent | None = None
        event: dict[str, Any] = {
            "run_id": self.run_id,
            "ref": self.ref,
            "told": self.told,
            "started_at": started_at,
        }
        try:
            # A template that finds nothing renders to this.
            if not self.ref and str(self.run_id).strip() in ("", "None"):
                raise InvalidArgument(f"'{self.id_parameter}' is {self.run_id!r}: there is no run to wait for.")
            ended = await Hub.of_running_loop().wait(
                RunKey(self.conn_id, self.kind, self.run_id or None, self.ref or None),
                deadline=float("inf") if self.deadline is None else self.deadline,
                poll_interval=self.poll_interval,
                started_at=started_at,
                told=self.told,
                task=self._task(),
                on_change=self._log_status,
            )
        except DeadlinePassed as passed:
            event["timeout"] = str(passed)
        except NenoaError as error:
            event |= {
                "error": str(error),
                "permanent": isinstance(error, PermanentError),
                "not_found": isinstance(error, NotFound),
            }
        else:
            event |= ended.to_event()
            if self.end_from_trigger and in_triggerer and ended.status.is_success:
                self.log.info("%s ended in '%s', and with it the task.", self._the_run(), ended.word)
                fired = TaskSuccessEvent()
        await asyncio.sleep(settled_at - time.monotonic())
        yield fired or TriggerEvent(fit_for_airflow(event, f"What is told of {self._the_run()}"))

    async def on_kill(self) -> None:
        """Say that the remote run goes on: neither vendor's API can cancel one (Airflow 3.3 and later call this)."""
        self.log.warning("The task was ended, but %s goes on.", self._the_run())

    def _begin(self, patience: float) -> None:
        """Work out when the wait began and when it ends, of a task that no worker has begun."""
        import time
        from datetime import UTC, datetime

        given_up: datetime | None = getattr(self, "timeout_after", None)  # set by the triggerer
        if given_up is None or self.lifetime is None:
            self.started_at = time.time()
        else:
            self.started_at = given_up.replace(tzinfo=given_up.tzinfo or UTC).timestamp() - self.lifetime
        self.deadline = self.started_at + patience
        until = datetime.fromtimestamp(self.deadline, UTC).isoformat(sep=" ", timespec="seconds")
        self.log.info("Waiting for %s on connection '%s' until %s.", self._the_run(), self.conn_id, until)

    def _task(self) -> dict[str, Any] | None:
        """Name the task that waits; None: nobody has told the trigger."""
        from airflow_provider_nenoa.waiting.report import task_of

        ti = getattr(self, "task_instance", None)
        return None if ti is None else task_of(ti)

    def _the_run(self) -> str:
        """Name the run in a message."""
        return f"{self.kind} run {self.run_id or '(id unknown)'}"

    def _log_status(self, word: str) -> None:
        from airflow_provider_nenoa.runs import status_of

        if status_of(word) is None:
            self.log.warning("The status of %s run %s is %r, which is no word we know.", self.kind, self.run_id, word)
        else:
            self.log.info("The status of %s run %s is '%s'.", self.kind, self.run_id, word)
