"""Waiting for hundreds of runs inside a plan's limits, for ten minutes and for a day, in virtual time."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import threading
from collections import deque
from itertools import chain, pairwise
from math import sqrt
from statistics import mean, median

import pytest

from airflow_provider_nenoa.emulator.limits import FixedWindow, SlidingWindow
from airflow_provider_nenoa.pacing.budget import Budget
from airflow_provider_nenoa.waiting.hub import Hub
from tests.support import virtual_time
from tests.support.simulated_vendor import SimulatedVendor, limits_of, read_at_once, wait_for_all

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def wait(vendor: SimulatedVendor, durations: dict[str, float], *, age: float = HOUR) -> dict[str, float]:
    async def main() -> dict[str, float]:
        with vendor.installed():
            return await wait_for_all(vendor, durations, age=age)

    return virtual_time.run(main)


def ends_within(seconds: float, *, runs: int = 500, seed: int = 1) -> dict[str, float]:
    chance = random.Random(seed)
    return {f"run-{number}": chance.uniform(0, seconds) for number in range(runs)}


def polls_within(vendor: SimulatedVendor, seconds: float) -> int:
    return sum(at - virtual_time.EPOCH <= seconds for at, _ in vendor.polls)


def of_best_client(per_minute: float, per_day: float, durations: dict[str, float]) -> list[float]:
    """
    How late a client notices the ends who knows beforehand what will come, but not which run ends when.

    It asks in turns, and spends all that the limits allow on polls, over just the time that there are ends to notice:
    at a rate that falls with the square root of the number of runs, by which the sum of all delays is least.
    """

    def notice(rate_per_root: float) -> tuple[int, list[float]]:
        turns, now, polls, late = deque(durations.values()), 0.0, 0, []
        while turns:
            now += max(MINUTE / per_minute, 1 / (rate_per_root * sqrt(len(turns))))
            polls += 1
            ends_at = turns.popleft()
            if ends_at <= now:
                late.append(now - ends_at)
            else:
                turns.append(ends_at)
        return polls, late

    slow, fast = 1e-6, 10.0
    for _ in range(30):
        middle = sqrt(slow * fast)
        slow, fast = (middle, fast) if notice(middle)[0] <= per_day else (slow, middle)
    return notice(slow)[1]


def lateness(horizon: float, seed: int) -> tuple[float, float]:
    """The mean lateness of 500 runs on Basic that end within the horizon: ours, and of the best client."""
    per_minute, per_day = limits_of("basic")
    assert per_minute is not None
    assert per_day is not None
    durations = ends_within(horizon, seed=seed)
    ours = wait(SimulatedVendor(per_minute, per_day), durations)
    return mean(ours.values()), mean(of_best_client(per_minute, per_day, durations))


@pytest.mark.parametrize("window", [FixedWindow, SlidingWindow])
@pytest.mark.parametrize("rate_headers", [True, False])
@pytest.mark.parametrize("horizon", [10 * MINUTE, DAY])
@pytest.mark.parametrize("plan", ["free", "basic"])
def test_500_runs_never_make_the_vendor_refuse(plan: str, horizon: float, rate_headers: bool, window: type) -> None:
    vendor = SimulatedVendor(*limits_of(plan), window, rate_headers=rate_headers)

    late = wait(vendor, ends_within(horizon))

    assert len(late) == 500
    assert vendor.refusals == []


def used_of_a_day(plan: str) -> float:
    """
    The part of a day's requests that is used while there is always something to ask.

    As many runs wait as the starts' share allows, which were started an hour ago and end after the day.
    """
    vendor = SimulatedVendor(*limits_of(plan))
    per_day = limits_of(plan)[1]
    assert per_day is not None
    starts = per_day // 10

    async def main() -> None:
        vendor.use_elsewhere(starts)
        with vendor.installed():
            await wait_for_all(vendor, {f"run-{number}": 1.5 * DAY for number in range(starts)}, age=HOUR)

    virtual_time.run(main)
    assert vendor.refusals == []
    return (starts + polls_within(vendor, DAY)) / per_day


@pytest.mark.parametrize("plan", ["free", "basic"])
def test_the_whole_day_of_a_plan_can_be_used(plan: str) -> None:
    assert used_of_a_day(plan) >= 0.99


def test_the_second_day_has_as_much_as_the_first() -> None:
    vendor = SimulatedVendor(*limits_of("basic"), SlidingWindow)

    wait(vendor, ends_within(3 * DAY), age=2 * DAY)

    first, second = polls_within(vendor, DAY), polls_within(vendor, 2 * DAY)
    assert second - first >= 0.87 * 5000
    assert vendor.refusals == []


@pytest.mark.parametrize("horizon", [10 * MINUTE, HOUR, 6 * HOUR, DAY])
def test_ends_are_noticed_almost_as_soon_as_the_limits_allow(horizon: float) -> None:
    pairs = [lateness(horizon, seed) for seed in range(4)]

    assert mean(ours / best for ours, best in pairs) <= 1.25


def test_runs_that_go_on_being_started_are_noticed_in_the_evening_as_in_the_morning() -> None:
    """Each hour, 50 are started that take 40 minutes on average. Their starts alone take a quarter of the day."""
    vendor = SimulatedVendor(*limits_of("basic"), SlidingWindow)
    chance = random.Random(1)

    async def main() -> list[list[float]]:
        hub = Hub(read=read_at_once)
        batches = []
        with vendor.installed():
            async with asyncio.TaskGroup() as group:
                for hour in range(24):
                    vendor.use_elsewhere(50)
                    durations = {f"{hour}-{number}": max(MINUTE, chance.gauss(2400, 720)) for number in range(50)}
                    batches.append(group.create_task(wait_for_all(vendor, durations, hub)))
                    await asyncio.sleep(HOUR)
        return [list(batch.result().values()) for batch in batches]

    late = virtual_time.run(main)

    assert vendor.refusals == []
    assert mean(chain(*late[18:])) <= 2 * mean(chain(*late[:6]))


@pytest.mark.parametrize("window", [FixedWindow, SlidingWindow])
def test_two_triggerers_share_the_limit_by_the_vendors_headers(window: type) -> None:
    vendor = SimulatedVendor(*limits_of("basic"), window)

    async def main() -> list[float]:
        with vendor.installed():
            async with asyncio.TaskGroup() as group:
                waits = [
                    group.create_task(wait_for_all(vendor, ends_within(DAY, runs=250, seed=seed), age=2 * DAY))
                    for seed in (1, 2)
                ]
        return [late for each in waits for late in each.result().values()]

    late = virtual_time.run(main)

    assert vendor.refusals == []
    assert mean(late) <= 1.25 * mean(wait(SimulatedVendor(*limits_of("basic")), ends_within(DAY), age=2 * DAY).values())


def test_runs_of_the_same_age_are_asked_about_in_turns() -> None:
    vendor = SimulatedVendor(*limits_of("basic"))

    wait(vendor, {f"run-{number}": 9 * MINUTE for number in range(200)}, age=0.0)

    polls: dict[str, list[float]] = {}
    for at, run_id in vendor.polls:
        polls.setdefault(run_id, []).append(at)
    counts = [len(times) for times in polls.values()]
    gaps = [max(b - a for a, b in pairwise(times)) for times in polls.values()]
    assert max(counts) - min(counts) <= 1
    assert max(gaps) <= 1.5 * median(gaps)


def test_starts_take_from_the_polls() -> None:
    """1,500 runs that were started within this day have used 1,500 requests of it: more than is kept for starts."""
    vendor = SimulatedVendor(*limits_of("basic"), SlidingWindow)

    async def main() -> None:
        vendor.use_elsewhere(1500)
        with vendor.installed():
            await wait_for_all(vendor, ends_within(DAY, runs=1500), age=HOUR)

    virtual_time.run(main)

    assert vendor.refusals == []
    assert polls_within(vendor, DAY) >= 0.95 * (5000 - 1500)


def test_the_budget_is_touched_by_the_event_loop_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses come in threads. Here they really do: this is the only test of these without virtual time."""
    observed_in: list[int] = []
    monkeypatch.setattr(Budget, "observe", lambda self, headers: observed_in.append(threading.get_ident()))
    vendor = SimulatedVendor(*limits_of("max"))

    async def main() -> None:
        with vendor.installed():
            await wait_for_all(vendor, {f"run-{number}": 0.0 for number in range(10)}, age=HOUR)

    asyncio.run(main())

    assert len(vendor.polls) == 10
    assert set(observed_in) == {threading.get_ident()}


def test_a_day_of_runs_fits_into_the_free_plan() -> None:
    """A run of an hour, and another, and so on, each with a start, would like 24 polls each; there are 18."""
    vendor = SimulatedVendor(*limits_of("free"), SlidingWindow, rate_headers=False)
    late: list[float] = []

    async def main() -> None:
        hub = Hub(read=read_at_once)
        with vendor.installed():
            for number in range(24):
                vendor.use_elsewhere(1)
                late.extend((await wait_for_all(vendor, {f"run-{number}": HOUR - 30}, hub)).values())

    virtual_time.run(main)

    assert vendor.refusals == []
    assert median(late) <= MINUTE
    assert max(late) <= 5 * MINUTE
    assert len(vendor.polls) >= 400


def test_the_log_says_once_until_when_the_budget_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    vendor = SimulatedVendor(*limits_of("free"))

    with caplog.at_level(logging.WARNING, "airflow_provider_nenoa"):
        wait(vendor, {f"run-{number}": HOUR for number in range(100)})

    within_an_hour = [record for record in caplog.records if record.created < virtual_time.EPOCH + HOUR]
    assert [record.levelname for record in within_an_hour] == ["WARNING"]
    assert re.search(r"used up until \d\d:\d\d:\d\d; 100 runs", within_an_hour[0].getMessage())


def one_hour_run(*earlier: float) -> tuple[int, float]:
    """Wait for a run of an hour with plenty of budget, after others; return its polls and how late its end was seen."""
    vendor = SimulatedVendor(*limits_of("max"))

    async def main() -> tuple[int, float]:
        hub = Hub(read=read_at_once)
        with vendor.installed():
            for number, seconds in enumerate(earlier):
                await wait_for_all(vendor, {f"earlier-{number}": seconds}, hub)
            vendor.polls.clear()
            late = await wait_for_all(vendor, {"run": HOUR}, hub)
        return len(vendor.polls), late["run"]

    return virtual_time.run(main)


def test_a_run_of_unknown_length_costs_30_polls_an_hour() -> None:
    polls, late = one_hour_run()

    assert polls <= 30
    assert late <= 150


def test_one_run_teaches_how_long_the_next_one_takes() -> None:
    polls, late = one_hour_run(HOUR)

    assert polls <= 30
    assert late <= 60


@pytest.mark.parametrize("seed", range(10))
def test_the_end_of_a_run_of_known_length_is_noticed_within_a_minute(seed: int) -> None:
    chance = random.Random(seed)

    polls, late = one_hour_run(*(chance.gauss(HOUR, 0.05 * HOUR) for _ in range(32)))

    assert polls <= 30
    assert late <= 60
