"""Operators that list what NenAI has, by its MCP server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_nenoa.operators.base import one_of
from airflow_provider_nenoa.operators.nenai_base import workflow_of
from airflow_provider_nenoa.triggers import whole_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class NenAIListWorkflowsOperator(BaseOperator):
    """
    List the workflows, by NenAI's MCP server: the connection needs an ``mcp_url``.

    Returns a list with what NenAI says of each: ``workflowId``, ``workflowName``, ``createdAt``, ``updatedAt``,
    ``publishedAt``; ready for ``.expand()``.

    :param deployment_id: Those of another deployment than the API key's own. (templated)
    :param nenai_conn_id: The connection. Default ``nenai_default``. (templated)
    """

    template_fields: Sequence[str] = ("deployment_id", "nenai_conn_id")
    ui_color = "#e8e0ff"

    def __init__(
        self, *, deployment_id: str | None = None, nenai_conn_id: str = "nenai_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.deployment_id = deployment_id
        self.nenai_conn_id = nenai_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Ask for the list."""
        from airflow_provider_nenoa.hooks.nenai import NenAIHook
        from airflow_provider_nenoa.results.xcom import fit_for_airflow

        return fit_for_airflow(NenAIHook(self.nenai_conn_id).list_workflows(self.deployment_id), "The list")


class NenAIListRunsOperator(BaseOperator):
    """
    List the newest runs of a workflow, by NenAI's MCP server: the connection needs an ``mcp_url``.

    Returns a list with what NenAI says of each, the newest first: ``messageId``, ``status``, ``createdAt``,
    ``updatedAt``.

    :param workflow_id: The workflow's UUID. (templated)
    :param workflow_name: Its name instead, as NenAI has it. (templated)
    :param limit: How many runs, at most. Default 10.
    :param nenai_conn_id: The connection. Default ``nenai_default``. (templated)
    """

    template_fields: Sequence[str] = ("workflow_id", "workflow_name", "nenai_conn_id")
    ui_color = "#e8e0ff"

    def __init__(
        self,
        *,
        workflow_id: str | None = None,
        workflow_name: str | None = None,
        limit: int = 10,
        nenai_conn_id: str = "nenai_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        one_of("workflow", workflow_id, workflow_name)
        self.workflow_id = workflow_id
        self.workflow_name = workflow_name
        self.limit = whole_number("limit", limit)
        self.nenai_conn_id = nenai_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Ask for the list."""
        from airflow_provider_nenoa.hooks.nenai import NenAIHook
        from airflow_provider_nenoa.results.xcom import fit_for_airflow

        hook = NenAIHook(self.nenai_conn_id)
        return fit_for_airflow(hook.list_runs(workflow_of(self, hook), self.limit), "The list")
