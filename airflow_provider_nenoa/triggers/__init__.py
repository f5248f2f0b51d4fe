"""
Wait in the triggerer, for a task or for an event-driven DAG.

Here is what operators and sensors share about being deferred. Every DAG file that uses one of them loads this, and none
of the triggers themselves: each module costs every parse.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf

if TYPE_CHECKING:
    from airflow_provider_nenoa.exceptions import NenoaError

GRACE = 600.0
"""Seconds after our own deadline at which Airflow gives up on a trigger that no triggerer runs."""


def error_of(event: dict[str, Any]) -> NenoaError:
    """Return the error that a trigger's event tells of."""
    from airflow_provider_nenoa.exceptions import NenoaError, NotFound, PermanentError

    error = NotFound if event["not_found"] else PermanentError if event["permanent"] else NenoaError
    return error(event["error"])


def default_deferrable() -> bool:
    """Return ``[operators] default_deferrable``."""
    return conf.getboolean("operators", "default_deferrable", fallback=False)


def positive_seconds(name: str, value: float | timedelta) -> float:
    """
    Return a duration in seconds.

    :raises InvalidArgument: It is not a number or timedelta above 0, or does not end.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < float("inf"):
        from airflow_provider_nenoa.exceptions import InvalidArgument

        raise InvalidArgument(
            f"'{name}' must be a number of seconds or a timedelta, and more than 0, not {value!r}.\nAn hour is 3600, "
            "or timedelta(hours=1)."
        )
    return float(seconds)


def whole_number(name: str, value: int, least: int = 1) -> int:
    """
    Return a number of things.

    :raises InvalidArgument: It is no whole number, or less than ``least``.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        from airflow_provider_nenoa.exceptions import InvalidArgument

        raise InvalidArgument(f"'{name}' must be a whole number of at least {least}, not {value!r}.")
    return value


def yes_or_no(name: str, value: bool) -> bool:
    """
    Return a switch.

    :raises InvalidArgument: It is neither True nor False. A text would count as True, whatever it says.
    """
    if not isinstance(value, bool):
        from airflow_provider_nenoa.exceptions import InvalidArgument

        raise InvalidArgument(f"'{name}' must be True or False, not {value!r}.")
    return value
