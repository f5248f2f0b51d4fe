"""Every fault that can be asked for, as an HTTP client meets it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.emulator import Control
from airflow_provider_nenoa.emulator.client import ControlError

from .conftest import WORKFLOW_ID, Api

AGENT = {"agent_id": "a", "task": "t"}


def agents_started(control: Control) -> int:
    return int(control.counts()["runs_started"]["agent"])


def test_dropped_before_it_was_acted_on(openanalyst: Api, control: Control) -> None:
    control.fault("drop_before", method="POST", path="/v1/agents/run")
    with pytest.raises(requests.ConnectionError):
        openanalyst.post("/agents/run", json=AGENT)
    assert agents_started(control) == 0
    assert control.counts()["POST /v1/agents/run"] == 1
    assert control.requests()[0]["status"] is None
    assert openanalyst.post("/agents/run", json=AGENT).status_code == 202


def test_dropped_after_it_was_acted_on(openanalyst: Api, nenai: Api, control: Control) -> None:
    control.fault("drop_after", times=2)
    with pytest.raises(requests.ConnectionError):
        openanalyst.post("/agents/run", json=AGENT)
    with pytest.raises(requests.ConnectionError):
        nenai.post("/runs", json={"workflow_id": WORKFLOW_ID})
    assert control.counts()["runs_started"] == {"agent": 1, "workflow": 1, "query": 0}


def test_dropped_in_the_middle_of_the_body(openanalyst: Api, control: Control) -> None:
    control.fault("drop_body")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        openanalyst.post("/agents/run", json=AGENT)
    assert agents_started(control) == 1


def test_truncated_json(openanalyst: Api, control: Control) -> None:
    control.fault("truncate")
    reply = openanalyst.post("/agents/run", json=AGENT)
    assert reply.status_code == 202
    assert reply.text.startswith("{")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        reply.json()
    assert agents_started(control) == 1


def test_not_json(openanalyst: Api, control: Control) -> None:
    control.fault("not_json")
    reply = openanalyst.get("/datasets")
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "text/html")
    assert reply.text.startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["run_id", "id", "messageId"])
def test_missing_id(openanalyst: Api, nenai: Api, control: Control, name: str) -> None:
    starts = {
        "run_id": lambda: openanalyst.post("/agents/run", json=AGENT),
        "id": lambda: openanalyst.post("/queries", json={"dataset_id": "ds_abc123", "query": "SELECT 1"}),
        "messageId": lambda: nenai.post("/runs", json={"workflow_id": WORKFLOW_ID}),
    }
    whole = starts[name]().json()
    control.fault("missing_id")
    assert set(starts[name]().json()) == set(whole) - {name}


def test_unknown_status(openanalyst: Api, control: Control) -> None:
    run_id = openanalyst.post("/agents/run", json=AGENT).json()["run_id"]
    control.fault("unknown_status", path="/v1/agents/runs/{run_id}", word="paused")
    assert openanalyst.get(f"/agents/runs/{run_id}").json()["status"] == "paused"
    assert openanalyst.get(f"/agents/runs/{run_id}").json()["status"] == "running"


def test_slow(openanalyst: Api, control: Control) -> None:
    control.fault("slow", seconds=0.3)
    started = time.monotonic()
    assert openanalyst.post("/agents/run", json=AGENT).status_code == 202
    assert time.monotonic() - started >= 0.3


def test_slow_beyond_the_clients_patience_was_acted_on(openanalyst: Api, control: Control) -> None:
    control.fault("slow", seconds=30)
    with pytest.raises(requests.ReadTimeout):
        openanalyst.session.post(openanalyst.url + "/agents/run", json=AGENT, timeout=0.2)
    assert agents_started(control) == 1


def test_a_status_with_headers_and_body(openanalyst: Api, control: Control) -> None:
    control.fault("status", status=503, headers={"Retry-After": "7", "X-Other": "yes"}, body={"down": True})
    reply = openanalyst.post("/agents/run", json=AGENT)
    assert (reply.status_code, reply.json()) == (503, {"down": True})
    assert (reply.headers["Retry-After"], reply.headers["X-Other"]) == ("7", "yes")
    assert agents_started(control) == 0


def test_a_status_with_text(openanalyst: Api, control: Control) -> None:
    control.fault("status", status=502, body="<h1>Bad Gateway</h1>", headers={"Content-Type": "text/html"})
    reply = openanalyst.get("/datasets")
    assert (reply.status_code, reply.text, reply.headers["Content-Type"]) == (502, "<h1>Bad Gateway</h1>", "text/html")


def test_a_status_although_it_was_acted_on(openanalyst: Api, control: Control) -> None:
    control.fault("status", status=504, acted=True)
    assert openanalyst.post("/agents/run", json=AGENT).status_code == 504
    assert agents_started(control) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "UNAUTHORIZED"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (422, "VALIDATION_ERROR"),
        (429, "RATE_LIMITED"),
        (500, "INTERNAL_ERROR"),
        (503, "INTERNAL_ERROR"),
    ],
)
def test_a_status_in_the_vendors_words(openanalyst: Api, nenai: Api, control: Control, status: int, code: str) -> None:
    control.fault("status", status=status, times=2)
    error = openanalyst.get("/datasets").json()["error"]
    assert (error["code"], error["status"]) == (code, status)
    reply = nenai.get("/health")
    assert reply.status_code == status
    assert set(reply.json()) == {"error", "message"}


def test_faults_hit_what_they_match_in_their_order(openanalyst: Api, control: Control) -> None:
    control.fault("status", status=500, path="/v1/reports/*")
    control.fault("status", status=501, method="get", path="/v1/reports/{report_id}", times=2)
    control.fault("status", status=502, method="POST")
    assert openanalyst.get("/datasets").status_code == 200
    assert [openanalyst.get("/reports/rep_000001").status_code for _ in range(4)] == [500, 501, 501, 200]
    assert openanalyst.post("/agents/run", json=AGENT).status_code == 502


def test_a_fault_can_last_until_the_reset(openanalyst: Api, control: Control) -> None:
    control.fault("status", times=None)
    assert [openanalyst.get("/datasets").status_code for _ in range(3)] == [500] * 3
    control.reset()
    assert openanalyst.get("/datasets").status_code == 200


@pytest.mark.parametrize(
    "fault", [{"kind": "explode"}, {"kind": "status", "status": 99}, {"kind": "slow", "sekonds": 1}]
)
def test_a_fault_that_does_not_exist(control: Control, fault: dict[str, Any]) -> None:
    with pytest.raises(ControlError, match="422"):
        control.fault(**fault)


def test_the_connection_lives_on_after_a_spoilt_reply(openanalyst: Api, control: Control) -> None:
    for kind in ("truncate", "not_json", "missing_id"):
        control.fault(kind)
        openanalyst.get("/datasets/ds_abc123")
        assert openanalyst.get("/datasets/ds_abc123").json()["id"] == "ds_abc123"
