"""What is learnt of how long runs take, and what it is good for."""

from __future__ import annotations

import asyncio
import time

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.pacing.pace import (
    LONGEST_INTERVAL,
    LONGEST_SURE_INTERVAL,
    REMEMBERED,
    SAFETY_INTERVAL,
    Durations,
    interval,
)
from airflow_provider_nenoa.waiting.hub import Hub
from airflow_provider_nenoa.waiting.kinds import RunKey
from tests.support import virtual_time
from tests.support.fake_vendor import FakeReceiver, FakeVendor, new_hub, vendors

HOUR = 3600.0
SECONDS = st.floats(0, 1e6)


def durations(*known: float) -> Durations:
    learnt = Durations()
    for seconds in known:
        learnt.learn(seconds)
    return learnt


@given(st.lists(SECONDS, max_size=40), SECONDS, st.floats(0.1, 1e4), st.floats(0, 1))
def test_an_interval_keeps_to_its_bounds(known: list[float], age: float, shortest: float, spare: float) -> None:
    seconds = durations(*known).interval(age, shortest, spare)

    assert shortest <= seconds <= max(shortest, LONGEST_INTERVAL, 2 * LONGEST_SURE_INTERVAL)


@given(SECONDS, st.floats(0.1, 1e4))
def test_without_knowledge_the_age_decides(age: float, shortest: float) -> None:
    assert Durations().interval(age, max(shortest, 60)) == interval(age, max(shortest, 60))


def test_few_polls_before_the_likely_end_and_many_around_it() -> None:
    known = durations(*[HOUR + 10 * number for number in range(-16, 16)])

    assert known.interval(HOUR / 2, 15) == LONGEST_SURE_INTERVAL
    assert known.interval(HOUR - 180, 15) < 60
    assert known.interval(HOUR, 15) == 36


def test_a_low_budget_saves_the_polls_that_are_likely_in_vain() -> None:
    known = durations(*[HOUR] * 8)

    assert known.interval(HOUR / 4, 15, spare=0.0) == 2 * LONGEST_SURE_INTERVAL
    assert known.interval(HOUR - 100, 15, spare=0.0) == 100, "straight to the likely end"
    assert known.interval(HOUR - 100, 15, spare=1.0) == 35
    assert known.interval(HOUR, 15, spare=0.0) == known.interval(HOUR, 15)


def test_a_run_that_outlasts_the_others_is_treated_like_a_new_one() -> None:
    known = durations(*[HOUR] * 8)

    assert known.interval(HOUR + 10, 15) == 36.1
    assert known.interval(HOUR + 200, 15) == 100
    assert known.interval(2 * HOUR, 15) == LONGEST_INTERVAL


def test_one_long_run_among_many_short_ones_does_not_put_off_the_polls() -> None:
    assert durations(*[60.0] * 31, HOUR).interval(70, 15) == 15


def test_what_is_old_is_forgotten() -> None:
    known = durations(*[HOUR] * 100, *[60.0] * REMEMBERED)

    assert known.interval(50, 5) == 5


def wait_for_told_runs(seconds: list[float]) -> list[int]:
    """Wait for runs whose ends webhooks tell, one after the other; return how often the vendor was asked about each."""
    polls: list[int] = []

    async def wait(hub: Hub, receiver: FakeReceiver, run_id: str, seconds: float) -> None:
        key = RunKey("c", "agent", run_id)
        deadline = float("inf")
        waiting = asyncio.ensure_future(
            hub.wait(key, deadline=deadline, poll_interval=15.0, started_at=time.time(), told=True)
        )
        await asyncio.sleep(seconds)
        receiver.deliver(run_id, "completed")
        await waiting

    async def main() -> None:
        hub, receiver = new_hub(), FakeReceiver()
        vendor = FakeVendor({f"run-{number}": ["running"] for number in range(len(seconds))})
        with vendors(vendor, receiver):
            for number, each in enumerate(seconds):
                asked = len(vendor.polls)
                await wait(hub, receiver, f"run-{number}", each)
                polls.append(len(vendor.polls) - asked)
        await asyncio.gather(*hub._closing)

    virtual_time.run(main)
    return polls


def test_a_told_run_of_known_length_costs_no_safety_poll() -> None:
    assert wait_for_told_runs([HOUR - 1, HOUR, HOUR + 500]) == [5, 0, 0]


def test_a_told_run_that_takes_longer_than_the_others_is_asked_about_for_safety() -> None:
    (_, polls) = wait_for_told_runs([60, HOUR])

    assert polls == (HOUR - 60) // SAFETY_INTERVAL
