"""What the decorated operators share: the function runs once in an attempt, before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Asset
from airflow.sdk.bases.decorator import DecoratedOperator
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION

from airflow_provider_nenoa.operators.base import RunOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from airflow.sdk import Context


_KEPT = "What Airflow keeps of what the function returned"


class DecoratedRunOperator(DecoratedOperator, RunOperator):
    """
    An operator whose arguments a function returns, when the task runs. Subclasses say which.

    The function runs once in each attempt, before the start; never upon resume after a deferral. As in Airflow's own
    ``@task.bash`` and ``@task.sql``, templates in what it returns are rendered; ``airflow.sdk.literal`` keeps them.
    """

    returned_fields: ClassVar[tuple[str, ...]]
    """The arguments that the function returns: the first one alone, some in a tuple, or by name in a mapping."""
    returns_mapping: ClassVar[bool] = False
    """Whether the first of them is a mapping itself, and the only one."""
    not_for_the_decorator: ClassVar[tuple[str, ...]] = ()
    """Further arguments of the operator that make no sense beside the function."""

    overwrite_rtif_after_execution: bool = True
    custom_operator_name: str

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        from airflow_provider_nenoa.exceptions import InvalidArgument

        decorator = self.custom_operator_name
        for name in (self.returned_fields[0], *self.not_for_the_decorator):
            if kwargs.get(name) is not None:
                raise InvalidArgument(
                    f"{decorator} does not take '{name}': the function returns what is asked for.\nUse the operator "
                    "itself where there is no function."
                )
        if inspect.iscoroutinefunction(python_callable) or inspect.isgeneratorfunction(python_callable):
            raise InvalidArgument(f"{decorator} decorates plain functions: neither 'async def' nor 'yield'.")
        kwargs[self.returned_fields[0]] = SET_DURING_EXECUTION
        super().__init__(python_callable=python_callable, **kwargs)

    def execute(self, context: Context) -> Any:
        """Call the function, then do as the operator does."""
        from airflow_provider_nenoa.compat import determine_kwargs
        from airflow_provider_nenoa.results.xcom import fit_for_airflow

        arguments = determine_kwargs(self.python_callable, self.op_args, {**context, **self.op_kwargs})
        self._take(self.python_callable(*self.op_args, **arguments))
        for name in self.returned_fields:
            setattr(self, name, self.render_template(getattr(self, name), context))
        self.inlets += [given for given in (*self.op_args, *self.op_kwargs.values()) if isinstance(given, Asset)]
        try:
            # Past Airflow's own, which does only that too, but breaks on what an operator returns in 3.0.
            return super(DecoratedOperator, self).execute(context)
        finally:
            for name in self.returned_fields:  # which Airflow stores as the task's rendered fields
                setattr(self, name, fit_for_airflow(getattr(self, name), _KEPT))

    def asked(self) -> dict[str, Any]:
        """Return what is asked for; the function's own arguments are not sent."""
        return {name: value for name, value in super().asked().items() if name not in DecoratedOperator.template_fields}

    def returned(self) -> dict[str, Any]:
        """Return the values of the fields that the function returns, as JSON has them."""
        return {name: getattr(self, name) for name in self.returned_fields}

    def defer(
        self,
        *,
        trigger: Any,
        method_name: str,
        kwargs: dict[str, Any] | None = None,
        timeout: timedelta | int | float | None = None,
    ) -> Any:
        """Defer, and take along what the function returned: it is not called again."""
        from airflow_provider_nenoa.compat import redact
        from airflow_provider_nenoa.results.xcom import fit_for_airflow

        kwargs = kwargs or {}
        returned = self.returned()
        if not kwargs.get("inherited"):
            # Nothing is started after this deferral. It is for the task's rendered fields, where no secret shows.
            returned = {name: redact(value, name) for name, value in returned.items()}
        kwargs = {**kwargs, "returned": fit_for_airflow(deepcopy(returned), _KEPT)}
        return super().defer(trigger=trigger, method_name=method_name, kwargs=kwargs, timeout=timeout)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Go on after a deferral."""
        next_kwargs = dict(next_kwargs or {})
        for name, value in next_kwargs.pop("returned", {}).items():
            setattr(self, name, value)
        return super().resume_execution(next_method, next_kwargs, context)

    def _take(self, value: Any) -> None:
        """Set the fields to what the function returned."""
        from airflow_provider_nenoa.exceptions import InvalidArgument

        fields = self.returned_fields
        if isinstance(value, Mapping) and not self.returns_mapping:
            given = dict(value)
        elif isinstance(value, tuple) and not self.returns_mapping:
            given = dict(zip(fields, value, strict=False)) if len(value) == len(fields) else {"": value}
        else:
            given = {fields[0]: value}
        if fields[0] not in given or not given.keys() <= set(fields):
            raise InvalidArgument(
                f"The function of task '{self.task_id}' must return {self._forms()}; it returned a "
                f"{type(value).__name__} that is none of these. Nothing was sent."
            )
        for name, each in given.items():
            if name != fields[0] and each is not None and getattr(self, name) is not None:
                raise InvalidArgument(
                    f"'{name}' is given to {self.custom_operator_name} and returned by the function of task "
                    f"'{self.task_id}'.\nGive it in one place. Nothing was sent."
                )
            if each is not None or name == fields[0]:
                setattr(self, name, each)

    def _forms(self) -> str:
        first, *others = self.returned_fields
        both = ", ".join(self.returned_fields)
        return f"'{first}' alone, or a tuple ({both}), or a dict with these keys" if others else f"'{first}'"


def fields_of(operator: type[RunOperator]) -> tuple[Sequence[str], dict[str, str]]:
    """Return the template fields of a decorated operator, and how they are shown."""
    return (
        (*DecoratedOperator.template_fields, *operator.template_fields),
        {**DecoratedOperator.template_fields_renderers, **operator.template_fields_renderers},
    )
