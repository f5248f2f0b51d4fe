"""What an attempt needs of the operator whose task it is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.operators.lost_start import Finding
    from airflow_provider_nenoa.operators.memory import Memory
    from airflow_provider_nenoa.runs import Run
    from airflow_provider_nenoa.triggers.base import RunTrigger
    from airflow_provider_nenoa.waiting.kinds import Kind


class Starter(Protocol):
    """A task that starts a run and waits for it; `RunOperator` is one."""

    deferrable: bool
    do_xcom_push: bool
    durable: bool
    ended: Run | None
    execution_timeout: timedelta | None
    id_key: ClassVar[str]
    kind_name: ClassVar[str]
    on_changed_arguments: Literal["adopt", "restart"]
    on_lost_start: Literal["fail", "restart"]
    poll_interval: float
    operator_extra_links: Any
    outlets: Any
    remote_run_id: str | None
    retries: int | None
    timeout: float
    wait_for_completion: bool

    @property
    def conn_id(self) -> str: ...
    @property
    def hook(self) -> VendorHook: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def log(self) -> Any: ...
    def asked(self) -> dict[str, Any]: ...
    def defer(self, *, trigger: Any, method_name: str, kwargs: dict[str, Any], timeout: timedelta) -> Any: ...
    def finish(self, run: Run, context: Context) -> Any: ...
    def has_list(self) -> bool: ...
    def look_in_list(self, started_at: float, ref: str, context: Context) -> Finding: ...
    def make_trigger(self, run_id: str | None, **kwargs: Any) -> RunTrigger: ...
    def memory(self, context: Context) -> Memory: ...
    def next_attempt(self) -> str: ...
    def start(self, callback_url: str | None, before_send: Callable[[], None]) -> Run: ...
    def the_run(self, run_id: str | None) -> str: ...
