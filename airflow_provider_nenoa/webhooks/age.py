"""How old the newest event of each connection is: what shows that webhooks have stopped coming."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from airflow_provider_nenoa import metrics

INTERVAL = 10.0
"""Seconds between two reports about a connection, at least."""


class NewestAge:
    """
    Reports it while somebody waits, and when it begins anew.

    :param read: Asks the store when a webhook last told something new of a connection's runs, in Unix seconds.
    """

    def __init__(self, read: Callable[[str], Awaitable[float | None]]) -> None:
        self._read = read
        self._reported: dict[str, tuple[float, float]] = {}  # when, and from when the newest event was then
        self._waited_since: dict[str, float] = {}

    async def waited_for(self, conn_id: str) -> None:
        """Take note of a long poll. One follows the other while somebody waits."""
        now = time.time()
        at, newest_then = self._reported.get(conn_id, (0.0, 0.0))
        if now - at < INTERVAL:
            return
        self._reported[conn_id] = (now, newest_then)
        # Read anew each time, since other servers take webhooks too.
        newest = await self._read(conn_id)
        if newest is None:
            # The alert must work for a connection whose webhooks have never come.
            newest = self._waited_since.setdefault(conn_id, now)
        if newest >= self._reported[conn_id][1]:  # else one came meanwhile
            self._report(conn_id, newest)

    def came(self, conn_id: str) -> None:
        """Take note of a webhook that told something new. Its report may be the last: it may end all waiting."""
        now = time.time()
        _, newest_then = self._reported.get(conn_id, (0.0, 0.0))
        if now - newest_then >= INTERVAL:
            self._report(conn_id, now)

    def _report(self, conn_id: str, newest: float) -> None:
        now = time.time()
        self._reported[conn_id] = (now, newest)
        metrics.gauge("webhook.newest_age", max(0.0, now - newest), conn_id)
