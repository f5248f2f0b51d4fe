"""One Airflow and one emulator of the vendors for the whole session; every test finds both of them idle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_nenoa.emulator import Emulator
from tests.support.local_airflow import LocalAirflow
from tests.support.statsd import StatsdServer

API_KEY = "oa_live_e2e0123456789"
WEBHOOK_SECRET = "webhook-secret-e2e0123456789"
WRONG_KEY = "oa_live_wrong0123456789"
SECRETS = (API_KEY, WEBHOOK_SECRET, WRONG_KEY)


@pytest.fixture(scope="session")
def session_emulator() -> Iterator[Emulator]:
    with Emulator(
        openanalyst_key=API_KEY,
        nenai_key=API_KEY,
        openanalyst_webhook_secret=WEBHOOK_SECRET,
        nenai_webhook_secret=WEBHOOK_SECRET,
        plan="unlimited",
    ) as emulator:
        yield emulator


@pytest.fixture(scope="session")
def session_statsd() -> Iterator[StatsdServer]:
    with StatsdServer() as statsd:
        yield statsd


@pytest.fixture(scope="session")
def session_airflow(
    session_emulator: Emulator, session_statsd: StatsdServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    openanalyst = {"conn_type": "openanalyst", "host": session_emulator.openanalyst_url, "password": API_KEY}
    nenai = {"conn_type": "nenai", "host": session_emulator.nenai_url, "password": API_KEY}
    secret = {"extra": {"webhook_secret": WEBHOOK_SECRET}}
    airflow = LocalAirflow(
        tmp_path_factory.mktemp("airflow"),
        Path(__file__).parent / "dags",
        connections={
            "openanalyst_polled": openanalyst,
            "openanalyst_told": openanalyst | secret,
            "openanalyst_wrong_key": openanalyst | {"password": WRONG_KEY},
            "openanalyst_sql": openanalyst | {"conn_type": "openanalyst_sql", "schema": "ds_abc123"},
            "nenai_told": nenai | secret,
            "nenai_unheard": nenai,
        },
        environment=session_statsd.environment,
    )
    with airflow:
        yield airflow
    _assert_free_of_secrets(airflow.home)


@pytest.fixture
def emulator(session_emulator: Emulator) -> Emulator:
    """The vendors, without runs, counts or faults of an earlier test."""
    session_emulator.control.reset()
    return session_emulator


@pytest.fixture
def airflow(session_airflow: LocalAirflow) -> Iterator[LocalAirflow]:
    """Airflow without a running DAG, now and afterwards."""
    yield session_airflow
    session_airflow.api.end_all_runs()


@pytest.fixture
def statsd(session_statsd: StatsdServer) -> StatsdServer:
    """What Airflow reports, from now on."""
    session_statsd.clear()
    return session_statsd


def _assert_free_of_secrets(home: Path) -> None:
    """Nothing that was ever written, logs and database included, may hold a key: connections came by environment."""
    leaks = [
        str(path.relative_to(home))
        for path in home.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in SECRETS)
    ]
    assert not leaks, f"an API key or webhook secret is in {leaks}"
