"""The API key, the webhook secret, secret parameters and presigned URLs: in nothing that anybody reads."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import requests

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.hooks.base import VendorHook
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystAgentRunSensor
from airflow_provider_nenoa.triggers import base as triggers
from airflow_provider_nenoa.waiting import poll_source, webhook_source
from airflow_provider_nenoa.waiting.kinds import KINDS, Ended
from airflow_provider_nenoa.webhooks.client import ReceiverClient, callback_url
from airflow_provider_nenoa.webhooks.connections import Sender
from tests.support.receiver import SENDERS, ReceiverThread, open_store
from tests.support.task import StateStore, Task
from tests.unit.conftest import API_KEY, WEBHOOK_SECRET, Logged

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"
PIN = "hunter22-the-pin"
PLENTY = {"requests_per_minute": 10**6, "requests_per_day": 10**9}


class Signature(requests.auth.AuthBase):
    """Signs with a secret of its own."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-Signed"] = "yes"
        return request


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str], logged: Logged) -> Callable[..., str]:
    """A function that returns all that was logged, printed, and is shown of some objects."""
    printed: list[str] = []

    def said(*objects: Any) -> str:
        printed.extend(capfd.readouterr())
        shown = [text for each in objects for text in (repr(each), str(each), "".join(_traceback(each)))]
        return "\n".join([logged.text, *printed, *shown])

    return said


def _traceback(each: Any) -> list[str]:
    return traceback.format_exception(each) if isinstance(each, BaseException) else []


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiverThread]:
    """Our receiver, which knows the connections' secrets."""
    directory = tmp_path_factory.mktemp("receiver")
    with (
        mock.patch.dict(
            SENDERS,
            {
                "my_openanalyst": Sender("openanalyst", WEBHOOK_SECRET),
                "my_nenai": Sender("nenai", WEBHOOK_SECRET),
                "changed": Sender("nenai", "another secret"),
            },
        ),
        ReceiverThread(open_store(f"sqlite:///{directory}/events.db")) as receiver,
    ):
        yield receiver


@pytest.fixture
def world(
    emulator: Emulator, receiver: ReceiverThread, connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Emulator:
    """Both vendors and our receiver, with webhooks; what is sent is refused, lost and failed as a test wants."""
    monkeypatch.setattr(triggers, "SETTLE", 0.0)
    monkeypatch.setattr(webhook_source, "LONG_POLL", 0.3)
    monkeypatch.setitem(ReceiverClient.__init__.__kwdefaults__, "retry_for", 0.0)
    for module in (poll_source, webhook_source):
        monkeypatch.setattr(module, "back_off", lambda failures: asyncio.sleep(0.02))
    emulator.control.settings(
        agent={"seconds": 0.05},
        workflow={"seconds": 0.05},
        query={"seconds": 0.05},
        openanalyst_webhook_secret=WEBHOOK_SECRET,
        nenai_webhook_secret=WEBHOOK_SECRET,
        secure_params_header="x-signed",
    )
    connect("openanalyst", emulator.openanalyst_url, extra={**PLENTY, "webhook_secret": WEBHOOK_SECRET})
    connect("nenai", emulator.nenai_url, extra={"webhook_secret": WEBHOOK_SECRET})
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", receiver.url)
    monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", receiver.url)
    return emulator


def agent(**options: Any) -> OpenAnalystRunAgentOperator:
    arguments = {"agent_id": "a", "task_prompt": "p", "openanalyst_conn_id": "my_openanalyst"}
    return OpenAnalystRunAgentOperator(task_id="t", timeout=10, **arguments, **options)


def query(**options: Any) -> OpenAnalystExecuteQueryOperator:
    arguments = {"dataset_id": "ds_abc123", "query": "SELECT 1", "openanalyst_conn_id": "my_openanalyst"}
    return OpenAnalystExecuteQueryOperator(task_id="t", timeout=10, **arguments, **options)


def workflow(**options: Any) -> NenAIRunWorkflowOperator:
    return NenAIRunWorkflowOperator(
        task_id="t",
        timeout=10,
        workflow_id=WORKFLOW,
        secure_workflow_params={"pin": PIN},
        auth=Signature(),
        **{"nenai_conn_id": "my_nenai", **options},
    )


def assert_kept(text: str, *more: str) -> None:
    assert "DEBUG" in text, "it was listened to"
    for secret in (API_KEY, WEBHOOK_SECRET, PIN, *more):
        assert secret not in text


@pytest.mark.parametrize("make", [agent, query, workflow])
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_run_that_goes_well(
    world: Emulator, said: Callable[..., str], make: Callable[..., Any], deferrable: bool
) -> None:
    task = Task(lambda: make(deferrable=deferrable), StateStore())
    result = task.attempt()
    urls = [result["result"]["assets"]] if make is workflow else []
    shown = [make(), *task.deferrals, *task.triggers, *(deferred.trigger for deferred in task.deferrals)]
    # The notes and events go through Airflow's database.
    stored = json.dumps([dict(task.store or {}), task.events, [trigger.serialize() for trigger in task.triggers]])
    assert_kept(said(*shown) + stored, *urls)


FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 401, "body": f"the key {API_KEY} is wrong"},
    {"kind": "status", "status": 403, "body": {"error": {"code": "NO", "message": f"not with {API_KEY}"}}},
    {"kind": "status", "status": 422, "body": {"error": "Invalid request", "message": f"key={API_KEY}"}},
    {"kind": "status", "status": 500, "body": f"what is {API_KEY}? and {WEBHOOK_SECRET}?"},
    {"kind": "status", "status": 200, "body": f"<html>{API_KEY}</html>"},
    {"kind": "status", "status": 200, "body": {"unexpected": API_KEY}},
    {"kind": "status", "status": 302, "headers": {"Location": f"https://elsewhere.test/?key={API_KEY}"}},
    {"kind": "drop_after"},
    {"kind": "truncate"},
]


@pytest.mark.parametrize("make", [agent, workflow])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault['kind']} {fault.get('status', '')}")
def test_a_start_that_goes_wrong(
    world: Emulator,
    said: Callable[..., str],
    make: Callable[..., Any],
    fault: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, kind in list(KINDS.items()):
        monkeypatch.setitem(KINDS, name, replace(kind, lost_for=0.1))
    world.control.settings(agent={"seconds": None}, workflow={"seconds": None})
    world.control.webhook_fault(lose=True, times=None)
    world.control.fault(method="POST", **fault)
    task = Task(make, StateStore())
    with pytest.raises(NenoaError) as caught:
        task.attempt()
    assert_kept(said(caught.value))


@pytest.mark.parametrize("make", [agent, workflow])
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_run_that_fails(
    world: Emulator, said: Callable[..., str], make: Callable[..., Any], deferrable: bool
) -> None:
    world.control.settings(agent={"outcome": "failed"}, workflow={"outcome": "failed"})
    with pytest.raises(NenoaError) as caught:
        Task(lambda: make(deferrable=deferrable), StateStore()).attempt()
    assert_kept(said(caught.value))


def test_a_receiver_that_refuses(
    world: Emulator, said: Callable[..., str], connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect("nenai", world.nenai_url, "changed", extra={"webhook_secret": WEBHOOK_SECRET})
    with pytest.raises(NenoaError, match="refused the webhook_secret") as caught:
        Task(lambda: workflow(nenai_conn_id="changed"), StateStore()).attempt()
    monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", "http://127.0.0.1:1/nenoa")
    with pytest.raises(NenoaError, match="No answer from the webhook receiver") as unanswered:
        Task(workflow, StateStore()).attempt()
    assert_kept(said(caught.value, unanswered.value))


@pytest.mark.parametrize("deferrable", [False, True])
def test_sensors(world: Emulator, said: Callable[..., str], deferrable: bool) -> None:
    run = OpenAnalystHook("my_openanalyst").run_agent("a", "t", webhook_url=callback_url("my_openanalyst", "ref"))
    options: dict[str, Any] = {"task_id": "t", "poke_interval": 0.05, "timeout": 10, "deferrable": deferrable}
    sensor = OpenAnalystAgentRunSensor(run_id=run.run_id, openanalyst_conn_id="my_openanalyst", **options)
    assert Task(lambda: sensor).attempt()["status"] == "completed"
    message_id = Task(lambda: workflow(wait_for_completion=False), StateStore()).attempt()
    sensor = NenAIWorkflowRunSensor(message_id=message_id, nenai_conn_id="my_nenai", **options)
    assets = Task(lambda: sensor).attempt()["result"]["assets"]
    assert_kept(said(sensor), assets)


@pytest.mark.parametrize("hook", [NenAIHook("my_nenai"), OpenAnalystHook("my_openanalyst")])
def test_objects(world: Emulator, said: Callable[..., str], hook: VendorHook) -> None:
    run = (
        hook.start_run(WORKFLOW, secure_workflow_params=None)
        if isinstance(hook, NenAIHook)
        else hook.run_agent("a", "t")  # type: ignore[attr-defined]
    )
    client = ReceiverClient(hook.conn_id, WEBHOOK_SECRET)
    shown = [hook, hook.settings, hook.api, hook.api.auth, hook.get_conn(), run, client, client.events()]
    assert_kept(said(*shown, hook.test_connection()))  # type: ignore[attr-defined]


def test_a_payload_is_not_shown() -> None:
    ended = Ended("r", "success", True, Run("r", "success", {"url": "https://bucket.test/?signature=s"}))
    assert "signature" not in f"{ended!r} {ended}"
