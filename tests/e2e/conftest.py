"""One Airflow and one emulator of the vendors for the whole session; every test finds both of them idle."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy

from airflow_provider_nenoa.emulator import Emulator
from tests.support.local_airflow import LocalAirflow
from tests.support.statsd import StatsdServer

API_KEY = "oa_live_e2e0123456789"
WEBHOOK_SECRET = "webhook-secret-e2e0123456789"
WRONG_KEY = "oa_live_wrong0123456789"
EXAMPLES = Path(__file__).parents[2] / "example_dags"
LEVEL = os.environ.get("NENOA_TEST_LOGGING_LEVEL", "INFO")
"""DEBUG tells most, and slows Airflow down: the same tests, on a machine that has time."""
SECURE_PARAMETER = "sesame-8471"  # of the DAG "secure_workflow"
SECRETS = (API_KEY, WEBHOOK_SECRET, WRONG_KEY, SECURE_PARAMETER)
SIGNATURE = re.compile(rb"X-Amz-Signature=[0-9a-f]{8}")
"""A presigned URL: who has it has the file."""
RESULT = re.compile(rb"SetXCom\(key='return_value'|XComResult\(key='return_value'|XComSequence")
"""Airflow's own log, at DEBUG, of a task's result on its way into XCom, or out of it."""
RESULTS = "xcom.value, return_value"
"""Where results are in Airflow's database."""


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
    session_emulator: Emulator,
    session_statsd: StatsdServer,
    postgres_databases: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
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
            # Of the example DAGs:
            "openanalyst_default": openanalyst | secret,
            "openanalyst_sql_default": openanalyst | {"conn_type": "openanalyst_sql"},
            "nenai_default": nenai | secret,
            "pydanticai_default": {"conn_type": "pydanticai", "extra": {"model": "test"}},  # which calls every tool
        },
        # Not SQLite: Airflow's API server writes its audit log on its event loop. If a request is about to commit, it
        # waits for the lock, which that request cannot give back meanwhile: for a minute, and then answers 500.
        database_url=postgres_databases(),
        environment={
            **session_statsd.environment,
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
                [_bundle("dags-folder"), _bundle("examples", path=str(EXAMPLES))]
            ),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": LEVEL,
        },
    )
    with airflow:
        yield airflow
    _assert_free_of_secrets(airflow, session_statsd)


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


def start_elsewhere(
    airflow: LocalAirflow, emulator: Emulator, seconds: float | None, conn_id: str = "nenai_told"
) -> str:
    """Start a workflow as somebody outside Airflow would, with our webhook URL."""
    reply = requests.post(
        f"{emulator.nenai_url}/runs",
        headers={"x-api-key": API_KEY},
        json={
            "workflow_id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
            "workflow_params": {"emulate": {"seconds": seconds}},
            "webhook_callback": f"{airflow.url}/nenoa/webhooks/{conn_id}",
        },
        timeout=10,
    )
    message_id: str = reply.json()["messageId"]
    return message_id


def _bundle(name: str, **kwargs: str) -> dict[str, Any]:
    """A folder with DAG files, by default the one of ``[core] dags_folder``."""
    return {"name": name, "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": kwargs}


def _assert_free_of_secrets(airflow: LocalAirflow, statsd: StatsdServer) -> None:
    """
    Nothing that was ever written may hold a secret: connections came by environment, and webhooks are encrypted.

    That is all logs, of each process, at `LEVEL`; metrics; and the database: XComs, rendered fields, serialised DAGs,
    triggers, task states, Variables, events.
    """
    files = (path for path in airflow.home.rglob("*") if path.is_file())
    written = [(str(path.relative_to(airflow.home)), path.read_bytes()) for path in files]
    written += [("metrics", repr(vars(statsd)).encode())]
    values = list(_values_in(airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]))
    assert any(name.endswith(".log") and text for name, text in written), "logs are where they are looked for"
    assert values
    leaks = {(name, secret) for name, text in written + values for secret in SECRETS if secret.encode() in text}
    # Without 'output_path', a task's result has presigned URLs: in its XCom, and where Airflow logs that at DEBUG.
    leaks |= {(name, "X-Amz-Signature") for name, text in values if name != RESULTS and SIGNATURE.search(text)}
    leaks |= {
        (name, "X-Amz-Signature")
        for name, text in written
        if any(SIGNATURE.search(line) and not RESULT.search(line) for line in text.splitlines())
    }
    assert not leaks


def _values_in(database_url: str) -> Iterator[tuple[str, bytes]]:
    """Yield each value in a database, and before it where it is: table, column, and the row's key if it has one."""
    engine = sqlalchemy.create_engine(database_url)
    with engine.connect() as connection:
        for table in sqlalchemy.inspect(connection).get_table_names():
            for row in connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"')).mappings():
                key = f", {row['key']}" if "key" in row else ""
                for column, value in row.items():
                    text = bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
                    yield f"{table}.{column}{key}", text
    engine.dispose()
