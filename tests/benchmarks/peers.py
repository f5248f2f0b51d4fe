"""The peers: official providers' own triggers, unmodified, and a local server in place of their vendors."""

from __future__ import annotations

import importlib
import inspect
import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import trustme
import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from tests.benchmarks.waiters import WaitersProcess

CONN_ID = "peer"
DAY = 86_400.0

Answer = tuple[int, dict[str, Any]]
"""An HTTP status, and a body. One body per state: it has what each of a peer's questions looks for."""


@dataclass(frozen=True)
class Peer:
    """
    One provider's trigger, as its operator or sensor makes it.

    :param default: Where the interval between two polls stands by default (module, class, parameter); or the seconds.
    :param trigger: Makes the trigger for a run, by the run's number and the interval.
    :param connection: Makes the Airflow connection for a vendor's URL.
    :param running: What the vendor answers while a run goes on.
    :param ended: What it answers afterwards.
    :param waiters: How many are measured at a time.
    """

    default: tuple[str, str, str] | float
    trigger: Callable[[int, float], Any]
    connection: Callable[[str], dict[str, Any]]
    running: Answer
    ended: Answer
    waiters: int

    @property
    def interval(self) -> float:
        """Seconds between two polls, unless a user sets another interval."""
        if isinstance(self.default, float):
            return self.default
        module, owner, parameter = self.default
        init = getattr(importlib.import_module(module), owner).__init__
        return float(inspect.signature(init).parameters[parameter].default)


def _airbyte(number: int, interval: float) -> Any:
    from airflow.providers.airbyte.triggers.airbyte import AirbyteSyncTrigger

    return AirbyteSyncTrigger(number, CONN_ID, time.time() + DAY, interval)


def _anthropic(number: int, interval: float) -> Any:
    from airflow.providers.anthropic.triggers.agent import AnthropicAgentSessionTrigger

    return AnthropicAgentSessionTrigger(CONN_ID, f"session-{number}", interval, time.time() + DAY)


def _databricks(number: int, interval: float) -> Any:
    from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger

    return DatabricksExecutionTrigger(number, CONN_ID, polling_period_seconds=int(interval))


def _dbt_cloud(number: int, interval: float) -> Any:
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    return DbtCloudRunJobTrigger(CONN_ID, number, time.time() + DAY, interval, account_id=1)


def _http(number: int, interval: float) -> Any:
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    return HttpSensorTrigger(endpoint=f"runs/{number}", http_conn_id=CONN_ID, poke_interval=interval)


def _job(status: str) -> Answer:
    return 200, {
        "jobId": 1,
        "jobType": "sync",
        "connectionId": "c",
        "startTime": "2026-01-01T00:00:00Z",
        "status": status,
    }


def _databricks_run(state: dict[str, str]) -> Answer:
    return 200, {"run_id": 1, "job_id": 1, "run_page_url": "https://databricks.example/runs/1", "state": state}


PEERS = {
    "airbyte": Peer(
        default=60.0,  # its operator and its sensor have the number in their bodies
        trigger=_airbyte,
        connection=lambda url: {"conn_type": "airbyte", "host": url},
        running=_job("running"),
        ended=_job("succeeded"),
        waiters=100,
    ),
    "anthropic": Peer(
        default=("airflow.providers.anthropic.operators.agent", "AnthropicAgentSessionOperator", "poll_interval"),
        trigger=_anthropic,
        connection=lambda url: {"conn_type": "anthropic", "host": url, "password": "key"},
        running=(200, {"id": "s", "status": "running"}),
        ended=(
            200,
            {
                "id": "s",
                "status": "idle",
                "data": [{"type": "session.status_idle", "stop_reason": {"type": "end_turn"}}],
            },
        ),
        waiters=100,
    ),
    "databricks": Peer(
        default=(
            "airflow.providers.databricks.operators.databricks",
            "DatabricksSubmitRunOperator",
            "polling_period_seconds",
        ),
        trigger=_databricks,
        connection=lambda url: {
            "conn_type": "databricks",
            "host": url,
            "port": urlsplit(url).port,
            "password": "token",
        },
        running=_databricks_run({"life_cycle_state": "RUNNING", "state_message": ""}),
        ended=_databricks_run({"life_cycle_state": "TERMINATED", "result_state": "SUCCESS", "state_message": ""}),
        waiters=1000,
    ),
    "dbt-cloud": Peer(
        default=("airflow.providers.dbt.cloud.operators.dbt", "DbtCloudRunJobOperator", "check_interval"),
        trigger=_dbt_cloud,
        connection=lambda url: {"conn_type": "dbt_cloud", "host": urlsplit(url).netloc, "password": "token"},
        running=(200, {"data": {"status": 3}}),
        ended=(200, {"data": {"status": 10}}),
        waiters=1000,
    ),
    "http": Peer(
        default=("airflow.sdk.bases.sensor", "BaseSensorOperator", "poke_interval"),  # HttpSensor hands on its own
        trigger=_http,
        connection=lambda url: {"conn_type": "http", "host": url},
        running=(404, {}),
        ended=(200, {}),
        waiters=1000,
    ),
}


class Vendor:
    """
    A vendor, https only, on a free port of 127.0.0.1, in a process of its own; a context manager.

    All its runs go on until `end`. It closes connections after each answer: before the next poll, half a minute later
    or more, the peers' clients would give up an idle one themselves.

    :param running: What it answers while a run goes on.
    :param ended: What it answers afterwards.
    """

    def __init__(self, running: Answer, ended: Answer) -> None:
        fork = get_context("fork")
        self._answers = running, ended
        self._asked = fork.Value("L", 0)
        self._ended = fork.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._directory = tempfile.TemporaryDirectory()
        self._process = fork.Process(target=self._serve, daemon=True)
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Vendor:
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self._file("certificate.pem"))
        # With all that is usually trusted: a client that loads that for each trigger shall look as large as it is.
        Path(self._file("trusted.pem")).write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
        self._process.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.join()
        self._listener.close()
        self._directory.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a process that is to trust it."""
        return dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), self._file("trusted.pem"))

    @property
    def asked(self) -> int:
        """Requests that it got so far."""
        return int(self._asked.value)

    def end(self) -> None:
        """End all its runs."""
        self._ended.set()

    def _file(self, name: str) -> str:
        return str(Path(self._directory.name, name))

    def _serve(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            self._asked.value += 1  # by this process alone
            status, body = self._answers[self._ended.is_set()]
            await JSONResponse(body, status, {"Connection": "close"})(scope, receive, send)

        certificate = self._file("certificate.pem")
        config = uvicorn.Config(app, lifespan="off", log_level="critical", access_log=False, ssl_certfile=certificate)
        uvicorn.Server(config).run(sockets=[self._listener])


@contextmanager
def waiting_on(name: str) -> Iterator[tuple[Vendor, WaitersProcess]]:
    """Run a peer's vendor, and a process for triggers of that peer that wait on it."""
    peer = PEERS[name]
    with Vendor(peer.running, peer.ended) as vendor:
        connection = json.dumps(peer.connection(vendor.url))
        with WaitersProcess(name, {f"AIRFLOW_CONN_{CONN_ID.upper()}": connection, **vendor.environment}) as waiters:
            yield vendor, waiters
