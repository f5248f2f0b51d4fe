"""Waiting by polls within a plan's limits, in virtual time: the real hub and poll source, a simulated vendor."""

from __future__ import annotations

import random
from statistics import median

from tests.benchmarks.table import Row
from tests.support.simulated_vendor import SimulatedVendor, limits_of
from tests.unit.test_simulated_day import (
    DAY,
    HOUR,
    MINUTE,
    ends_within,
    lateness,
    one_hour_run,
    polls_within,
    used_of_a_day,
    wait,
)

RUNS = 500
SEEDS = 4
TIMES_AS_LATE = 1.25
USABLE = 0.99
HOURS_LEARNT = 10


def _unknown(seconds: float) -> tuple[int, float]:
    """Polls and lateness of the first run of its kind, with plenty of budget."""
    vendor = SimulatedVendor(*limits_of("max"))
    (late,) = wait(vendor, {"run": seconds}, age=0.0).values()
    return len(vendor.polls), late


def _one_hour() -> list[Row]:
    # Several lengths around the hour: how late one single end is noticed would be a matter of luck.
    unknown = [_unknown(HOUR + offset) for offset in range(-60, 1, 10)]
    polls, late = max(polls for polls, _ in unknown), max(late for _, late in unknown)
    known = []
    for seed in range(HOURS_LEARNT):
        chance = random.Random(seed)
        known.append(one_hour_run(*(chance.gauss(HOUR, 0.05 * HOUR) for _ in range(32))))
    most, latest = max(polls for polls, _ in known), max(late for _, late in known)
    every_minute = HOUR / MINUTE
    return [
        Row(
            "polls for a one-hour run, plenty of budget, length not known beforehand",
            "≤ 30, end noticed within 60 s",
            f"at most {polls} polls; at most {late:.0f} s",
            f"{polls / every_minute:.2f} of one poll a minute, which notices within 60 s",
            polls <= 30 and late <= MINUTE,
            f"worst of {len(unknown)} lengths from 59 to 60 min, median {median(late for _, late in unknown):.0f} s. "
            "The first run of its kind on a connection: nothing tells when it will end, and 30 polls an hour are one "
            "in 120 s, so nobody can do both for every end",
        ),
        Row(
            "the same, after 32 runs whose lengths spread by 5 %",
            "≤ 30, end noticed within 60 s",
            f"at most {most} polls; at most {latest:.0f} s",
            f"{most / every_minute:.2f} of one poll a minute",
            most <= 30 and latest <= MINUTE,
            f"worst of {HOURS_LEARNT} simulations; median {median(late for _, late in known):.0f} s",
        ),
    ]


def _refusals() -> list[Row]:
    rows = []
    for plan in ("free", "basic"):
        short, long = SimulatedVendor(*limits_of(plan)), SimulatedVendor(*limits_of(plan))
        ended = len(wait(short, ends_within(10 * MINUTE, runs=RUNS)))
        ended_in_a_day = len(wait(long, ends_within(DAY, runs=RUNS), age=2 * DAY))
        refused, refused_in_a_day = len(short.refusals), len(long.refusals)
        share = used_of_a_day(plan)
        rows += [
            Row(
                f"429s with {RUNS} waiting runs, plan {plan}, ten minutes and a day",
                "0",
                f"{refused} and {refused_in_a_day}",
                f"{polls_within(short, 10 * MINUTE)} and {polls_within(long, DAY)} polls let in",
                refused == refused_in_a_day == 0 and ended == ended_in_a_day == RUNS,
                "simulated; all ends were noticed",
            ),
            Row(
                f"share of a day's requests that can be used, plan {plan}",
                f"≥ {USABLE}",
                f"{share:.3f}",
                f"the plan's {limits_of(plan)[1]:,} requests a day",
                share >= USABLE,
                "polls, and a tenth for starts; while there is always something to ask, and without a 429",
            ),
        ]
    return rows


def _lateness(horizon: float, name: str) -> Row:
    pairs = [lateness(horizon, seed) for seed in range(SEEDS)]
    ratios = [ours / best for ours, best in pairs]
    return Row(
        f"end noticed, polling, {RUNS} runs on plan basic that end within {name}",
        f"≤ {TIMES_AS_LATE} times as late as the best client",
        f"{median(ratios):.2f} times; {median(ours for ours, _ in pairs):.0f} s on average",
        f"{median(best for _, best in pairs):.0f} s: a client that knows beforehand what will come, though not which "
        "run ends when, and spends every request on polls",
        median(ratios) <= TIMES_AS_LATE,
        f"median of {SEEDS} simulations, {min(ratios):.2f} to {max(ratios):.2f}",
    )


def rows() -> list[Row]:
    """One run with plenty of budget; hundreds with little."""
    horizons = {"ten minutes": 10 * MINUTE, "an hour": HOUR, "six hours": 6 * HOUR, "a day": DAY}
    return [*_one_hour(), *_refusals(), *(_lateness(horizon, name) for name, horizon in horizons.items())]
