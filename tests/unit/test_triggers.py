from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidConnection, NotFound
from airflow_provider_nenoa.triggers.base import SETTLE, RunTrigger
from airflow_provider_nenoa.triggers.nenai import NenAIWorkflowRunTrigger
from airflow_provider_nenoa.triggers.openanalyst import (
    OpenAnalystAgentRunTrigger,
    OpenAnalystExportTrigger,
    OpenAnalystQueryTrigger,
)
from airflow_provider_nenoa.waiting.hub import Hub
from airflow_provider_nenoa.waiting.kinds import KINDS
from tests.support import virtual_time
from tests.support.fake_vendor import FakeReceiver, FakeVendor, new_hub, vendors
from tests.unit.conftest import Logged

TRIGGERS: list[type[RunTrigger]] = [
    NenAIWorkflowRunTrigger,
    OpenAnalystAgentRunTrigger,
    OpenAnalystExportTrigger,
    OpenAnalystQueryTrigger,
]
NAMES = {
    NenAIWorkflowRunTrigger: ("message_id", "nenai_conn_id", "nenai_default", "workflow"),
    OpenAnalystAgentRunTrigger: ("run_id", "openanalyst_conn_id", "openanalyst_default", "agent"),
    OpenAnalystExportTrigger: ("export_id", "openanalyst_conn_id", "openanalyst_default", "export"),
    OpenAnalystQueryTrigger: ("query_id", "openanalyst_conn_id", "openanalyst_default", "query"),
}
TIMES = st.floats(0, 1e10)


@pytest.fixture(params=TRIGGERS, ids=lambda trigger: trigger.__name__)
def trigger_class(request: pytest.FixtureRequest) -> Any:
    return request.param


@given(
    trigger_class=st.sampled_from(TRIGGERS),
    run_id=st.text(min_size=1),
    conn_id=st.text(min_size=1),
    options=st.fixed_dictionaries(
        {},
        optional={
            "poll_interval": st.floats(0.001, 1e6),
            "deadline": st.none() | TIMES,
            "started_at": st.none() | TIMES,
            "told": st.booleans(),
            "ref": st.none() | st.text(),
            "end_from_trigger": st.booleans(),
        },
    ),
)
def test_another_triggerer_goes_on_with_the_same(
    trigger_class: Any, run_id: str, conn_id: str, options: dict[str, Any]
) -> None:
    trigger = trigger_class(run_id, conn_id, **options)
    class_path, arguments = json.loads(json.dumps(trigger.serialize()))
    module, _, name = class_path.rpartition(".")
    again = getattr(import_module(module), name)(**arguments)
    assert type(again) is trigger_class
    assert again.serialize() == trigger.serialize()
    for attribute in ("run_id", "conn_id", *options):
        assert getattr(again, attribute) == getattr(trigger, attribute)


def test_names_are_the_vendors(trigger_class: Any) -> None:
    id_name, conn_name, default, kind = NAMES[trigger_class]
    trigger = trigger_class(**{id_name: "r"})
    assert (trigger.run_id, trigger.conn_id) == ("r", default)
    assert trigger.serialize()[1][id_name] == "r"
    assert trigger.serialize()[1][conn_name] == default
    assert trigger.kind == kind
    assert kind in KINDS


@pytest.mark.parametrize("run_id", ["", None])
def test_no_run(trigger_class: Any, run_id: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"'{NAMES[trigger_class][0]}' is empty"):
        trigger_class(run_id)
    assert trigger_class(run_id, ref="ref").ref == "ref"


@pytest.mark.parametrize("poll_interval", [0, -1.0])
def test_an_interval_that_makes_no_sense(trigger_class: Any, poll_interval: float) -> None:
    with pytest.raises(InvalidArgument, match="'poll_interval' must be more than 0 seconds"):
        trigger_class("r", poll_interval=poll_interval)


# Firing


def run(main: Callable[[], Awaitable[Any]]) -> None:
    async def watched() -> None:
        hub = Hub._of_loop[asyncio.get_running_loop()] = new_hub()
        await main()
        assert hub._channels == {}
        await asyncio.gather(*hub._closing)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual_time.run(watched)


async def fire(trigger: RunTrigger) -> dict[str, Any]:
    """Run a trigger as a triggerer does, and return the payload of its only event."""
    events = [event async for event in trigger.run()]
    assert len(events) == 1
    return json.loads(json.dumps(events[0].payload))


def test_it_fires_when_a_webhook_tells_of_the_end() -> None:
    async def main() -> None:
        receiver = FakeReceiver()
        with vendors(FakeVendor(can_be_polled=False), receiver):
            firing = asyncio.ensure_future(fire(OpenAnalystAgentRunTrigger("r", told=True, started_at=1.0, ref="ref")))
            await asyncio.sleep(100)
            receiver.deliver("r", "completed")
            assert await firing == {
                "run_id": "r",
                "word": "completed",
                "by_webhook": True,
                "ref": "ref",
                "told": True,
                "started_at": 1.0,
            }

    run(main)


def test_it_fires_when_a_poll_finds_the_end() -> None:
    async def main() -> None:
        with vendors(FakeVendor({"r": ["running", "failed"]})):
            began = time.time()
            event = await fire(OpenAnalystQueryTrigger("r"))
        assert (event["run_id"], event["word"], event["by_webhook"]) == ("r", "failed", False)
        assert (event["told"], event["ref"]) == (False, None)
        assert event["started_at"] == began

    run(main)


def test_it_finds_a_run_by_its_ref() -> None:
    async def main() -> None:
        receiver = FakeReceiver()
        receiver.deliver("found", "processing", "ref")
        with vendors(FakeVendor(can_be_polled=False), receiver):
            event = await fire(OpenAnalystAgentRunTrigger(None, told=True, ref="ref"))
        assert (event["run_id"], event["word"], event["ref"]) == ("found", "processing", "ref")

    run(main)


@pytest.mark.parametrize(("answers", "word"), [(["running"], "running"), (["simmering"], "simmering")])
def test_it_gives_up_at_its_deadline(answers: list[Any], word: str) -> None:
    async def main() -> None:
        with vendors(FakeVendor({"r": answers})):
            deadline = time.time() + 500
            event = await fire(OpenAnalystAgentRunTrigger("r", deadline=deadline))
            assert time.time() == pytest.approx(deadline, abs=1)
        assert event["timeout"] == word
        assert "word" not in event

    run(main)


@pytest.mark.parametrize(
    ("vendor", "message", "not_found"),
    [
        (FakeVendor(), "no run r", True),
        (FakeVendor(can_be_polled=False), "has neither a 'webhook_secret'", False),
        (FakeVendor(unreadable=lambda opened: InvalidConnection("no key")), "no key", False),
    ],
)
def test_it_tells_of_an_error(vendor: FakeVendor, message: str, not_found: bool) -> None:
    async def main() -> None:
        with vendors(vendor):
            event = await fire(OpenAnalystAgentRunTrigger("r"))
        assert message in event["error"]
        assert event["permanent"] is True
        assert event["not_found"] is not_found

    run(main)


def test_an_error_that_may_pass_is_not_permanent() -> None:
    from airflow_provider_nenoa.exceptions import ConnectionUnreadable

    async def main() -> None:
        with vendors(FakeVendor(unreadable=lambda opened: ConnectionUnreadable("gone"))):
            assert (await fire(OpenAnalystAgentRunTrigger("r")))["permanent"] is False

    run(main)


def test_a_bug_is_not_swallowed() -> None:
    async def main() -> None:
        with vendors(FakeVendor({"r": [RuntimeError("a bug")]})), pytest.raises(RuntimeError, match="a bug"):
            await fire(OpenAnalystAgentRunTrigger("r"))

    run(main)


def test_without_a_triggerer_there_is_no_scheduler_to_wait_for() -> None:
    async def main() -> None:
        with vendors(FakeVendor({"r": ["completed"]})):
            began = time.time()
            await fire(OpenAnalystAgentRunTrigger("r", poll_interval=0.1))
            assert time.time() - began == pytest.approx(0.1)

    run(main)


@pytest.mark.parametrize("answer", ["completed", NotFound("404")])
def test_it_lives_long_enough_for_the_scheduler_to_see_the_deferral(answer: Any) -> None:
    async def main() -> None:
        with vendors(FakeVendor({"r": [answer]})):
            for poll_interval, seconds in ((0.1, SETTLE), (SETTLE * 2, SETTLE * 2)):
                began = time.time()
                trigger = OpenAnalystAgentRunTrigger("r", poll_interval=poll_interval)
                trigger.trigger_id = 7  # what a triggerer sets
                await fire(trigger)
                assert time.time() - began == pytest.approx(seconds)

    run(main)


def test_a_trigger_that_is_cancelled_leaves_nothing_behind() -> None:
    async def main() -> None:
        with vendors(FakeVendor({"r": ["running"]}), FakeReceiver()):
            firing = asyncio.ensure_future(fire(OpenAnalystAgentRunTrigger("r", told=True)))
            await asyncio.sleep(10)
            firing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await firing

    run(main)


def test_many_triggers_are_one_long_poll() -> None:
    async def main() -> None:
        receiver, vendor = FakeReceiver(), FakeVendor()
        with vendors(vendor, receiver):
            firing = [
                asyncio.ensure_future(fire(OpenAnalystAgentRunTrigger(f"r{number}", told=True)))
                for number in range(500)
            ]
            await asyncio.sleep(100)
            assert receiver.calls.count("events") <= 7
            for number in range(500):
                receiver.deliver(f"r{number}", "completed")
            assert len(await asyncio.gather(*firing)) == 500
        assert vendor.polls == []

    run(main)


# What it says


def test_each_new_status_is_told_once(logged: Logged) -> None:
    async def main() -> None:
        with vendors(FakeVendor({"r": ["running", "running", "simmering", "simmering", "completed"]})):
            await fire(OpenAnalystAgentRunTrigger("r"))

    run(main)
    assert logged.text.count("The status of agent run r is 'running'.") == 1
    assert logged.text.count("The status of agent run r is 'simmering', which is no word we know.") == 1
    assert logged.text.count("The status of agent run r is 'completed'.") == 1


async def test_when_it_is_killed_the_run_goes_on(logged: Logged) -> None:
    await OpenAnalystAgentRunTrigger("r").on_kill()
    await OpenAnalystAgentRunTrigger(None, ref="ref").on_kill()
    await NenAIWorkflowRunTrigger("m").on_kill()
    assert "The task was ended, but agent run r goes on." in logged.text
    assert "agent run (id unknown) goes on." in logged.text
    assert "workflow run m (https://app.getnen.ai/runs/m) goes on." in logged.text
