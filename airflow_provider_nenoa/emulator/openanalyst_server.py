"""OpenAnalyst's other reference, the form ``server`` (OpenAnalyst docs: "Complete REST reference")."""

from __future__ import annotations

import asyncio
import csv
import io
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_nenoa.emulator import data, presigned
from airflow_provider_nenoa.emulator.openanalyst_access import Authenticated, json_body, only_in, text
from airflow_provider_nenoa.emulator.openanalyst_errors import OpenAnalystError
from airflow_provider_nenoa.emulator.openanalyst_pages import paged
from airflow_provider_nenoa.emulator.openanalyst_runs import AnalystRuns, behaviour_of, session_view, word_of
from airflow_provider_nenoa.emulator.openanalyst_starts import found, start_query
from airflow_provider_nenoa.emulator.registered import Registered
from airflow_provider_nenoa.emulator.state import Run, State
from airflow_provider_nenoa.emulator.webhooks import url_problem
from airflow_provider_nenoa.emulator.wire import JsonReply, iso

EVENTS = ("report.completed", "agent.session.completed", "export.ready", "alert_triggered")
_DOWNLOAD_SECONDS = 900


def router(state: State, runs: AnalystRuns, registered: Registered, database: data.Database, prefix: str) -> APIRouter:
    """What the seed does not have: sessions, ``/queries/run``, exports, registered webhooks."""
    api = APIRouter(prefix=prefix, tags=["OpenAnalyst, form server"], dependencies=[only_in("server")])

    @api.get("/agents/sessions")
    async def list_sessions(request: Request, caller: Authenticated) -> JSONResponse:
        sessions = [run for run in state.runs.values() if run.workspace == caller.workspace and "prompt" in run.detail]
        return JsonReply(paged(request, [session_view(run) for run in sessions], state))

    @api.get("/agents/sessions/{session_id}")
    async def get_session(session_id: str, caller: Authenticated) -> JSONResponse:
        run = runs.find(session_id, "agent", caller)
        if "prompt" not in run.detail:
            raise OpenAnalystError(404, "No session with the given ID exists in this workspace.")
        return JsonReply(session_view(run))

    @api.post("/queries/run")
    async def run_query(request: Request, caller: Authenticated) -> JSONResponse:
        run = await start_query(state, runs, database, caller, await json_body(request), "sql")
        # The rows are always asked for: this reference shows no others.
        return JSONResponse({"id": run.id, "status": "running", "created_at": iso(run.created_at)}, 202)

    @api.get("/reports/{report_id}/export")
    async def export_report(request: Request, report_id: str, caller: Authenticated) -> Response:
        report = found(data.reports, state.settings.reports, report_id, "report")
        if request.query_params.get("format", "csv") != "csv":
            raise OpenAnalystError(400, "format: only csv is known.")
        return Response(_csv(await data.report_data(database, report)), media_type="text/csv")

    @api.post("/exports")
    async def start_export(request: Request, caller: Authenticated) -> JSONResponse:
        body = await json_body(request)
        dataset_id, form = text(body, "dataset_id"), text(body, "format")
        found(data.datasets, state.settings.datasets, dataset_id, "dataset")
        if form not in ("csv", "parquet"):
            raise OpenAnalystError(422, "format: must be csv or parquet.")
        content = await _file(database, form, (body.get("filter") or {}).get("date_range") or {})
        behaviour = behaviour_of(state.settings.export, body.get("emulate"))
        run = runs.new("export", caller, body, behaviour, None)
        state.exports[run.id] = content
        await runs.start(run, at_once=behaviour.seconds == 0)
        return JSONResponse(_export_view(run), 202)

    @api.get("/exports/{export_id}")
    async def get_export(export_id: str, caller: Authenticated) -> JSONResponse:
        return JSONResponse(_export_view(runs.find(export_id, "export", caller)))

    @api.get("/exports/{export_id}/download")
    async def download_export(request: Request, export_id: str, caller: Authenticated) -> JSONResponse:
        run = runs.find(export_id, "export", caller)
        if run.status != "success":
            raise OpenAnalystError(409, f"The export is {word_of(run)}.")
        base = (state.settings.public_url or str(request.base_url)).rstrip("/")
        path = f"/exported/{run.id}/export.{run.detail['format']}"
        url, expires = presigned.presigned(base, path, state.clock.time(), _DOWNLOAD_SECONDS)
        size = len(state.exports[run.id])
        told = {"download_url": url, "expires_at": iso(expires), "size_bytes": size, "format": run.detail["format"]}
        return JSONResponse(told)

    @api.post("/webhooks")
    async def register(request: Request, caller: Authenticated) -> JSONResponse:
        body = await json_body(request)
        events = body.get("events")
        if problem := url_problem(body.get("url"), https=True):
            raise OpenAnalystError(422, f"url: {problem}.")
        if not isinstance(events, list) or not events or not set(map(str, events)) <= set(EVENTS):
            raise OpenAnalystError(422, f"events: must be some of {', '.join(EVENTS)}.")
        secret = text(body, "secret") if "secret" in body else None
        hook = registered.add(caller.workspace, str(body["url"]), events, secret)
        return JSONResponse(hook.shown(), 201)

    @api.get("/webhooks")
    async def list_webhooks(request: Request, caller: Authenticated) -> JSONResponse:
        return JSONResponse(paged(request, [hook.shown() for hook in registered.of(caller.workspace)], state))

    @api.delete("/webhooks/{webhook_id}")
    async def unregister(webhook_id: str, caller: Authenticated) -> Response:
        if not registered.remove(caller.workspace, webhook_id):
            raise OpenAnalystError(404, "No webhook with the given ID exists in this workspace.")
        return Response(status_code=204)

    return api


def downloads(state: State) -> APIRouter:
    """``GET /exported/{export_id}/{name}``: the file, for everybody who has the presigned URL."""
    api = APIRouter(tags=["OpenAnalyst's exported files"])

    @api.get("/exported/{export_id}/{name}")
    async def get_exported(request: Request, export_id: str, name: str) -> Response:
        if problem := presigned.problem(request, state.clock):
            return problem
        if export_id not in state.exports:
            return presigned.refused(404, "NoSuchKey", "The specified key does not exist.")
        return Response(state.exports[export_id], media_type="application/octet-stream")

    return api


def _export_view(run: Run) -> dict[str, Any]:
    view = {
        "id": run.id,
        "status": word_of(run),
        "dataset_id": run.detail["dataset_id"],
        "format": run.detail["format"],
        "created_at": iso(run.created_at),
    }
    return view | ({"error": run.error} if run.error else {})


async def _file(database: data.Database, form: str, period: dict[str, Any]) -> bytes:
    start, end = str(period.get("start", "0000")), str(period.get("end", "9999"))
    sql = "SELECT * FROM sales WHERE date BETWEEN ? AND ? ORDER BY date, region, product"
    table = await database.query(sql, (start, end))
    return _csv(table).encode() if form == "csv" else await asyncio.to_thread(_parquet, table)


def _csv(table: dict[str, Any]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, table["columns"])
    writer.writeheader()
    writer.writerows(table["rows"])
    return out.getvalue()


def _parquet(table: dict[str, Any]) -> bytes:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise OpenAnalystError(422, "format: parquet needs pyarrow, which this emulator lacks.") from None
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table["rows"]), out)
    return out.getvalue()
