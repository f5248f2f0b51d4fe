"""Learn by asking the vendor, within the connection's budget."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
import time
from typing import TYPE_CHECKING

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    ConnectionFailed,
    ConnectionUnreadable,
    InvalidReply,
    NenoaError,
    RateLimited,
    ServerError,
)
from airflow_provider_nenoa.pacing.pace import SAFETY_INTERVAL
from airflow_provider_nenoa.waiting.channel import THREADS, back_off
from airflow_provider_nenoa.waiting.kinds import KINDS, ask_vendor

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.pacing.budget import Budget
    from airflow_provider_nenoa.pacing.pace import Durations
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.waiting.channel import Channel, Watched
    from airflow_provider_nenoa.waiting.kinds import RunKey

log = logging.getLogger(__name__)

AT_ONCE = THREADS - 1
"""Polls under way at the same time: one of the channel's threads belongs to the receiver's long poll."""
SOON = 30.0
"""Seconds over which the questions are spread that an outage of the receiver calls for."""
LATE = 60.0
"""Seconds by which the rate limit may delay a poll before the log tells of it."""
REMIND = 3600.0
"""Seconds until the log tells of it again."""


class PollSource:
    """
    Ask about each run when its time has come, those first that have been due longest.

    :param channel: Whose runs.
    :param hook: Makes the requests; it does not retry, since waiting is this source's own business.
    :param budget: Says when a request may go out.
    :param durations: Returns what is known of how long runs of a kind take.
    """

    def __init__(
        self, channel: Channel, hook: VendorHook, budget: Budget, durations: Callable[[RunKey], Durations]
    ) -> None:
        self._channel = channel
        self._hook = hook
        self._hook.on_response = self._observe
        self._budget = budget
        self._durations = durations
        self._loop = asyncio.get_running_loop()
        self._due: list[tuple[float, int, Watched]] = []
        self._number = itertools.count()
        self._turn = asyncio.Lock()
        self._sooner = asyncio.Event()
        self._failures = 0
        self._remind_at = 0.0

    def added(self, watched: Watched) -> None:
        """Plan the first poll: at once for a run that is not new, since it may have ended while nobody waited."""
        if watched.key.run_id is None:
            return
        age = max(0.0, time.time() - watched.started_at)
        self._budget.spend_elsewhere(age)  # its start
        if watched.told:
            # A webhook that came meanwhile is looked up. After a restart, polls need not come all at the same time.
            self._plan(watched, self._interval(watched) * (1.0 if age < SAFETY_INTERVAL else random.random()))
        else:
            self._plan(watched, max(0.0, watched.poll_interval - age))

    def ask_soon(self) -> None:
        """Poll those runs within half a minute, as far as the budget allows, of which a webhook should tell."""
        now = time.time()
        self._due = [
            (min(at, now + random.uniform(0.0, SOON)) if watched.told else at, number, watched)
            for at, number, watched in self._due
        ]
        heapq.heapify(self._due)
        self._sooner.set()

    async def run(self) -> None:
        """Poll, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._poll_for_ever())

    def _observe(self, response: requests.Response) -> None:
        # A response comes in a thread, and the budget is the loop's.
        self._loop.call_soon_threadsafe(self._budget.observe, response.headers)

    def _interval(self, watched: Watched) -> float:
        age = max(0.0, time.time() - watched.started_at)
        durations = self._durations(watched.key)
        if watched.told:
            return durations.safety_interval(age)
        return durations.interval(age, watched.poll_interval, self._budget.spare)

    def _plan(self, watched: Watched, wait: float) -> None:
        heapq.heappush(self._due, (time.time() + wait, next(self._number), watched))
        if len(self._due) > 2 * len(self._channel.watched) + 100:
            # Most of them are waited for no more: cancelled waits must not pile up here.
            self._due = [each for each in self._due if _is_open(each[2])]
            heapq.heapify(self._due)
        self._sooner.set()

    async def _poll_for_ever(self) -> None:
        while True:
            async with self._turn:
                watched = await self._next()
            try:
                run = await self._poll(watched)
            except (ConnectionFailed, ConnectionUnreadable, ServerError, RateLimited, InvalidReply) as error:
                await self._failed(watched, error)
                continue
            except Exception as error:
                if not isinstance(error, NenoaError):
                    log.exception("Connection %s: a poll broke down", self._channel.conn_id)
                watched.fail(error)
                continue
            if self._failures:
                log.warning("Connection %s: the vendor answers again.", self._channel.conn_id)
                self._failures = 0
            self._take(watched, run)

    def _take(self, watched: Watched, run: Run) -> None:
        handed_over = KINDS[watched.key.kind].hand_over(run) if run.status.is_end else None
        self._channel.tell(run.run_id, run.word, kind=watched.key.kind, by_webhook=False, run=handed_over)
        now = time.time()
        ended = watched.ended is not None
        since = watched.joined_at if watched.asked_at is None else watched.asked_at
        self._budget.saw(seconds=now - since, ended=ended, waiting=len(self._channel.watched))
        if not ended:
            watched.asked_at = now
            self._plan(watched, self._interval(watched))
            return
        if handed_over is None:
            self._budget.spend_elsewhere()  # the task will read the result
        if watched.asked_at is not None:
            # It ended somewhere between the last two polls. Where those are far apart because the budget is short, a
            # later guess would make the next polls come later still.
            self._durations(watched.key).learn(watched.asked_at - watched.started_at)

    async def _next(self) -> Watched:
        """Wait until a run is due and the budget allows a request, and count it."""
        while True:
            while self._due and not _is_open(self._due[0][2]):
                heapq.heappop(self._due)
            wait = None
            if self._due:
                due_in, delay = self._due[0][0] - time.time(), self._budget.delay()
                wait = max(due_in, delay)
                if wait <= 0:
                    self._budget.spend()
                    return heapq.heappop(self._due)[2]
                self._say_when_late(wait - due_in, delay)
            self._sooner.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._sooner.wait()
            except TimeoutError:
                pass

    async def _poll(self, watched: Watched) -> Run:
        metrics.count("poll", conn_id=self._channel.conn_id, kind=watched.key.kind)
        try:
            return await self._channel.in_thread(ask_vendor, self._hook, watched.key, watched.started_at)
        except AuthenticationError:
            # The key may have been changed since the connection was read.
            on_response = self._hook.on_response
            self._hook = await self._channel.open_hook(retry_for=0, on_response=on_response)
            self._budget.spend()
            return await self._channel.in_thread(ask_vendor, self._hook, watched.key, watched.started_at)

    async def _failed(self, watched: Watched, error: NenoaError) -> None:
        self._failures += 1
        if isinstance(error, RateLimited):
            metrics.count("rate_limited", conn_id=self._channel.conn_id)
        if self._failures == 1:
            log.warning("Connection %s: a poll failed; trying on. %s", self._channel.conn_id, error)
        if error.retry_after is not None:
            self._budget.refused(error.retry_after)
        self._plan(watched, self._interval(watched))
        if not isinstance(error, InvalidReply):
            await back_off(self._failures)

    def _say_when_late(self, late: float, delay: float) -> None:
        now = time.time()
        if late < LATE or delay < LATE or now < self._remind_at:
            return
        self._remind_at = now + REMIND
        log.warning(
            "Connection %s: the requests that its rate limit allows are used up until %s; %d runs are waited for "
            "quietly. Their ends are noticed later than usual, and none is missed.",
            self._channel.conn_id,
            time.strftime("%H:%M:%S", time.localtime(now + delay)),
            len(self._channel.watched),
        )


def _is_open(watched: Watched) -> bool:
    return watched.ended is None and watched.holders > 0
