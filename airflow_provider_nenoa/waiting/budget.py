"""
Requests per minute and per day, shared by all who wait on one connection.

The pace is planned so that the vendor never has to answer 429 because of us, whatever its windows are, fixed or
sliding: in no 60 seconds more than the minute's limit less a share for starts and queries, and in no 24 hours more
than the day's limit. What the vendor itself says, in headers or by a 429, overrules the plan.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MINUTE, DAY = 60.0, 86_400.0

SHARE_OF_STARTS = 0.1
"""Part of each minute's limit that polling leaves to starts and queries, which other processes make."""

BURST = 0.19
"""
Part of the day's limit that may be spent at once; the rest comes back evenly over the day.

A larger part would serve ten busy minutes better and a busy day worse. With this one, neither has less than 0.8 of
the polls that a client could make who knew which of the two it was.
"""


class Budget:
    """
    Says when the next request may go out.

    :param per_minute: The vendor's limit per minute; None: there is none.
    :param per_day: The vendor's limit per day; None: there is none.
    :param clock: The present time in Unix seconds; replaced in tests.
    """

    def __init__(self, per_minute: float | None, per_day: float | None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._per_minute = None if per_minute is None else max(1, int(per_minute * (1 - SHARE_OF_STARTS)))
        self._sent: deque[float] = deque()
        self._capacity = None if per_day is None else max(1.0, per_day * BURST)
        self._refill = 0.0 if per_day is None else max(per_day - (self._capacity or 0.0), 0.5) / DAY
        self._tokens = self._capacity or 0.0
        self._filled_at = clock()
        self._paused_until = 0.0

    def delay(self) -> float:
        """Seconds until a request may go out; 0: now."""
        now = self._clock()
        self._advance(now)
        waits = [self._paused_until - now]
        if self._per_minute is not None and len(self._sent) >= self._per_minute:
            waits.append(self._sent[0] + MINUTE - now)
        if self._capacity is not None and self._tokens < 1:
            waits.append((1 - self._tokens) / self._refill)
        return max(0.0, *waits)

    def spend(self) -> None:
        """Count a request that goes out now."""
        now = self._clock()
        self._advance(now)
        self._sent.append(now)
        self._tokens -= 1

    def pause(self, seconds: float) -> None:
        """Send nothing for a while: the vendor answered 429."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def observe(self, headers: Mapping[str, str]) -> None:
        """
        Believe the vendor's ``X-RateLimit-*`` headers, which count everybody who uses the workspace.

        When the rest of the window is no more than the share of starts and queries, polling pauses until it resets.
        """
        try:
            limit = float(headers["X-RateLimit-Limit"])
            remaining = float(headers["X-RateLimit-Remaining"])
            reset_at = float(headers["X-RateLimit-Reset"])
        except (KeyError, ValueError):
            return
        if remaining <= limit * SHARE_OF_STARTS and reset_at - self._clock() <= DAY:
            self._paused_until = max(self._paused_until, reset_at)

    def _advance(self, now: float) -> None:
        while self._sent and self._sent[0] <= now - MINUTE:
            self._sent.popleft()
        if self._capacity is not None:
            # A clock that was set back must not take tokens away.
            passed = max(0.0, now - self._filled_at)
            self._tokens = min(self._capacity, self._tokens + passed * self._refill)
        self._filled_at = now
