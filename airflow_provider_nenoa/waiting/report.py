"""Tell the receiver who waits, and what of the plan is spent, for the page in Airflow's user interface."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.webhooks.spent import Spent
from airflow_provider_nenoa.webhooks.wait import BATCH, Wait

if TYPE_CHECKING:
    from airflow_provider_nenoa.pacing.budget import Budget
    from airflow_provider_nenoa.waiting.channel import Channel, Watched
    from airflow_provider_nenoa.waiting.kinds import RunKey
    from airflow_provider_nenoa.webhooks.client import ReceiverClient

log = logging.getLogger(__name__)

INTERVAL = 15.0
"""Seconds between two looks for what there is to tell: most waits that end sooner are not told at all."""
AGAIN = 300.0
"""Seconds after which a wait that goes on is told again: the receiver forgets it after three times as long."""


def wait_of(watched: Watched) -> Wait:
    """Return a wait in the form in which the receiver takes it."""
    key = watched.key
    return Wait(key.kind, key.run_id, key.ref, watched.started_at, **(watched.task or {}))


class WaitReport:
    """
    What the receiver has been told of a channel's waits.

    :param channel: The channel.
    :param budget: The connection's; None: nobody can poll it.
    """

    def __init__(self, channel: Channel, budget: Budget | None = None) -> None:
        self._channel = channel
        self._budget = budget
        self._told_spent: list[Spent] = []
        self._told: dict[RunKey, tuple[float, str]] = {}  # when, and the wait's name

    async def run(self, client: ReceiverClient) -> None:
        """Tell, until cancelled. It is for people to look at: that it fails is nobody's trouble."""
        try:
            while True:
                await asyncio.sleep(INTERVAL)
                with self._tried():
                    await self.tell(client)
        finally:
            if not self._channel.watched:  # with its last wait a channel ends, and looks no more
                with self._tried():
                    await self._tell_over(client)

    @contextmanager
    def _tried(self) -> Iterator[None]:
        try:
            yield
        except NenoaError as error:
            log.debug("Connection %s: %s", self._channel.conn_id, error)

    async def tell(self, client: ReceiverClient) -> None:
        """Tell what is new, what goes on for long, and what is over; ask nothing where there is nothing to tell."""
        now = time.monotonic()
        watched, never = self._channel.watched, (now - AGAIN, "")
        due = [each for key, each in watched.items() if now - self._told.get(key, never)[0] >= AGAIN]
        for start in range(0, len(due), BATCH):
            batch = {each.key: wait_of(each) for each in due[start : start + BATCH]}
            await self._channel.in_thread(client.tell_waiting, list(batch.values()), [])
            self._told.update((key, (now, wait.name)) for key, wait in batch.items())
        await self._tell_over(client)
        spent = [] if self._budget is None else [Spent(*each) for each in self._budget.spent()]
        if spent != self._told_spent:
            await self._channel.in_thread(client.tell_waiting, [], [], spent)
            self._told_spent = spent

    async def _tell_over(self, client: ReceiverClient) -> None:
        over = [key for key in self._told if key not in self._channel.watched]
        for start in range(0, len(over), BATCH):
            keys = over[start : start + BATCH]
            await self._channel.in_thread(client.tell_waiting, [], [self._told[key][1] for key in keys])
            for key in keys:
                del self._told[key]


class OneWait:
    """
    The same for a worker that waits for one run.

    :param receiver: Our receiver.
    :param wait: The wait.
    :param clock: Seconds, replaced in tests.
    """

    def __init__(self, receiver: ReceiverClient, wait: Wait, clock: Callable[[], float]) -> None:
        self._receiver = receiver
        self._wait = wait
        self._clock = clock
        self._tell_at = clock() + INTERVAL
        self._told = False

    def goes_on(self) -> None:
        """Tell, if it is time to."""
        if self._clock() >= self._tell_at:
            self._tell_at = self._clock() + AGAIN
            self._told = True
            tell(self._receiver, [self._wait])

    def is_over(self) -> None:
        """Tell that it is over, if it was told at all."""
        if self._told:
            tell(self._receiver, [], [self._wait.name])


def tell(receiver: ReceiverClient, waiting: Sequence[Wait], over: Sequence[str] = ()) -> None:
    """Tell what `ReceiverClient.tell_waiting` does; never fail."""
    try:
        receiver.tell_waiting(waiting, over)
    except NenoaError as error:
        log.debug("%s", error)


def task_of(ti: Any) -> dict[str, Any]:
    """Name a task instance, as `Watched` has it."""
    names = {"dag_id": "dag_id", "dag_run_id": "run_id", "task_id": "task_id", "map_index": "map_index"}
    return {ours: getattr(ti, airflows, None) for ours, airflows in names.items()}


def present_task() -> dict[str, Any]:
    """Name the task instance whose process this is; nothing where there is none."""
    from airflow.sdk import get_current_context

    try:
        return task_of(get_current_context()["ti"])
    except (KeyError, RuntimeError):
        return {}
