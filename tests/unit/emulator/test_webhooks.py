"""Signed deliveries, retries, and webhook faults."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.emulator import Control, Emulator

from .conftest import WORKFLOW_ID, Api, Receiver, eventually


def start_agent(api: Api, receiver: Receiver, emulate: dict[str, Any] | None = None, **headers: str) -> str:
    body = {
        "agent_id": "a",
        "task": "t",
        "webhook_url": receiver.url,
        "context": {"emulate": emulate} if emulate else {},
    }
    return str(api.post("/agents/run", json=body, headers=headers).json()["run_id"])


def start_workflow(api: Api, receiver: Receiver, emulate: dict[str, Any] | None = None) -> str:
    body = {
        "workflow_id": WORKFLOW_ID,
        "workflow_params": {"emulate": emulate} if emulate else {},
        "webhook_callback": receiver.url,
    }
    return str(api.post("/runs", json=body).json()["messageId"])


def settled(control: Control, count: int) -> list[dict[str, Any]]:
    """The deliveries, once there are so many; they are noted after the receiver's answer came back."""
    eventually(lambda: len(control.deliveries()) >= count)
    return control.deliveries()


def test_an_agent_run_ends_with_a_signed_webhook(
    nenoa_emulator: Emulator, openanalyst: Api, control: Control, receiver: Receiver
) -> None:
    run_id = start_agent(openanalyst, receiver)
    assert control.deliveries() == []
    control.finish(run_id)
    (got,) = receiver.wait_for(1)
    assert got.body["run_id"] == run_id
    assert got.body["status"] == "completed"
    assert "on the task: t" in got.body["result"]["answer"]
    secret = nenoa_emulator.settings.openanalyst_webhook_secret
    assert got.headers["x-openanalyst-signature"] == got.signed_with(secret)
    assert got.headers["content-type"] == "application/json"
    (delivery,) = settled(control, 1)
    assert (delivery["run_id"], delivery["outcome"], delivery["code"]) == (run_id, "delivered", 200)
    assert delivery["url"] == receiver.url


def test_the_signature_can_have_a_prefix(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    control.settings(signature="prefixed", openanalyst_webhook_secret="another")
    control.finish(start_agent(openanalyst, receiver))
    (got,) = receiver.wait_for(1)
    assert got.headers["x-openanalyst-signature"] == "sha256=" + got.signed_with("another")


def test_a_failed_run_says_so(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    run_id = start_agent(openanalyst, receiver)
    control.finish(run_id, outcome="failed", error="the model gave up")
    assert receiver.wait_for(1)[0].body == {
        "run_id": run_id,
        "status": "failed",
        "result": None,
        "error": "the model gave up",
    }


@pytest.mark.parametrize("slow", ["", "/* slow: 0.05 */"])
def test_a_query_ends_with_a_webhook_too(openanalyst: Api, receiver: Receiver, slow: str) -> None:
    body = {"dataset_id": "ds_abc123", "query": f"SELECT 1 AS one {slow}", "webhook_url": receiver.url}
    query_id = openanalyst.post("/queries", json=body).json()["id"]
    (got,) = receiver.wait_for(1)
    assert (got.body["run_id"], got.body["status"]) == (query_id, "completed")
    assert got.body["result"]["rows"] == [{"one": 1}]


def test_nenai_signs_both_its_webhooks(
    nenoa_emulator: Emulator, nenai: Api, control: Control, receiver: Receiver
) -> None:
    control.finish(start_workflow(nenai, receiver))
    both = receiver.wait_for(2)
    assert [got.body["status"] for got in both] == ["processing", "success"]
    for got in both:
        secret = nenoa_emulator.settings.nenai_webhook_secret
        assert got.headers["x-hmac-signature"] == "sha256=" + got.signed_with(secret)
        assert "x-openanalyst-signature" not in got.headers


def test_processing_is_answered_before_the_end_is_sent(nenai: Api, receiver: Receiver) -> None:
    receiver.hold.clear()
    start_workflow(nenai, receiver, {"seconds": 0})
    receiver.wait_for(1)
    assert [got.body["status"] for got in receiver.received] == ["processing"]
    receiver.hold.set()
    assert receiver.wait_for(2)[1].body["status"] == "success"


def test_test_keys_send_no_webhooks(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    control.finish(start_agent(openanalyst, receiver, Authorization="Bearer oa_test_acme_1"))
    control.finish(start_agent(openanalyst, receiver))
    receiver.wait_for(1)
    assert len(settled(control, 1)) == len(receiver.received) == 1


def test_openanalyst_tries_again_until_it_is_taken(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    receiver.answers.extend([500, 404, 302])
    control.finish(start_agent(openanalyst, receiver))
    four = receiver.wait_for(4)
    assert len({got.raw for got in four}) == 1
    assert [(one["attempt"], one["outcome"], one["code"]) for one in settled(control, 4)] == [
        (1, "refused", 500),
        (2, "refused", 404),
        (3, "refused", 302),
        (4, "delivered", 200),
    ]


def test_openanalyst_gives_up_after_five_retries_with_exponential_waits(
    openanalyst: Api, control: Control, receiver: Receiver
) -> None:
    control.settings(retry_base_seconds=0.02)
    receiver.answers.extend([500] * 6)
    control.finish(start_agent(openanalyst, receiver))
    deliveries = settled(control, 6)
    assert [one["attempt"] for one in deliveries] == [1, 2, 3, 4, 5, 6]
    waits = [after["time"] - before["time"] for before, after in itertools.pairwise(deliveries)]
    for wait, least in zip(waits, [0.02, 0.04, 0.08, 0.16, 0.32], strict=True):
        assert wait >= least * 0.95
    control.finish(start_agent(openanalyst, receiver))
    assert [one["attempt"] for one in settled(control, 7)][6:] == [1]


def test_an_answer_that_comes_too_late_counts_as_none(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    control.settings(openanalyst_webhook_timeout=0.1, openanalyst_retries=1)
    receiver.hold.clear()
    control.finish(start_agent(openanalyst, receiver))
    receiver.wait_for(2)
    assert [(one["outcome"], one["code"]) for one in settled(control, 2)] == [("TimeoutError", None)] * 2


def test_a_receiver_that_is_not_there(nenai: Api, control: Control, receiver: Receiver) -> None:
    receiver.url = "http://127.0.0.1:9/none"
    start_workflow(nenai, receiver)
    assert settled(control, 1)[0]["outcome"] == "ConnectError"


def test_nenai_documents_no_retries(nenai: Api, control: Control, receiver: Receiver) -> None:
    receiver.answers.extend([500])
    control.finish(start_workflow(nenai, receiver))
    assert [got.body["status"] for got in receiver.wait_for(2)] == ["processing", "success"]
    control.settings(nenai_retries=1)
    receiver.answers.extend([500])
    start_workflow(nenai, receiver)
    assert [got.body["status"] for got in receiver.wait_for(4)][2:] == ["processing", "processing"]


def test_duplicates(nenai: Api, control: Control, receiver: Receiver) -> None:
    control.webhook_fault(duplicate=2, status="success")
    control.finish(start_workflow(nenai, receiver))
    got = receiver.wait_for(4)
    assert [one.body["status"] for one in got] == ["processing", "success", "success", "success"]
    assert len({one.raw for one in got[1:]}) == 1


def test_reordered(nenai: Api, control: Control, receiver: Receiver) -> None:
    control.webhook_fault(reorder=True)
    message_id = start_workflow(nenai, receiver)
    assert control.deliveries() == []
    control.finish(message_id)
    assert [one.body["status"] for one in receiver.wait_for(2)] == ["success", "processing"]


def test_late(nenai: Api, control: Control, receiver: Receiver) -> None:
    control.webhook_fault(late=1, status="processing")
    control.finish(start_workflow(nenai, receiver))
    assert [one.body["status"] for one in receiver.wait_for(2)] == ["success", "processing"]


def test_lost(nenai: Api, openanalyst: Api, control: Control, receiver: Receiver) -> None:
    control.webhook_fault(lose=True, vendor="openanalyst")
    control.webhook_fault(lose=True, vendor="nenai", status="processing")
    agent = start_agent(openanalyst, receiver)
    control.finish(agent)
    control.finish(start_workflow(nenai, receiver))
    deliveries = settled(control, 3)
    assert {(one["kind"], one["status"], one["outcome"]) for one in deliveries} == {
        ("agent", "completed", "lost"),
        ("workflow", "processing", "lost"),
        ("workflow", "success", "delivered"),
    }
    assert [one.body["status"] for one in receiver.received] == ["success"]
    assert openanalyst.get(f"/agents/runs/{agent}").json()["status"] == "completed"


def test_badly_signed(nenoa_emulator: Emulator, nenai: Api, control: Control, receiver: Receiver) -> None:
    control.webhook_fault(bad_signature=True, status="processing")
    control.finish(start_workflow(nenai, receiver))
    bad, good = receiver.wait_for(2)
    secret = nenoa_emulator.settings.nenai_webhook_secret
    assert bad.headers["x-hmac-signature"] != "sha256=" + bad.signed_with(secret)
    assert len(bad.headers["x-hmac-signature"]) == len("sha256=") + 64
    assert good.headers["x-hmac-signature"] == "sha256=" + good.signed_with(secret)


def test_before_the_starts_reply(nenai: Api, openanalyst: Api, control: Control, receiver: Receiver) -> None:
    control.webhook_fault(before_reply=True, times=2)
    message_id = start_workflow(nenai, receiver)
    assert [(one.body["message_id"], one.body["status"]) for one in receiver.received] == [
        (message_id, "processing"),
        (message_id, "success"),
    ]
    run_id = start_agent(openanalyst, receiver)
    assert receiver.received[2].body["run_id"] == run_id
    assert len(control.deliveries()) == 3


def test_a_webhook_of_a_run_whose_start_was_never_answered(nenai: Api, control: Control, receiver: Receiver) -> None:
    control.fault("drop_after", path="/runs")
    with pytest.raises(requests.ConnectionError):
        start_workflow(nenai, receiver)
    (got,) = receiver.wait_for(1)
    (run,) = control.runs()
    assert got.body["message_id"] == run["id"]


def test_a_run_can_ask_for_its_own_fault(nenai: Api, control: Control, receiver: Receiver) -> None:
    start_workflow(nenai, receiver, {"seconds": 0, "webhooks": {"lose": True}})
    assert [one["outcome"] for one in settled(control, 2)] == ["lost", "lost"]


def test_faults_are_used_up_one_run_at_a_time(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    control.webhook_fault(lose=True, times=2)
    for _ in range(3):
        control.finish(start_agent(openanalyst, receiver))
    receiver.wait_for(1)
    assert sorted(one["outcome"] for one in settled(control, 3)) == ["delivered", "lost", "lost"]


def test_many_runs_that_end_at_once(openanalyst: Api, control: Control, receiver: Receiver) -> None:
    started = {start_agent(openanalyst, receiver, {"seconds": 0.5}) for _ in range(300)}
    got = receiver.wait_for(300)
    assert {one.body["run_id"] for one in got} == started
