"""Waiting for hundreds of runs inside a plan's limits, for ten minutes and for a day, in virtual time."""

from __future__ import annotations

import logging
import random
import re
from collections import deque
from itertools import pairwise
from statistics import mean, median

import pytest

from airflow_provider_nenoa.emulator.limits import FixedWindow, SlidingWindow
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


def of_best_client(per_minute: float, per_day: float, durations: dict[str, float], horizon: float) -> list[float]:
    """
    How late a client notices the ends who knows beforehand for how long there will be ends to notice.

    It spends all that the limits allow evenly over that time, for polls and nothing else, in turns.
    """
    every = max(MINUTE / per_minute, horizon / per_day)
    turns, now, late = deque(durations.values()), 0.0, []
    while turns:
        now += every
        ends_at = turns.popleft()
        if ends_at <= now:
            late.append(now - ends_at)
        else:
            turns.append(ends_at)
    return late


@pytest.mark.parametrize("window", [FixedWindow, SlidingWindow])
@pytest.mark.parametrize("rate_headers", [True, False])
@pytest.mark.parametrize("horizon", [10 * MINUTE, DAY])
@pytest.mark.parametrize("plan", ["free", "basic"])
def test_500_runs_never_make_the_vendor_refuse(plan: str, horizon: float, rate_headers: bool, window: type) -> None:
    vendor = SimulatedVendor(*limits_of(plan), window, rate_headers=rate_headers)

    late = wait(vendor, ends_within(horizon))

    assert len(late) == 500
    assert vendor.refusals == []


@pytest.mark.parametrize(("plan", "per_day"), [("free", 500), ("basic", 5000)])
def test_a_day_of_waiting_uses_what_is_not_kept_for_starts(plan: str, per_day: int) -> None:
    vendor = SimulatedVendor(*limits_of(plan))

    wait(vendor, ends_within(DAY), age=2 * DAY)

    assert polls_within(vendor, DAY) >= 0.89 * per_day


def test_the_second_day_has_as_much_as_the_first() -> None:
    vendor = SimulatedVendor(*limits_of("basic"), SlidingWindow)

    wait(vendor, ends_within(3 * DAY), age=2 * DAY)

    first, second = polls_within(vendor, DAY), polls_within(vendor, 2 * DAY)
    assert second - first >= 0.87 * 5000
    assert vendor.refusals == []


@pytest.mark.parametrize("horizon", [10 * MINUTE, DAY])
def test_ends_are_noticed_almost_as_soon_as_the_limits_allow(horizon: float) -> None:
    ratios = []
    for seed in range(4):
        durations = ends_within(horizon, seed=seed)
        late = wait(SimulatedVendor(*limits_of("basic")), durations)
        ratios.append(mean(late.values()) / mean(of_best_client(120, 5000, durations, horizon)))

    assert mean(ratios) <= 1.25


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
