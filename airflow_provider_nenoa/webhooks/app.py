"""
The receiver's ASGI app: inbound webhooks, the read API for our own components, health.

It is mounted at ``/nenoa`` on Airflow's API server by `plugin`. Where the API server cannot be reached from outside, it
runs alone, under the same paths: ``uvicorn airflow_provider_nenoa.webhooks.app:create_app --factory``.

A stranger learns nothing here. Whoever is not who he says gets the same answer, after the same work and at the same
time, whether the connection that he named exists or not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from airflow.configuration import conf
from sqlalchemy import create_engine
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from airflow_provider_nenoa import airflow_internals, metrics
from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.webhooks import signatures, tokens
from airflow_provider_nenoa.webhooks.age import NewestAge
from airflow_provider_nenoa.webhooks.connections import NOBODY, Sender, Senders, read_sender
from airflow_provider_nenoa.webhooks.paths import PREFIX, is_token
from airflow_provider_nenoa.webhooks.payloads import BadPayload, read_run
from airflow_provider_nenoa.webhooks.records import Events, StoredRun
from airflow_provider_nenoa.webhooks.store import Delivery, Store
from airflow_provider_nenoa.webhooks.watcher import Key, Watcher
from airflow_provider_nenoa.webhooks.writer import QueueFull, Writer, short

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_BODY = 1024 * 1024
"""Bytes that a webhook may have."""
MAX_WAIT = 30.0
"""Seconds for which a long poll is held, at most."""
MAX_IDS = 200
"""Runs that one request may ask for."""
COMMIT_TIMEOUT = 4.5
"""Seconds to wait for a commit. NenAI gives up after 5, OpenAnalyst after 10."""
REFUSAL_TIME = 0.1
"""Seconds after its arrival at which a request from nobody we know is answered: a lookup's time must not show."""


class Refusal(Exception):
    """
    The request is answered with an error.

    :param status_code: The HTTP status.
    :param error: A word for machines.
    :param message: A sentence for people.
    :param headers: Further headers of the answer.
    """

    def __init__(self, status_code: int, error: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.response = JSONResponse({"error": error, "message": message}, status_code, headers)


class Receiver:
    """
    The receiver of one process.

    :param store: Where events are kept.
    :param senders: Who may send webhooks, and read what came of them.
    """

    def __init__(self, store: Store, senders: Senders) -> None:
        self.store = store
        self.senders = senders
        self.watcher = Watcher(lambda: self._ask(store.cursor), lambda after: self._ask(store.changes, after))
        self.writer = Writer(store, on_commit=self.watcher.poke)
        # Few threads of our own: Airflow's requests and ours must not queue behind each other.
        self._readers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="nenoa-reader")
        self._newest_age = NewestAge(lambda conn_id: self._ask(store.newest, conn_id))

    def app(self) -> Starlette:
        """Return the ASGI app, with its routes at the root."""
        connection = "/api/v1/connections/{conn_id}"
        return Starlette(
            routes=[
                Route("/health", self.health),
                Route("/webhooks/{conn_id}", self.webhook, methods=["POST"]),
                Route(f"{connection}/runs", self.runs),
                Route(f"{connection}/runs/{{run_id}}", self.run),
                Route(f"{connection}/refs/{{ref}}", self.ref),
                Route(f"{connection}/events", self.events),
            ],
            exception_handlers={Refusal: _refuse},
        )

    async def health(self, request: Request) -> Response:
        """Say that the receiver is there, and nothing else."""
        return JSONResponse({"status": "ok"})

    async def webhook(self, request: Request) -> Response:
        """Take a webhook: check the size, then who wrote it, then what it says; commit it, then say 200."""
        conn_id = request.path_params["conn_id"]
        body = await _read_body(request)
        arrived = time.monotonic()  # only now: by sending slowly, nobody gets around REFUSAL_TIME
        sender = await self.senders.get(conn_id)
        verified = signatures.verify(sender.conn_type, sender.secret, body, request.headers)
        if sender is NOBODY or not verified:
            _count("refused", reason="unauthorized")
            log.info("Refused a webhook: unknown connection, no webhook_secret in it, or another one than the sender's")
            raise await _unauthorized(arrived)
        try:
            run = read_run(sender.conn_type, body)
        except BadPayload as error:
            _count("refused", reason="bad_payload", conn_id=conn_id)
            log.warning("Refused a signed webhook of connection '%s': %s", conn_id, error)
            raise Refusal(error.status_code, "bad_payload", str(error)) from None
        ref = request.query_params.get("ref")
        is_news = await self._commit(Delivery(conn_id, run, ref if ref and is_token(ref) else None))
        _count("accepted" if is_news else "duplicate", conn_id=conn_id)
        if is_news:
            self._newest_age.came(conn_id)
        return JSONResponse({"status": "stored"})

    async def run(self, request: Request) -> Response:
        """Return a run; with ``wait``, as soon as it has ended."""
        conn_id, wait = await self._reader(request)
        run_id = request.path_params["run_id"]
        run = await self._first(
            lambda: self.store.run(conn_id, run_id),
            lambda run: run is not None and run.status.is_end,
            ("run", conn_id, run_id),
            wait,
        )
        return await self._run_response(run)

    async def ref(self, request: Request) -> Response:
        """Return the run with a ``ref``; with ``wait``, as soon as there is one."""
        conn_id, wait = await self._reader(request)
        ref = request.path_params["ref"]
        run = await self._first(
            lambda: self.store.by_ref(conn_id, ref), lambda run: run is not None, ("ref", conn_id, ref), wait
        )
        return await self._run_response(run)

    async def runs(self, request: Request) -> Response:
        """Return where several runs stand: those that are known."""
        conn_id, _ = await self._reader(request)
        run_ids = request.query_params.getlist("id")
        if len(run_ids) > MAX_IDS:
            raise Refusal(422, "too_many", f"Ask for {MAX_IDS} runs at most.")
        summaries = await self._ask(self.store.summaries, conn_id, run_ids)
        return JSONResponse({"runs": [summary.to_json() for summary in summaries]})

    async def events(self, request: Request) -> Response:
        """Return what has changed after a cursor; with ``wait``, as soon as something has. Without: the cursor."""
        conn_id, wait = await self._reader(request)
        text = request.query_params.get("after")
        if text is None:
            return JSONResponse(Events(await self._ask(self.store.cursor), [], more=False).to_json())
        after = _cursor(text)
        page = await self._first(
            lambda: self.store.events(conn_id, after), lambda page: bool(page.events), ("events", conn_id), wait
        )
        return JSONResponse(page.to_json())

    async def _commit(self, delivery: Delivery) -> bool:
        try:
            stored = self.writer.submit(delivery)
            return await asyncio.wait_for(asyncio.wrap_future(stored), COMMIT_TIMEOUT)
        except QueueFull:
            log.error("A webhook was refused: the database does not keep up")
        except TimeoutError:
            log.error("A webhook was refused: the database took longer than %g s", COMMIT_TIMEOUT)
        except Exception:  # noqa: S110  (the writer has logged it, once for the whole batch)
            pass
        _count("refused", reason="not_stored", conn_id=delivery.conn_id)
        raise _try_again("The webhook could not be stored.")

    async def _reader(self, request: Request) -> tuple[str, float]:
        """Check a request to the read API; return its connection and the seconds that it wants to wait."""
        arrived = time.monotonic()
        conn_id = request.path_params["conn_id"]
        sender = await self.senders.get(conn_id)
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        verified = tokens.verify(token, conn_id, sender.secret)
        if sender is NOBODY or kind.lower() != "bearer" or not verified:
            raise await _unauthorized(arrived)
        return conn_id, _wait(request.query_params.get("wait", "0"))

    async def _first(self, question: Callable[[], T], is_enough: Callable[[T], bool], key: Key, wait: float) -> T:
        """Ask the store until the answer is enough or the time is up; return the last answer."""
        if wait == 0:
            return await self._ask(question)
        await self._newest_age.waited_for(key[1])
        until = time.monotonic() + wait
        with self.watcher.watch(key) as changed:
            while True:
                changed.clear()
                answer = await self._ask(question)
                if is_enough(answer):
                    return answer
                try:
                    await asyncio.wait_for(changed.wait(), until - time.monotonic())
                except TimeoutError:
                    return answer

    async def _ask(self, question: Callable[..., T], *args: Any) -> T:
        """Ask the store in a thread of its own: it blocks."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, question, *args)
        except Exception as error:
            log.error("The event store could not be read: %s", short(error))
            raise _try_again("The events cannot be read at the moment.") from None

    async def _run_response(self, run: StoredRun | None) -> Response:
        if run is None:
            raise Refusal(404, "unknown_run", "No webhook has told of this run.")
        # A large payload is written as JSON where it was read: not in the event loop.
        body = await self._ask(json.dumps, run.to_json())
        return Response(body, media_type="application/json")


def create_app(
    store: Store | None = None, connections: Callable[[str], Sender] = read_sender, *, prefix: str = PREFIX
) -> Callable[..., Awaitable[None]]:
    """
    Make the app that runs alone.

    :param store: Where events are kept. Default: the database at ``[nenoa] event_store_url``.
    :param connections: Reads one connection; raises if there is none. Default: Airflow's connections, which here come
        from environment variables or a secrets backend.
    :param prefix: Path under which all routes are. Default ``/nenoa``, as on the API server.
    :raises NenoaError: No store was given, and ``[nenoa] event_store_url`` is not set.
    """
    if store is None and not conf.get("nenoa", "event_store_url", fallback=None):
        raise NenoaError(
            "The receiver runs alone and has no database. Set [nenoa] event_store_url to a SQLAlchemy URL, for "
            "example with the environment variable AIRFLOW__NENOA__EVENT_STORE_URL."
        )
    airflow_internals.initialize_server_stats(in_api_server=False)
    receiver = Receiver(store or open_store(), Senders(connections))
    return Starlette(routes=[Mount(prefix, receiver.app())])


def mounted_app() -> Callable[..., Awaitable[None]]:
    """Make the app that Airflow's API server mounts: the same, with its routes at the root."""
    airflow_internals.initialize_server_stats(in_api_server=True)
    return Receiver(open_store(), Senders()).app()


def open_store() -> Store:
    """Open the store that the configuration names: ``[nenoa] event_store_url``, or else Airflow's own database."""
    url = conf.get("nenoa", "event_store_url", fallback=None)
    if url:
        # Parameters are kept out of error messages: there are payloads among them.
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, future=True)
    else:
        engine = airflow_internals.metadata_engine()
    days = conf.getfloat("nenoa", "event_retention_days", fallback=7.0)
    if not days > 0:
        raise NenoaError(f"[nenoa] event_retention_days is {days:g}: all events would be deleted. Set it above 0.")
    return Store(engine, airflow_internals.fernet(), days)


async def _read_body(request: Request) -> bytes:
    """Read the body, but never more than is allowed, whatever the headers promise."""
    too_large = Refusal(413, "too_large", f"A webhook may have {MAX_BODY} bytes.", {"Connection": "close"})
    with suppress(ValueError):  # not a number: then reading shows how long it is
        if int(request.headers.get("Content-Length", "0")) > MAX_BODY:
            raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise too_large
    except ClientDisconnect:
        raise Refusal(400, "incomplete", "The body ended early.") from None
    return bytes(body)


def _wait(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise Refusal(422, "bad_wait", "'wait' must be a number of seconds.")
    return min(max(seconds, 0.0), MAX_WAIT)


def _cursor(text: str) -> int:
    # As long as a number of 63 bits can be: what databases can compare with.
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Refusal(422, "bad_cursor", "'after' must be the 'cursor' of an earlier answer.")
    return int(text)


async def _unauthorized(arrived: float) -> Refusal:
    await asyncio.sleep(max(0.0, arrived + REFUSAL_TIME - time.monotonic()))
    return Refusal(401, "unauthorized", "Unknown connection, or not signed with its webhook secret.")


def _try_again(message: str) -> Refusal:
    return Refusal(503, "unavailable", f"{message} Try again.", {"Retry-After": "2"})


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response


def _count(what: str, **tags: str) -> None:
    metrics.count(f"webhook.{what}", **tags)
