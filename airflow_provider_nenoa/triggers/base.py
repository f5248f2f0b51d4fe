"""The trigger that waits for one run, in the hub of its triggerer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_nenoa.exceptions import DeadlinePassed, InvalidArgument, NenoaError, NotFound, PermanentError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


SETTLE = 5.0
"""
Seconds that a trigger lives at least. Airflow's scheduler fails a task whose trigger fires before the scheduler has
seen that the deferring process is done (apache/airflow issues 66374, 67287 and 72716, the last still open in 3.3.2).
"""


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
    :param told: Whether the vendor was given our webhook. Then it is asked every ten minutes only.
    :param ref: The token in the run's callback URL, for a run whose id is not known.
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
        told: bool = False,
        ref: str | None = None,
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
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Wait, and yield one event.

        :return: ``{"run_id", "word", "by_webhook"}`` of the end, perhaps with ``payload``; or
            ``{"timeout": <last status word>}``; or ``{"error": <message>, "permanent": <bool>, "not_found": <whether
            the vendor knows no such run>}``; each with ``ref``, ``told`` and ``started_at``.
        """
        import asyncio
        import time

        from airflow_provider_nenoa.waiting.hub import Hub
        from airflow_provider_nenoa.waiting.kinds import RunKey

        settled_at = time.monotonic() + SETTLE
        started_at = time.time() if self.started_at is None else self.started_at
        event: dict[str, Any] = {
            "run_id": self.run_id,
            "ref": self.ref,
            "told": self.told,
            "started_at": started_at,
        }
        try:
            ended = await Hub.of_running_loop().wait(
                RunKey(self.conn_id, self.kind, self.run_id, None if self.run_id else self.ref),
                deadline=float("inf") if self.deadline is None else self.deadline,
                poll_interval=self.poll_interval,
                started_at=started_at,
                told=self.told,
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
        await asyncio.sleep(settled_at - time.monotonic())
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Say that the remote run goes on: neither vendor's API can cancel one (Airflow 3.3 and later call this)."""
        self.log.warning("The task was ended, but %s goes on.", self._the_run())

    def _the_run(self) -> str:
        """Name the run in a message."""
        return f"{self.kind} run {self.run_id or '(id unknown)'}"

    def _log_status(self, word: str) -> None:
        from airflow_provider_nenoa.runs import status_of

        if status_of(word) is None:
            self.log.warning("The status of %s run %s is %r, which is no word we know.", self.kind, self.run_id, word)
        else:
            self.log.info("The status of %s run %s is '%s'.", self.kind, self.run_id, word)
