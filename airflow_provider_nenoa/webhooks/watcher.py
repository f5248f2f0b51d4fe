"""Long polls: one look at the store, four times a second, on behalf of all who wait in this process."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_nenoa.webhooks.rows import Change

log = logging.getLogger(__name__)

INTERVAL = 0.25
"""Seconds between two looks: how late we hear of a webhook that another server took."""
PAUSE_AFTER_ERROR = 2.0
"""Seconds until the next look after a failed one."""

Key = tuple[str, ...]
"""What is waited for: ``("events", conn_id)``, ``("run", conn_id, run_id)`` or ``("ref", conn_id, ref)``."""


class Watcher:
    """
    Wakes who waits for a change. Looks only while somebody waits.

    :param cursor: Returns the present end of the stream of changes.
    :param changes: Returns what has changed after a cursor.
    """

    def __init__(self, cursor: Callable[[], Awaitable[int]], changes: Callable[[int], Awaitable[list[Change]]]) -> None:
        self._cursor = cursor
        self._changes = changes
        self.generation = 0
        """Grows whenever something may have changed: what was read before may be out of date."""
        self._waiting: defaultdict[Key, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def watch(self, *keys: Key) -> Iterator[asyncio.Event]:
        """
        Give an event that is set when what one of the keys names may have changed.

        Enter first, read the store then: whatever is committed after the read sets the event.
        """
        event = asyncio.Event()
        for key in keys:
            self._waiting[key].add(event)
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._look_now = asyncio.Event()
            self._task = self._loop.create_task(self._run())
        try:
            yield event
        finally:
            for key in keys:
                self._waiting[key].discard(event)
                if not self._waiting[key]:
                    del self._waiting[key]

    def poke(self) -> None:
        """Look at once: something was committed in this process. May be called from any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._look_now.set)

    async def _run(self) -> None:
        try:
            after: int | None = None
            while self._waiting:
                try:
                    after = await self._look(after)
                except Exception as error:
                    log.warning("Looking for new events failed, trying again: %s", type(error).__name__)
                    await asyncio.sleep(PAUSE_AFTER_ERROR)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._look_now.wait(), INTERVAL)
                self._look_now.clear()
        finally:
            self._task = None

    async def _look(self, after: int | None) -> int:
        if after is None:
            after = await self._cursor()
            # Who came before this look may have read the store before it: let them all read once more.
            for key in list(self._waiting):
                self._wake(key)
            return after
        while changes := await self._changes(after):
            for change in changes:
                self._wake(("events", change.conn_id))
                if change.run_id is not None:
                    self._wake(("run", change.conn_id, change.run_id))
                if change.ref is not None:
                    self._wake(("ref", change.conn_id, change.ref))
            after = changes[-1].seq
        return after

    def _wake(self, key: Key) -> None:
        self.generation += 1
        for event in self._waiting.get(key, ()):
            event.set()
