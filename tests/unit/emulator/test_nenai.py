"""NenAI's endpoints against what its documentation says."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.emulator import Control

from .conftest import WORKFLOW_ID, Api, Receiver


def start(api: Api, emulate: dict[str, Any] | None = None, **body: Any) -> requests.Response:
    params = {"emulate": emulate} if emulate else {"amount": 3}
    return api.post("/runs", json={"workflow_id": WORKFLOW_ID, "workflow_params": params, **body})


def test_a_start(nenai: Api) -> None:
    reply = start(nenai)
    assert reply.status_code == 202
    body = reply.json()
    assert body == {
        "message": "Job accepted for processing.",
        "messageId": str(uuid.UUID(body["messageId"])),
        "workflowId": WORKFLOW_ID,
    }


def test_health(nenai: Api) -> None:
    assert nenai.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize(("method", "path"), [("POST", "/runs"), ("GET", "/health"), ("GET", "/runs/x")])
def test_every_endpoint_asks_for_the_key(nenai: Api, control: Control, method: str, path: str) -> None:
    control.settings(nenai_key="right", run_status_path=True)
    for key in (None, "", "wrong"):
        reply = nenai.session.request(method, nenai.url + path, headers={"x-api-key": key}, json={}, timeout=10)
        assert reply.status_code == 401
        assert set(reply.json()) == {"error", "message"}
    assert nenai.post("/runs", headers={"x-api-key": "right"}, json={}).status_code == 400


def test_an_empty_start_tells_a_good_key_from_a_bad_one(nenai: Api, control: Control) -> None:
    reply = nenai.post("/runs", json={})
    assert reply.status_code == 400
    assert reply.json() == {"error": "Invalid request", "message": "Missing required field: workflow_id"}
    assert control.counts()["runs_started"]["workflow"] == 0


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"workflow_id": "not-a-uuid"}, "workflow_id"),
        ({"workflow_id": 5}, "workflow_id"),
        ({"workflow_id": WORKFLOW_ID, "workflow_params": [1]}, "workflow_params"),
        ({"workflow_id": WORKFLOW_ID, "workflow_params": {"emulate": {"speed": 1}}}, "emulate"),
        ({"workflow_id": WORKFLOW_ID, "webhook_callback": "nowhere"}, "webhook_callback"),
        ({"workflow_id": WORKFLOW_ID, "secure_workflow_params": {"a": 1}}, "secure_workflow_params"),
        ([], "JSON object"),
    ],
)
def test_a_start_that_is_refused(nenai: Api, control: Control, body: Any, word: str) -> None:
    reply = nenai.post("/runs", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"] == "Invalid request"
    assert word in reply.json()["message"]
    assert control.counts()["runs_started"]["workflow"] == 0


def test_a_body_that_is_not_json(nenai: Api) -> None:
    assert nenai.post("/runs", data=b"{").json()["error"] == "Invalid request"


def test_secret_parameters_need_a_signed_request(nenai: Api, control: Control) -> None:
    reply = start(nenai, secure_workflow_params={"password": "hunter2"})
    assert reply.status_code == 403
    assert reply.json()["error"] == "hmac_required_for_secure_params"
    assert set(reply.json()) == {"error", "message"}
    assert control.counts()["runs_started"]["workflow"] == 0

    control.settings(secure_params_header="X-Signature")
    assert start(nenai, secure_workflow_params={"password": "hunter2"}).status_code == 403
    signed = {"workflow_id": WORKFLOW_ID, "secure_workflow_params": {"password": "hunter2"}}
    assert nenai.post("/runs", json=signed, headers={"X-Signature": "signed"}).status_code == 202
    assert "hunter2" not in str(control.requests())
    assert control.requests()[-1]["body"]["secure_workflow_params"] == {"password": "***"}


def test_no_status_endpoint_unless_asked_for(nenai: Api, control: Control) -> None:
    message_id = start(nenai).json()["messageId"]
    reply = nenai.get(f"/runs/{message_id}")
    assert reply.status_code == 404
    assert set(reply.json()) == {"error", "message"}

    control.settings(run_status_path=True)
    control.clock(freeze=1_700_000_000)
    assert nenai.get(f"/runs/{message_id}").json() == {
        "workflow_id": WORKFLOW_ID,
        "message_id": message_id,
        "status": "processing",
        "expires_at": 1_700_003_600,
    }
    control.finish(message_id)
    done = nenai.get(f"/runs/{message_id}").json()
    assert done["status"] == "success"
    assert requests.get(done["assets"], timeout=10).status_code == 200
    assert nenai.get(f"/runs/{uuid.uuid4()}").status_code == 404


def test_success_is_reported_by_webhook_with_assets(nenai: Api, control: Control, receiver: Receiver) -> None:
    control.clock(freeze=1_700_000_000)
    message_id = start(nenai, webhook_callback=receiver.url).json()["messageId"]
    ids = {"workflow_id": WORKFLOW_ID, "message_id": message_id}
    (processing,) = receiver.wait_for(1)
    assert processing.body == {**ids, "status": "processing", "expires_at": 1_700_003_600}
    control.finish(message_id, result={"region": "South"})
    body = receiver.wait_for(2)[1].body
    assets = body.pop("assets")
    pages = body["result"].pop("pages")
    assert body == {
        **ids,
        "status": "success",
        "expires_at": 1_700_003_600,
        "result": {"parameters": {"amount": 3}, "region": "South"},
    }
    with zipfile.ZipFile(io.BytesIO(requests.get(assets, timeout=10).content)) as archive:
        assert archive.namelist() == ["result.json"]
        content = json.loads(archive.read("result.json"))
    assert content == {"workflow_id": WORKFLOW_ID, "workflow_params": {"amount": 3}}
    assert pages


def test_failure_is_reported_by_webhook(nenai: Api, control: Control, receiver: Receiver) -> None:
    emulate = {"outcome": "failed", "seconds": 0, "error": "Element not found: #login"}
    message_id = start(nenai, emulate, webhook_callback=receiver.url).json()["messageId"]
    assert receiver.wait_for(2)[1].body == {
        "workflow_id": WORKFLOW_ID,
        "message_id": message_id,
        "status": "failed",
        "success": False,
        "error": "Element not found: #login",
    }


def test_other_words_for_an_end(nenai: Api, receiver: Receiver) -> None:
    start(nenai, {"outcome": "timeout", "seconds": 0}, webhook_callback=receiver.url)
    body = receiver.wait_for(2)[1].body
    assert (body["status"], body["success"]) == ("timeout", False)


# --- forms of webhooks


def webhooks(nenai: Api, receiver: Receiver, count: int, **emulate: Any) -> list[dict[str, Any]]:
    """The bodies of the webhooks of a run that ends at once, after its id."""
    reply = start(nenai, {"seconds": 0, "links": 0, **emulate}, webhook_callback=receiver.url).json()
    return [reply, *(one.body for one in receiver.wait_for(count))]


SAMPLE = {"parameters": {}, "pages": []}


@pytest.mark.parametrize("form", [2, "2"])
def test_form_2_names_no_run(nenai: Api, receiver: Receiver, form: Any) -> None:
    _, first, last = webhooks(nenai, receiver, 2, webhook_form=form)
    assert first["status"] == "processing", "form 2 has no words for it"
    assert last.pop("assets").startswith("http")
    assert last == {"success": True, "result": SAMPLE}


def test_form_2_tells_of_a_failure(nenai: Api, receiver: Receiver) -> None:
    _, last = webhooks(nenai, receiver, 1, webhook_form=2, announce=False, outcome="failed", error="No desk")
    assert last == {"success": False, "error": "No desk"}


def test_both_forms_in_one_body(nenai: Api, receiver: Receiver) -> None:
    reply, _, last = webhooks(nenai, receiver, 2, webhook_form="mixed")
    assert set(last) == {"workflow_id", "message_id", "status", "expires_at", "success", "result", "assets"}
    assert (last["message_id"], last["status"], last["success"]) == (reply["messageId"], "success", True)


def test_the_form_of_all_runs_is_a_setting(nenai: Api, control: Control, receiver: Receiver) -> None:
    control.settings(webhook_form=2)
    assert webhooks(nenai, receiver, 2)[2].keys() == {"success", "result", "assets"}
    assert "status" in webhooks(nenai, receiver, 4, webhook_form=1)[4]


def test_ids_in_camel_case(nenai: Api, receiver: Receiver) -> None:
    reply, *both = webhooks(nenai, receiver, 2, spelling="camel")
    for body in both:
        assert (body["messageId"], body["workflowId"]) == (reply["messageId"], WORKFLOW_ID)
        assert not {"message_id", "workflow_id"} & set(body)


def test_words_that_nobody_documented(nenai: Api, control: Control, receiver: Receiver) -> None:
    bodies = webhooks(nenai, receiver, 4, progress=["warming_up", "simmering"])[1:]
    assert [body["status"] for body in bodies] == ["processing", "warming_up", "simmering", "success"]
    control.settings(run_status_path=True)
    message_id = start(nenai, {"seconds": None, "progress": ["simmering"]}).json()["messageId"]
    assert nenai.get(f"/runs/{message_id}").json()["status"] == "simmering"


def test_fields_that_nobody_documented(nenai: Api, receiver: Receiver) -> None:
    extra = {"region": "eu", "billing": {"credits": [1, None]}}
    for body in webhooks(nenai, receiver, 2, extra=extra)[1:]:
        assert body.items() >= extra.items()


@pytest.mark.parametrize("form", [1, 2])
def test_numbers_that_json_does_not_have(nenai: Api, receiver: Receiver, form: int) -> None:
    webhooks(nenai, receiver, 2, odd_numbers=True, webhook_form=form)
    raw = receiver.received[1].raw
    for literal in (b": NaN", b": Infinity", b": -Infinity", b": 1e999"):
        assert literal in raw
    assert receiver.received[1].headers["content-length"] == str(len(raw))


def test_a_start_without_a_callback_sends_nothing(nenai: Api, control: Control) -> None:
    message_id = start(nenai).json()["messageId"]
    control.finish(message_id)
    assert control.deliveries() == []


def test_an_unknown_path(nenai: Api) -> None:
    assert nenai.get("/workflows").status_code == 404
    assert set(nenai.get("/workflows").json()) == {"error", "message"}
