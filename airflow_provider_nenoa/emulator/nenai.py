"""NenAI: workflow runs that report by webhook (NenAI docs: "Start a Workflow Run", "Webhook Integration")."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_provider_nenoa.emulator import workflow_runs
from airflow_provider_nenoa.emulator.state import Run, State
from airflow_provider_nenoa.emulator.wire import JsonReply, json_object
from airflow_provider_nenoa.emulator.workflow_runs import WorkflowRuns


class NenAIError(Exception):
    """An error in the vendor's form."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message

    def response(self) -> JSONResponse:
        return JSONResponse(error_body(self.error, self.message), self.status)


def error_body(error: str, message: str) -> dict[str, Any]:
    """The body of an error reply."""
    return {"error": error, "message": message}


def authenticated(request: Request) -> None:
    """Check ``x-api-key``."""
    state: State = request.app.state.emulator
    key, wanted = request.headers.get("x-api-key"), state.settings.nenai_key
    if not key or (wanted is not None and key != wanted):
        raise NenAIError(401, "Unauthorized", "Missing or invalid API key")


Authenticated = Annotated[None, Depends(authenticated)]


def _invalid(message: str) -> NenAIError:
    return NenAIError(400, "Invalid request", message)


async def _checked(request: Request, state: State) -> dict[str, Any]:
    """The body of a start, if it is one."""
    try:
        body = json_object(await request.body())
    except ValueError as error:
        raise _invalid(f"Request body {error}") from None
    if problem := workflow_runs.problem(body):
        raise _invalid(problem)
    header = state.settings.secure_params_header
    if body.get("secure_workflow_params") is not None and (header is None or header not in request.headers):
        raise NenAIError(
            403, "hmac_required_for_secure_params", "secure_workflow_params requires an HMAC-signed request"
        )
    return body


def started(run: Run) -> dict[str, Any]:
    """What a start is answered with."""
    return {
        "message": "Job accepted for processing.",
        "messageId": run.id,
        "workflowId": run.detail["workflow_id"],
    }


def router(state: State, runs: WorkflowRuns) -> APIRouter:
    """The vendor's endpoints."""
    api = APIRouter(tags=["NenAI"])

    @api.get("/health")
    async def health(_: Authenticated) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @api.post("/runs")
    async def start_run(request: Request, _: Authenticated) -> JSONResponse:
        body = await _checked(request, state)
        try:
            run = await runs.start(body, str(request.base_url))
        except ValueError as problem:
            raise _invalid(str(problem)) from None
        return JSONResponse(started(run), 202)

    @api.get("/runs/{message_id}")
    async def get_run(message_id: str, _: Authenticated) -> JSONResponse:
        run = runs.find(message_id) if state.settings.run_status_path else None
        if run is None:
            raise NenAIError(404, "Not found", "No such resource")
        return JsonReply(runs.view(run))

    return api
