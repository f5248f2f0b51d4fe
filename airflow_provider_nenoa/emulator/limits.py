"""Requests per minute and per day, for each OpenAnalyst workspace."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

MINUTE = 60.0
DAY = 86_400.0


class Window(Protocol):
    """A number of requests that fit into a span of time."""

    limit: int

    def remaining(self, now: float) -> int:
        """How many more requests fit now."""

    def resets_at(self, now: float) -> float:
        """Unix time at which there is room again (more room, if there is some)."""

    def take(self, now: float) -> None:
        """Count a request."""


class FixedWindow:
    """Begins with the first request after the one before has ended; then all of its room comes back at once."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._start = -math.inf
        self._used = 0

    def _roll(self, now: float) -> None:
        if now >= self._start + self._seconds:
            self._start, self._used = now, 0

    def remaining(self, now: float) -> int:
        self._roll(now)
        return self.limit - self._used

    def resets_at(self, now: float) -> float:
        self._roll(now)
        return self._start + self._seconds

    def take(self, now: float) -> None:
        self._roll(now)
        self._used += 1


class SlidingWindow:
    """Looks back from every request: never more than the limit in any span."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self._seconds = seconds
        self._taken: deque[float] = deque()

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0] <= now - self._seconds:
            self._taken.popleft()

    def remaining(self, now: float) -> int:
        self._forget(now)
        return self.limit - len(self._taken)

    def resets_at(self, now: float) -> float:
        self._forget(now)
        return self._taken[0] + self._seconds if self._taken else now

    def take(self, now: float) -> None:
        self._forget(now)
        self._taken.append(now)


class Limiter:
    """The limits of one workspace.

    :param per_minute: requests per minute; None: no such limit.
    :param per_day: requests per day; None: no such limit.
    :param window: :class:`FixedWindow` or :class:`SlidingWindow`.
    """

    def __init__(
        self, per_minute: int | None, per_day: int | None, window: Callable[[int, float], Window] = FixedWindow
    ) -> None:
        spans = ((per_minute, MINUTE), (per_day, DAY))
        self._windows: Sequence[Window] = [window(limit, seconds) for limit, seconds in spans if limit is not None]

    def admit(self, now: float) -> float | None:
        """Count a request if it fits. A refused one is not counted.

        :return: None if it was let in, otherwise in how many seconds there is room again.
        """
        waits = [window.resets_at(now) - now for window in self._windows if window.remaining(now) <= 0]
        if waits:
            return max(waits)
        for window in self._windows:
            window.take(now)
        return None

    def headers(self, now: float) -> dict[str, str]:
        """``X-RateLimit-*`` of the window with the least room; none if there is no limit."""
        if not self._windows:
            return {}
        tightest = min(self._windows, key=lambda window: window.remaining(now))
        return {
            "X-RateLimit-Limit": str(tightest.limit),
            "X-RateLimit-Remaining": str(tightest.remaining(now)),
            "X-RateLimit-Reset": str(math.ceil(tightest.resets_at(now))),
        }
