"""
What the operators that start a run share: their arguments, and what a vendor's operator has to say of its own.

What they do with it is in `attempt`, which is loaded when a task runs. Parsing a DAG file pays neither for that nor for
anything else that it has no use for: here and in the vendors' operators, such things are imported where they are used.

The vendors' operators spell the shared arguments out once more, and so do the sensors: an editor completes what a
signature names, and a ``TypedDict`` for ``**kwargs`` would leave no room for Airflow's own.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.sdk import BaseOperator

from airflow_provider_nenoa.triggers import default_deferrable, positive_seconds, yes_or_no

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow.providers.openlineage.extractors.base import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.operators.attempt import Attempt
    from airflow_provider_nenoa.operators.lost_start import Finding
    from airflow_provider_nenoa.operators.memory import Memory
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.triggers.base import RunTrigger
    from airflow_provider_nenoa.waiting.kinds import Kind


POLL_INTERVAL = 15.0
TIMEOUT = 86_400.0


def one_of(what: str, object_id: object, name: object) -> None:
    """
    Check that a workflow, dataset or report is given in one way.

    :raises InvalidArgument: It is given in none or in both.
    """
    if (object_id is None) == (name is None):
        from airflow_provider_nenoa.exceptions import InvalidArgument

        raise InvalidArgument(f"Give either '{what}_id' or '{what}_name', and not both.")


class RunOperator(BaseOperator):
    """
    Start a run of a vendor, wait for its end, return its result. Subclasses say which.

    :param deferrable: Wait in the triggerer, without holding a worker. Default: ``[operators] default_deferrable``.
    :param wait_for_completion: False: return the run's id as soon as it was started. Default True.
    :param poll_interval: Shortest interval, in seconds or as a timedelta, at which the vendor is asked, where no
        webhook tells the end; it grows with the run's age. Default 15.
    :param timeout: Seconds, or a timedelta, after which the task stops waiting and fails; ``execution_timeout``
        counts too. The remote run goes on: neither vendor's API can cancel one. Default 24 hours.
    :param durable: Go on with the run that an earlier attempt of this task instance left, instead of starting
        another one. Default True.
    :param on_lost_start: What to do when a start's reply was lost and it cannot be told whether there is a run:
        ``fail`` (the default) and say so, or ``restart``, which may pay for the same work twice.
    :param on_changed_arguments: What to do when an earlier attempt of this task instance left an open run that was
        asked for something else, for example because somebody corrected a prompt and cleared the task: ``adopt`` (the
        default) and warn, or ``restart``. Neither API can cancel the open run, so to restart is to run, and to pay for,
        both at once. And arguments may differ by themselves, as a time or a presigned URL in a template does: then a
        mere retry would start twice.
    """

    kind_name: ClassVar[str]
    id_key: ClassVar[str]
    conn_field: ClassVar[str]
    sent_untemplated: ClassVar[Sequence[str]] = ()
    """What is sent to the vendor and is no template field."""

    def __init__(
        self,
        *,
        deferrable: bool | None = None,
        wait_for_completion: bool = True,
        poll_interval: float | timedelta = POLL_INTERVAL,
        timeout: float | timedelta = TIMEOUT,
        durable: bool = True,
        on_lost_start: Literal["fail", "restart"] = "fail",
        on_changed_arguments: Literal["adopt", "restart"] = "adopt",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = default_deferrable() if deferrable is None else yes_or_no("deferrable", deferrable)
        self.wait_for_completion = yes_or_no("wait_for_completion", wait_for_completion)
        self.poll_interval = positive_seconds("poll_interval", poll_interval)
        self.timeout = positive_seconds("timeout", timeout)
        self.durable = yes_or_no("durable", durable)
        self.on_lost_start = on_lost_start
        self.on_changed_arguments = on_changed_arguments
        for name, words in (("on_lost_start", ("fail", "restart")), ("on_changed_arguments", ("adopt", "restart"))):
            if getattr(self, name) not in words:
                from airflow_provider_nenoa.exceptions import InvalidArgument

                raise InvalidArgument(f"'{name}' must be '{words[0]}' or '{words[1]}', not {getattr(self, name)!r}.")
        self.remote_run_id: str | None = None
        self.ended: Run | None = None

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

    def has_list(self) -> bool:
        """Whether the vendor lists its runs, with the time at which each was made."""
        return False

    def look_in_list(self, started_at: float, ref: str, context: Context) -> Finding:
        """
        Look into that list for the run of a start whose reply was lost.

        :param started_at: When the start was sent, in Unix seconds.
        :param ref: The token in its callback URL.
        :param context: The task's context: runs of other tasks of the same DAG run are not ours.
        """
        raise NotImplementedError

    def make_trigger(self, run_id: str | None, **kwargs: Any) -> RunTrigger:
        """Make the trigger that waits for the run; ``kwargs`` are those of `RunTrigger`."""
        from airflow_provider_nenoa.triggers.kinds import trigger_of

        return trigger_of(self.kind_name, run_id, self.conn_id, **kwargs)

    @cached_property
    def hook(self) -> VendorHook:
        """The hook for the connection."""
        return self.make_hook()

    @property
    def kind(self) -> Kind:
        """What kind of run this is."""
        from airflow_provider_nenoa.waiting.kinds import KINDS

        return KINDS[self.kind_name]

    def asked(self) -> dict[str, Any]:
        """Return what is asked for, by the arguments' names: all but where from and where to."""
        elsewhere = ("output_path", self.conn_field)
        names = (*self.template_fields, *self.sent_untemplated)
        return {name: getattr(self, name) for name in names if name not in elsewhere}

    def prepare(self, context: Context) -> None:
        """Get ready, in each process that works on the task: a deferred one goes on in another."""

    def execute(self, context: Context) -> Any:
        """Adopt the run of an earlier attempt, or start one; then wait for it and finish."""
        self.prepare(context)
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
        self.prepare(context)
        if "event" in next_kwargs:
            self.remote_run_id = next_kwargs["event"].get("run_id")
        elif (note := self.memory(context).recall()) is not None:  # Airflow ended the trigger
            self.remote_run_id = note.run_id
        with self._attempt(context).errors():
            return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on after the trigger fired."""
        self.prepare(context)
        return self._attempt(context).complete(event)

    def execute_found(self, context: Context, event: dict[str, Any], lost: dict[str, Any], inherited: bool) -> Any:
        """Go on after the trigger looked for a run whose start's reply was lost."""
        from airflow_provider_nenoa.operators.memory import Note

        self.prepare(context)
        return self._attempt(context).look_on(event, Note.read(lost), inherited)

    def on_kill(self) -> None:
        """Say that the remote run goes on: neither vendor's API can cancel one."""
        if self.remote_run_id is not None:
            the_run = self.the_run(self.remote_run_id)
            self.log.warning("The task was ended, but %s goes on%s.", the_run, self.next_attempt())

    def run_page(self, run_id: str | None) -> str | None:
        """Return the address of a run in the vendor's user interface; None if that has none."""
        from airflow_provider_nenoa.links import RunLink

        pages = (link.url(run_id) for link in self.operator_extra_links if isinstance(link, RunLink))
        return next((page for page in pages if page), None)

    def lineage(self, *, is_over: bool) -> OperatorLineage:
        """
        Return what OpenLineage shall know of this task.

        :param is_over: Whether the task has ended.
        """
        from airflow_provider_nenoa.lineage.runs import lineage_of_run

        return lineage_of_run(self)

    def get_openlineage_facets_on_start(self) -> OperatorLineage:
        """Return what is known before the run: OpenLineage calls this."""
        return self.lineage(is_over=False)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage:
        """Return what is known after the run, which may have failed: OpenLineage calls this."""
        return self.lineage(is_over=True)

    def memory(self, context: Context) -> Memory:
        """Return what attempts of this task instance leave for the next one."""
        from airflow_provider_nenoa.operators.memory import memory_of

        return memory_of(context, self.durable)

    def the_run(self, run_id: str | None) -> str:
        """Name a run in a message."""
        return f"{self.kind.vendor} {self.kind.name} run {run_id or 'of unknown id'}"

    def next_attempt(self) -> str:
        """Say in a message what the next attempt will do while the run goes on."""
        if self.durable:
            return "; the next attempt of this task goes on waiting for it"
        return "; with durable=False, the next attempt of this task will start another one"

    def _attempt(self, context: Context) -> Attempt:
        from airflow_provider_nenoa.operators.attempt import Attempt

        return Attempt(self, context)
