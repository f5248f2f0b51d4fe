"""``@task.nenai_workflow``: the function returns the workflow's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from airflow.sdk.bases.decorator import _TaskDecorator

from airflow_provider_nenoa.decorators.base import DecoratedRunOperator, fields_of
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.secrets import Hidden, check_default_args

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from airflow.sdk.bases.decorator import Task
    from requests.auth import AuthBase

P = ParamSpec("P")
R = TypeVar("R", bound="Mapping[str, Any] | str | None")

_HIDDEN = "secure_workflow_params"


class NenAIWorkflowDecoratedOperator(DecoratedRunOperator, NenAIRunWorkflowOperator):
    """
    Run a NenAI workflow with the parameters that a function returns.

    :param python_callable: The function. It returns ``workflow_params``: a dict, the text of a JSON object, or None.
    :param kwargs: Those of `NenAIRunWorkflowOperator`, but ``workflow_params``.
    """

    custom_operator_name = "@task.nenai_workflow"
    returned_fields = ("workflow_params",)
    returns_mapping = True
    template_fields, template_fields_renderers = fields_of(NenAIRunWorkflowOperator)


class _SecretTask(_TaskDecorator):
    """A decorated function; once it is mapped, the secret parameters are kept out of the serialised DAG."""

    def expand(self, **map_kwargs: Any) -> Any:
        return self._after(super(_SecretTask, self._hidden()).expand(**map_kwargs))

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> Any:
        return self._after(super(_SecretTask, self._hidden()).expand_kwargs(kwargs, strict=strict))

    def _hidden(self) -> Any:
        return self.override(**{_HIDDEN: Hidden(self.kwargs[_HIDDEN])}) if _HIDDEN in self.kwargs else self

    def _after(self, mapped: Any) -> Any:
        from airflow.sdk import XComArg

        check_default_args(_HIDDEN, mapped.operator.dag)
        XComArg.apply_upstream_relationship(mapped.operator, self.kwargs.get(_HIDDEN))
        return mapped


@overload
def nenai_workflow_task(python_callable: Callable[P, R]) -> Task[P, R]: ...


@overload
def nenai_workflow_task(
    *,
    multiple_outputs: bool = False,
    workflow_id: str | None = None,
    workflow_name: str | None = None,
    secure_workflow_params: Mapping[str, Any] | str | None = None,
    auth: AuthBase | None = None,
    extra_body: Mapping[str, Any] | str | None = None,
    output_path: str | None = None,
    files: str | Sequence[str] = (),
    unpack: bool = True,
    max_files: int = ...,
    max_file_size: int = ...,
    nenai_conn_id: str = "nenai_default",
    deferrable: bool | None = None,
    wait_for_completion: bool = True,
    poll_interval: float | timedelta = ...,
    timeout: float | timedelta = ...,
    durable: bool = True,
    on_lost_start: Literal["fail", "restart"] = "fail",
    on_changed_arguments: Literal["adopt", "restart"] = "adopt",
    **kwargs: Any,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def nenai_workflow_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool = False, **kwargs: Any
) -> Any:
    """
    Make a NenAI workflow run of a function that returns the workflow's parameters; ``@task.nenai_workflow`` is this.

    :param python_callable: The function: it returns a dict, the text of a JSON object, or None.
    :param multiple_outputs: Also push each part of the result as an XCom of its own. Default False, whatever the
        function is annotated with: that tells what is asked for, not what the task returns.
    :param kwargs: Those of `NenAIRunWorkflowOperator`, but ``workflow_params``, and those of every operator.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        return _SecretTask(
            function=function,
            operator_class=NenAIWorkflowDecoratedOperator,
            multiple_outputs=multiple_outputs,
            kwargs=kwargs,
            decorator_name=NenAIWorkflowDecoratedOperator.custom_operator_name,
        )

    return decorate if python_callable is None else decorate(python_callable)
