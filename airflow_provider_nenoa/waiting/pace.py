"""How often to ask, where asking is all one can do."""

from __future__ import annotations

SAFETY_INTERVAL = 600.0
"""Seconds between two polls of a run whose end a webhook will tell."""
LONGEST_INTERVAL = 150.0
"""Seconds that no interval between two polls of one run exceeds, as long as the rate limit allows it."""


def interval(age: float, poll_interval: float) -> float:
    """
    Seconds until the next poll of a run.

    It grows with the run's age: who has waited for an hour does not mind another two minutes, and a job that is done
    in a minute is noticed within seconds. A one-hour run costs 30 polls.

    :param age: Seconds since the run was started.
    :param poll_interval: The shortest interval, in seconds; it wins where it is longer than the longest.
    """
    return max(poll_interval, min(age / 3, LONGEST_INTERVAL))
