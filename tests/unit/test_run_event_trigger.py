from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

import pytest

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidConnection, ReceiverUnavailable
from airflow_provider_nenoa.runs import status_of
from airflow_provider_nenoa.triggers.events import CURSOR, RunEventTrigger
from airflow_provider_nenoa.waiting import hub
from airflow_provider_nenoa.webhooks import client
from airflow_provider_nenoa.webhooks.records import Events, RunSummary
from tests.unit.conftest import WEBHOOK_SECRET, Logged


class Receiver:
    """Answers the long poll of the trigger's threads."""

    def __init__(self) -> None:
        self.log: list[RunSummary] = []
        self.trouble: list[Exception] = []
        self.opened: list[tuple[str, str]] = []
        self._changed = threading.Condition()

    def __call__(self, conn_id: str, secret: str, **kwargs: Any) -> Receiver:
        self.opened.append((conn_id, secret))
        return self

    def deliver(self, run_id: str, word: str) -> None:
        with self._changed:
            status = status_of(word)
            assert status is not None
            self.log.append(RunSummary(run_id, None, status, word, len(self.log) + 1, 1, 0.0))
            self._changed.notify_all()

    def events(self, after: int | None = None, wait: float = 0.0) -> Events:
        if self.trouble:
            raise self.trouble.pop(0)
        with self._changed:
            if after is None:
                return Events(len(self.log), [], more=False)
            self._changed.wait_for(lambda: len(self.log) > after, min(wait, 0.05))
            return Events(len(self.log), self.log[after:], more=False)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, connect: Callable[..., str]) -> Receiver:
    connect("openanalyst", extra={"webhook_secret": WEBHOOK_SECRET})
    receiver = Receiver()
    monkeypatch.setattr(client, "ReceiverClient", receiver)
    monkeypatch.setattr(hub, "back_off", lambda failures: asyncio.sleep(0.01))
    return receiver


async def first(events: AsyncIterator[Any], count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        return [json.loads(json.dumps((await anext(events)).payload)) for _ in range(count)]


async def started(receiver: Receiver, events: AsyncIterator[Any]) -> asyncio.Future[Any]:
    """Let the trigger run until it has seen where the stream of events ends."""
    coming = asyncio.ensure_future(first(events, 1))
    async with asyncio.timeout(10):
        while not receiver.opened:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    return coming


async def test_it_fires_for_each_end_from_now_on(receiver: Receiver) -> None:
    receiver.deliver("before", "completed")
    events = RunEventTrigger("my_openanalyst").run()
    coming = await started(receiver, events)
    for run_id, word in (("a", "processing"), ("b", "failed"), ("c", "Completed"), ("a", "success")):
        receiver.deliver(run_id, word)
    assert await coming == [{"conn_id": "my_openanalyst", "run_id": "c", "status": "success", "word": "Completed"}]
    assert (await first(events, 1))[0]["run_id"] == "a"
    assert receiver.opened == [("my_openanalyst", WEBHOOK_SECRET)]
    await events.aclose()


async def test_it_fires_for_the_ends_that_were_asked_for(receiver: Receiver) -> None:
    events = RunEventTrigger("my_openanalyst", ["failed", "cancelled"]).run()
    coming = await started(receiver, events)
    for run_id, word in (("a", "success"), ("b", "error"), ("c", "canceled")):
        receiver.deliver(run_id, word)
    assert [event["status"] for event in [*await coming, *await first(events, 1)]] == ["failed", "cancelled"]
    await events.aclose()


async def test_what_ended_while_no_triggerer_ran_fires_later(receiver: Receiver) -> None:
    class State(dict[str, Any]):
        async def aget(self, key: str) -> Any:
            return self.get(key)

        async def aset(self, key: str, value: Any) -> None:
            self[key] = value

    state = State({CURSOR: 1})
    receiver.deliver("seen", "success")
    receiver.deliver("missed", "success")
    trigger = RunEventTrigger("my_openanalyst")
    trigger.asset_state_store = state  # type: ignore[attr-defined]
    events = trigger.run()
    assert (await first(events, 1))[0]["run_id"] == "missed"
    assert state == {CURSOR: 1}, "not before the event is on its way: twice is better than never"
    receiver.deliver("next", "success")
    assert (await first(events, 1))[0]["run_id"] == "next"
    assert state == {CURSOR: 2}
    await events.aclose()


async def test_an_outage_is_told_once_and_nothing_is_missed(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    events = RunEventTrigger("my_openanalyst").run()
    coming = await started(receiver, events)
    receiver.trouble = [ReceiverUnavailable("the receiver is down.")] * 3
    receiver.deliver("a", "success")
    assert (await coming)[0]["run_id"] == "a"
    coming = asyncio.ensure_future(first(events, 1))
    await asyncio.sleep(0.1)
    receiver.deliver("b", "success")
    assert (await coming)[0]["run_id"] == "b"
    assert logged.text.count("the receiver is down. Trying on.") == 1
    await events.aclose()


async def test_a_connection_that_cannot_be_read_for_a_while(
    receiver: Receiver, connect: Callable[..., str], logged: Logged
) -> None:
    events = RunEventTrigger("later").run()
    coming = asyncio.ensure_future(first(events, 1))
    await asyncio.sleep(0.1)
    connect("nenai", conn_id="later", extra={"webhook_secret": WEBHOOK_SECRET})
    async with asyncio.timeout(10):
        while not receiver.opened:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    receiver.deliver("a", "success")
    assert (await coming)[0] == {"conn_id": "later", "run_id": "a", "status": "success", "word": "success"}
    assert logged.text.count("Connection 'later' could not be read") == 1
    await events.aclose()


@pytest.mark.parametrize(
    ("conn_type", "extra", "message"),
    [
        ("http", {"webhook_secret": "s"}, "is of type 'http', not nenai or openanalyst"),
        ("nenai", {}, "has no 'webhook_secret': no webhook can tell an end"),
    ],
)
async def test_a_connection_that_cannot_tell(
    receiver: Receiver, connect: Callable[..., str], conn_type: str, extra: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidConnection, match=message):
        await first(RunEventTrigger(connect(conn_type, conn_id="other", extra=extra)).run(), 1)


@pytest.mark.parametrize("statuses", [[], ["running"], ["success", "done"], "success"])
def test_ends_that_make_no_sense(statuses: Any) -> None:
    with pytest.raises(InvalidArgument, match="'statuses' must be some of success, failed, cancelled"):
        RunEventTrigger("c", statuses)


def test_another_triggerer_goes_on_with_the_same() -> None:
    trigger = RunEventTrigger("c", ("failed",))
    class_path, arguments = json.loads(json.dumps(trigger.serialize()))
    module, _, name = class_path.rpartition(".")
    again = getattr(import_module(module), name)(**arguments)
    assert again.serialize() == trigger.serialize()
