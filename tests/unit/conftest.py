"""An emulated vendor, connections to it, and no real waiting."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.http import HttpApi

API_KEY = "oa_live_acme_verysecretkey"
WEBHOOK_SECRET = "a-very-secret-webhook-secret"


@pytest.fixture(scope="session")
def emulator_server() -> Iterator[Emulator]:
    with Emulator(plan="unlimited") as emulator:
        yield emulator


@pytest.fixture
def emulator(emulator_server: Emulator) -> Emulator:
    """Both vendors, without a memory of earlier tests; runs go on until a test ends them."""
    emulator_server.control.reset()
    emulator_server.control.settings(agent={"seconds": None}, workflow={"seconds": None})
    return emulator_server


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that makes an Airflow connection and returns its id."""

    def connect(conn_type: str, host: str | None = None, conn_id: str | None = None, **fields: Any) -> str:
        conn_id = conn_id or f"my_{conn_type}"
        connection = {"conn_type": conn_type, "host": host, "password": API_KEY, **fields}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return conn_id

    return connect


@pytest.fixture
def openanalyst(emulator: Emulator, connect: Callable[..., str]) -> str:
    """The id of a connection to the emulated OpenAnalyst, which is polled."""
    return connect("openanalyst", emulator.openanalyst_url)


@pytest.fixture
def nenai(emulator: Emulator, connect: Callable[..., str]) -> str:
    """The id of a connection to the emulated NenAI, which is polled, too."""
    emulator.control.settings(run_status_path=True)
    return connect("nenai", emulator.nenai_url, extra={"run_status_path": "/runs/{message_id}"})


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which requests would have been put off; none of them pass."""
    sleeps: list[float] = []
    monkeypatch.setitem(HttpApi.__init__.__kwdefaults__, "sleep", sleeps.append)
    return sleeps


class Logged:
    """What was logged, from debug on, by the standard library's loggers and by structlog, which Airflow uses."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._events: list[str] = []

    def keep(self, logger: Any, method: str, event: Any) -> Any:
        self._events.append(f"{method.upper()} {event}")
        raise structlog.DropEvent

    @property
    def text(self) -> str:
        return self._caplog.text + "\n".join(self._events)

    def clear(self) -> None:
        self._caplog.clear()
        self._events.clear()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Logged]:
    logged = Logged(caplog)
    caplog.set_level(logging.DEBUG)
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.format_exc_info, logged.keep],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    yield logged
    structlog.configure(**before)


def requests_to(emulator: Emulator) -> dict[str, int]:
    """How often each of the vendors' routes was asked."""
    return {route: count for route, count in emulator.control.counts().items() if route != "runs_started"}
