"""How much one connection may send: its secret may leak, or its vendor go mad, and the others must not notice."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple


class Allowance(NamedTuple):
    """
    How much may come of one connection.

    :param a_second: How much may come in the long run.
    :param at_once: How much more may come at once.
    """

    a_second: float
    at_once: float


EVENTS = Allowance(200.0, 20_000.0)
"""Webhooks."""
BYTES = Allowance(1024.0 * 1024.0, 256.0 * 1024.0 * 1024.0)
"""Bytes of bodies."""
ROWS = Allowance(20.0, 100_000.0)
"""Webhooks that told something new: more than a million runs a day."""
LIMIT = 1000
"""Connections that are remembered, at most."""


class Flood(Exception):
    """
    A connection has sent more than it may.

    :param what: ``events``, ``bytes`` or ``rows``.
    :param seconds: After how many seconds it may send again.
    """

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what)
        self.what = what
        self.seconds = seconds


class Floods:
    """
    What each connection has sent to this process lately.

    :param clock: Seconds, replaced in tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._allowances = {"events": EVENTS, "bytes": BYTES, "rows": ROWS}
        # Of each connection, and of each kind: when all of it will have been made up for.
        self._even_at: OrderedDict[str, dict[str, float]] = OrderedDict()

    def came(self, conn_id: str, size: int) -> None:
        """
        Take note of a webhook that its vendor has signed.

        :raises Flood: There are more than there may be; this one does not count.
        """
        even_at = self._of(conn_id)
        for what, allowance in self._allowances.items():
            behind = even_at[what] - self._clock() - allowance.at_once / allowance.a_second
            if behind >= 0:
                raise Flood(what, math.ceil(behind + 1.0))
        self._spend(conn_id, "events", 1)
        self._spend(conn_id, "bytes", size)

    def stored(self, conn_id: str) -> None:
        """Take note of a webhook that told something new."""
        self._spend(conn_id, "rows", 1)

    def _of(self, conn_id: str) -> dict[str, float]:
        even_at = self._even_at.setdefault(conn_id, dict.fromkeys(self._allowances, 0.0))
        self._even_at.move_to_end(conn_id)
        if len(self._even_at) > LIMIT:
            self._even_at.popitem(last=False)
        return even_at

    def _spend(self, conn_id: str, what: str, number: float) -> None:
        even_at = self._of(conn_id)
        even_at[what] = max(even_at[what], self._clock()) + number / self._allowances[what].a_second
