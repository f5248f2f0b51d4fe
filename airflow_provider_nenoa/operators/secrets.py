"""
Arguments that must not be seen in Airflow's database or UI.

Airflow writes the arguments of a mapped task into the serialised DAG, which whoever may see the DAG can read; those of
other tasks it does not, unless they are templated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.exceptions import InvalidArgument

if TYPE_CHECKING:
    from airflow.sdk import DAG, BaseOperator
    from airflow.sdk.definitions.mappedoperator import MappedOperator, OperatorPartial


class Hidden:
    """
    A value that shows as ``***`` wherever it is written or serialised.

    :param value: The value.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "***"


class SecretPartial:
    """
    What ``.partial()`` returns, for an operator with a secret argument.

    :param partial: What Airflow's own returns.
    :param name: The secret argument.
    """

    def __init__(self, partial: OperatorPartial, name: str) -> None:
        check_default_args(name, partial.kwargs.get("dag"))
        self._partial = partial
        self._name = name
        self._value = partial.kwargs.get(name)
        check_task_groups(name, self._value)
        if name in partial.kwargs:
            partial.kwargs[name] = Hidden(self._value)

    def __repr__(self) -> str:
        return repr(self._partial)

    def expand(self, **mapped_kwargs: Any) -> MappedOperator:
        """Map the task, as Airflow does."""
        check_templates(self._name, mapped_kwargs.get(self._name), ".expand()")
        return self._after(self._partial.expand(**mapped_kwargs))

    def expand_kwargs(self, kwargs: Any, *, strict: bool = True) -> MappedOperator:
        """Map the task over sets of arguments, as Airflow does."""
        for each in kwargs if isinstance(kwargs, (list, tuple)) else ():
            if isinstance(each, Mapping):
                check_templates(self._name, each.get(self._name), ".expand_kwargs()")
        return self._after(self._partial.expand_kwargs(kwargs, strict=strict))

    def _after(self, mapped: MappedOperator) -> MappedOperator:
        """Let the task come after those whose output is in the secret argument."""
        from airflow.sdk import XComArg

        XComArg.apply_upstream_relationship(mapped, self._value)
        return mapped


def shown_to_nobody(operator: BaseOperator, name: str, value: Any) -> Any:
    """
    Return what an operator is given as a secret argument.

    It is no template field, so Airflow does not look for other tasks' outputs in it: here the task is put after them.

    :param operator: The operator.
    :param name: The argument.
    :param value: What is given for it; perhaps `Hidden`, by ``.partial()``.
    :raises InvalidArgument: It stands in the DAG's ``default_args``, or in what a task group is mapped over.
    """
    from airflow.sdk import XComArg

    if isinstance(value, Hidden):
        return value.value
    check_default_args(name, operator.get_dag())
    check_task_groups(name, value)
    XComArg.apply_upstream_relationship(operator, value)
    return value


def check_default_args(name: str, dag: DAG | None) -> None:
    """
    Refuse a secret in a DAG's ``default_args``, which Airflow serialises too.

    :raises InvalidArgument: There is one.
    """
    if dag is not None:
        check_templates(name, (dag.default_args or {}).get(name), "default_args")


def check_task_groups(name: str, value: Any) -> None:
    """
    Refuse a secret that a mapped task group is given by ``.expand()``: Airflow serialises what it is mapped over.

    :raises InvalidArgument: There is one.
    """
    if isinstance(value, Mapping):
        for each in value.values():
            check_task_groups(name, each)
    else:
        for each in airflow_internals.mapped_over(value):
            check_templates(name, each, "the .expand() of a task group")


def check_templates(name: str, value: Any, where: str) -> None:
    """
    Refuse what stands in the serialised DAG as it is, unless it is a template or another task's output.

    :param name: The secret argument.
    :param value: What is given for it.
    :param where: Where it is given.
    :raises InvalidArgument: Some of it is neither.
    """
    if _is_seen(value):
        raise InvalidArgument(
            f"'{name}' in {where} would stand in Airflow's serialised DAG, where whoever sees the DAG can read it.\n"
            "Use templates there, such as '{{ conn.my_secrets.password }}', or another task's output; or give it to "
            "the operator itself, or to .partial()."
        )


def _is_seen(value: Any) -> bool:
    if value is None or hasattr(value, "resolve"):  # another task's output
        return False
    if isinstance(value, str):
        if not ("{{" in value or "{%" in value):
            return True
        # A template in one value of an object's text hides none of the others.
        try:
            parts = json.loads(value)
        except ValueError:
            return False
        return isinstance(parts, dict) and _is_seen(parts)
    if isinstance(value, Mapping):
        return any(map(_is_seen, value.values()))
    return not isinstance(value, Iterable) or any(map(_is_seen, value))
