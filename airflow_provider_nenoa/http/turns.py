"""
Starts that wait their turn: many are sent at once, from as many processes, and the rate limit lets a few in a minute.

The processes know nothing of each other. So that they do not all come back when the vendor listens again, each waits a
while longer, by chance; the longer, the more often it was refused, for then the crowd is larger.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_nenoa.exceptions import RateLimited
from airflow_provider_nenoa.http.repeating import first_line

log = logging.getLogger(__name__)

SHORTEST_SPREAD = 15.0
"""Seconds over which those spread who were refused for the first time, where ``Retry-After`` is no longer than that."""
SPREAD = 60.0
"""Seconds over which they spread who were refused twice; it doubles with each further time."""
LONGEST_SPREAD = 1_800.0
"""Seconds that no spread exceeds."""

T = TypeVar("T")


@dataclass(frozen=True)
class Turn:
    """
    How a start waits where the vendor answers 429.

    :param patience: Seconds for which it may wait, from now on.
    :param on_refusal: Called after each 429: nothing was started, and the next try may be far away.
    """

    patience: float
    on_refusal: Callable[[], None] = lambda: None


def in_turn(call: Callable[[], T], turn: Turn, sleep: Callable[[float], None]) -> T:
    """
    Make a call when the rate limit lets it through.

    :param sleep: Waits so many seconds.
    :raises RateLimited: The time to wait is over before the vendor will listen again.
    """
    began, slept, refusals = time.monotonic(), 0.0, 0
    while True:
        try:
            return call()
        except RateLimited as error:
            turn.on_refusal()
            refusals += 1
            left = turn.patience - max(slept, time.monotonic() - began)
            at_least = 1.0 if error.retry_after is None else error.retry_after
            if at_least >= left:
                raise
            # A wait that is longer only by chance must not cost the turn.
            wait = min(at_least + random.uniform(0, spread(at_least, refusals)), left)
            log.warning(
                "%s The start waits its turn: it is sent again at %s, in %.0f s, and given up at %s.",
                first_line(error),
                _time(wait),
                wait,
                _time(left),
            )
            sleep(wait)
            slept += wait


def spread(retry_after: float, refusals: int) -> float:
    """Seconds over which those spread who were refused so many times, after the vendor listens again."""
    if refusals <= 1:
        return max(SHORTEST_SPREAD, min(retry_after, SPREAD))
    return min(LONGEST_SPREAD, SPREAD * 2.0 ** min(refusals - 2, 10))


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + seconds))
