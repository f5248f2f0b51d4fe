"""``@task.openanalyst_agent``, ``@task.openanalyst_query``: the function returns the prompt, or the SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from airflow.sdk.bases.decorator import task_decorator_factory

from airflow_provider_nenoa.decorators.base import DecoratedRunOperator, fields_of
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from airflow.sdk.bases.decorator import Task

P = ParamSpec("P")
R = TypeVar("R", bound="str | tuple[str, Mapping[str, Any] | str | None] | Mapping[str, Any]")


class OpenAnalystAgentDecoratedOperator(DecoratedRunOperator, OpenAnalystRunAgentOperator):
    """
    Give an OpenAnalyst agent the task that a function returns.

    :param python_callable: The function. It returns the ``task_prompt``, or a tuple of it and the ``context``, or a
        dict with these keys.
    :param kwargs: Those of `OpenAnalystRunAgentOperator`, but ``task_prompt``.
    """

    custom_operator_name = "@task.openanalyst_agent"
    returned_fields = ("task_prompt", "context")
    template_fields, template_fields_renderers = fields_of(OpenAnalystRunAgentOperator)


class OpenAnalystQueryDecoratedOperator(DecoratedRunOperator, OpenAnalystExecuteQueryOperator):
    """
    Run the SQL that a function returns over an OpenAnalyst dataset.

    :param python_callable: The function. It returns the ``query``, or a tuple of it and the ``parameters``, or a dict
        with these keys.
    :param kwargs: Those of `OpenAnalystExecuteQueryOperator`, but ``query`` and ``question``.
    """

    custom_operator_name = "@task.openanalyst_query"
    returned_fields = ("query", "parameters")
    not_for_the_decorator = ("question",)
    template_fields, template_fields_renderers = fields_of(OpenAnalystExecuteQueryOperator)

    def returned(self) -> dict[str, Any]:
        """Return the SQL with its values in it: JSON has no word for most of them."""
        return {"query": self._bound_query(), "parameters": None}


@overload
def openanalyst_agent_task(python_callable: Callable[P, R]) -> Task[P, R]: ...


@overload
def openanalyst_agent_task(
    *,
    multiple_outputs: bool = False,
    agent_id: str | None = None,
    context: Mapping[str, Any] | str | None = None,
    dataset_ids: Sequence[str] | None = None,
    model: str | None = None,
    max_steps: int | None = None,
    extra_body: Mapping[str, Any] | str | None = None,
    openanalyst_conn_id: str = "openanalyst_default",
    deferrable: bool | None = None,
    wait_for_completion: bool = True,
    poll_interval: float | timedelta = ...,
    timeout: float | timedelta = ...,
    durable: bool = True,
    on_lost_start: Literal["fail", "restart"] = "fail",
    on_changed_arguments: Literal["adopt", "restart"] = "adopt",
    **kwargs: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def openanalyst_agent_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool = False, **kwargs: Any
) -> Any:
    """
    Make a run of an OpenAnalyst agent of a function that returns the prompt; ``@task.openanalyst_agent`` is this.

    :param python_callable: The function: it returns the ``task_prompt``, or a tuple of it and the ``context``, or a
        dict with these keys.
    :param multiple_outputs: Also push each part of the result as an XCom of its own. Default False, whatever the
        function is annotated with: that tells what is asked for, not what the task returns.
    :param kwargs: Those of `OpenAnalystRunAgentOperator`, but ``task_prompt``, and those of every operator.
    """
    return task_decorator_factory(
        python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=OpenAnalystAgentDecoratedOperator,
        **kwargs,
    )


@overload
def openanalyst_query_task(python_callable: Callable[P, R]) -> Task[P, R]: ...


@overload
def openanalyst_query_task(
    *,
    multiple_outputs: bool = False,
    dataset_id: str | None = None,
    dataset_name: str | None = None,
    query_timeout: float | timedelta | None = None,
    parameters: Mapping[str, Any] | str | None = None,
    output_path: str | None = None,
    output_format: Literal["jsonl", "csv", "parquet"] | None = None,
    max_xcom_rows: int = 1_000,
    allow_partial: bool = False,
    extra_body: Mapping[str, Any] | str | None = None,
    openanalyst_conn_id: str = "openanalyst_default",
    deferrable: bool | None = None,
    wait_for_completion: bool = True,
    poll_interval: float | timedelta = ...,
    timeout: float | timedelta = ...,
    durable: bool = True,
    on_lost_start: Literal["fail", "restart"] = "fail",
    on_changed_arguments: Literal["adopt", "restart"] = "adopt",
    **kwargs: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def openanalyst_query_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool = False, **kwargs: Any
) -> Any:
    """
    Make a query of a function that returns the SQL; ``@task.openanalyst_query`` is this.

    :param python_callable: The function: it returns the ``query``, or a tuple of it and the ``parameters``, or a dict
        with these keys.
    :param multiple_outputs: Also push each part of the result as an XCom of its own. Default False, whatever the
        function is annotated with: that tells what is asked for, not what the task returns.
    :param kwargs: Those of `OpenAnalystExecuteQueryOperator`, but ``query`` and ``question``, and those of every
        operator.
    """
    return task_decorator_factory(
        python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=OpenAnalystQueryDecoratedOperator,
        **kwargs,
    )
