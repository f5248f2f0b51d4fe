"""OpenAnalyst: data sets, queries, reports, agents, dashboards (OpenAnalyst docs: "REST API Overview")."""

from __future__ import annotations

import base64
import json
import math
import re
import sqlite3
import uuid
from collections.abc import Callable
from typing import Annotated, Any

import pydantic
from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from airflow_provider_nenoa.emulator import data
from airflow_provider_nenoa.emulator.settings import Behaviour
from airflow_provider_nenoa.emulator.state import Kind, Run, State
from airflow_provider_nenoa.emulator.webhooks import Webhooks, url_problem
from airflow_provider_nenoa.emulator.wire import json_object, whole_number

PREFIX = "/v1"

CODES = {
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    422: "VALIDATION_ERROR",
    429: "RATE_LIMITED",
    500: "INTERNAL_ERROR",
}

_KEY = re.compile(r"oa_(?P<kind>live|test)_(?P<workspace>.+?)(?:_[^_]*)?")
_DEFAULT_PER_PAGE = 25
_MAX_PER_PAGE = 100
_SQL_COMMENT = re.compile(r"/\*\s*(?P<word>slow|emulate):\s*(?P<value>.*?)\s*\*/", re.DOTALL)


class OpenAnalystError(Exception):
    """An error in the vendor's form (OpenAnalyst docs: "Error Handling")."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers

    def response(self) -> JSONResponse:
        return JSONResponse(error_body(self.status, self.message, self.code), self.status, self.headers)


def error_body(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """The body of an error reply.

    :param code: the vendor's code; None: the one that belongs to the status.
    """
    return {
        "error": {
            "code": code or CODES.get(status, "INTERNAL_ERROR" if status >= 500 else "ERROR"),
            "message": message,
            "status": status,
        },
        "request_id": f"req_{uuid.uuid4().hex[:16]}",
    }


class Caller(pydantic.BaseModel):
    """Who asks.

    :param workspace: the keys ``oa_live_acme_1`` and ``oa_test_acme_2`` belong to the workspace ``acme``, the key
        ``oa_live_acme`` too.
    :param live: False for ``oa_test_`` keys, whose runs send no webhooks (OpenAnalyst docs: "API keys").
    """

    workspace: str
    live: bool


def authenticated(request: Request) -> Caller:
    """Check the key, then count the request against the limits of its workspace."""
    state: State = request.app.state.emulator
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    form = _KEY.fullmatch(key)
    wanted = state.settings.openanalyst_key
    if scheme.lower() != "bearer" or (key != wanted if wanted is not None else form is None):
        raise OpenAnalystError(401, "Missing or invalid API key.")
    caller = Caller(workspace=form["workspace"] if form else key, live=not (form and form["kind"] == "test"))

    now = state.clock.time()
    limiter = state.limiter(caller.workspace)
    wait = limiter.admit(now)
    if state.settings.rate_headers:
        request.state.reply_headers = limiter.headers(now)
    if wait is not None:
        seconds = max(1, math.ceil(wait))
        raise OpenAnalystError(
            429, f"Too many requests. Retry after {seconds} seconds.", headers={"Retry-After": str(seconds)}
        )
    return caller


Authenticated = Annotated[Caller, Depends(authenticated)]


def paged(request: Request, items: list[dict[str, Any]], state: State) -> dict[str, Any]:
    """One page of a list, in the form of the vendor's page or cursor (OpenAnalyst docs: "Pagination")."""
    asked = request.query_params
    form = state.settings.pagination
    if form == "cursor" or (form == "page" and ("limit" in asked or "after" in asked)):
        return _cursor_page(asked.get("limit") or asked.get("per_page"), asked.get("after"), items)
    per_page = _whole("per_page", asked.get("per_page"), _DEFAULT_PER_PAGE, _MAX_PER_PAGE)
    page = _whole("page", asked.get("page"), 1)
    total_pages = math.ceil(len(items) / per_page)
    if form == "repeat":
        page, total_pages = 1, 1_000_000
    return {
        "data": items[(page - 1) * per_page : page * per_page],
        "meta": {"page": page, "per_page": per_page, "total": len(items), "total_pages": total_pages},
    }


def _cursor_page(limit: str | None, after: str | None, items: list[dict[str, Any]]) -> dict[str, Any]:
    count = _whole("limit", limit, _DEFAULT_PER_PAGE, _MAX_PER_PAGE)
    start = 0
    if after:
        places = [place for place, item in enumerate(items) if _cursor(item) == after]
        if not places:
            raise OpenAnalystError(422, "after: not a cursor of this list.")
        start = places[0] + 1
    shown = items[start : start + count]
    has_more = start + count < len(items)
    return {
        "data": shown,
        "pagination": {
            "cursor": _cursor(shown[-1]) if shown and has_more else None,
            "has_more": has_more,
            "total": len(items),
        },
    }


def _cursor(item: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(f"after:{item['id']}".encode()).decode().rstrip("=")


def _whole(name: str, value: str | None, default: int, largest: int = 10**9) -> int:
    if value is None:
        return default
    number = whole_number(value)
    if number is None or not 1 <= number <= largest:
        raise OpenAnalystError(422, f"{name}: must be a whole number from 1 to {largest}.")
    return number


async def _body(request: Request) -> dict[str, Any]:
    try:
        return json_object(await request.body())
    except ValueError as problem:
        raise OpenAnalystError(422, f"The request body {problem}.") from None


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise OpenAnalystError(422, f"{name}: a non-empty string is required.")
    return value


def _webhook_url(body: dict[str, Any]) -> str | None:
    url = body.get("webhook_url")
    if url is None:
        return None
    if problem := url_problem(url, https=True):
        raise OpenAnalystError(422, f"webhook_url: {problem}.")
    return str(url)


def _behaviour(default: Behaviour, wish: Any) -> Behaviour:
    try:
        return default.overruled(wish)
    except pydantic.ValidationError as error:
        raise OpenAnalystError(422, f"emulate: {error}") from None


def _behaviour_in_sql(default: Behaviour, sql: str) -> Behaviour:
    """``/* slow: 2 */`` and ``/* emulate: {"seconds": 2, "outcome": "failed"} */`` steer a query."""
    behaviour = default
    for comment in _SQL_COMMENT.finditer(sql):
        try:
            value = json.loads(comment["value"])
        except ValueError:
            raise OpenAnalystError(422, f"{comment['word']}: not JSON in a comment of the query.") from None
        behaviour = _behaviour(behaviour, {"seconds": value} if comment["word"] == "slow" else value)
    return behaviour


def _word(run: Run) -> str:
    return "completed" if run.status == "success" else run.status


def webhook_body(run: Run) -> dict[str, Any]:
    """What is posted at the end: run ID, status and result (OpenAnalyst docs: "Webhook Callbacks")."""
    body: dict[str, Any] = {"run_id": run.id, "status": _word(run), "result": run.result}
    if run.error:
        body["error"] = run.error
    return body


def agent_view(run: Run) -> dict[str, Any]:
    """What ``GET /agents/runs/{id}`` answers."""
    view: dict[str, Any] = {
        "run_id": run.id,
        "agent_id": run.detail["agent_id"],
        "status": _word(run),
        "started_at": run.started_at,
        "completed_at": run.ended_at,
        "result": run.result if run.ended else None,
    }
    if run.error:
        view["error"] = run.error
    return view


def query_view(run: Run) -> dict[str, Any]:
    """What ``GET /queries/{id}/results`` answers, and ``POST /queries`` too."""
    view: dict[str, Any] = {"id": run.id, "status": _word(run)}
    if run.ended and run.result:
        view |= run.result
    if run.error:
        view["error"] = run.error
    return view


def router(state: State, webhooks: Webhooks, database: data.Database) -> APIRouter:
    """The vendor's endpoints, under :data:`PREFIX`."""
    api = APIRouter(prefix=PREFIX, tags=["OpenAnalyst"])

    def new_run(
        kind: Kind, caller: Caller, body: dict[str, Any], behaviour: Behaviour, result: dict[str, Any] | None
    ) -> Run:
        url = _webhook_url(body)
        return Run(
            id=f"{'run' if kind == 'agent' else 'qry'}_{uuid.uuid4().hex[:20]}",
            kind=kind,
            behaviour=behaviour,
            detail=body,
            started_at=state.clock.time(),
            workspace=caller.workspace,
            webhook_url=url if caller.live else None,
            result=result,
            on_end=lambda run: webhooks.send(run, _word(run), webhook_body(run)),
        )

    async def start(run: Run, *, at_once: bool) -> None:
        state.start(run)
        if at_once or run.faults.before_reply:
            state.finish(run)
        if run.faults.before_reply:
            await webhooks.answered(run)

    def find(run_id: str, kind: Kind, caller: Caller) -> Run:
        run = state.runs.get(run_id)
        if run is None or run.kind != kind or run.workspace != caller.workspace:
            raise OpenAnalystError(404, f"No {kind} run with the given ID exists in this workspace.")
        return run

    def item(items: Callable[[int], list[dict[str, Any]]], count: int, item_id: str, what: str) -> dict[str, Any]:
        for candidate in items(count):
            if candidate["id"] == item_id:
                return candidate
        code = "DATASET_NOT_FOUND" if what == "dataset" else None
        raise OpenAnalystError(404, f"No {what} with the given ID exists in this workspace.", code)

    @api.get("/datasets")
    async def list_datasets(request: Request, caller: Authenticated) -> JSONResponse:
        return JSONResponse(paged(request, data.datasets(state.settings.datasets), state))

    @api.get("/datasets/{dataset_id}")
    async def get_dataset(dataset_id: str, caller: Authenticated) -> JSONResponse:
        found = item(data.datasets, state.settings.datasets, dataset_id, "dataset")
        return JSONResponse({**found, "schema": data.dataset_schema()})

    @api.post("/queries")
    async def execute_query(request: Request, caller: Authenticated) -> JSONResponse:
        body = await _body(request)
        dataset_id, sql = _text(body, "dataset_id"), _text(body, "query")
        item(data.datasets, state.settings.datasets, dataset_id, "dataset")
        behaviour = _behaviour_in_sql(state.settings.query, sql)
        at_once = behaviour.seconds == 0
        result = None
        try:
            result = await database.query(sql)
        except (sqlite3.Error, sqlite3.Warning) as error:
            if at_once:
                raise OpenAnalystError(422, f"query: {error}") from None
            behaviour = behaviour.model_copy(update={"outcome": "failed", "error": str(error)})
        run = new_run("query", caller, body, behaviour, result)
        await start(run, at_once=at_once)
        return JSONResponse(query_view(run), 200 if run.ended else 202)

    @api.get("/queries/{query_id}/results")
    async def get_query_results(query_id: str, caller: Authenticated) -> JSONResponse:
        return JSONResponse(query_view(find(query_id, "query", caller)))

    @api.get("/reports")
    async def list_reports(request: Request, caller: Authenticated) -> JSONResponse:
        return JSONResponse(paged(request, data.reports(state.settings.reports), state))

    @api.get("/reports/{report_id}")
    async def get_report(report_id: str, caller: Authenticated) -> JSONResponse:
        found = item(data.reports, state.settings.reports, report_id, "report")
        return JSONResponse({**found, "data": await data.report_data(database, found)})

    @api.get("/dashboards")
    async def list_dashboards(request: Request, caller: Authenticated) -> JSONResponse:
        return JSONResponse(paged(request, data.dashboards(state.settings.dashboards), state))

    @api.post("/agents/run")
    async def run_agent(request: Request, caller: Authenticated) -> JSONResponse:
        body = await _body(request)
        agent_id, task = _text(body, "agent_id"), _text(body, "task")
        context = body.get("context")
        if context is None:
            context = {}
        if not isinstance(context, dict):
            raise OpenAnalystError(422, "context: must be an object.")
        behaviour = _behaviour(state.settings.agent, context.get("emulate"))
        told = {name: value for name, value in context.items() if name != "emulate"}
        result = {"answer": await data.answer(database, agent_id, task, told), "context": told}
        run = new_run("agent", caller, body, behaviour, result)
        await start(run, at_once=False)
        return JSONResponse({"run_id": run.id, "agent_id": agent_id, "status": _word(run)}, 202)

    @api.get("/agents/runs/{run_id}")
    async def get_agent_run(run_id: str, caller: Authenticated) -> JSONResponse:
        return JSONResponse(agent_view(find(run_id, "agent", caller)))

    return api
