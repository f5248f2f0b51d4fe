"""The tools of NenAI's MCP server (NenAI docs: "MCP Server"): what they take, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from airflow_provider_nenoa.emulator import workflow_runs
from airflow_provider_nenoa.emulator.nenai import started
from airflow_provider_nenoa.emulator.state import Run, State
from airflow_provider_nenoa.emulator.wire import iso, json_bytes
from airflow_provider_nenoa.emulator.workflow_runs import WorkflowRuns, word_of

DEPLOYMENT = {"deploymentId": "dep_emulator", "deploymentName": "Emulator"}


def _schema(required: dict[str, str], optional: dict[str, str] | None = None) -> dict[str, Any]:
    properties = {name: {"type": kind} for name, kind in (required | (optional or {})).items()}
    return {"type": "object", "properties": properties, "required": list(required)}


TOOLS = {
    "nen_status": ("How a workflow run stands.", _schema({"messageId": "string"})),
    "nen_list_runs": (
        "The runs of a workflow, newest first.",
        _schema({"workflowId": "string"}, {"limit": "integer"}),
    ),
    "nen_list_workflows": ("The workflows of a deployment.", _schema({}, {"deploymentId": "string"})),
    "nen_get_run_logs": (
        "The log of a workflow run.",
        _schema({"messageId": "string"}, {"deploymentId": "string"}),
    ),
    "nen_run": ("Start a workflow run.", _schema({"workflowId": "string", "params": "object"})),
}


class ToolError(Exception):
    """The tool could not do it; the message says why."""


class Tools:
    """Answers to calls of tools, as text.

    :param state: where the runs are.
    :param runs: how they are started.
    """

    def __init__(self, state: State, runs: WorkflowRuns) -> None:
        self._state = state
        self._runs = runs
        self._tools: dict[str, Callable[[dict[str, Any], str], Awaitable[Any]]] = {
            "nen_status": self._status,
            "nen_list_runs": self._list_runs,
            "nen_list_workflows": self._list_workflows,
            "nen_get_run_logs": self._logs,
            "nen_run": self._run,
        }

    async def call(self, name: str, arguments: dict[str, Any], base_url: str) -> Any:
        """Call a tool.

        :param name: one of :data:`TOOLS`.
        :param base_url: where this server was asked.
        :return: text, or what becomes JSON.
        :raises ToolError: if it could not be done.
        """
        missing = [field for field in TOOLS[name][1]["required"] if field not in arguments]
        if missing:
            raise ToolError(f"Missing required argument: {', '.join(missing)}")
        return await self._tools[name](arguments, base_url)

    def _find(self, arguments: dict[str, Any]) -> Run:
        run = self._runs.find(arguments["messageId"])
        if run is None:
            raise ToolError(f"Run not found: {arguments['messageId']}")
        return run

    async def _status(self, arguments: dict[str, Any], base_url: str) -> dict[str, Any]:
        run = self._find(arguments)
        failed = run.ended and run.status != "success"
        error: dict[str, Any] = {"error_message": run.error, "updated_at": iso(run.updated_at), "error_artifacts": {}}
        return {
            "success": True,  # the call, not the run
            **_shown(run),
            "workflowId": run.detail["workflow_id"],
            "errorData": error if failed else None,
        }

    async def _list_runs(self, arguments: dict[str, Any], base_url: str) -> dict[str, Any]:
        limit = arguments.get("limit", 10)
        if type(limit) is not int or not 1 <= limit <= 100:
            raise ToolError("limit must be a whole number from 1 to 100")
        listed_before = self._state.clock.time() - self._state.settings.mcp_list_seconds
        runs = [
            run
            for run in self._state.runs.values()
            if run.kind == "workflow"
            and run.detail["workflow_id"] == arguments["workflowId"]
            and run.created_at <= listed_before
        ]
        shown = [_shown(run) for run in runs[::-1][:limit]]
        return {"success": True, "runs": shown, "count": len(shown), "totalCount": len(runs)}

    async def _list_workflows(self, arguments: dict[str, Any], base_url: str) -> dict[str, Any]:
        deployment = arguments.get("deploymentId") or DEPLOYMENT["deploymentId"]
        if deployment != DEPLOYMENT["deploymentId"]:
            raise ToolError(f"Deployment not found: {deployment}")
        workflows = [
            {
                "workflowId": workflow.id,
                "workflowName": workflow.name,
                "createdAt": "2025-01-01T00:00:00.000Z",
                "updatedAt": "2025-01-02T00:00:00.000Z",
                "publishedAt": "2025-01-02T00:00:00.000Z",
            }
            for workflow in self._state.settings.workflows
        ]
        return {"success": True, "workflows": workflows, "count": len(workflows), **DEPLOYMENT}

    async def _logs(self, arguments: dict[str, Any], base_url: str) -> str:
        run = self._find(arguments)
        lines = [(run.created_at, "info", "Run queued")]
        if run.phase != "queued":
            lines.append((run.updated_at, "info", "Run started"))
            lines += [(run.updated_at, "info", line) for line in run.behaviour.log]
        if run.ended:
            told = ("info", "Run completed") if run.status == "success" else ("error", str(run.error))
            lines.append((run.updated_at, *told))
        return "\n".join(
            json.dumps({"timestamp": iso(when), "level": level, "message": message}) for when, level, message in lines
        )

    async def _run(self, arguments: dict[str, Any], base_url: str) -> dict[str, Any]:
        body = {"workflow_id": arguments["workflowId"], "workflow_params": arguments["params"]}
        if problem := workflow_runs.problem(body):
            raise ToolError(problem)
        try:
            run = await self._runs.start(body, base_url)
        except ValueError as error:
            raise ToolError(str(error)) from None
        return {"success": True, **started(run)}


def text_of(answer: Any) -> str:
    """A tool's answer as text."""
    return answer if isinstance(answer, str) else json_bytes(answer).decode()


def _shown(run: Run) -> dict[str, Any]:
    word = word_of(run)
    return {
        "messageId": run.id,
        "status": "completed" if word == "success" else word,
        "createdAt": iso(run.created_at),
        "updatedAt": iso(run.updated_at),
    }
