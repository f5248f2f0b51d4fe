"""What the operators that start something at OpenAnalyst share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.operators.base import RunOperator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
    from airflow_provider_nenoa.vendors.openanalyst_forms import Form

CONN_ID = "openanalyst_default"
LOOKED_UP_LATER = "by_name"
"""Stands for an id while arguments are checked: a name is looked up when everything else is right."""


def id_of(what: str, operator: Any, hook: OpenAnalystHook) -> str:
    """Return the id of an operator's dataset or report; its name is looked up."""
    name = getattr(operator, f"{what}_name")
    found: str = getattr(operator, f"{what}_id") if name is None else getattr(hook, f"{what}_id_of")(name)
    return found


def id_to_check(what: str, operator: Any) -> str:
    """
    Return the id that the other arguments are checked with.

    :raises InvalidArgument: A name is given that is none.
    """
    from airflow_provider_nenoa.vendors.arguments import required

    name = getattr(operator, f"{what}_name")
    if name is None:
        given: str = getattr(operator, f"{what}_id")
        return given
    required(f"{what}_name", name)
    return LOOKED_UP_LATER


class OpenAnalystRunOperator(RunOperator):
    """
    What the operators that start something at OpenAnalyst share.

    :param extra_body: Fields to add to the body of the request that starts it, for what the vendor takes and the
        operator does not: a dict, or the text of a JSON object. A field that is set otherwise is refused. (templated)
    :param openanalyst_conn_id: The connection. Default ``openanalyst_default``. (templated)
    """

    conn_field = "openanalyst_conn_id"

    def __init__(
        self,
        *,
        extra_body: Mapping[str, Any] | str | None = None,
        openanalyst_conn_id: str = CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.extra_body = extra_body
        self.openanalyst_conn_id = openanalyst_conn_id

    @property
    def conn_id(self) -> str:
        """The Airflow connection."""
        return self.openanalyst_conn_id

    def make_hook(self) -> OpenAnalystHook:
        """Make the hook for the connection."""
        from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

        return OpenAnalystHook(self.openanalyst_conn_id)

    @property
    def form(self) -> Form:
        """How the connection's workspace wants requests written."""
        hook: OpenAnalystHook = self.hook  # type: ignore[assignment]
        return hook.form

    def json_argument(self, name: str) -> dict[str, Any] | None:
        """
        Return an argument that is an object, or the text of one, as JSON has it: see `arguments.plain`.

        :raises InvalidArgument: It is neither.
        """
        from airflow_provider_nenoa.vendors.arguments import optional_object

        value = optional_object(name, getattr(self, name))
        setattr(self, name, value)  # upstream values are read once
        return value
