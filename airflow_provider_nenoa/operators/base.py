"""
What the operators that start a run share: their arguments, and what a vendor's operator has to say of its own.

What they do with it is in `attempt`, which is loaded when a task runs. Parsing a DAG file pays neither for that nor for
anything else that it has no use for: here and in the vendors' operators, such things are imported where they are used.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.configuration import conf
from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from airflow_provider_nenoa.exceptions import NenoaError
    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.operators.attempt import Attempt
    from airflow_provider_nenoa.operators.memory import Memory
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.triggers.base import RunTrigger
    from airflow_provider_nenoa.waiting.kinds import Kind

GRACE = 600.0
"""Seconds after our own deadline at which Airflow gives up on a trigger that no triggerer runs."""


class RunOperator(BaseOperator):
    """
    Start a run of a vendor, wait for its end, return its result. Subclasses say which.

    :param deferrable: Wait in the triggerer, without holding a worker. Default: ``[operators] default_deferrable``.
    :param wait_for_completion: False: return the run's id as soon as it was started. Default True.
    :param poll_interval: Shortest interval in seconds at which the vendor is asked, where no webhook tells the end;
        it grows with the run's age. Default 15.
    :param timeout: Seconds, or a timedelta, after which the task stops waiting and fails; ``execution_timeout``
        counts too. The remote run goes on: neither vendor's API can cancel one. Default 24 hours.
    :param durable: Go on with the run that an earlier attempt of this task instance left, instead of starting
        another one. Default True.
    :param on_lost_start: What to do when a start's reply was lost and no webhook told of a run: ``fail`` (the
        default) and say so, or ``restart``, which may pay for the same work twice.
    """

    kind_name: ClassVar[str]
    id_key: ClassVar[str]

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        wait_for_completion: bool = True,
        poll_interval: float = 15.0,
        timeout: float | timedelta = 86_400.0,
        durable: bool = True,
        on_lost_start: Literal["fail", "restart"] = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = default_deferrable() if deferrable is None else deferrable
        self.wait_for_completion = wait_for_completion
        self.poll_interval = positive_seconds("poll_interval", poll_interval)
        self.timeout = positive_seconds("timeout", timeout)
        self.durable = durable
        if on_lost_start not in ("fail", "restart"):
            from airflow_provider_nenoa.exceptions import InvalidArgument

            raise InvalidArgument(f"'on_lost_start' must be 'fail' or 'restart', not {on_lost_start!r}.")
        self.on_lost_start = on_lost_start
        self.remote_run_id: str | None = None

    @property
    @abstractmethod
    def conn_id(self) -> str:
        """The Airflow connection."""

    @abstractmethod
    def make_hook(self) -> VendorHook:
        """Make the hook for the connection."""

    @abstractmethod
    def check(self) -> None:
        """
        Look at the arguments, after templating and before anything is sent.

        :raises InvalidArgument: One of them makes no sense.
        """

    @abstractmethod
    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        """
        Start the run.

        :param callback_url: What the vendor shall call; None: nothing.
        :param before_send: To be called immediately before the request goes out.
        """

    @abstractmethod
    def finish(self, run: Run, context: Context) -> Any:
        """Return the task's result for a run that has succeeded."""

    @abstractmethod
    def make_trigger(self, run_id: str | None, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run; ``kwargs`` are those of `RunTrigger`."""

    @cached_property
    def hook(self) -> VendorHook:
        """The hook for the connection."""
        return self.make_hook()

    @property
    def kind(self) -> Kind:
        """What kind of run this is."""
        from airflow_provider_nenoa.waiting.kinds import KINDS

        return KINDS[self.kind_name]

    def execute(self, context: Context) -> Any:
        """Adopt the run of an earlier attempt, or start one; then wait for it and finish."""
        self.check()
        attempt = self._attempt(context)
        with attempt.errors():
            return attempt.begin()

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral."""
        next_kwargs = dict(next_kwargs or {})
        attempt = context["ti"].try_number
        if next_kwargs.pop("attempt", attempt) != attempt:
            return self.execute(context)  # Airflow 3.0 resumes a retry as it resumed the attempt before
        with self._attempt(context).errors():
            return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the trigger fired."""
        return self._attempt(context).complete(event)

    def execute_found(self, context: Context, event: dict[str, Any], lost: dict[str, Any], inherited: bool) -> Any:
        """Go on after the trigger looked for a run whose start's reply was lost."""
        from airflow_provider_nenoa.operators.memory import Note

        return self._attempt(context).look_on(event, Note(**lost), inherited)

    def on_kill(self) -> None:
        """Say that the remote run goes on: neither vendor's API can cancel one."""
        if self.remote_run_id is not None:
            the_run = self.the_run(self.remote_run_id)
            self.log.warning("The task was ended, but %s goes on%s.", the_run, self.next_attempt())

    def memory(self, context: Context) -> Memory:
        """Return what attempts of this task instance leave for the next one."""
        from airflow_provider_nenoa.operators.memory import memory_of

        return memory_of(context, self.durable)

    def the_run(self, run_id: str | None) -> str:
        """Name a run in a message."""
        return f"{self.kind.vendor} {self.kind.name} run {run_id}"

    def next_attempt(self) -> str:
        """Say in a message what the next attempt will do while the run goes on."""
        if self.durable:
            return "; the next attempt of this task goes on waiting for it"
        return "; with durable=False, the next attempt of this task will start another one"

    def _attempt(self, context: Context) -> Attempt:
        from airflow_provider_nenoa.operators.attempt import Attempt

        return Attempt(self, context)


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

        raise InvalidArgument(f"'{name}' must be more than 0 seconds, not {value!r}.")
    return float(seconds)
