"""How often to ask about a run, where asking is all one can do."""

from __future__ import annotations

from collections import deque
from statistics import median

SAFETY_INTERVAL = 600.0
"""Seconds between two polls of a run whose end a webhook will tell, once it might have ended."""
LONGEST_INTERVAL = 150.0
"""Seconds that no interval exceeds, as long as the rate limit allows it, while a run may end at any time."""
LONGEST_SURE_INTERVAL = 300.0
"""The same while no run of its kind is known to have ended so early; twice as long when the budget runs low."""
OVERDUE, OVERDUE_UNKNOWN = 600.0, 3600.0
"""Seconds before which no run is overdue: where durations are known, and where none is."""
REMEMBERED = 32
"""Durations that are remembered: those of the newest runs."""
LISTEN_INTERVAL = 1.0
"""Seconds between two long polls where the first brought nothing new: a proxy on its way may cut each of them short."""
FINEST, FINE = 0.01, 60.0
"""A hundredth of a run's age, and at most a minute, is an interval that nobody needs to be shorter."""


def interval(age: float, poll_interval: float) -> float:
    """
    Seconds until the next poll of a run of which nothing is known but its age.

    The interval grows with the age: who has waited for an hour does not mind another two minutes, and a job that is
    done in a minute is noticed within seconds. A one-hour run costs 30 polls.

    :param age: Seconds since the run was started.
    :param poll_interval: The shortest interval, in seconds; it wins where it is longer than the longest.
    """
    return max(poll_interval, min(age / 2, LONGEST_INTERVAL))


class Durations:
    """How long runs of one kind take, learnt from the newest of them, and so when the end of the next one is likely."""

    def __init__(self) -> None:
        self._known: deque[float] = deque(maxlen=REMEMBERED)

    def learn(self, seconds: float) -> None:
        """Remember how long a run took."""
        self._known.append(seconds)

    def interval(self, age: float, poll_interval: float, spare: float = 1.0) -> float:
        """
        Seconds until the next poll of a run: many polls where its end is likely, few before.

        A poll goes a quarter of the way to the age by which half of the runs that lasted as long as this one had
        ended; all of the way when no budget is to spare. A run that outlasts most of what is known is asked about as if
        it had been started when the others ended. A one-hour run among runs that take an hour to within 5 % costs about
        24 polls, and its end is noticed within a minute.

        :param age: Seconds since the run was started.
        :param poll_interval: The shortest interval, in seconds.
        :param spare: From 0 to 1: how much budget there is to spare. The less, the fewer polls before the likely time.
        """
        shortest = max(poll_interval, min(age * FINEST, FINE))
        later = sorted(seconds for seconds in self._known if seconds > age)
        if len(later) * 8 > len(self._known):
            rest = later[len(later) // 2] - age
            return max(shortest, min(rest * (1 - 0.75 * spare), age, LONGEST_SURE_INTERVAL * (2 - spare)))
        latest_end = max((seconds for seconds in self._known if seconds <= age), default=0.0)
        return interval(age - latest_end, shortest)

    def safety_interval(self, age: float) -> float:
        """
        Seconds until the next poll of a run whose end a webhook will tell, in case that the webhook gets lost.

        There is none before `SAFETY_INTERVAL` after the age by which half of the runs had ended.

        :param age: Seconds since the run was started.
        """
        usual = median(self._known) if self._known else 0.0
        return max(SAFETY_INTERVAL, usual + SAFETY_INTERVAL - age)

    def is_overdue(self, age: float) -> bool:
        """Whether a run has gone on for more than twice as long as the longest that is known."""
        return age > (max(OVERDUE, 2 * max(self._known)) if self._known else OVERDUE_UNKNOWN)
