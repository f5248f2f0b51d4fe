"""
The page's files and its JSON API, below ``/nenoa/page/`` on the API server; the receiver that runs alone has neither.

The files say nothing of anybody's connections, and are for everybody. What they show comes from the API, which asks
Airflow who is logged in and which connections he may see. There is no payload in it, no ``ref``, no URL of a file.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from fastapi import Depends, FastAPI, HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.vendors import VENDORS
from airflow_provider_nenoa.vendors.payloads import is_token
from airflow_provider_nenoa.webhooks import selftest
from airflow_provider_nenoa.webhooks.client import callback_url
from airflow_provider_nenoa.webhooks.page import reads
from airflow_provider_nenoa.webhooks.page.attention import attention
from airflow_provider_nenoa.webhooks.paths import is_conn_id

if TYPE_CHECKING:
    from airflow_provider_nenoa.webhooks.page.access import Access, Known
    from airflow_provider_nenoa.webhooks.store import Store

log = logging.getLogger(__name__)
_AFTER = re.compile(r"[0-9]{1,12}\.[0-9]{1,12} [\w.:~+=@-]{1,250}")

T = TypeVar("T")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every answer carries: only our own files run, only Airflow frames the page, and nothing of it is kept."""
OUR_HEADER = "X-Nenoa-Page"
"""The page sends it along with whatever does something: other sites' pages cannot."""

_FILES = {
    "": ("page.html", "text/html"),
    "page.js": ("page.js", "text/javascript"),
    "page.css": ("page.css", "text/css"),
}


def page_routes(
    store: Store, access: Access, run_self_test: Callable[..., None] = selftest.run_self_test
) -> list[BaseRoute]:
    """
    Return the routes of the page.

    :param store: The event table.
    :param access: Says who may see what.
    :param run_self_test: Takes a connection and a function that is told of each step; raises if one did not work.
    """
    return [
        Route("/page", lambda request: RedirectResponse("page/")),
        *(Route(f"/page/{name}", _File(*of_file)) for name, of_file in _FILES.items()),
        Mount("/page/api", Api(store, access, run_self_test).app()),
    ]


class _File:
    def __init__(self, name: str, media_type: str) -> None:
        self._body = (Path(__file__).parent / name).read_bytes()
        self._media_type = media_type

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        # Anew each time: Airflow's compression writes into the headers.
        await Response(self._body, 200, HEADERS, self._media_type)(scope, receive, send)


class Api:
    """
    What the page asks for.

    :param store: The event table.
    :param access: Says who may see what.
    :param run_self_test: As in `page_routes`.
    """

    def __init__(self, store: Store, access: Access, run_self_test: Callable[..., None]) -> None:
        self._store = store
        self._access = access
        self._run_self_test = run_self_test
        self._testing: set[str] = set()
        self._readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="nenoa-page")

    def app(self) -> FastAPI:
        """Return the app, with its routes at the root."""

        user = Depends(self._access.user)  # FastAPI resolves it: its parameters differ from version to version

        async def log_in(request: Request, user: Any = user) -> None:
            request.state.nenoa_user = user

        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, dependencies=[Depends(log_in)])
        app.router.redirect_slashes = False
        app.add_middleware(BaseHTTPMiddleware, dispatch=_with_headers)
        of_connection = "/connections/{conn_id}"
        app.add_api_route("/connections", self.connections)
        app.add_api_route(of_connection, self.connection)
        app.add_api_route(f"{of_connection}/events", self.events)
        app.add_api_route(f"{of_connection}/waiting", self.waiting)
        app.add_api_route(f"{of_connection}/self-test", self.self_test, methods=["POST"])
        return app

    async def connections(self, request: Request) -> Response:
        """Return the connections that the user may see, and how they stand."""
        return await self._answer(self._connections, request.state.nenoa_user)

    async def connection(self, request: Request) -> Response:
        """Return what the last hour and day brought to a connection, and what was refused."""
        known = await self._seen(request, "GET")
        return await self._answer(self._connection, known)

    async def events(self, request: Request) -> Response:
        """Return a page of a connection's events: ``before``, ``run``, ``status``, ``event``."""
        known = await self._seen(request, "GET")
        query = request.query_params
        before, run, status = (query.get(name, "") for name in ("before", "run", "status"))
        if before and not (before.isascii() and before.isdecimal() and len(before) <= 18):
            raise HTTPException(422, "'before' must be the 'next' of an earlier answer.")
        if status not in ("", *RunStatus):
            raise HTTPException(422, "'status' is none that there is.")
        if run and not is_token(run):
            return _json({"events": [], "next": None})  # no run can be named so
        filters = reads.Filters(run, status, query.get("event", "")[:64])
        return await self._answer(self._events, known, int(before) if before else None, filters)

    async def waiting(self, request: Request) -> Response:
        """Return a page of who waits on a connection: ``after``."""
        known = await self._seen(request, "GET")
        after = request.query_params.get("after")
        if after is not None and not _AFTER.fullmatch(after):
            raise HTTPException(422, "'after' must be the 'next' of an earlier answer.")
        return await self._answer(self._waiting, known, after)

    async def self_test(self, request: Request) -> Response:
        """Post a signed test event through the public address, and look for it."""
        _check_origin(request)
        known = await self._seen(request, "POST")
        if known.conn_id in self._testing:
            raise HTTPException(409, "A self-test of this connection is under way.")
        self._testing.add(known.conn_id)
        try:
            return _json(await run_in_threadpool(self._self_test, known.conn_id))
        finally:
            self._testing.discard(known.conn_id)

    async def _seen(self, request: Request, method: Any) -> Known:
        """Return the connection that is asked for, if the user may see it and do this with it."""
        conn_id, user = request.path_params["conn_id"], request.state.nenoa_user

        def find() -> Known | None:
            if not is_conn_id(conn_id) or not self._access.may(user, "GET", conn_id):
                return None
            return next((known for known in self._access.known([conn_id]) if known.conn_id == conn_id), None)

        known = await self._read(find)
        if known is None:  # whether it exists is nobody's business who may not see it
            raise HTTPException(404, "There is no such connection, or you may not see it.")
        if method != "GET" and not await self._read(self._access.may, user, method, conn_id):
            raise HTTPException(403, "You may see this connection, but not test it.")
        return known

    async def _answer(self, question: Callable[..., Any], *args: Any) -> Response:
        return _json(await self._read(question, *args))

    async def _read(self, question: Callable[..., T], *args: Any) -> T:
        """Ask in a thread: databases and auth managers block."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, question, *args)
        except Exception as error:
            log.error("The page could not be answered: %s", type(error).__name__)
            raise HTTPException(503, "This cannot be read at the moment. Try again.") from None

    def _connections(self, user: Any) -> Any:
        now = time.time()
        with self._store.engine.connect() as connection:
            known = [
                each
                for each in self._access.known(reads.seen_connections(connection))
                if self._access.may(user, "GET", each.conn_id)
            ]
            counts = reads.counts(connection, [each.conn_id for each in known], now)
            waiting = reads.how_many_wait(connection, [each.conn_id for each in known], now)
            last = {each.conn_id: self._store.newest(each.conn_id) for each in known}
            needs = [
                f"{conn_id}: {text}"
                for conn_id, last_at in last.items()
                for text in attention(connection, conn_id, last_at, now)
            ]
            # Whose they are, nobody knows: told to those who may see any connection.
            if self._access.may(user, "GET", None):
                needs += attention(connection, "", None, now)
        found = [
            {
                **_described(each),
                "last_at": last[each.conn_id],
                "waiting": waiting.get(each.conn_id, 0),
                **counts[each.conn_id],
            }
            for each in known
        ]
        return {"now": now, "connections": found, "attention": needs}

    def _connection(self, known: Known) -> Any:
        now = time.time()
        with self._store.engine.connect() as connection:
            return {
                **_described(known),
                "now": now,
                "last_at": self._store.newest(known.conn_id),
                "chart": reads.chart(connection, known.conn_id, now),
                "refusals": reads.refusals(connection, known.conn_id),
                "durations": reads.durations(connection, known.conn_id),
                "plan": reads.plan(connection, known.conn_id, now),
            }

    def _events(self, known: Known, before: int | None, filters: reads.Filters) -> Any:
        with self._store.engine.connect() as connection:
            events, after = reads.events(connection, known.conn_id, before, filters)
        run_url = getattr(VENDORS[known.conn_type], "run_url", None)
        for event in events:
            event["run_url"] = run_url(event["run_id"]) if run_url and event["run_id"] else None
        return {"events": events, "next": after}

    def _waiting(self, known: Known, after: str | None) -> Any:
        with self._store.engine.connect() as connection:
            rows, following = reads.waiting(connection, known.conn_id, after, time.time())
            words = reads.words(connection, known.conn_id, rows)
        run_url = getattr(VENDORS[known.conn_type], "run_url", None)
        waiting = [
            {
                "run_id": row.run_id,
                "run_url": run_url(row.run_id) if run_url and row.run_id else None,
                "kind": row.kind,
                "started_at": row.started_at,
                "task": _task_name(row),
                "task_url": _task_url(row),
                "note": words.get(row.name),
            }
            for row in rows
        ]
        return {"waiting": waiting, "next": following}

    def _self_test(self, conn_id: str) -> Any:
        steps: list[str] = []
        try:
            self._run_self_test(conn_id, steps.append)
        except NenoaError as error:
            return {"passed": False, "steps": steps, "error": str(error)}
        return {"passed": True, "steps": steps, "error": None}


def _described(known: Known) -> dict[str, Any]:
    """Return what is known of a connection without a look into the tables."""
    url = problem = None
    try:
        url = callback_url(known.conn_id, "ref").partition("?")[0]
    except NenoaError as error:
        problem = str(error)
    return {
        "conn_id": known.conn_id,
        "vendor": VENDORS[known.conn_type].NAME,
        "has_secret": known.has_secret,
        "webhook_url": url,
        "webhook_url_problem": problem,
    }


def _task_name(row: Any) -> str | None:
    if not row.dag_id:
        return None
    mapped = f" [{row.map_index}]" if row.map_index is not None and row.map_index >= 0 else ""
    return f"{row.dag_id}.{row.task_id}{mapped}"


def _task_url(row: Any) -> str | None:
    """Return the path of a task instance in Airflow's user interface."""
    if not (row.dag_id and row.dag_run_id and row.task_id):
        return None
    base = urlsplit(str(conf.get("api", "base_url", fallback=None) or "")).path.rstrip("/")
    mapped = f"/mapped/{row.map_index}" if row.map_index is not None and row.map_index >= 0 else ""
    dag, run, task = (quote(text, safe="") for text in (row.dag_id, row.dag_run_id, row.task_id))
    return f"{base}/dags/{dag}/runs/{run}/tasks/{task}{mapped}"


def _check_origin(request: Request) -> None:
    """Refuse what another site's page had the browser send: it has the user's cookie, too."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is not None:
        ours = site == "same-origin"
    else:  # an old browser, or none; behind a proxy, its name for us may be known only to the proxy
        hosts = {request.headers.get(name, "").lower() for name in ("Host", "X-Forwarded-Host")} - {""}
        ours = origin is not None and urlsplit(origin).netloc.lower() in hosts
    if not ours or request.headers.get(OUR_HEADER) != "1":
        raise HTTPException(403, "This can be asked for from the page only.")


def _json(body: Any) -> Response:
    return JSONResponse(body)


async def _with_headers(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers[name] = value
    return response
