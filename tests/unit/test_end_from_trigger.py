"""Sensors that the triggerer ends: those whose runs have succeeded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_nenoa.exceptions import InvalidArgument, RunFailed
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.sensors.base import RunSensor
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystAgentRunSensor, OpenAnalystQuerySensor
from airflow_provider_nenoa.triggers.kinds import trigger_of
from tests.support.fake_vendor import FakeReceiver, FakeVendor, vendors
from tests.unit.test_triggers import run


def fired(word: str, kind: str = "agent", *, in_triggerer: bool = True, **options: Any) -> TriggerEvent:
    """The event of a trigger that is told that its run has ended."""
    events: list[TriggerEvent] = []

    async def main() -> None:
        receiver = FakeReceiver()
        with vendors(FakeVendor(can_be_polled=False), receiver):
            trigger = trigger_of(kind, "r", "c", told=True, **options)
            trigger.trigger_id = 1 if in_triggerer else None

            async def fire() -> None:
                events.extend([event async for event in trigger.run()])

            firing = asyncio.ensure_future(fire())
            await asyncio.sleep(100)
            receiver.deliver("r", word)
            await firing

    run(main)
    (event,) = events
    return event


@pytest.mark.parametrize("sensor_class", [OpenAnalystAgentRunSensor, OpenAnalystQuerySensor])
def test_a_run_that_succeeded_ends_the_task(sensor_class: type[RunSensor]) -> None:
    event = fired("completed", sensor_class.kind_name, end_from_trigger=True)
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms is None  # which Airflow would store as text


@pytest.mark.parametrize(
    ("word", "options"),
    [
        ("failed", {"end_from_trigger": True}),
        ("cancelled", {"end_from_trigger": True}),
        ("completed", {}),
        ("completed", {"end_from_trigger": True, "in_triggerer": False}),  # dag.test() has no use for such an event
    ],
)
def test_a_worker_ends_all_others(word: str, options: dict[str, Any]) -> None:
    event = fired(word, **options)
    assert type(event) is TriggerEvent
    assert event.payload["word"] == word


def test_the_worker_of_a_failed_run_tells_the_vendors_words(monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = OpenAnalystAgentRunSensor(task_id="t", run_id="r", end_from_trigger=True)
    event = fired("failed", **sensor._trigger_options())
    monkeypatch.setattr(
        "airflow_provider_nenoa.waiting.asking.read",
        lambda *_: Run("r", "failed", {"run_id": "r", "status": "failed", "error": "The agent lost its way"}),
    )
    monkeypatch.setattr("airflow_provider_nenoa.waiting.asking.last_words", lambda *_: None)
    with pytest.raises(RunFailed, match="The agent lost its way"):
        sensor.execute_complete({}, event.payload)  # type: ignore[typeddict-item]


def test_the_result_is_the_same_whoever_ends_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    payload = {"run_id": "r", "status": "completed", "result": {"answer": "much"}}
    monkeypatch.setattr("airflow_provider_nenoa.waiting.asking.read", lambda *_: Run("r", "completed", payload))
    event = {"run_id": "r", "word": "completed", "by_webhook": True}
    sensor = OpenAnalystAgentRunSensor(task_id="t", run_id="r", end_from_trigger=True)
    assert sensor.execute_complete({}, event) is None  # type: ignore[typeddict-item]
    sensor = OpenAnalystAgentRunSensor(task_id="t", run_id="r", deferrable=True)
    assert sensor.execute_complete({}, event)["result"] == payload  # type: ignore[typeddict-item]


def test_it_is_opt_in_deferrable_and_makes_no_events() -> None:
    assert OpenAnalystAgentRunSensor(task_id="t", run_id="r", end_from_trigger=True).deferrable
    assert not OpenAnalystAgentRunSensor(task_id="t", run_id="r", deferrable=True).end_from_trigger
    with pytest.raises(InvalidArgument, match="'end_from_trigger' is for a deferrable sensor"):
        OpenAnalystAgentRunSensor(task_id="t", run_id="r", deferrable=False, end_from_trigger=True)
    with pytest.raises(InvalidArgument, match="without 'outlets'"):
        OpenAnalystAgentRunSensor(task_id="t", run_id="r", end_from_trigger=True, outlets=[Asset("a")])


def test_it_reaches_the_trigger() -> None:
    sensor = OpenAnalystAgentRunSensor(task_id="t", run_id="r", end_from_trigger=True, start_from_trigger=True)
    assert sensor.make_trigger(**sensor._trigger_options()).serialize()[1]["end_from_trigger"] is True
    if sensor.start_trigger_args is not None:  # Airflow 3.3 and later
        assert (sensor.start_trigger_args.trigger_kwargs or {})["end_from_trigger"] is True
