"""Learn from our own receiver, by one long poll for all runs of a connection."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.waiting import report
from airflow_provider_nenoa.waiting.channel import back_off, not_at_once
from airflow_provider_nenoa.waiting.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_nenoa.pacing.budget import Budget
    from airflow_provider_nenoa.pacing.pace import Durations
    from airflow_provider_nenoa.waiting.channel import Channel, Watched
    from airflow_provider_nenoa.waiting.kinds import RunKey
    from airflow_provider_nenoa.webhooks.client import ReceiverClient
    from airflow_provider_nenoa.webhooks.records import RunSummary

log = logging.getLogger(__name__)

LONG_POLL = 20.0
"""Seconds that the receiver may hold an answer back while there is no news."""
OVERDUE_INTERVAL = 60.0
"""Seconds between two looks for runs whose end is overdue."""
BATCH = 200
"""Runs that are looked up with one request."""


class WebhookSource:
    """
    Follow the receiver's feed of events, and look up the runs that joined.

    A run's webhook may have come before anybody waited for it. So each run that joins is looked up once; the feed is
    followed from a point that was taken before the first look-up, and nothing can fall between the two.

    :param channel: Whose runs.
    :param durations: Returns what is known of how long runs of a kind take.
    :param budget: What the connection's plan allows, where it is polled, too.
    """

    def __init__(
        self, channel: Channel, durations: Callable[[RunKey], Durations], budget: Budget | None = None
    ) -> None:
        self._channel = channel
        self._report = report.WaitReport(channel, budget)
        self._durations = durations
        self._cursor: int | None = None
        self._to_look_up: dict[Watched, None] = {}
        self._joined = asyncio.Event()
        self._failures = 0
        self._down_since: float | None = None
        self._overdue: set[Watched] = set()

    def added(self, watched: Watched) -> None:
        """Look the run up with the next batch."""
        self._to_look_up[watched] = None
        self._joined.set()

    def ask_soon(self) -> None:
        """Nothing to do: what the receiver was told is in its feed."""

    async def run(self) -> None:
        """Follow the feed and look up, until cancelled; the receiver's outages are waited out."""
        while True:
            try:
                # Made anew after each failure: the webhook secret may have been changed meanwhile.
                client = await self._client()
                if self._cursor is None:
                    self._cursor = (await self._channel.in_thread(client.events)).cursor
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._report.run(client))
                    group.create_task(self._follow(client))
                    group.create_task(self._look_up(client))
                    group.create_task(self._mind_overdue())
            except* NenoaError as errors:
                self._failures += 1
                self._down_since = self._down_since or time.time()
                if self._failures == 1:
                    log.warning(
                        "Connection %s: no news from the webhook receiver; trying on. %s",
                        self._channel.conn_id,
                        errors.exceptions[0],
                    )
            await back_off(self._failures)

    async def _client(self) -> ReceiverClient:
        from airflow_provider_nenoa.webhooks.client import ReceiverClient

        settings = (await self._channel.open_hook()).settings
        return ReceiverClient(settings.conn_id, settings.webhook_secret or "", retry_for=0)

    async def _follow(self, client: ReceiverClient) -> None:
        while True:
            # After an outage at once, so that its length is known, not that of the wait for the next event.
            wait = 0.0 if self._failures else LONG_POLL
            asked_at = asyncio.get_running_loop().time()
            events = await self._channel.in_thread(client.events, after=self._cursor, wait=wait)
            if self._failures:
                log.warning("Connection %s: the webhook receiver answers again.", self._channel.conn_id)
                self._failures = 0
                self._after_outage()
            is_new, self._cursor = events.cursor != self._cursor, events.cursor
            for event in events.events:
                for watched in self._tell(event):
                    if watched.key.run_id is not None:
                        durations = self._durations(watched.key)
                        durations.learn(max(0.0, event.received_at - watched.started_at))
                    metrics.time("resume", max(0.0, time.time() - event.received_at), self._channel.conn_id)
            if not is_new:
                await not_at_once(asked_at)

    def _after_outage(self) -> None:
        """Have the runs asked about whose webhooks the vendor may have given up to deliver."""
        seconds = time.time() - (self._down_since or time.time())
        self._down_since = None
        if seconds >= KINDS[self._channel.kind].patience:
            log.warning(
                "Connection %s: the webhook receiver did not answer for %.0f s, longer than %s tries to deliver. Runs "
                "that can be asked about are asked about now; the end of any other may be lost: look it up there.",
                self._channel.conn_id,
                seconds,
                KINDS[self._channel.kind].vendor,
            )
            self._channel.webhooks_may_be_lost()

    async def _mind_overdue(self) -> None:
        """Name the runs of which it was told that they go on, and that have done so for longer than any other."""
        while True:
            await asyncio.sleep(OVERDUE_INTERVAL)
            now = time.time()
            overdue = {
                watched
                for watched in self._channel.watched.values()
                if watched.told
                and watched.word
                and watched.ended is None
                and self._durations(watched.key).is_overdue(now - watched.started_at)
            }
            for watched in overdue - self._overdue:
                log.warning(
                    "Connection %s: %s %s has been '%s' for %.0f min, and no webhook has told its end: it may be lost. "
                    "Look the run up at the vendor, and see 'Webhooks do not arrive' in the documentation.",
                    self._channel.conn_id,
                    KINDS[watched.key.kind].a_run,
                    watched.key.run_id or watched.key.ref,
                    watched.word,
                    (now - watched.started_at) / 60,
                )
            if overdue or self._overdue:
                metrics.gauge("overdue", len(overdue), self._channel.conn_id)
            self._overdue = overdue

    async def _look_up(self, client: ReceiverClient) -> None:
        while True:
            self._joined.clear()
            while self._to_look_up:  # also what a failure has left
                batch = list(self._to_look_up)[:BATCH]
                awaited = [watched.key for watched in batch if watched.holders]
                run_ids = [key.run_id for key in awaited if key.run_id is not None]
                refs = [key.ref for key in awaited if key.ref is not None]
                if awaited:
                    for event in await self._channel.in_thread(client.runs, run_ids, refs):
                        self._tell(event)
                for watched in batch:
                    self._to_look_up.pop(watched, None)
            await self._joined.wait()

    def _tell(self, event: RunSummary) -> list[Watched]:
        return self._channel.tell(event.run_id, event.word, kind=event.kind, ref=event.ref, by_webhook=True)
