"""
The receiver's ASGI app: inbound webhooks, the read API for our own components, health.

It is mounted at ``/nenoa`` on Airflow's API server by `plugin`. Where the API server cannot be reached from outside, it
runs alone, under the same paths: ``uvicorn airflow_provider_nenoa.webhooks.app:create_app --factory``.

A stranger learns nothing here. Whoever is not who he says gets the same answer, whether the connection that he named
exists or not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from airflow.configuration import conf
from sqlalchemy import create_engine
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Mount, Route

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.get_provider_info import get_provider_info
from airflow_provider_nenoa.webhooks import refusals, schema
from airflow_provider_nenoa.webhooks.age import NewestAge
from airflow_provider_nenoa.webhooks.connections import Sender, Senders, read_sender
from airflow_provider_nenoa.webhooks.gate import BoundedHead, Gate
from airflow_provider_nenoa.webhooks.inbound import Inbound
from airflow_provider_nenoa.webhooks.paths import PREFIX
from airflow_provider_nenoa.webhooks.polls import OURSELVES, Polls
from airflow_provider_nenoa.webhooks.read_api import ReadApi
from airflow_provider_nenoa.webhooks.readiness import Readiness
from airflow_provider_nenoa.webhooks.reading import Readers
from airflow_provider_nenoa.webhooks.store import Store
from airflow_provider_nenoa.webhooks.tally import Tally
from airflow_provider_nenoa.webhooks.waits import Waits
from airflow_provider_nenoa.webhooks.watcher import Watcher
from airflow_provider_nenoa.webhooks.writer import Writer


class Receiver:
    """
    The receiver of one process.

    :param store: Where events are kept.
    :param senders: Who may send webhooks, and read what came of them.
    """

    def __init__(self, store: Store, senders: Senders) -> None:
        self.tally = Tally(store)
        self.readiness = Readiness(store, senders)
        gate = Gate(senders, self.tally)
        polls = Polls(
            lambda polls: Watcher(
                lambda: polls.ask(OURSELVES, store.cursor), lambda after: polls.ask(OURSELVES, store.changes, after)
            )
        )
        newest_age = NewestAge(lambda conn_id: polls.ask(conn_id, store.newest, conn_id))
        writer = Writer(store, on_commit=polls.watcher.poke)
        self._inbound = Inbound(gate, Readers(store.seal), writer, newest_age, self.tally)
        self._read_api = ReadApi(store, gate, polls, newest_age, Waits(store))

    def app(self, *more: BaseRoute) -> Starlette:
        """Return the ASGI app, with its routes at the root, and perhaps some more."""
        connection, read = "/api/v1/connections/{conn_id}", self._read_api
        return _starlette(
            routes=[
                Route("/health", self.readiness.health),
                Route("/ready", self.readiness.ready),
                Route("/webhooks/{conn_id}", self._inbound.webhook, methods=["POST"]),
                Route(f"{connection}/runs", read.runs),
                Route(f"{connection}/runs/{{run_id}}", read.run),
                Route(f"{connection}/refs/{{ref}}", read.ref),
                Route(f"{connection}/events", read.events),
                Route(f"{connection}/events/{{id}}", read.event),
                Route(f"{connection}/waiting", read.waiting, methods=["POST"]),
                *more,
            ],
            middleware=[Middleware(BoundedHead)],
            exception_handlers={refusals.Refusal: refusals.answer, ClientDisconnect: refusals.nobody_listens},
        )


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
            "The receiver runs alone and has no database.\nSet [nenoa] event_store_url to a SQLAlchemy URL, for "
            "example with the environment variable AIRFLOW__NENOA__EVENT_STORE_URL."
        )
    airflow_internals.initialize_server_stats(in_api_server=False)
    receiver = Receiver(store or open_store(), Senders(connections))

    @asynccontextmanager
    async def warmed_up(app: Starlette) -> AsyncIterator[None]:
        await receiver.readiness.warm_up()  # before the server takes requests
        yield

    return _starlette(routes=[Mount(prefix, receiver.app())], lifespan=warmed_up)


def mounted_app() -> Callable[..., Awaitable[None]]:
    """Make the app that Airflow's API server mounts: the same, with its routes at the root, and the page."""
    from airflow_provider_nenoa.webhooks.page.access import AirflowAccess
    from airflow_provider_nenoa.webhooks.page.routes import page_routes

    airflow_internals.initialize_server_stats(in_api_server=True)
    store = open_store()
    return Receiver(store, Senders()).app(*page_routes(store, AirflowAccess()))


def open_store() -> Store:
    """Open the store that the configuration names: ``[nenoa] event_store_url``, or else Airflow's own database."""
    url = conf.get("nenoa", "event_store_url", fallback=None)
    if url:
        # Parameters are kept out of error messages: there are payloads among them.
        engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, future=True)
    else:
        engine = airflow_internals.metadata_engine()
    others_migrate = not url and engine.dialect.name != "sqlite" and _is_migrated()
    days = conf.getfloat("nenoa", "event_retention_days", fallback=7.0)
    if not days > 0:
        raise NenoaError(f"[nenoa] event_retention_days is {days:g}: all events would be deleted.\nSet it above 0.")
    return Store(engine, airflow_internals.fernet(), days, prepare=schema.check if others_migrate else schema.make)


def _is_migrated() -> bool:
    """Return whether ``airflow db migrate`` makes the event tables in Airflow's own database."""
    return all(map(airflow_internals.runs_db_manager, get_provider_info()["db-managers"]))


def _starlette(**options: Any) -> Starlette:
    app = Starlette(**options)
    # Its redirects to the path with or without a slash lead wherever the Host header says.
    app.router.redirect_slashes = False
    return app
