"""NenAI: workflow runs that report by webhook (NenAI docs: "Start a Workflow Run", "Webhook Integration")."""

from __future__ import annotations

import json
import math
import uuid
from typing import Annotated, Any

import pydantic
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_provider_nenoa.emulator.files import file_size, presigned_url
from airflow_provider_nenoa.emulator.settings import ResultFile
from airflow_provider_nenoa.emulator.state import Run, State
from airflow_provider_nenoa.emulator.webhooks import Webhooks, url_problem
from airflow_provider_nenoa.emulator.wire import json_object


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
    except ValueError as problem:
        raise _invalid(f"Request body {problem}") from None
    if not body.get("workflow_id"):
        raise _invalid("Missing required field: workflow_id")
    try:
        uuid.UUID(body["workflow_id"])
    except (ValueError, TypeError, AttributeError):
        raise _invalid("Invalid workflow_id: must be a UUID") from None
    if not isinstance(body.get("workflow_params", {}), dict):
        raise _invalid("Invalid workflow_params: must be an object")
    url = body.get("webhook_callback")
    if url is not None and (fault := url_problem(url, https=False)):
        raise _invalid(f"Invalid webhook_callback: {fault}")
    secure = body.get("secure_workflow_params")
    if secure is not None:
        if not isinstance(secure, dict) or not all(isinstance(value, str) for value in secure.values()):
            raise _invalid("Invalid secure_workflow_params: must be an object of strings")
        header = state.settings.secure_params_header
        if header is None or header not in request.headers:
            raise NenAIError(
                403, "hmac_required_for_secure_params", "secure_workflow_params requires an HMAC-signed request"
            )
    return body


def view(run: Run) -> dict[str, Any]:
    """A run as its webhooks, and ``GET /runs/{message_id}``, report it."""
    body: dict[str, Any] = {
        "workflow_id": run.detail["workflow_id"],
        "message_id": run.id,
        "status": run.status if run.ended else "processing",
    }
    if not run.ended:
        return body
    if run.status == "success":
        return body | (run.result or {})
    return body | {"success": False, "error": run.error} | (run.result or {})


def router(state: State, webhooks: Webhooks) -> APIRouter:
    """The vendor's endpoints."""
    api = APIRouter(tags=["NenAI"])

    @api.get("/health")
    async def health(_: Authenticated) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @api.post("/runs")
    async def start_run(request: Request, _: Authenticated) -> JSONResponse:
        body = await _checked(request, state)
        params = body.get("workflow_params", {})
        try:
            behaviour = state.settings.workflow.overruled(params.get("emulate"))
        except pydantic.ValidationError as error:
            raise _invalid(f"emulate: {error}") from None
        message_id = str(uuid.uuid4())
        if behaviour.files is None:
            told = {name: value for name, value in params.items() if name != "emulate"}
            report = json.dumps({"workflow_id": body["workflow_id"], "workflow_params": told}, indent=2)
            behaviour = behaviour.model_copy(update={"files": [ResultFile(name="result.json", content=report)]})
        base = (state.settings.public_url or str(request.base_url)).rstrip("/")

        def ended(run: Run) -> None:
            if run.status == "success":
                # The URLs are made, and begin to expire, when the run ends.
                expires = math.floor(state.clock.time() + state.settings.url_seconds)
                shown = [
                    {
                        "name": file.name,
                        "size": file_size(file),
                        "url": presigned_url(base, run.id, file.name, expires),
                    }
                    for file in run.behaviour.files or ()
                ]
                run.result = {"expires_at": expires, "results": {"files": shown}} | (run.result or {})
            webhooks.send(run, run.status, view(run))

        run = Run(
            id=message_id,
            kind="workflow",
            behaviour=behaviour,
            detail=body,
            started_at=state.clock.time(),
            webhook_url=body.get("webhook_callback"),
            on_end=ended,
        )
        state.start(run)
        webhooks.send(run, "processing", view(run))
        if run.faults.before_reply:
            state.finish(run)
            await webhooks.answered(run)
        return JSONResponse(
            {
                "message": "Job accepted for processing.",
                "messageId": message_id,
                "workflowId": body["workflow_id"],
            },
            202,
        )

    @api.get("/runs/{message_id}")
    async def get_run(message_id: str, _: Authenticated) -> JSONResponse:
        run = state.runs.get(message_id) if state.settings.run_status_path else None
        if run is None or run.kind != "workflow":
            raise NenAIError(404, "Not found", "No such resource")
        return JSONResponse(view(run))

    return api
