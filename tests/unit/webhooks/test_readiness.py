from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from starlette.testclient import TestClient

from airflow_provider_nenoa.vendors.messages import Message
from airflow_provider_nenoa.webhooks import readiness, schema
from airflow_provider_nenoa.webhooks.app import create_app
from airflow_provider_nenoa.webhooks.connections import Sender
from airflow_provider_nenoa.webhooks.rows import Delivery
from airflow_provider_nenoa.webhooks.store import Store
from tests.support.receiver import FERNET, SENDERS, open_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path}/events.db")


def client_of(store: Store, connections: Callable[[str], Sender] = SENDERS.__getitem__) -> TestClient:
    return TestClient(create_app(store, connections), base_url="http://test/nenoa")


def test_ready_tries_to_store_and_leaves_nothing_behind(store: Store) -> None:
    with client_of(store) as client:
        assert (client.get("/ready").status_code, client.get("/ready").json()) == (200, {"status": "ready"})
    assert store.cursor() == 0
    assert store.events("", 0).events == []


def test_old_events_are_deleted_also_where_no_webhook_comes_any_more(tmp_path: Path) -> None:
    now = 1_000_000.0
    store = open_store(f"sqlite:///{tmp_path}/events.db", retention_days=1, clock=lambda: now)
    store.record([Delivery("nen", Message("m", "success"), store.seal(b"{}"), "digest")])
    now += 86_401
    with client_of(store) as client:  # at its start
        assert store.run("nen", "m") is None
        store.record([Delivery("nen", Message("m2", "success"), store.seal(b"{}"), "digest")])
        now += 86_401
        assert store.run("nen", "m2") is not None
        assert client.get("/ready").status_code == 200
        assert store.run("nen", "m2") is None


def test_at_start_a_connection_was_read_and_the_store_opened(store: Store) -> None:
    read: list[str] = []

    def look_up(conn_id: str) -> Sender:
        read.append(conn_id)
        raise KeyError(conn_id)

    with client_of(store, look_up):
        assert len(read) == 1
        assert "_ready" in vars(store)


async def test_the_first_health_has_it_warmed_up_and_does_not_wait(store: Store) -> None:
    # As on Airflow's API server, which tells nothing of its start.
    look = readiness.Readiness(store, Slow())  # type: ignore[arg-type]
    answer = await asyncio.wait_for(look.health(None), 0.5)  # type: ignore[arg-type]
    assert answer.status_code == 200
    assert Slow.warmed == 0
    await look.warm_up()
    await look.health(None)  # type: ignore[arg-type]
    assert Slow.warmed == 1


async def test_ready_does_not_wait_for_ever_for_what_is_cold(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "TIMEOUT", 0.05)
    goes_on = threading.Event()
    look = readiness.Readiness(store, SimpleNamespace(warm_up=goes_on.wait))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(60):
            while (await look.ready(None)).status_code != 200:  # type: ignore[arg-type]
                pass  # on a busy machine the store, too, takes longer
    finally:
        goes_on.set()


class Slow:
    warmed = 0

    def warm_up(self) -> None:
        import time

        time.sleep(1.0)
        Slow.warmed += 1


@pytest.mark.parametrize("forbidden", ["CREATE TABLE", "INSERT INTO nenoa_run", "UPDATE nenoa_counter", "SELECT"])
def test_it_runs_but_is_not_ready_where_nothing_can_be_stored_and_the_log_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, forbidden: str
) -> None:
    monkeypatch.setattr(readiness, "REMEMBER", 0.0)
    engine, allowed = create_engine(f"sqlite:///{tmp_path}/events.db"), [False]
    if forbidden != "CREATE TABLE":
        schema.make(engine)

    @event.listens_for(engine, "before_cursor_execute")
    def refuse(connection: Any, cursor: Any, statement: str, *args: Any) -> None:
        if not allowed[0] and statement.strip().startswith(forbidden):
            raise PermissionError("permission denied")

    with caplog.at_level(logging.ERROR), client_of(Store(engine, FERNET)) as client:  # type: ignore[arg-type]
        assert client.get("/health").status_code == 200
        for _ in range(3):
            answer = client.get("/ready")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        assert "CREATE" not in answer.text
        assert caplog.text.count("Webhooks cannot be stored") == 1, "said once in a while"
        assert "CREATE TABLE nenoa_run" in caplog.text
        assert "CREATE TABLE nenoa_alembic_version" in caplog.text
        allowed[0] = True
        assert client.get("/ready").status_code == 200, "without a restart"


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_the_sql_is_whole(dialect: str) -> None:
    text = schema.sql(dialect)
    for name in ("nenoa_counter", "nenoa_run", "nenoa_tally", "nenoa_waiting", "nenoa_spent", "nenoa_alembic_version"):
        assert f"CREATE TABLE {name} (" in text


def test_where_airflow_makes_the_tables_the_log_says_how(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(create_engine(f"sqlite:///{tmp_path}/events.db"), FERNET, prepare=schema.check)  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR), client_of(store) as client:
        assert client.get("/ready").status_code == 503
    assert "airflow db migrate" in caplog.text
    assert "CREATE TABLE" not in caplog.text
