"""What the page reads, by a clock that stands: where each minute, each hour and each sentence begins and ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.engine import Connection

from airflow_provider_nenoa.webhooks.page import reads
from airflow_provider_nenoa.webhooks.page.attention import attention
from airflow_provider_nenoa.webhooks.tables import runs, tallies, waits
from tests.support.receiver import open_store

NOW = 60_000_000.0
MINUTE = int(NOW // 60)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with open_store(f"sqlite:///{tmp_path}/events.db").engine.begin() as connection:
        yield connection


def tally(connection: Connection, *counts: tuple[str, int, int], conn_id: str = "nen") -> None:
    rows = [{"conn_id": conn_id, "what": what, "minute": minute, "number": number} for what, minute, number in counts]
    connection.execute(insert(tallies), rows)


def wait(connection: Connection, name: str, ago: float, **more: Any) -> None:
    row = {"conn_id": "nen", "name": name, "kind": "workflow", "run_id": name, "lost": 0, "seen_at": NOW, **more}
    connection.execute(insert(waits), {**row, "started_at": NOW - ago})


def run(connection: Connection, number: int, status: str, ago: float, **more: Any) -> None:
    row = {
        "id": number,
        "conn_id": "nen",
        "run_id": f"m-{number}",
        "kind": "workflow",
        "status": status,
        "word": status,
    }
    row |= {"payload": b"", "digest": "d", "kept": 1, "seq": number, "deliveries": 1, "received_at": NOW - ago}
    connection.execute(insert(runs), {**row, **more})


def test_the_chart_has_a_bar_for_each_minute_and_each_hour(connection: Connection) -> None:
    tally(
        connection,
        ("accepted", MINUTE + 1, 1),  # by the clock of another server
        ("accepted", MINUTE, 2),
        ("repeated", MINUTE, 4),
        ("unsigned", MINUTE, 8),
        ("flood", MINUTE, 16),
        ("accepted", MINUTE - 59, 32),
        ("accepted", MINUTE - 60, 64),
        ("accepted", MINUTE - 24 * 60 + 1, 128),
        ("accepted", MINUTE - 24 * 60, 256),
    )
    tally(connection, ("accepted", MINUTE, 512), conn_id="another")
    bars = reads.chart(connection, "nen", NOW)
    found = {
        name: {number: bar for number, bar in enumerate(of_name) if any(bar.values())} for name, of_name in bars.items()
    }
    assert {name: len(of_name) for name, of_name in bars.items()} == {"hour": 60, "day": 24}
    assert found == {
        "hour": {
            0: {"accepted": 32, "repeated": 0, "refused": 0},
            59: {"accepted": 3, "repeated": 4, "refused": 24},
        },
        "day": {
            0: {"accepted": 128, "repeated": 0, "refused": 0},
            22: {"accepted": 64, "repeated": 0, "refused": 0},
            23: {"accepted": 35, "repeated": 4, "refused": 24},
        },
    }
    assert reads.counts(connection, ["nen", "none"], NOW) == {
        "nen": {"accepted": 227, "repeated": 4, "refused": 24},
        "none": {"accepted": 0, "repeated": 0, "refused": 0},
    }


def test_reasons_are_told_with_the_newest_first(connection: Connection) -> None:
    tally(
        connection,
        ("flood", MINUTE - 3, 1),
        ("unsigned", MINUTE - 9, 2),
        ("unsigned", MINUTE - 2, 3),
        ("accepted", MINUTE, 9),
    )
    found = [(each["reason"], each["number"], each["last_at"]) for each in reads.refusals(connection, "nen")]
    assert found == [("unsigned", 5, (MINUTE - 2) * 60), ("flood", 1, (MINUTE - 3) * 60)]


@pytest.mark.parametrize(
    ("ago", "since_last", "silent"),
    [(1800, None, False), (1801, None, True), (9999, 1800, False), (9999, 1801, True), (1800, 9999, False)],
)
def test_silence(connection: Connection, ago: float, since_last: float | None, silent: bool) -> None:
    wait(connection, "w", ago)
    needs = attention(connection, "nen", None if since_last is None else NOW - since_last, NOW)
    assert [need.split(":")[0] for need in needs] == ["Silent"] * silent
    if silent:
        assert "for 30 minutes" in needs[0]


@pytest.mark.parametrize(("minutes", "told"), [(59, True), (60, False)])
def test_a_refusal_is_told_for_an_hour(connection: Connection, minutes: int, told: bool) -> None:
    tally(connection, ("unsigned", MINUTE - minutes, 1))
    assert len(attention(connection, "nen", None, NOW)) == told


@pytest.mark.parametrize(("ago", "told"), [(600, False), (601, True)])
def test_a_run_that_nobody_waits_for_is_told_when_its_waiter_had_time_to_say_so(
    connection: Connection, ago: float, told: bool
) -> None:
    wait(connection, "w", 5)
    run(connection, 1, "running", ago)
    assert bool(attention(connection, "nen", NOW, NOW)) == told


@pytest.mark.parametrize(
    ("timed", "took", "waited", "late"),
    [(4, 100, 999, False), (5, 100, 200, False), (5, 100, 201, True), (5, 1, 120, False), (5, 1, 121, True)],
)
def test_late_is_twice_as_long_as_runs_take_that_were_timed(
    connection: Connection, timed: int, took: float, waited: float, late: bool
) -> None:
    for number in range(timed):
        run(connection, number, "success", 0, first_at=NOW - took)
    wait(connection, "w", waited)
    wait(connection, "gone", 9999, seen_at=NOW - 900)
    needs = attention(connection, "nen", NOW, NOW)
    assert [": 1." in need for need in needs if "twice as long" in need] == [True] * late


def test_a_run_of_which_only_the_end_was_told_is_not_timed(connection: Connection) -> None:
    run(connection, 1, "success", 0, first_at=NOW)
    run(connection, 2, "success", 0, first_at=None)
    run(connection, 3, "running", 0, first_at=NOW - 5)
    run(connection, 4, "failed", 0, first_at=NOW - 7)
    run(connection, 5, "success", 0, first_at=NOW - 8, kept=0)
    run(connection, 6, "success", 0, first_at=NOW - 3, kind="query")
    assert reads.durations(connection, "nen") == [
        {"kind": "query", "number": 1, "median": 3.0, "p95": 3.0},
        {"kind": "workflow", "number": 1, "median": 7.0, "p95": 7.0},
    ]


def test_the_median_and_the_95th_percentile_are_values_that_came(connection: Connection) -> None:
    for number in range(1, 21):
        run(connection, number, "success", 0, first_at=NOW - number)
    assert reads.durations(connection, "nen") == [{"kind": "workflow", "number": 20, "median": 10.0, "p95": 19.0}]
