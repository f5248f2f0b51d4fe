from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidConnection, ReceiverUnavailable
from airflow_provider_nenoa.runs import RunStatus, status_of
from airflow_provider_nenoa.triggers.events import CURSOR, RunEventTrigger
from airflow_provider_nenoa.triggers.stream import follow
from airflow_provider_nenoa.waiting import channel
from airflow_provider_nenoa.webhooks import client
from airflow_provider_nenoa.webhooks.records import Events, RunSummary
from tests.unit.conftest import WEBHOOK_SECRET, Logged

try:
    from airflow.triggers.shared_stream import SharedStreamManager
except ImportError:  # Airflow 3.0 to 3.2
    SharedStreamManager = None  # type: ignore[assignment,misc]


WORKFLOW = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff"


class Receiver:
    """Answers the long poll of the trigger's threads."""

    def __init__(self) -> None:
        self.log: list[RunSummary] = []
        self.trouble: list[Exception] = []
        self.opened: list[tuple[str, str]] = []
        self.bodies: dict[int, Any] = {}
        self.waits = 0
        self._changed = threading.Condition()

    def __call__(self, conn_id: str, secret: str, **kwargs: Any) -> Receiver:
        self.opened.append((conn_id, secret))
        return self

    def deliver(self, run_id: str | None, word: str, **named: Any) -> None:
        with self._changed:
            status = status_of(word) or RunStatus.RUNNING
            self.log.append(RunSummary(run_id, None, status, word, len(self.log) + 1, 1, 0.0, **named))
            self._changed.notify_all()

    def events(self, after: int | None = None, wait: float = 0.0) -> Events:
        if self.trouble:
            raise self.trouble.pop(0)
        with self._changed:
            if after is None:
                return Events(len(self.log), [], more=False)
            self.waits += 1
            self._changed.wait_for(lambda: len(self.log) > after, min(wait, 0.05))
            return Events(len(self.log), self.log[after:], more=False)

    def event(self, number: int) -> SimpleNamespace | None:
        return SimpleNamespace(payload=body) if (body := self.bodies[number]) is not None else None


class State(dict[str, Any]):
    """The state store of an asset."""

    async def aget(self, key: str) -> Any:
        return self.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self[key] = value


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, connect: Callable[..., str]) -> Receiver:
    connect("openanalyst", extra={"webhook_secret": WEBHOOK_SECRET})
    receiver = Receiver()
    monkeypatch.setattr(client, "ReceiverClient", receiver)
    monkeypatch.setattr(channel, "back_off", lambda failures: asyncio.sleep(0.01))
    monkeypatch.setattr(channel, "LISTEN_INTERVAL", 0.05)
    return receiver


async def first(events: AsyncIterator[Any], count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        return [json.loads(json.dumps((await anext(events)).payload)) for _ in range(count)]


async def started(receiver: Receiver, events: AsyncIterator[Any]) -> asyncio.Future[Any]:
    """Let the trigger run until it has seen where the stream of events ends, and waits for more."""
    waits = receiver.waits
    coming = asyncio.ensure_future(first(events, 1))
    async with asyncio.timeout(10):
        while receiver.waits == waits:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return coming


async def test_it_fires_for_each_end_from_now_on(receiver: Receiver) -> None:
    receiver.deliver("before", "completed")
    events = RunEventTrigger("my_openanalyst").run()
    coming = await started(receiver, events)
    for run_id, word in (("a", "processing"), ("b", "failed"), ("c", "Completed"), ("a", "success")):
        receiver.deliver(run_id, word)
    names = {"kind": None, "event": None, "id": 0}
    assert await coming == [
        {"conn_id": "my_openanalyst", "run_id": "c", "status": "success", "word": "Completed", **names}
    ]
    assert (await first(events, 1))[0]["run_id"] == "a"
    assert receiver.opened == [("my_openanalyst", WEBHOOK_SECRET)]
    await events.aclose()


async def test_long_polls_that_are_cut_short_are_no_storm(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a proxy that does not pass on how long to wait."""
    monkeypatch.setattr(channel, "LISTEN_INTERVAL", 60.0)
    asked: list[float] = []
    monkeypatch.setattr(
        receiver, "events", lambda after=None, wait=0.0: asked.append(wait) or Events(7, [], more=False)
    )
    pages = follow("my_openanalyst")
    assert (await anext(pages)).cursor == (await anext(pages)).cursor == 7
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await anext(pages)
    assert len(asked) == 2


async def test_it_fires_for_the_ends_that_were_asked_for(receiver: Receiver) -> None:
    events = RunEventTrigger("my_openanalyst", ["failed", "cancelled"]).run()
    coming = await started(receiver, events)
    for run_id, word in (("a", "success"), ("b", "error"), ("c", "canceled")):
        receiver.deliver(run_id, word)
    assert [event["status"] for event in [*await coming, *await first(events, 1)]] == ["failed", "cancelled"]
    await events.aclose()


async def test_it_fires_for_events_by_their_names(receiver: Receiver) -> None:
    events = RunEventTrigger("my_openanalyst", events=["alert_triggered", "export.ready"]).run()
    coming = await started(receiver, events)
    receiver.deliver("a", "success")
    receiver.deliver(None, "completed", event="report.completed")
    receiver.deliver(None, "", event="alert_triggered", id=7)
    receiver.deliver("e", "ready", event="export.ready", kind="export")
    alert, export = [*await coming, *await first(events, 1)]
    assert (alert["run_id"], alert["event"], alert["id"], alert["status"]) == (None, "alert_triggered", 7, "running")
    assert (export["run_id"], export["kind"], export["status"]) == ("e", "export", "success")
    await events.aclose()


async def test_an_event_that_is_about_no_run_is_no_end_of_one(receiver: Receiver) -> None:
    events = RunEventTrigger("my_openanalyst").run()
    coming = await started(receiver, events)
    receiver.deliver(None, "completed", event="report.completed")
    receiver.deliver("a", "success")
    assert (await coming)[0]["run_id"] == "a"
    await events.aclose()


async def test_an_end_fires_also_where_nobody_has_said_of_which_run(receiver: Receiver) -> None:
    """NenAI's form 2 has no id, and the address that it was given at a desk has no ``ref``."""
    events = RunEventTrigger("my_openanalyst").run()
    coming = await started(receiver, events)
    receiver.deliver(None, "", kind="workflow")
    receiver.deliver(None, "success", kind="workflow")
    (end,) = await coming
    assert (end["run_id"], end["kind"], end["status"]) == (None, "workflow", "success")
    await events.aclose()


@pytest.mark.parametrize("events", ["alert_triggered", [""], [7]])
def test_events_that_make_no_sense(events: Any) -> None:
    with pytest.raises(InvalidArgument, match="'events' must be a list of names"):
        RunEventTrigger("c", events=events)


async def test_what_ended_while_no_triggerer_ran_fires_later(receiver: Receiver) -> None:
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
    assert (await coming)[0]["conn_id"] == "later"
    assert logged.text.count("Connection 'later' could not be read") == 1
    await events.aclose()


@pytest.mark.parametrize(
    ("conn_type", "extra", "message"),
    [
        ("http", {"webhook_secret": "s"}, "is of type 'http', not nenai or openanalyst"),
        ("nenai", {}, "has no 'webhook_secret', or a key for which none are sent, .*: no webhook can tell an end"),
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
    trigger = RunEventTrigger("c", ("failed",), ("alert_triggered",))
    class_path, arguments = json.loads(json.dumps(trigger.serialize()))
    module, _, name = class_path.rpartition(".")
    again = getattr(import_module(module), name)(**arguments)
    assert again.serialize() == trigger.serialize()


# --- which events


async def test_events_of_one_workflow_or_agent_and_of_one_kind(receiver: Receiver) -> None:
    for number, (kind, payload) in enumerate(
        [
            ("agent", {"agent_id": "b"}),
            ("query", {"agent_id": "a"}),
            ("agent", {"data": {"agentId": "a"}}),
            ("agent", {"agent_id": "a"}),
        ]
    ):
        receiver.deliver(f"r{number}", "success", id=number, kind=kind)
        receiver.bodies[number] = payload
    trigger = RunEventTrigger("my_openanalyst", kinds=["agent"], agent_id="a")
    trigger.asset_state_store = State({CURSOR: 0})  # type: ignore[assignment]
    events = trigger.run()
    assert [event["run_id"] for event in await first(events, 2)] == ["r2", "r3"]
    await events.aclose()
    events = RunEventTrigger("my_openanalyst", workflow_id="w").run()
    coming = await started(receiver, events)
    for number, body in ((10, "not an object"), (11, {"workflow_id": 5}), (12, None), (13, {"workflow_id": "w"})):
        receiver.bodies[number] = body
        receiver.deliver(f"r{number}", "success", id=number)
    assert (await coming)[0]["run_id"] == "r13"
    await events.aclose()


@pytest.mark.parametrize(
    "given", [" 6F9619FF-8B86-4D01-B42D-00CF4FC964FF\n", UUID("6f9619ff-8b86-4d01-b42d-00cf4fc964ff")]
)
@pytest.mark.parametrize("written", [str.lower, str.upper])
async def test_a_workflow_is_the_same_however_its_id_is_written(
    receiver: Receiver, given: Any, written: Callable[[str], str]
) -> None:
    _, arguments = RunEventTrigger("my_openanalyst", workflow_id=given).serialize()
    events = RunEventTrigger(**json.loads(json.dumps(arguments))).run()
    coming = await started(receiver, events)
    receiver.bodies[1] = {"workflow_id": written(WORKFLOW)}
    receiver.deliver("r1", "success", id=1)
    assert (await coming)[0]["run_id"] == "r1"
    await events.aclose()


@pytest.mark.parametrize("name", ["workflow_id", "agent_id"])
@pytest.mark.parametrize("given", ["", " ", True, ["a"]])
def test_an_id_that_is_none_is_refused(name: str, given: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"'{name}' must be a non-empty string"):
        RunEventTrigger("my_openanalyst", **{name: given})


async def test_bodies_that_do_not_name_what_is_asked_for_are_told_once(receiver: Receiver, logged: Logged) -> None:
    events = RunEventTrigger("my_openanalyst", agent_id="a").run()
    coming = await started(receiver, events)
    bodies: list[Any] = [{"agent_id": "b"}, {"run_id": "r1", "agent_id": None}, {"run_id": "r2"}, {"agent_id": "a"}]
    for number, body in enumerate(bodies):
        receiver.bodies[number] = body
        receiver.deliver(f"r{number}", "success", id=number)
    assert (await coming)[0]["run_id"] == "r3"
    assert logged.text.count("has no agent_id in its body") == 1
    assert "Event 1 of connection 'my_openanalyst'" in logged.text
    await events.aclose()


@pytest.mark.parametrize("kinds", ["agent", ["agents"], [None]])
def test_kinds_that_make_no_sense(kinds: Any) -> None:
    with pytest.raises(InvalidArgument, match="'kinds' must be some of workflow, agent, query, export"):
        RunEventTrigger("c", kinds=kinds)


# --- the stream that all watchers of a connection share


class Triggerer:
    """Does what Airflow's triggerer does with watchers, with Airflow's own shared streams."""

    def __init__(self) -> None:
        self.streams = SharedStreamManager()
        self.unsaved: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    def watch(self, trigger: RunEventTrigger, into: list[str]) -> None:
        number, key = len(self.tasks) + 1, trigger.shared_stream_key()

        async def run() -> None:
            stream = self.streams.subscribe(trigger_id=number, trigger=trigger, key=key)
            async for event in trigger.filter_shared_stream(stream):
                sequence = self.streams.bind_pending_event(trigger_id=number, key=key)
                assert sequence is not None
                self.unsaved.append(sequence)
                into.append(event.payload["run_id"])

        self.tasks.append(asyncio.create_task(run()))

    def save(self) -> None:
        """Confirm that all events are in the database."""
        self.streams.confirm_persisted(self.unsaved)
        self.unsaved.clear()

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.streams.stop_all()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def watcher(state: State, **options: Any) -> RunEventTrigger:
    trigger = RunEventTrigger("my_openanalyst", **options)
    trigger.asset_state_store = state  # type: ignore[assignment]
    return trigger


@pytest.mark.needs("shared_streams")
async def test_watchers_share_one_stream_and_nothing_is_lost_when_the_triggerer_dies(receiver: Receiver) -> None:
    good, bad = State(), State()
    all_good: list[str] = []
    all_bad: list[str] = []
    first_life = Triggerer()
    first_life.watch(watcher(good), all_good)
    first_life.watch(watcher(bad, statuses=["failed"]), all_bad)
    await until(lambda: good == bad == {CURSOR: 0})
    receiver.deliver("a", "success")
    receiver.deliver("b", "failed")
    await until(lambda: all_good == ["a"] and all_bad == ["b"])
    await asyncio.sleep(0.2)
    assert good == bad == {CURSOR: 0}, "an event that may not be in the database yet must not be behind the cursor"
    first_life.save()
    await until(lambda: good == bad == {CURSOR: 2})
    assert len(receiver.opened) == 1, "one long poll for both"
    receiver.deliver("c", "success")
    await until(lambda: all_good == ["a", "c"])
    await first_life.kill()  # before it has stored c
    receiver.deliver("d", "success")
    receiver.deliver("e", "failed")
    second_life = Triggerer()
    second_life.watch(watcher(good), all_good)
    second_life.watch(watcher(bad, statuses=["failed"]), all_bad)
    await until(lambda: len(all_good) == 4 and len(all_bad) == 2)
    assert (all_good, all_bad) == (["a", "c", "c", "d"], ["b", "e"]), "c was on its way: twice is better than never"
    second_life.save()
    await until(lambda: good == bad == {CURSOR: 5})
    await second_life.kill()
    third_life = Triggerer()
    third_life.watch(watcher(good), all_good)
    receiver.deliver("f", "success")
    await until(lambda: all_good[4:] == ["f"])
    await third_life.kill()


@pytest.mark.needs("shared_streams")
async def test_who_comes_later_gets_what_he_has_missed_though_the_receiver_stumbles(receiver: Receiver) -> None:
    early: list[str] = []
    late: list[str] = []
    triggerer = Triggerer()
    triggerer.watch(watcher(State({CURSOR: 0})), early)
    for number in range(5):
        receiver.deliver(f"r{number}", "success")
    await until(lambda: len(early) == 5)
    receiver.trouble = [ReceiverUnavailable("the receiver is down.")] * 4
    triggerer.watch(watcher(State({CURSOR: 2})), late)
    receiver.deliver("r5", "success")
    await until(lambda: len(early) == 6 and len(late) == 4)
    assert late == ["r2", "r3", "r4", "r5"]
    await triggerer.kill()


async def test_another_database_behind_the_receiver_is_read_from_its_beginning(receiver: Receiver) -> None:
    receiver.deliver("new", "success")
    trigger = watcher(State({CURSOR: 900}))
    events = trigger.run()
    assert (await first(events, 1))[0]["run_id"] == "new"
    await events.aclose()
