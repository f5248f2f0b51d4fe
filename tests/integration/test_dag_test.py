"""``dag.test()`` and ``airflow tasks test`` against the emulator: no API server, no triggerer, no receiver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_nenoa.emulator import Emulator

ROOT = Path(__file__).parents[2]
EVERYTHING = Path(__file__).parent / "dags" / "everything.py"


class Airflow:
    """A database, and commands that use it."""

    def __init__(self, home: Path, emulator: Emulator) -> None:
        self.emulator = emulator
        connections = emulator.airflow_connections(receiver=False, mcp=True)
        plenty = {"plan": "enterprise", "requests_per_minute": 100_000, "requests_per_day": 100_000_000}
        openanalyst = json.loads(connections["AIRFLOW_CONN_OPENANALYST_DEFAULT"])
        mine = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self.environment = {
            **mine,
            **connections,
            "AIRFLOW_CONN_OPENANALYST_DEFAULT": json.dumps({**openanalyst, "extra": plenty}),
            "AIRFLOW_CONN_OPENANALYST_SERVER": json.dumps({**openanalyst, "extra": {**plenty, "api_form": "server"}}),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW_VAR_RESULTS": (home / "results").as_uri(),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        }
        self.run("-m", "airflow", "db", "migrate", dags=ROOT)

    def run(self, *command: str, dags: Path) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**self.environment, "AIRFLOW__CORE__DAGS_FOLDER": str(dags)},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-10_000:]
        return done.stdout

    def test(self, path: Path, *options: str) -> dict[str, Any]:
        """``dag.test()`` of each DAG in a file, or with ``--tasks``, ``airflow tasks test`` of each task."""
        output = self.run("-m", "tests.support.dag_tests", *options, str(path), dags=path.parent)
        self.output = output
        results: dict[str, Any] = json.loads(output.splitlines()[-1])
        return results


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    with Emulator(plan="unlimited", run_status_path=True) as emulator:
        yield Airflow(tmp_path_factory.mktemp("airflow"), emulator)


@pytest.fixture(autouse=True)
def _anew(airflow: Airflow) -> None:
    airflow.emulator.control.reset()
    quick: Any = {"seconds": 0.5}
    airflow.emulator.control.settings(agent=quick, workflow=quick)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="dag"),
        pytest.param(["--tasks"], id="task by task", marks=pytest.mark.needs("resumed_tests")),
    ],
)
def test_every_operator_and_sensor_in_every_mode(airflow: Airflow, options: list[str]) -> None:
    results = airflow.test(EVERYTHING, *options)
    assert set(results) == {"requests", "blocking", "deferrable", "sensors"}
    for dag_id, result in results.items():
        states = {state for states in result["tasks"].values() for state in states}
        assert states == {"success"}, (dag_id, result, airflow.output[-50_000:])
    started = airflow.emulator.control.counts()["runs_started"]
    assert (started["agent"], started["workflow"], started["query"]) == (5, 7, 7)


@pytest.mark.needs("resumed_tests")
def test_a_deferred_task_waits_for_no_scheduler(airflow: Airflow) -> None:
    """A trigger in a triggerer lives for 5 s at least; here, nobody would notice."""
    output = airflow.run("-m", "airflow", "tasks", "test", "deferrable", "agent", dags=EVERYTHING.parent)
    when = [moment(line) for line in output.splitlines() if "The status of agent run" in line]
    (done,) = (moment(line) for line in output.splitlines() if "Pushing xcom" in line)
    assert "'completed'" in output
    assert (done - when[-1]).total_seconds() < 4, output
    assert airflow.emulator.control.counts()["runs_started"]["agent"] == 1


def moment(line: str) -> datetime:
    """When a line was logged; Airflow 3.0 writes that in brackets."""
    return datetime.fromisoformat(line.split()[0].strip("[]"))
