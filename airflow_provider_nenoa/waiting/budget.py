"""
Requests per minute and per day, shared by all who wait on one connection.

The spending is planned so that the vendor never has to answer 429 because of us, whatever its windows are, fixed or
sliding: in no 60 seconds and in no 24 hours do polls take more than the limit, less what starts and queries need. What
the vendor itself says, in headers or by a 429, overrules the plan.

Within a day, polls go out at the highest steady rate that the rest of the day's limit can bear. Some may be sent ahead
of that: a few at first, and a few more with each end that a poll has found, for where runs end it pays to look.
"""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MINUTE, DAY = 60.0, 86_400.0

SHARE_OF_STARTS = 0.1
"""Part of each limit that polls leave to starts and queries; these may take more, and then polls take less."""
AHEAD = 0.05
"""Part of the day's limit that polls may at once be ahead of the steady rate."""
PAID_PER_END = 8.0
"""Polls that each end found allows ahead of the steady rate; fewer, the more of the day's limit is spent."""
GRAINS = 120
"""Parts of a window in which requests are counted together: half a second of a minute, twelve minutes of a day."""


class _Window:
    """
    The requests of the last so many seconds.

    :param limit: How many the vendor allows.
    :param seconds: In how long.
    """

    def __init__(self, limit: float, seconds: float) -> None:
        self.limit = max(1, int(limit))
        self.seconds = seconds
        self._share = int(self.limit * SHARE_OF_STARTS)
        self._polls = self._others = 0.0
        self._grains: deque[list[float]] = deque()  # [when it leaves the window, polls, others], oldest first

    @property
    def spacing(self) -> float:
        """Seconds between two polls that fill the window evenly."""
        return self.seconds / (self.limit - self._share)

    def left(self, now: float) -> float:
        """How many polls fit in now."""
        while self._grains and self._grains[0][0] <= now:
            _, polls, others = self._grains.popleft()
            self._polls -= polls
            self._others -= others
        return self.limit - max(self._share, self._others) - self._polls

    def count(self, now: float, polls: int = 0, others: int = 0) -> None:
        """Count requests that go out now."""
        grain = self.seconds / GRAINS
        leaves = (math.floor(now / grain) + 1) * grain + self.seconds
        # A clock that was set back adds to the newest grain: better late than early.
        if not self._grains or self._grains[-1][0] < leaves:
            self._grains.append([leaves, 0, 0])
        self._grains[-1][1] += polls
        self._grains[-1][2] += others
        self._polls += polls
        self._others += others

    def opens_at(self, now: float) -> float:
        """When a poll fits in; the present, if one does already."""
        left = self.left(now)
        for leaves, polls, others in self._grains:
            if left >= 1:
                break
            now, left = leaves, left + polls + others
        return now

    def steady_rate(self, now: float, promised: float) -> float:
        """
        Polls a second that can go on for ever from now on.

        :param promised: Polls that may be sent beyond that.
        """
        left = self.left(now) - promised
        rate = math.inf
        for leaves, polls, _ in self._grains:
            rate = min(rate, left / (leaves - now))
            left += polls
        return max(0.0, min(rate, left / self.seconds))


class Budget:
    """
    Says when the next poll may go out.

    :param per_minute: The vendor's limit per minute; None: there is none.
    :param per_day: The vendor's limit per day; None: there is none.
    :param clock: The present time in Unix seconds; replaced in tests. Default `time.time`.
    """

    def __init__(
        self, per_minute: float | None, per_day: float | None, clock: Callable[[], float] | None = None
    ) -> None:
        self._clock = clock or time.time
        self._minute = None if per_minute is None else _Window(per_minute, MINUTE)
        self._day = None if per_day is None else _Window(per_day, DAY)
        self._ahead = 1.0 if self._day is None else max(1.0, self._day.limit * AHEAD)
        self._credit = self._ahead
        self._rate = 0.0
        self._credited_at = self._clock()
        self._planned_at = -math.inf
        self._next_at = self._paused_until = -math.inf

    def delay(self) -> float:
        """Seconds until a poll may go out; 0: now."""
        now = self._clock()
        times = [now, self._next_at, self._paused_until, *(window.opens_at(now) for window in self._windows())]
        if self._day is not None:
            self._collect(now)
            if self._credit < 1:
                times.append(now + (1 - self._credit) / self._rate if self._rate else self._planned_at + MINUTE)
        return max(times) - now

    def spend(self) -> None:
        """Count a poll that goes out now."""
        now = self._clock()
        self._credit -= 1
        for window in self._windows():
            window.count(now, polls=1)
        if self._minute is not None:
            self._next_at = now + self._minute.spacing

    def spend_elsewhere(self, seconds_ago: float = 0.0) -> None:
        """Count a request that another process has sent over this connection: a start, or the reading of a result."""
        for window in self._windows():
            if seconds_ago < window.seconds:
                window.count(self._clock(), others=1)

    def found_end(self) -> None:
        """Allow a few polls ahead of the steady rate: the last one has found an end."""
        if self._day is not None:
            paid = PAID_PER_END * self._day.left(self._clock()) / self._day.limit
            self._credit = min(self._ahead, self._credit + paid)

    @property
    def spare(self) -> float:
        """From 0 to 1: how much of what may be sent ahead of the steady rate is left."""
        return max(0.0, self._credit / self._ahead) if self._day is not None else 1.0

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

    def _windows(self) -> list[_Window]:
        return [window for window in (self._minute, self._day) if window is not None]

    def _collect(self, now: float) -> None:
        """Add what the steady rate has brought since the last time."""
        assert self._day is not None
        if not 0 <= now - self._planned_at < MINUTE:
            self._planned_at = now
            self._rate = self._day.steady_rate(now, self._credit)
        # A clock that was set back must not take anything away.
        passed = max(0.0, now - self._credited_at)
        self._credit = min(self._ahead, self._credit + passed * self._rate)
        self._credited_at = now
