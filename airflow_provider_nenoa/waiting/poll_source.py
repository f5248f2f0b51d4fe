"""Learn by asking the vendor, within the connection's budget."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
import time
from typing import TYPE_CHECKING

from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    ConnectionFailed,
    ConnectionUnreadable,
    InvalidReply,
    NenoaError,
    RateLimited,
    ServerError,
)
from airflow_provider_nenoa.waiting.hub import back_off
from airflow_provider_nenoa.waiting.kinds import KINDS
from airflow_provider_nenoa.waiting.pace import SAFETY_INTERVAL, interval

if TYPE_CHECKING:
    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.waiting.budget import Budget
    from airflow_provider_nenoa.waiting.hub import Channel, Watched

log = logging.getLogger(__name__)

AT_ONCE = 3
"""Polls under way at the same time: one of the channel's threads belongs to the receiver's long poll."""
QUIET_DELAY = 60.0
"""Seconds of waiting for the budget that are not worth a line in the log."""


class PollSource:
    """
    Ask about each run when its time has come, those first that have been due longest.

    :param channel: Whose runs.
    :param hook: Makes the requests; it does not retry, since waiting is this source's own business.
    :param budget: Says when a request may go out.
    """

    def __init__(self, channel: Channel, hook: VendorHook, budget: Budget) -> None:
        self._channel = channel
        self._hook = hook
        self._hook.on_response = lambda response: budget.observe(response.headers)
        self._budget = budget
        self._due: list[tuple[float, int, Watched]] = []
        self._number = itertools.count()
        self._sooner = asyncio.Event()
        self._failures = 0
        self._said_waiting = False

    def added(self, watched: Watched) -> None:
        """Plan the first poll; that of a run which is not new comes at a random point of its interval."""
        if watched.key.run_id is None:
            return
        age = max(0.0, time.time() - watched.started_at)
        wait = self._interval(watched, age)
        self._plan(watched, wait if age < wait else wait * random.random())

    async def run(self) -> None:
        """Poll, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._poll_for_ever())

    def _interval(self, watched: Watched, age: float) -> float:
        return SAFETY_INTERVAL if watched.told else interval(age, watched.poll_interval)

    def _plan(self, watched: Watched, wait: float) -> None:
        heapq.heappush(self._due, (time.time() + wait, next(self._number), watched))
        self._sooner.set()

    async def _poll_for_ever(self) -> None:
        while True:
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
            self._channel.tell(run.run_id, run.word, by_webhook=False)
            if watched.ended is None:
                self._plan(watched, self._interval(watched, time.time() - watched.started_at))

    async def _next(self) -> Watched:
        """Wait until a run is due and the budget allows a request, and count it."""
        while True:
            self._drop_forgotten()
            wait = max(self._due[0][0] - time.time(), self._budget.delay()) if self._due else None
            if wait is not None and wait <= 0:
                self._budget.spend()
                self._said_waiting = False
                return heapq.heappop(self._due)[2]
            self._say_waiting()
            self._sooner.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._sooner.wait()
            except TimeoutError:
                pass

    def _drop_forgotten(self) -> None:
        while self._due and (self._due[0][2].ended is not None or not self._due[0][2].holders):
            heapq.heappop(self._due)

    async def _poll(self, watched: Watched) -> Run:
        kind, run_id = KINDS[watched.key.kind], watched.key.run_id or ""
        try:
            return await self._channel.in_thread(kind.poll, self._hook, run_id)
        except AuthenticationError:
            # The key may have been changed since the connection was read.
            on_response = self._hook.on_response
            self._hook = await self._channel.open_hook(retry_for=0, on_response=on_response)
            self._budget.spend()
            return await self._channel.in_thread(kind.poll, self._hook, run_id)

    async def _failed(self, watched: Watched, error: NenoaError) -> None:
        self._failures += 1
        if self._failures == 1:
            log.warning("Connection %s: a poll failed; trying on. %s", self._channel.conn_id, error)
        if error.retry_after is not None:
            self._budget.pause(error.retry_after)
        self._plan(watched, self._interval(watched, time.time() - watched.started_at))
        if not isinstance(error, InvalidReply):
            await back_off(self._failures)

    def _say_waiting(self) -> None:
        delay = self._budget.delay()
        if delay > QUIET_DELAY and self._due and self._due[0][0] <= time.time() and not self._said_waiting:
            self._said_waiting = True
            until = time.strftime("%H:%M:%S", time.localtime(time.time() + delay))
            log.warning(
                "Connection %s: its requests are used up until %s; %d runs are waited for quietly.",
                self._channel.conn_id,
                until,
                len(self._due),
            )
