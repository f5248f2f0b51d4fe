"""Trying a call again: after which errors, when, for how long, and what the log says meanwhile."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from airflow_provider_nenoa.exceptions import (
    CertificateRefused,
    ConnectionFailed,
    NenoaError,
    RateLimited,
    ServerError,
)

log = logging.getLogger(__name__)

RETRY_FOR = 300.0
"""Seconds during which one call is tried again, the waiting for ``Retry-After`` included."""
REMIND = 60.0
"""Seconds until the log tells again that a call is still being tried."""

T = TypeVar("T")

_backoff = wait_random_exponential(multiplier=0.5, max=30)


def repeat(call: Callable[[], T], *, retry_for: float, sleep: Callable[[float], None], rate_limits: bool) -> T:
    """
    Make a call until it succeeds, or fails with what another try cannot heal.

    The log tells of the first failure, and from then on once a minute.

    :param retry_for: Seconds, waiting included. 0: one try.
    :param rate_limits: Whether to try again after a 429, too.
    :raises NenoaError: The error of the last try.
    """
    said_at = -REMIND

    def say(state: RetryCallState) -> None:
        nonlocal said_at
        passed = _passed(state)
        if passed - said_at >= REMIND:
            said_at = passed
            error = state.outcome.exception() if state.outcome else None
            left = retry_for - passed
            log.warning(
                "%s Trying again in %.1f s, and for up to %.0f s.", first_line(error), state.upcoming_sleep, left
            )

    return Retrying(
        retry=retry_if_exception(
            lambda error: _may_heal(error) and (rate_limits or not isinstance(error, RateLimited))
        ),
        wait=_wait,
        stop=_stop_before(retry_for),
        sleep=sleep,
        before_sleep=say,
        reraise=True,
    )(call)


def first_line(error: BaseException | None) -> str:
    """Return what happened, without what to do about it."""
    return str(error).partition("\n")[0]


def _may_heal(error: BaseException) -> bool:
    # A certificate that is not accepted will not be in five minutes either.
    return isinstance(error, (ConnectionFailed, RateLimited, ServerError)) and not isinstance(error, CertificateRefused)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    retry_after = error.retry_after if isinstance(error, NenoaError) else None
    if retry_after is None:
        return _backoff(state)
    # Jitter on top: everybody who was told the same second must not come back in it.
    return retry_after + max(random.uniform(0, min(retry_after / 3, 4.0)), _backoff(state) / 10)


def _passed(state: RetryCallState) -> float:
    return max(state.seconds_since_start or 0.0, state.idle_for)


def _stop_before(bound: float) -> Callable[[RetryCallState], bool]:
    """Stop when the next wait would not end before the bound: a wait that is sure to be in vain is not begun."""

    def stop(state: RetryCallState) -> bool:
        return _passed(state) + state.upcoming_sleep >= bound

    return stop
