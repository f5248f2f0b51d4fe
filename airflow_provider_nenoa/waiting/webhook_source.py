"""Learn from our own receiver, by one long poll for all runs of a connection."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.waiting.hub import back_off

if TYPE_CHECKING:
    from airflow_provider_nenoa.waiting.hub import Channel, Watched
    from airflow_provider_nenoa.webhooks.client import ReceiverClient
    from airflow_provider_nenoa.webhooks.records import RunSummary

log = logging.getLogger(__name__)

LONG_POLL = 20.0
"""Seconds that the receiver may hold an answer back while there is no news."""
BATCH = 200
"""Runs that are looked up with one request."""


class WebhookSource:
    """
    Follow the receiver's feed of events, and look up the runs that joined.

    A run's webhook may have come before anybody waited for it. So each run that joins is looked up once; the feed is
    followed from a point that was taken before the first look-up, and nothing can fall between the two.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._cursor: int | None = None
        self._to_look_up: dict[Watched, None] = {}
        self._joined = asyncio.Event()
        self._failures = 0

    def added(self, watched: Watched) -> None:
        """Look the run up with the next batch."""
        self._to_look_up[watched] = None
        self._joined.set()

    async def run(self) -> None:
        """Follow the feed and look up, until cancelled; the receiver's outages are waited out."""
        while True:
            try:
                # Made anew after each failure: the webhook secret may have been changed meanwhile.
                client = await self._client()
                if self._cursor is None:
                    self._cursor = (await self._channel.in_thread(client.events)).cursor
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._follow(client))
                    group.create_task(self._look_up(client))
            except* NenoaError as errors:
                self._failures += 1
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
            events = await self._channel.in_thread(client.events, after=self._cursor, wait=LONG_POLL)
            if self._failures:
                log.warning("Connection %s: the webhook receiver answers again.", self._channel.conn_id)
                self._failures = 0
            self._cursor = events.cursor
            for event in events.events:
                for watched in self._tell(event):
                    if watched.key.run_id is not None:
                        durations = self._channel.hub.durations(watched.key)
                        durations.learn(max(0.0, event.received_at - watched.started_at))
                    metrics.time("resume", max(0.0, time.time() - event.received_at), self._channel.conn_id)

    async def _look_up(self, client: ReceiverClient) -> None:
        while True:
            self._joined.clear()
            while self._to_look_up:  # also what a failure has left
                batch = list(self._to_look_up)[:BATCH]
                awaited = [watched.key for watched in batch if watched.holders]
                run_ids = [key.run_id for key in awaited if key.run_id is not None]
                if run_ids:
                    for event in await self._channel.in_thread(client.runs, run_ids):
                        self._tell(event)
                for ref in [key.ref for key in awaited if key.ref is not None]:
                    found = await self._channel.in_thread(client.by_ref, ref)
                    if found is not None:
                        self._tell(found)
                for watched in batch:
                    self._to_look_up.pop(watched, None)
            await self._joined.wait()

    def _tell(self, event: RunSummary) -> list[Watched]:
        return self._channel.tell(event.run_id, event.word, ref=event.ref, by_webhook=True)
