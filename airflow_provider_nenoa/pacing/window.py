"""The requests of the last minute, or of the last day: how many were sent, and how many more may be."""

from __future__ import annotations

import math
from collections import deque

SHARE_OF_STARTS = 0.1
"""Part of each limit that polls leave to starts and queries; these may take more, and then polls take less."""
GRAINS = 480
"""Parts of a window in which requests are counted together: 1/8 of a second of a minute, three minutes of a day."""


class Window:
    """
    The requests of the last so many seconds.

    :param limit: How many the vendor allows.
    :param seconds: In how long.
    """

    def __init__(self, limit: float, seconds: float) -> None:
        self.adopt(limit)
        self.seconds = seconds
        self._polls = self._others = 0.0
        self._grains: deque[list[float]] = deque()  # [when it leaves the window, polls, others], oldest first

    def adopt(self, limit: float) -> None:
        """Go by another limit from now on; what was counted stays counted."""
        self.limit = max(1, int(limit))
        self._share = int(self.limit * SHARE_OF_STARTS)

    @property
    def spacing(self) -> float:
        """Seconds between two polls that fill the window evenly."""
        return self.seconds / (self.limit - self._share)

    @property
    def reserved(self) -> float:
        """What is kept for starts and queries, and not used by them yet."""
        return max(0.0, self._share - self._others)

    def reserved_since(self, start: float) -> float:
        """What is kept for starts and queries, less those that have been counted since then."""
        others = sum(others for leaves, _, others in self._grains if leaves > start + self.seconds)
        return max(0.0, self._share - others)

    def spent(self, now: float) -> float:
        """How many requests are known to have been sent in the window that ends now."""
        while self._grains and self._grains[0][0] <= now:
            _, polls, others = self._grains.popleft()
            self._polls -= polls
            self._others -= others
        return self._polls + self._others

    def left(self, now: float) -> float:
        """How many polls fit in now."""
        return self.limit - self.spent(now) - self.reserved

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

    def since(self, start: float) -> float:
        """How many requests were counted since then, and perhaps a few from just before."""
        return sum(polls + others for leaves, polls, others in self._grains if leaves > start + self.seconds)

    def opens_at(self, now: float) -> float:
        """When a poll fits in; the present, if one does already."""
        left = self.left(now)
        for leaves, polls, others in self._grains:
            if left >= 1:
                break
            now, left = leaves, left + polls + others
        return now

    def others_to_come(self, now: float) -> float:
        """
        How many starts and queries are likely until the first of those counted leaves the window.

        As many as have come since then, in proportion. The largest crowd of them is left out: five hundred runs that
        were started at once are no sign of five hundred more.
        """
        if not self._grains:
            return 0.0
        grain = self.seconds / GRAINS
        observed = max(grain, now - self._grains[0][0] + self.seconds + grain)
        regular = self._others - max(others for _, _, others in self._grains)
        return regular * max(0.0, self.seconds / observed - 1.0)

    def to_plan(self, now: float) -> float:
        """How many polls are left, if as many starts and queries come as are likely."""
        left = self.left(now)
        return left - max(0.0, self.others_to_come(now) - self.reserved)

    def steady_rate(self, now: float, promised: float) -> float:
        """
        Polls a second that can go on for ever from now on.

        :param promised: Polls that may be sent beyond that.
        """
        left = self.to_plan(now) - promised
        rate = math.inf
        for leaves, polls, _ in self._grains:
            rate = min(rate, left / (leaves - now))
            left += polls
        return max(0.0, min(rate, left / self.seconds))
