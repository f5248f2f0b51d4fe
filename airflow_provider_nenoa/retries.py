"""When the next attempt of a failed task comes: as soon as the vendor listens again, and no sooner."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_nenoa.exceptions import AirflowOptionalProviderFeatureException, InvalidArgument, NenoaError

try:
    from airflow.sdk.definitions.retry_policy import RetryAction, RetryDecision, RetryPolicy
except ImportError as error:
    raise AirflowOptionalProviderFeatureException("A retry policy needs Airflow 3.3 or newer.") from error

if TYPE_CHECKING:
    from airflow.sdk import Context

LONGEST = timedelta(days=1)
"""The longest of OpenAnalyst's limits is that of a day."""


class RetryAfterPolicy(RetryPolicy):
    """
    Let the next attempt come when the vendor listens again, if it has said when.

    It says so (``Retry-After``, or the headers of its rate limit) with a refusal: 429, once the task has waited for as
    long as it may, and 503. All other failures are retried as the task says, or as ``otherwise`` decides.

    It only sets the delay. Errors that no other attempt can cure fail the task at once, without asking any policy, and
    nothing gives a task more attempts than its ``retries``.

    :param otherwise: The policy for all other failures. Default: the task's own ``retry_delay``.
    :param longest: The longest delay; a vendor that asks for more is asked again by then. Default: a day.
    """

    def __init__(self, otherwise: RetryPolicy | None = None, *, longest: timedelta = LONGEST) -> None:
        if otherwise is not None and not isinstance(otherwise, RetryPolicy):
            raise InvalidArgument(f"'otherwise' must be another retry policy, not {otherwise!r}.")
        if not isinstance(longest, timedelta):
            raise InvalidArgument(f"'longest' must be a timedelta, such as timedelta(hours=6), not {longest!r}.")
        self.otherwise = otherwise
        self.longest = longest

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide when the next attempt comes."""
        seconds = retry_after_of(exception)
        if seconds is None:
            if self.otherwise is None:
                return RetryDecision(action=RetryAction.DEFAULT)
            return self.otherwise.evaluate(exception, try_number, max_tries, context)
        delay = timedelta(seconds=min(seconds, self.longest.total_seconds()))  # what is too long may fit no timedelta
        return RetryDecision(
            action=RetryAction.RETRY,
            retry_delay=delay,
            reason=f"The vendor listens again in {seconds:g} s; the next attempt comes in {delay.total_seconds():g} s.",
        )


def retry_after_of(exception: BaseException) -> float | None:
    """
    Return the seconds after which the vendor listens again; None if it has not said so, or said "now".

    :param exception: The task's error; what it was raised from counts too, as where a task's own code wraps a hook's
        error.
    """
    seen: set[int] = set()
    error: BaseException | None = exception
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, NenoaError) and error.retry_after:
            return error.retry_after
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None
