"""When a run is asked about first, what is learnt of it, and when the log tells that polls are late."""

from __future__ import annotations

import asyncio
import random
import time
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_nenoa.pacing.budget import Budget
from airflow_provider_nenoa.pacing.pace import Durations
from airflow_provider_nenoa.waiting.channel import Watched
from airflow_provider_nenoa.waiting.kinds import RunKey
from airflow_provider_nenoa.waiting.poll_source import PollSource
from tests.support import virtual_time
from tests.support.fake_vendor import FakeReceiver, FakeVendor, new_hub, vendors


def asked_about(words: list[str], *, age: float, told: bool = False) -> tuple[list[float], bool]:
    """
    Wait for a run of an age, and return after how many seconds the vendor was asked, and whether its length was learnt.

    :param words: How it stands, each time.
    """
    vendor, key, learnt = FakeVendor({"r": words}), RunKey("c", "agent", "r"), False

    async def main() -> None:
        nonlocal learnt
        hub = new_hub()
        with vendors(vendor, FakeReceiver() if told else None):
            started_at = time.time() - age
            await hub.wait(key, deadline=float("inf"), poll_interval=15.0, started_at=started_at, told=told)
        # What takes eleven minutes is overdue only where it is known that such runs are quick.
        learnt = hub.durations(key).is_overdue(660)
        await asyncio.gather(*hub._closing)

    virtual_time.run(main)
    return [round(at - virtual_time.EPOCH, 3) for at in vendor.polled_at], learnt


@pytest.mark.parametrize(("age", "first"), [(0.0, 15.0), (10.0, 5.0), (15.0, 0.0), (1_000.0, 0.0), (-5.0, 15.0)])
def test_a_run_is_asked_about_when_it_is_as_old_as_an_interval(age: float, first: float) -> None:
    assert asked_about(["completed"], age=age) == ([first], False)


@pytest.mark.parametrize(("age", "first"), [(0.0, 600.0), (599.5, 600.0), (600.0, 150.0), (3_000.0, 150.0)])
def test_a_run_that_is_told_of_is_asked_about_in_case_that_its_webhook_is_lost(
    monkeypatch: pytest.MonkeyPatch, age: float, first: float
) -> None:
    """Of those that are not new, not all at the same time."""
    monkeypatch.setattr(random, "random", lambda: 0.25)
    assert asked_about(["completed"], age=age, told=True) == ([first], False)


def test_how_long_a_run_took_is_learnt_if_it_was_seen_to_go_on() -> None:
    assert asked_about(["running", "completed"], age=0.0) == ([15.0, 30.0], True)
    assert asked_about(["queued", "running", "completed"], age=20.0)[1]


def told_at(caplog: pytest.LogCaptureFixture, pauses: list[tuple[float, float]], *, due_in: float = 0.0) -> list[float]:
    """
    Wait for one run, and return when the log told that its poll is late.

    :param pauses: When the vendor says that nothing may be sent for a while, and for how long.
    :param due_in: Seconds after which the run is to be asked about.
    """

    async def main() -> None:
        budget = Budget(None, None)
        channel: Any = SimpleNamespace(conn_id="c", watched={})
        source = PollSource(channel, SimpleNamespace(on_response=None), budget, lambda key: Durations())  # type: ignore[arg-type]
        polling = asyncio.create_task(source.run())
        for at, seconds in pauses:
            await asyncio.sleep(max(0.0, virtual_time.EPOCH + at - time.time()))
            budget.pause(seconds)
            watched = Watched(
                RunKey("c", "agent", f"r{at}"), poll_interval=due_in or 1e-9, started_at=time.time(), told=False
            )
            watched.holders = 1
            source.added(watched)
            await asyncio.sleep(1e-6)
        polling.cancel()

    caplog.clear()
    virtual_time.run(main)
    return [
        round(record.created - virtual_time.EPOCH, 1) for record in caplog.records if "are used up" in record.message
    ]


@pytest.mark.parametrize(("seconds", "lines"), [(59.5, []), (60.5, [0.0])])
def test_a_minute_is_late(caplog: pytest.LogCaptureFixture, seconds: float, lines: list[float]) -> None:
    assert told_at(caplog, [(0, seconds)]) == lines


@pytest.mark.parametrize(("seconds", "lines"), [(3_059.5, []), (3_060.5, [0.0])])
def test_only_what_is_due_is_late(caplog: pytest.LogCaptureFixture, seconds: float, lines: list[float]) -> None:
    assert told_at(caplog, [(0, seconds)], due_in=3_000) == lines


def test_it_is_told_again_after_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    looks = [(at, 10_000.0) for at in (0, 1, 3_599.5, 3_600.5, 7_200, 7_201)]
    assert told_at(caplog, looks) == [0.0, 3_600.5, 7_201.0]
