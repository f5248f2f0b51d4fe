"""Wait for one run while holding the worker: listen where somebody tells of it, and ask when it is time to."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING

from airflow_provider_nenoa.exceptions import TRANSIENT, DeadlinePassed, RateLimited
from airflow_provider_nenoa.pacing.budget import DAY
from airflow_provider_nenoa.pacing.pace import LISTEN_INTERVAL, SAFETY_INTERVAL, interval
from airflow_provider_nenoa.runs import status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_nenoa.exceptions import NenoaError
    from airflow_provider_nenoa.pacing.budget import Budget
    from airflow_provider_nenoa.runs import Run

log = logging.getLogger(__name__)


def wait(
    *,
    listen: Callable[[float], Run | None] | None,
    poll: Callable[[], Run] | None,
    budget: Budget | None,
    deadline: float,
    poll_interval: float,
    started_at: float,
    told: bool = False,
    any_status: bool = False,
    on_change: Callable[[str], None] = lambda word: None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Run, bool]:
    """
    Wait until a run has ended.

    :param listen: Waits so many seconds at most for news of the run; None: nobody tells. While it fails, the vendor is
        asked as if nobody told.
    :param poll: Asks the vendor how it stands; None: it cannot be asked.
    :param budget: Says when the vendor may be asked.
    :param deadline: When to give up, in Unix seconds.
    :param poll_interval: Seconds: the shortest interval at which the vendor may be asked.
    :param started_at: When the run was started, in Unix seconds.
    :param told: Whether ``listen`` will hear of the end: then the vendor is hardly asked.
    :param any_status: Whether any news will do, not only of the end.
    :param on_change: Called with each new status word.
    :return: The run, and whether it was told rather than asked for.
    :raises DeadlinePassed: With the last status word.
    """

    hearing = told and listen is not None  # and the receiver answers

    def pause() -> float:
        return SAFETY_INTERVAL if hearing else interval(clock() - started_at, poll_interval)

    # Two schedules: who cannot hear the receiver asks the vendor no later for that.
    next_listen = clock() if listen is not None else float("inf")
    next_poll = clock() + pause() if poll is not None else float("inf")
    word, unheard, unanswered = "", 0, 0
    while (now := clock()) < deadline:
        run: Run | None = None
        by_webhook = False
        if poll is not None and now >= next_poll:
            if budget is not None:
                if (delay := budget.delay()) > 0:
                    next_poll = now + delay
                    continue
                budget.spend()
            try:
                run = poll()
                unanswered = 0
                next_poll = clock() + pause()
            except TRANSIENT as error:
                unanswered += 1
                if budget is not None and isinstance(error, RateLimited):
                    budget.refused(error.retry_after or 0.0)
                _warn_once(error, unanswered)
                next_poll = clock() + max(_back_off(error, unanswered), pause())
        elif listen is not None and now >= next_listen:
            next_listen = now + LISTEN_INTERVAL
            try:
                run, by_webhook = listen(min(deadline, next_poll) - now), True
                unheard, hearing = 0, told
            except TRANSIENT as error:
                unheard += 1
                _warn_once(error, unheard)
                next_listen = clock() + _back_off(error, unheard)
                if hearing and poll is not None:
                    # Its webhook may come now, and get lost.
                    hearing = False
                    next_poll = min(next_poll, clock() + pause())
        else:
            sleep(min(deadline, next_poll, next_listen) - now)
        if run is None:
            continue
        if run.word != word:
            word = run.word
            on_change(word)
        status = status_of(word)
        if (status is not None and status.is_end) or any_status:
            return run, by_webhook
    raise DeadlinePassed(word)


def _warn_once(error: Exception, failures: int) -> None:
    if failures == 1:
        log.warning("%s Waiting on.", error)


def _back_off(error: NenoaError, failures: int) -> float:
    """Seconds until the next try: 1 after the first failure, doubling up to a minute, jittered."""
    if error.retry_after:
        # Everybody was told the same second: they must not all come back in it.
        return min(error.retry_after, DAY) * random.uniform(1.0, 1.5)
    return min(60.0, 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)
