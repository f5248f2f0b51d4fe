"""The control API, the command, and the pytest plugin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
import requests

from airflow_provider_nenoa.emulator import Control, Emulator, Settings
from airflow_provider_nenoa.emulator.client import ControlError
from airflow_provider_nenoa.emulator.clock import Clock

from .conftest import WORKFLOW_ID, Api


def test_counts_are_by_route(openanalyst: Api, nenai: Api, control: Control) -> None:
    run_id = openanalyst.post("/agents/run", json={"agent_id": "a", "task": "t"}).json()["run_id"]
    for _ in range(3):
        openanalyst.get(f"/agents/runs/{run_id}")
    openanalyst.get("/agents/runs/other")
    openanalyst.get("/nothing")
    nenai.post("/runs", json={})
    assert nenai.get("/docs").status_code == 200
    assert control.counts() == {
        "POST /v1/agents/run": 1,
        "GET /v1/agents/runs/{run_id}": 4,
        "GET (unknown)": 1,
        "POST /runs": 1,
        "runs_started": {"agent": 1, "workflow": 0, "query": 0},
    }


def test_requests_are_remembered_without_their_secrets(openanalyst: Api, nenai: Api, control: Control) -> None:
    openanalyst.get("/datasets", params={"page": 1}, headers={"Authorization": "Bearer oa_test_secret_1"})
    nenai.post("/runs", json={"workflow_id": WORKFLOW_ID}, headers={"x-api-key": "very-secret"})
    nenai.post("/runs", data=b"not json")
    first, second, third = control.requests()
    assert (first["method"], first["path"], first["query"]) == ("GET", "/v1/datasets", "page=1")
    assert (first["vendor"], first["key"], first["status"]) == ("openanalyst", "oa_test_***", 200)
    assert (second["vendor"], second["key"], second["status"]) == ("nenai", "***", 202)
    assert second["body"] == {"workflow_id": WORKFLOW_ID}
    assert second["headers"]["content-type"] == "application/json"
    assert (third["body"], third["status"]) == ("not json", 400)
    assert "secret" not in str(control.requests())
    assert control.settings()["plan"] == "unlimited"
    assert len(control.requests()) == 3, "the control API is not counted"


def test_settings_are_patched_and_kept_secret(control: Control) -> None:
    control.settings(agent={"outcome": "failed"}, nenai_key="k1")
    settings = control.settings()
    assert settings["agent"]["outcome"] == "failed"
    assert settings["agent"]["seconds"] is None, "the rest stays as it was"
    assert not any("key" in name or "secret" in name for name in settings if name != "secure_params_header")


@pytest.mark.parametrize("patch", [{"plan": "golden"}, {"speed": 1}, {"agent": {"seconds": -1}}, {"datasets": "many"}])
def test_settings_that_make_no_sense_change_nothing(control: Control, patch: dict[str, object]) -> None:
    before = control.settings()
    with pytest.raises(ControlError, match="422"):
        control.settings(**patch)
    assert control.settings() == before


def test_finish_tells_what_cannot_be_finished(openanalyst: Api, control: Control) -> None:
    run_id = openanalyst.post("/agents/run", json={"agent_id": "a", "task": "t"}).json()["run_id"]
    control.finish(run_id)
    with pytest.raises(ControlError, match="has ended as success"):
        control.finish(run_id)
    with pytest.raises(ControlError, match="There is no run"):
        control.finish("nothing")


def test_reset_forgets_everything(nenoa_emulator: Emulator, openanalyst: Api, control: Control) -> None:
    body = {
        "agent_id": "a",
        "task": "t",
        "webhook_url": "http://127.0.0.1:9/",
        "context": {"emulate": {"seconds": 0.05}},
    }
    run_id = openanalyst.post("/agents/run", json=body).json()["run_id"]
    control.clock(freeze=0)
    control.fault("status")
    control.webhook_fault(lose=True)
    control.reset()
    assert control.settings()["plan"] == nenoa_emulator.settings.plan == "pro"
    assert (control.requests(), control.runs(), control.deliveries()) == ([], [], [])
    assert control.clock() > 1_700_000_000
    assert openanalyst.get(f"/agents/runs/{run_id}").status_code == 404
    assert control.deliveries() == []


def test_the_clock_can_be_given() -> None:
    clock = Clock()
    clock.freeze(100)
    with Emulator(clock=clock, requests_per_minute=1) as emulator:
        api = Api(emulator.openanalyst_url, {"Authorization": "Bearer oa_live_a"})
        assert [api.get("/datasets").status_code for _ in range(2)] == [200, 429]
        clock.advance(60)
        assert api.get("/datasets").headers["X-RateLimit-Reset"] == "220"
        api.session.close()


def test_an_emulator_stops_and_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())
    with Emulator(agent={"seconds": 100}) as emulator:
        api = Api(emulator.openanalyst_url, {"Authorization": "Bearer oa_live_a"})
        assert api.post("/agents/run", json={"agent_id": "a", "task": "t"}).status_code == 202
        api.session.close()
        threads = set(threading.enumerate()) - before
    assert threads
    for thread in threads:
        thread.join(10)  # AnyIO's workers end a moment later
    assert not any(thread.is_alive() for thread in threads)
    with pytest.raises(requests.ConnectionError):
        requests.get(emulator.url, timeout=5)


def test_airflow_reads_the_connections(nenoa_emulator: Emulator) -> None:
    from airflow.models.connection import Connection

    environment = nenoa_emulator.airflow_connections("oa_live_demo")
    openanalyst = Connection.from_json(environment["AIRFLOW_CONN_OPENANALYST_DEFAULT"])
    nenai = Connection.from_json(environment["AIRFLOW_CONN_NENAI_DEFAULT"])
    assert (openanalyst.conn_type, openanalyst.host) == ("openanalyst", nenoa_emulator.openanalyst_url)
    assert (nenai.conn_type, nenai.host, nenai.password) == ("nenai", nenoa_emulator.url, "oa_live_demo")
    assert nenai.extra_dejson["webhook_secret"] == nenoa_emulator.settings.nenai_webhook_secret
    assert openanalyst.extra_dejson["webhook_secret"] == nenoa_emulator.settings.openanalyst_webhook_secret

    keyed = Emulator(nenai_key="nen_1").airflow_connections("oa_live_demo")
    assert Connection.from_json(keyed["AIRFLOW_CONN_NENAI_DEFAULT"]).password == "nen_1"
    assert Connection.from_json(keyed["AIRFLOW_CONN_OPENANALYST_DEFAULT"]).password == "oa_live_demo"
    polled = nenoa_emulator.airflow_connections(receiver=False)
    assert Connection.from_json(polled["AIRFLOW_CONN_OPENANALYST_DEFAULT"]).extra_dejson == {}
    asked = nenoa_emulator.airflow_connections(mcp=True)["AIRFLOW_CONN_NENAI_DEFAULT"]
    assert Connection.from_json(asked).extra_dejson["mcp_url"] == nenoa_emulator.mcp_url
    extra = Connection.from_json(polled["AIRFLOW_CONN_NENAI_DEFAULT"]).extra_dejson
    assert extra == {"run_status_path": "/runs/{message_id}"}


def test_the_command() -> None:
    command = [sys.executable, "-m", "airflow_provider_nenoa.emulator", "--port", "0", "--plan", "free"]
    command += ["--agent-seconds", "never", "--query-seconds", "2", "--webhook-secret", "s", "--no-rate-headers"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        control = Control(url)
        settings = control.settings()
        control.close()
        answers = [
            requests.post(f"{url}/runs", json={}, headers={"x-api-key": key}, timeout=10).status_code
            for key in ("nen_emulator", "wrong")
        ]
        assert answers == [400, 401], "a key is checked"
        assert (settings["plan"], settings["rate_headers"]) == ("free", False)
        assert (settings["agent"]["seconds"], settings["query"]["seconds"]) == (None, 2.0)
        assert settings["workflow"]["seconds"] == Settings().workflow.seconds
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("options", [["--plan", "golden"], ["--agent-seconds", "-1"], ["--agent-seconds", "soon"]])
def test_a_command_that_makes_no_sense(options: list[str]) -> None:
    command = [sys.executable, "-m", "airflow_provider_nenoa.emulator", "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_and_one_that_there_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (str(taken.getsockname()[1]), "70000"):
            command = [sys.executable, "-m", "airflow_provider_nenoa.emulator", "--port", port]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            assert done.returncode == 1
            assert done.stderr.startswith(f"Cannot listen on 127.0.0.1:{port}: ")
            assert "Traceback" not in done.stderr


def test_the_plugin_in_a_users_project(tmp_path: os.PathLike[str]) -> None:
    project = os.fspath(tmp_path)
    with open(os.path.join(project, "conftest.py"), "w") as conftest:
        conftest.write('pytest_plugins = ["airflow_provider_nenoa.emulator.pytest_plugin"]\n')
    with open(os.path.join(project, "test_dag.py"), "w") as test:
        test.write(
            "def test_one(nenoa_emulator):\n"
            "    nenoa_emulator.control.settings(plan='free')\n"
            "    assert nenoa_emulator.control.settings()['plan'] == 'free'\n"
            "def test_two(nenoa_emulator, nenoa_emulator_server):\n"
            "    assert nenoa_emulator is nenoa_emulator_server\n"
            "    assert nenoa_emulator.control.settings()['plan'] == 'pro'\n"
        )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", project],
        env={**os.environ, "PYTHONPATH": root},
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_nothing_of_the_provider_is_imported() -> None:
    code = (
        "import sys, airflow_provider_nenoa.emulator, airflow_provider_nenoa.emulator.__main__;"
        "print([m for m in sys.modules if m.startswith(('airflow.', 'airflow_provider_nenoa.'))"
        " and not m.startswith('airflow_provider_nenoa.emulator')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
