"""OpenAnalyst's other reference, and the forms in which it may answer."""

from __future__ import annotations

import base64
import csv
import hashlib
import hmac
import io
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.emulator import Control, Emulator

from .conftest import Api, Receiver, eventually

QUERY = {"dataset_id": "ds_abc123", "sql": "SELECT 1 AS one, 2 AS two"}


def test_a_session(openanalyst: Api, control: Control) -> None:
    control.clock(freeze=1_700_000_000)
    body = {"prompt": "Why is the South down?", "dataset_ids": ["ds_abc123"], "model": "m1", "max_steps": 5}
    started = openanalyst.post("/agents/run", json=body).json()
    assert started.pop("id").startswith("ses_")
    assert started == {"status": "running", "created_at": "2023-11-14T22:13:20.000Z"}
    (run,) = control.runs()
    path = f"/agents/sessions/{run['id']}"
    assert openanalyst.get(path).json() == {
        "id": run["id"],
        "status": "running",
        "prompt": "Why is the South down?",
        "model": "m1",
        "steps": [],
        "final_answer": None,
        "created_at": "2023-11-14T22:13:20.000Z",
        "completed_at": None,
    }
    control.finish(run["id"], result={"answer": "A strike."})
    done = openanalyst.get(path).json()
    assert (done["status"], done["final_answer"], len(done["steps"])) == ("completed", "A strike.", 1)
    assert done["completed_at"] == "2023-11-14T22:13:20.000Z"
    assert [one["id"] for one in openanalyst.get("/agents/sessions").json()["data"]] == [run["id"]]
    assert openanalyst.get("/agents/sessions/ses_none").status_code == 404
    assert openanalyst.post("/agents/run", json={"prompt": "?", "dataset_ids": ["ds_none"]}).status_code == 404


def test_a_session_can_be_told_how_to_end(openanalyst: Api) -> None:
    body = {"prompt": "p", "emulate": {"seconds": 0, "outcome": "failed", "error": "no data"}}
    path = f"/agents/sessions/{openanalyst.post('/agents/run', json=body).json()['id']}"
    eventually(lambda: openanalyst.get(path).json()["status"] == "failed")
    assert openanalyst.get(path).json()["error"] == "no data"


def test_a_query_and_a_question(openanalyst: Api) -> None:
    started = openanalyst.post("/queries/run", json=QUERY).json()
    assert (started["status"], set(started)) == ("running", {"id", "status", "created_at"})
    assert openanalyst.get(f"/queries/{started['id']}/results").json()["rows"] == [{"one": 1, "two": 2}]
    asked = openanalyst.post("/queries/run", json={**QUERY, "sql": "Which region sells most?"}).json()
    assert len(openanalyst.get(f"/queries/{asked['id']}/results").json()["rows"]) == 4


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_export(openanalyst: Api, control: Control, form: str) -> None:
    control.settings(export={"seconds": None})
    period = {"start": "2024-01-01", "end": "2024-01-02"}
    body = {"dataset_id": "ds_abc123", "format": form, "filter": {"date_range": period}}
    export = openanalyst.post("/exports", json=body).json()
    path = f"/exports/{export['id']}"
    assert openanalyst.get(path).json()["status"] == "running"
    assert openanalyst.get(f"{path}/download").status_code == 409
    control.finish(export["id"])
    assert openanalyst.get(path).json()["status"] == "ready"
    told = openanalyst.get(f"{path}/download").json()
    assert set(told) == {"download_url", "expires_at", "size_bytes", "format"}
    content = requests.get(told["download_url"], timeout=10).content
    assert len(content) == told["size_bytes"]
    if form == "csv":
        assert len(list(csv.DictReader(io.StringIO(content.decode())))) == 2 * 16
    else:
        assert content.startswith(b"PAR1")
    control.clock(advance=901)
    assert requests.get(told["download_url"], timeout=10).status_code == 403


@pytest.mark.parametrize("change", [{"format": "xlsx"}, {"dataset_id": "ds_none"}, {"format": None}])
def test_an_export_that_cannot_be(openanalyst: Api, control: Control, change: dict[str, Any]) -> None:
    body = {"dataset_id": "ds_abc123", "format": "csv", **change}
    assert openanalyst.post("/exports", json=body).status_code in (404, 422)
    assert control.runs() == []


def test_a_report_as_a_file(openanalyst: Api) -> None:
    reply = openanalyst.get("/reports/rep_000001/export", params={"format": "csv"})
    assert reply.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(reply.text)))
    assert len(rows) == 12
    assert set(rows[0]) == {"month", "revenue"}
    assert openanalyst.get("/reports/rep_000001/export", params={"format": "pdf"}).status_code == 400


def test_registered_webhooks(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    events = ["agent.session.completed", "export.ready", "alert_triggered"]
    hook = openanalyst.post("/webhooks", json={"url": receiver.url, "events": events, "secret": "mine"})
    assert hook.status_code == 201
    assert "mine" not in hook.text + str(control.requests())
    assert [one["id"] for one in openanalyst.get("/webhooks").json()["data"]] == [hook.json()["id"]]
    session = openanalyst.post("/agents/run", json={"prompt": "p"}).json()["id"]
    control.finish(session)
    (got,) = receiver.wait_for(1)
    assert (got.body["event"], got.body["data"]["session_id"]) == ("agent.session.completed", session)
    assert got.headers["x-openanalyst-signature"] == got.signed_with("mine")
    openanalyst.post("/exports", json={"dataset_id": "ds_abc123", "format": "csv", "emulate": {"seconds": 0}})
    assert receiver.wait_for(2)[1].body["event"] == "export.ready"
    assert control.event("alert_triggered", rule_name="Low stock") == 1
    assert receiver.wait_for(3)[2].body["data"] == {"rule_name": "Low stock"}
    assert control.event("report.completed") == 0, "nobody asked for it"
    other = {"Authorization": "Bearer oa_live_other_1"}
    path = f"{openanalyst.url}/webhooks/{hook.json()['id']}"
    assert openanalyst.session.delete(path, headers=other, timeout=10).status_code == 404
    assert openanalyst.session.delete(path, timeout=10).status_code == 204
    assert openanalyst.get("/webhooks").json()["data"] == []


def test_a_test_keys_session_tells_nobody(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    openanalyst.post("/webhooks", json={"url": receiver.url, "events": ["agent.session.completed"]})
    headers = {"Authorization": "Bearer oa_test_acme_2"}
    control.finish(openanalyst.post("/agents/run", json={"prompt": "p"}, headers=headers).json()["id"])
    control.finish(openanalyst.post("/agents/run", json={"prompt": "p"}).json()["id"])
    receiver.wait_for(1)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("body", [{"events": ["x"]}, {"events": []}, {"events": ["export.ready"], "url": "http://a.b"}])
def test_a_webhook_that_cannot_be_registered(openanalyst: Api, receiver: Receiver, body: dict[str, Any]) -> None:
    assert openanalyst.post("/webhooks", json={"url": receiver.url, **body}).status_code == 422


def test_an_event_to_one_place(nenoa_emulator: Emulator, control: Control, receiver: Receiver) -> None:
    control.event("alert_triggered", url=receiver.url, rule_name="Low stock")
    (got,) = receiver.wait_for(1)
    assert (got.body["event"], got.body["rule_name"]) == ("alert_triggered", "Low stock")
    secret = nenoa_emulator.settings.openanalyst_webhook_secret
    assert got.headers["x-openanalyst-signature"] == got.signed_with(secret)


SESSIONS = ("/agents/sessions", "/webhooks")


def test_a_workspace_may_speak_one_reference_alone(openanalyst: Api, control: Control) -> None:
    control.settings(api_form="api")
    assert [openanalyst.get(path).status_code for path in SESSIONS] == [404, 404]
    assert openanalyst.post("/queries/run", json=QUERY).status_code == 404
    assert openanalyst.post("/agents/run", json={"prompt": "p"}).status_code == 422
    control.settings(api_form="server")
    assert [openanalyst.get(path).status_code for path in SESSIONS] == [200, 200]
    assert openanalyst.post("/queries", json=QUERY).status_code == 404
    assert openanalyst.post("/agents/run", json={"agent_id": "a", "task": "t"}).status_code == 422
    assert set(openanalyst.get("/datasets").json()) == {"data", "pagination"}


def hmac_of(secret: str, content: bytes) -> bytes:
    return hmac.new(secret.encode(), content, hashlib.sha256).digest()


@pytest.mark.parametrize("form", ["hex", "prefixed", "upper", "base64", "base64url", "stripe"])
def test_signatures(openanalyst: Api, control: Control, receiver: Receiver, form: str) -> None:
    control.settings(signature=form, openanalyst_webhook_secret="s")
    control.clock(freeze=1_700_000_000)
    body = {"agent_id": "a", "task": "t", "webhook_url": receiver.url}
    control.finish(openanalyst.post("/agents/run", json=body).json()["run_id"])
    (got,) = receiver.wait_for(1)
    digest = hmac_of("s", got.raw)
    assert (
        got.headers["x-openanalyst-signature"]
        == {
            "hex": digest.hex(),
            "prefixed": "sha256=" + digest.hex(),
            "upper": digest.hex().upper(),
            "base64": base64.b64encode(digest).decode(),
            "base64url": base64.urlsafe_b64encode(digest).decode(),
            "stripe": "t=1700000000,v1=" + hmac_of("s", b"1700000000." + got.raw).hex(),
        }[form]
    )


@pytest.mark.parametrize("field", ["run_id", "query_id", "id", "session_id"])
@pytest.mark.parametrize("envelope", [None, "data", "result", "run"])
def test_where_a_webhook_names_its_run(
    openanalyst: Api, control: Control, receiver: Receiver, field: str, envelope: str | None
) -> None:
    control.settings(webhook_id=field, webhook_envelope=envelope)
    body = {"agent_id": "a", "task": "t", "webhook_url": receiver.url, "context": {"emulate": {"extra": {"x": 1}}}}
    run_id = openanalyst.post("/agents/run", json=body).json()["run_id"]
    control.finish(run_id)
    got = receiver.wait_for(1)[0].body
    assert (got[envelope] if envelope else got)[field] == run_id
    assert got["x"] == 1


def test_a_querys_webhook_may_carry_another_id(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    control.settings(other_query_ids=True)
    body = {"dataset_id": "ds_abc123", "query": "SELECT 1 AS one", "webhook_url": receiver.url}
    query_id = openanalyst.post("/queries", json=body).json()["id"]
    got = receiver.wait_for(1)[0].body
    assert got["run_id"] != query_id
    assert got["result"]["rows"] == [{"one": 1}]


def test_rows_as_lists(openanalyst: Api, control: Control) -> None:
    control.settings(rows_as="lists")
    reply = openanalyst.post("/queries", json={"dataset_id": "ds_abc123", "query": "SELECT 1 AS one, 2 AS two"}).json()
    assert (reply["columns"], reply["rows"]) == (["one", "two"], [[1, 2]])


@pytest.mark.parametrize("path", ["/datasets/ds_none", "/nothing"])
@pytest.mark.parametrize("form", ["server", "detail", "errors", "problem"])
def test_errors_in_every_form(openanalyst: Api, control: Control, form: str, path: str) -> None:
    control.settings(error_form=form)
    reply = openanalyst.get(path)
    body = reply.json()
    assert reply.status_code == 404
    if form == "server":
        assert set(body) == {"error"}
        assert (body["error"]["code"], set(body["error"])) == ("not_found", {"code", "message", "request_id"})
    elif form == "detail":
        assert set(body) == {"detail"}
    elif form == "errors":
        assert set(body["errors"][0]) == {"code", "message"}
    else:
        assert reply.headers["Content-Type"] == "application/problem+json"
        assert (body["status"], body["type"]) == (404, "about:blank")
        assert {"title", "detail"} <= set(body)
    control.fault("status", status=500)
    assert set(openanalyst.get("/datasets").json()) & {"error", "detail", "errors"}


def test_pages_with_gaps(openanalyst: Api, control: Control) -> None:
    control.settings(pagination="gaps", datasets=5)
    params: dict[str, Any] = {"limit": 2}
    sizes, seen = [], []
    while True:
        body = openanalyst.get("/datasets", params=params).json()
        sizes.append(len(body["data"]))
        seen += [item["id"] for item in body["data"]]
        if not body["pagination"]["has_more"]:
            break
        params["after"] = body["pagination"]["cursor"]
    assert sizes == [2, 0, 2, 0, 1]
    assert len(set(seen)) == 5
    control.settings(pagination="endless")
    assert openanalyst.get("/datasets").json() == {"data": [], "pagination": {"cursor": "again", "has_more": True}}


def test_headers_name_another_limit_than_the_plan(openanalyst: Api, control: Control) -> None:
    control.settings(plan="free", requests_per_minute=7)
    assert openanalyst.get("/datasets").headers["X-RateLimit-Limit"] == "7"


def test_an_agent_that_nobody_knows(openanalyst: Api, control: Control) -> None:
    control.settings(agents=["agent_xyz789"])
    refused = openanalyst.post("/agents/run", json={"agent_id": "agent_abc", "task": "t"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert openanalyst.post("/agents/run", json={"agent_id": "agent_xyz789", "task": "t"}).status_code == 202
