"""
Requests per minute and per day, shared by all who wait on one connection.

The spending is planned so that the vendor never has to answer 429 because of us, whatever its windows are, fixed or
sliding: in no 60 seconds and in no 24 hours do polls take more than the limit, less what starts and queries need. What
the vendor itself says, in headers or by a 429, overrules the plan.

Within a day, polls go out at the highest steady rate that the rest of the day's limit can bear, or faster while runs
end: what is left is then spread over the runs that wait and those that are likely to be started yet, and a run gets its
part when it is likely to end, not evenly over the day. Some polls may be sent ahead of that rate.
"""

from __future__ import annotations

import logging
import math
import random
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from airflow_provider_nenoa.pacing.window import SHARE_OF_STARTS, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0

AHEAD = 0.05
"""Part of the day's limit that polls may at once be ahead of the rate."""
FORE = 1.5
"""
How many times its even share of what is left a run gets when it ends. While many wait, a round of polls costs more than
later: the lateness of all together is least if polls become fewer with the square root of the runs, which this does.
"""
MOST_PER_END = 16.0
"""Polls that one end may cost beyond the steady rate, however few runs wait: more may be started later in the day."""
MEMORY = 100
"""Polls by which it is judged how soon runs end, roughly: older ones count less and less."""
CLOCKS_APART = 3.0
"""Seconds by which the vendor's clock may differ from ours, and its headers be rounded."""


class Budget:
    """
    Says when the next poll may go out.

    :param per_minute: The vendor's limit per minute; None: there is none.
    :param per_day: The vendor's limit per day; None: there is none.
    :param clock: The present time in Unix seconds; replaced in tests. Default `time.time`.
    :param at_most: What the user allows per minute and per day, whatever the vendor's headers say; None: all.
    """

    def __init__(
        self,
        per_minute: float | None,
        per_day: float | None,
        clock: Callable[[], float] | None = None,
        *,
        at_most: tuple[float | None, float | None] = (None, None),
    ) -> None:
        self._clock = clock or time.time
        self._minute = None if per_minute is None else Window(per_minute, MINUTE)
        self._day = None if per_day is None else Window(per_day, DAY)
        self._ahead = 1.0 if self._day is None else max(1.0, self._day.limit * AHEAD)
        self._credit = self._ahead  # polls that may go out now, by the day's plan
        self._rate = 0.0  # what is added to that in a second
        self._credited_at = self._clock()
        self._planned_at = -math.inf
        # What polls have found lately: ends, in so many seconds that runs were left alone; and how many still wait.
        self._ends = self._watched = 0.0
        self._waiting = 1
        # Requests that the vendor has told of, in the window that lasts until then, and nobody else yet.
        self._strangers, self._strangers_until = 0.0, -math.inf
        # Our polls lately, and what others have sent meanwhile.
        self._ours, self._theirs = 1.0, 0.0
        self._next_at = self._paused_until = -math.inf
        self._at_most = at_most
        # Limits in the headers that are none of the plan's: the last one of a day, and one of a minute with its reset.
        self._said_of_a_day = math.nan
        self._said_of_a_minute = (math.nan, math.inf)

    def delay(self) -> float:
        """Seconds until a poll may go out; 0: now."""
        now = self._clock()
        times = [now, self._next_at, self._paused_until, *(window.opens_at(now) for window in self._windows())]
        if self._day is not None:
            self._collect(now)
            if self._credit < 1:
                # Planned anew before long: as requests leave the window, there is more to plan with.
                times.append(now + min((1 - self._credit) / self._rate if self._rate else MINUTE, HOUR))
        return max(times) - now

    def spend(self) -> None:
        """Count a poll that goes out now."""
        now = self._clock()
        self._credit -= 1
        self._ours += 1 - self._ours / MEMORY
        self._theirs -= self._theirs / MEMORY
        for window in self._windows():
            window.count(now, polls=1)
        if self._minute is not None:
            # Others who poll, say other workers, have their part of the minute; this is ours.
            self._next_at = now + self._minute.spacing * (self._ours + self._theirs) / self._ours

    def spend_elsewhere(self, seconds_ago: float = 0.0) -> None:
        """Count a request that another process has sent over this connection: a start, or the reading of a result."""
        if self._strangers >= 1:  # the vendor has told of it already
            self._strangers -= 1
            return
        for window in self._windows():
            if seconds_ago < window.seconds:
                window.count(self._clock(), others=1)

    def saw(self, *, seconds: float, ended: bool, waiting: int) -> None:
        """
        Take into account what a poll has found: how soon runs end says how fast it pays to ask.

        :param seconds: Since when nobody had asked about the run.
        :param ended: Whether it has ended meanwhile.
        :param waiting: How many runs are waited for, this one included.
        """
        self._ends += ended - self._ends / MEMORY
        self._watched += max(1.0, seconds) - self._watched / MEMORY
        self._waiting = max(1, waiting)
        self._planned_at = -math.inf

    def spent(self) -> list[tuple[int, int, int]]:
        """Return of each limit its seconds, the requests that are known to have been sent in them, and the limit."""
        now = self._clock()
        return [(int(window.seconds), int(window.spent(now)), int(window.limit)) for window in self._windows()]

    @property
    def spare(self) -> float:
        """From 0 to 1: how much of what may be sent ahead of the steady rate is left."""
        return max(0.0, self._credit / self._ahead) if self._day is not None else 1.0

    def pause(self, seconds: float) -> None:
        """Send nothing for a while, a day at most, when every limit begins anew: the vendor answered 429."""
        self._paused_until = max(self._paused_until, self._clock() + min(seconds, DAY))

    def refused(self, seconds: float) -> None:
        """
        Take into account that the vendor answered 429 to a poll: others send more than they seemed to.

        :param seconds: How long nothing may be sent.
        """
        self.pause(seconds)
        self._theirs = 2 * self._theirs + self._ours

    def observe(self, headers: Mapping[str, str]) -> None:
        """
        Believe the vendor's ``X-RateLimit-*`` headers, which count everybody who uses the workspace.

        What the vendor has counted and we have not was sent by somebody else, and is spent all the same. When the rest
        of the window is no more than what is kept for starts and queries, polling pauses until it resets. A limit that
        is none of the plan's takes the place of the plan's. The reset is judged by the answer's own ``Date``.
        """
        try:
            limit = float(headers["X-RateLimit-Limit"])
            remaining = float(headers["X-RateLimit-Remaining"])
            reset_at = float(headers.get("X-RateLimit-Reset", "nan"))
        except (KeyError, ValueError):
            return
        now = self._clock()
        reset_at = _by_our_clock(reset_at, headers.get("Date"), now)
        if "X-RateLimit-Reset" not in headers and limit >= 1 > remaining >= 0:
            self.pause(MINUTE)  # nobody said until when; a minute is what most limits are about
        self._adopt(limit, reset_at, now)
        reserved, crowd = limit * SHARE_OF_STARTS, 0.0
        for window in self._windows():
            in_time = 0 < reset_at - now <= window.seconds + CLOCKS_APART
            if window.limit == limit and 0 <= remaining <= limit and in_time:
                since = reset_at - window.seconds - CLOCKS_APART
                others = int(limit - remaining - window.since(since))
                reserved = window.reserved_since(since)
                self._count_strangers(others, window, reset_at)
                if window is self._minute and others > 0:
                    crowd = others / (limit - remaining)
        if remaining <= reserved and reset_at - now <= DAY:
            # Those who poll from many processes must not all come back in the same second.
            self._paused_until = max(self._paused_until, reset_at + random.uniform(0, MINUTE * crowd))

    def _adopt(self, limit: float, reset_at: float, now: float) -> None:
        """
        Go by the limit that the vendor names, where that is none of ours.

        Whether it is one of a minute or of a day shows in how far away the reset is. A day ends, too: so a higher limit
        of a minute is believed once it has been named in two minutes, and of a day, while more than an hour is left.
        """
        until_reset = reset_at - now
        if not (1 <= limit < math.inf and 0 < until_reset <= DAY + CLOCKS_APART):
            return
        if any(window.limit == limit for window in self._windows()):
            return
        of_a_day = until_reset > MINUTE + CLOCKS_APART or limit == self._said_of_a_day
        of_a_day = of_a_day or (self._day is not None and limit >= self._day.limit)
        window, most = (self._day, self._at_most[1]) if of_a_day else (self._minute, self._at_most[0])
        if of_a_day:
            self._said_of_a_day = limit
        if window is None:
            return
        adopted = min(limit, math.inf if most is None else most)
        if adopted > window.limit:
            said, first_reset = self._said_of_a_minute
            if of_a_day and until_reset <= HOUR:
                return
            if not of_a_day and said != limit:
                self._said_of_a_minute = (limit, reset_at)
                return
            if not of_a_day and reset_at < first_reset + MINUTE - CLOCKS_APART:
                return
        if int(adopted) == window.limit:
            return
        log.warning(
            "The vendor's headers name a limit of %d requests a %s, and the connection's plan %d. Going by %s.",
            limit,
            "day" if of_a_day else "minute",
            window.limit,
            "the vendor's" if adopted == limit else f"the connection's own {adopted:g}",
        )
        window.adopt(adopted)
        if of_a_day:
            self._ahead = max(1.0, window.limit * AHEAD)
            self._credit = min(self._credit, self._ahead)
        self._planned_at = -math.inf

    def _windows(self) -> list[Window]:
        return [window for window in (self._minute, self._day) if window is not None]

    def _count_strangers(self, requests: int, window: Window, until: float) -> None:
        requests = max(0, requests)
        if self._strangers_until > -math.inf:  # what the first reply tells of was before our time
            self._theirs += requests
        if until != self._strangers_until:
            self._strangers, self._strangers_until = 0.0, until
        self._strangers += requests
        for each in self._windows():
            if each.seconds >= window.seconds:  # who has spent of a minute has spent of the day
                # As polls, not as starts: that somebody else was busy is no sign of how busy he will be.
                each.count(self._clock(), polls=requests)

    def _collect(self, now: float) -> None:
        """Add what the rate has brought since the last time."""
        assert self._day is not None
        if not 0 <= now - self._planned_at < MINUTE:
            self._planned_at = now
            # Whole polls only: what is promised would otherwise keep a rate from ever earning the last bit of a poll.
            promised = int(self._credit)
            rate = max(self._day.steady_rate(now, promised), self._rate_of_ends(self._day, now))
            # Others who poll, say another triggerer, plan with the same rest of the day.
            self._rate = rate * self._ours / (self._ours + self._theirs)
        # A clock that was set back must not take anything away.
        passed = max(0.0, now - self._credited_at)
        self._credit = min(self._ahead, self._credit + passed * self._rate)
        self._credited_at = now

    def _rate_of_ends(self, day: Window, now: float) -> float:
        """Polls a second at which each run that ends gets its part of what is left of the day."""
        if not self._watched:
            return 0.0
        ends_per_second = self._ends / self._watched * self._waiting
        left = max(0.0, day.to_plan(now) - self._credit)
        per_end = left / (self._waiting / FORE + max(0.0, day.others_to_come(now)))
        return ends_per_second * min(MOST_PER_END, per_end)


def _by_our_clock(at: float, date: str | None, now: float) -> float:
    """Return when a moment of the vendor's clock is by ours, if its ``Date`` says that they are apart."""
    try:
        theirs = parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return at
    ahead = theirs.replace(tzinfo=theirs.tzinfo or UTC).timestamp() - now
    return at if abs(ahead) <= CLOCKS_APART else at - ahead
