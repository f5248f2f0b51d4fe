"""The emulator as a FastAPI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from airflow_provider_nenoa.emulator import control, files, mcp, nenai, openanalyst, openanalyst_server
from airflow_provider_nenoa.emulator.clock import Clock
from airflow_provider_nenoa.emulator.data import Database
from airflow_provider_nenoa.emulator.door import CONTROL, Door
from airflow_provider_nenoa.emulator.openanalyst_errors import OpenAnalystError, error_body, media_type
from airflow_provider_nenoa.emulator.openanalyst_runs import AnalystRuns
from airflow_provider_nenoa.emulator.registered import Registered
from airflow_provider_nenoa.emulator.settings import Settings
from airflow_provider_nenoa.emulator.state import State
from airflow_provider_nenoa.emulator.webhooks import Webhooks
from airflow_provider_nenoa.emulator.workflow_runs import WorkflowRuns


def create_app(settings: Settings | None = None, clock: Clock | None = None) -> FastAPI:
    """Both vendors and the control API.

    :param settings: what it starts with, and what a reset goes back to; None: the defaults.
    :param clock: by which limits are counted and presigned URLs expire; None: real time.
    """
    state = State(settings or Settings(), clock or Clock())
    database = Database()
    webhooks = Webhooks(state)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        state.close()
        await webhooks.close()
        database.close()

    app = FastAPI(title="NenAI and OpenAnalyst, emulated", lifespan=lifespan)
    app.state.emulator = state
    runs = WorkflowRuns(state, webhooks)
    registered = Registered(state, webhooks)
    analyst_runs = AnalystRuns(state, webhooks, registered)
    vendors = [
        openanalyst_server.router(state, analyst_runs, registered, database, openanalyst.PREFIX),
        openanalyst.router(state, analyst_runs, database),
        openanalyst_server.downloads(state),
        nenai.router(state, runs),
        mcp.router(state, runs),
        files.router(state),
    ]
    for router in (*vendors, control.router(state, registered)):
        app.include_router(router)
    app.add_exception_handler(OpenAnalystError, _vendor_error)
    app.add_exception_handler(nenai.NenAIError, _vendor_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Door, routes=[route for router in vendors for route in router.routes], state=state)
    return app


async def _vendor_error(request: Request, error: Exception) -> Response:
    if isinstance(error, OpenAnalystError):
        return error.response(request.app.state.emulator.settings.error_form)
    assert isinstance(error, nenai.NenAIError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    """No such path, or no such method: in the words of the vendor whose paths these are."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if path.startswith(CONTROL):
        return JSONResponse({"detail": error.detail}, error.status_code)
    if path.startswith(openanalyst.PREFIX + "/"):
        form = request.app.state.emulator.settings.error_form
        body = error_body(error.status_code, "The requested resource does not exist.", form=form)
        return JSONResponse(body, error.status_code, error.headers, media_type(form))
    body = nenai.error_body("Not found", "No such resource")
    return JSONResponse(body, error.status_code, error.headers)
