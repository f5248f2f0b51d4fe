"""OpenAnalyst: data sets, queries, reports, agents, dashboards (OpenAnalyst docs: "REST API Overview")."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from airflow_provider_nenoa.emulator import data
from airflow_provider_nenoa.emulator.openanalyst_access import Authenticated, json_body, only_in, text
from airflow_provider_nenoa.emulator.openanalyst_errors import OpenAnalystError
from airflow_provider_nenoa.emulator.openanalyst_pages import paged
from airflow_provider_nenoa.emulator.openanalyst_runs import AnalystRuns, agent_view, behaviour_of, query_view, word_of
from airflow_provider_nenoa.emulator.openanalyst_starts import found, run_session, start_query
from airflow_provider_nenoa.emulator.state import State
from airflow_provider_nenoa.emulator.wire import JsonReply

PREFIX = "/v1"


def router(state: State, runs: AnalystRuns, database: data.Database) -> APIRouter:
    """The endpoints of our seed, under :data:`PREFIX`; many of them are in the other reference as well."""
    api = APIRouter(prefix=PREFIX, tags=["OpenAnalyst"])

    @api.get("/datasets")
    async def list_datasets(request: Request, caller: Authenticated) -> JSONResponse:
        return JSONResponse(paged(request, data.datasets(state.settings.datasets), state))

    @api.get("/datasets/{dataset_id}")
    async def get_dataset(dataset_id: str, caller: Authenticated) -> JSONResponse:
        shown = found(data.datasets, state.settings.datasets, dataset_id, "dataset")
        return JSONResponse({**shown, "schema": data.dataset_schema()})

    @api.post("/queries", dependencies=[only_in("api")])
    async def execute_query(request: Request, caller: Authenticated) -> JSONResponse:
        body = await json_body(request)
        run = await start_query(state, runs, database, caller, body, "query")
        return JsonReply(query_view(run, state.settings), 200 if run.ended else 202)

    @api.get("/queries/{query_id}/results")
    async def get_query_results(query_id: str, caller: Authenticated) -> JSONResponse:
        return JsonReply(query_view(runs.find(query_id, "query", caller), state.settings))

    @api.get("/reports")
    async def list_reports(request: Request, caller: Authenticated) -> JSONResponse:
        return JSONResponse(paged(request, data.reports(state.settings.reports), state))

    @api.get("/reports/{report_id}")
    async def get_report(report_id: str, caller: Authenticated) -> JSONResponse:
        shown = found(data.reports, state.settings.reports, report_id, "report")
        return JSONResponse({**shown, "data": await data.report_data(database, shown)})

    @api.get("/dashboards")
    async def list_dashboards(request: Request, caller: Authenticated) -> JSONResponse:
        return JSONResponse(paged(request, data.dashboards(state.settings.dashboards), state))

    @api.post("/agents/run")
    async def run_agent(request: Request, caller: Authenticated) -> JSONResponse:
        body = await json_body(request)
        form = state.settings.api_form
        if form == "server" or (form == "both" and "prompt" in body):
            return await run_session(state, runs, database, caller, body)
        agent_id, task = text(body, "agent_id"), text(body, "task")
        if state.settings.agents is not None and agent_id not in state.settings.agents:
            raise OpenAnalystError(404, "No agent with the given ID exists in this workspace.")
        context = body.get("context")
        if context is None:
            context = {}
        if not isinstance(context, dict):
            raise OpenAnalystError(422, "context: must be an object.")
        behaviour = behaviour_of(state.settings.agent, context.get("emulate"))
        told = {name: value for name, value in context.items() if name != "emulate"}
        result = {"answer": await data.answer(database, agent_id, task, told), "context": told}
        run = runs.new("agent", caller, body, behaviour, result)
        await runs.start(run)
        return JSONResponse({"run_id": run.id, "agent_id": agent_id, "status": word_of(run)}, 202)

    @api.get("/agents/runs/{run_id}", dependencies=[only_in("api")])
    async def get_agent_run(run_id: str, caller: Authenticated) -> JSONResponse:
        return JsonReply(agent_view(runs.find(run_id, "agent", caller)))

    return api
