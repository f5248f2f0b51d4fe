from __future__ import annotations

import pytest

from airflow_provider_nenoa.webhooks.floods import BYTES, EVENTS, LIMIT, ROWS, Flood, Floods


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def burst(floods: Floods, conn_id: str, size: int = 1, *, news: bool = False) -> tuple[int, Flood]:
    """Send until it is too much; return how many came, and what was said then."""
    for number in range(1_000_000):
        try:
            floods.came(conn_id, size)
        except Flood as flood:
            return number, flood
        if news:
            floods.stored(conn_id)
    raise AssertionError("without end")


def test_so_many_may_come_at_once_and_then_so_many_a_second() -> None:
    clock = Clock()
    floods = Floods(clock)
    number, flood = burst(floods, "c")
    assert (number, flood.what) == (EVENTS.at_once, "events")
    assert 0 < flood.seconds < 5
    clock.now += 10
    assert burst(floods, "c")[0] == pytest.approx(10 * EVENTS.a_second, abs=1)
    clock.now += 10 * EVENTS.at_once
    assert burst(floods, "c")[0] == EVENTS.at_once, "it is even again, and no more than that"


def test_bytes_and_rows_are_bounded_too() -> None:
    megabyte = 1024 * 1024
    number, flood = burst(Floods(Clock()), "c", megabyte)
    assert (number, flood.what) == (BYTES.at_once // megabyte, "bytes")
    clock = Clock()
    floods, stored, what = Floods(clock), 0, ""
    while what != "rows":
        number, flood = burst(floods, "c", news=True)
        stored, what = stored + number, flood.what
        clock.now += 100  # as slowly as the events may come
    seconds = clock.now - 1000
    assert stored == pytest.approx(ROWS.at_once + seconds * ROWS.a_second, rel=0.05)


def test_other_connections_notice_nothing_and_what_is_refused_does_not_count() -> None:
    clock = Clock()
    floods = Floods(clock)
    burst(floods, "c")
    for _ in range(1000):
        with pytest.raises(Flood):
            floods.came("c", 1)
    clock.now += 1
    floods.came("c", 1)
    assert burst(floods, "d")[0] == EVENTS.at_once


def test_no_more_connections_are_remembered_than_that() -> None:
    floods = Floods(Clock())
    for number in range(LIMIT + 10):
        floods.came(f"c{number}", 1)
    assert len(floods._even_at) == LIMIT


def test_the_one_that_has_been_silent_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_nenoa.webhooks.floods.LIMIT", 2)
    floods = Floods(Clock())
    for conn_id in ("a", "b"):
        assert burst(floods, conn_id)[0] == EVENTS.at_once
    with pytest.raises(Flood):
        floods.came("a", 1)
    floods.came("c", 1)
    with pytest.raises(Flood) as caught:
        floods.came("a", 1)
    assert caught.value.what == "events"
    assert burst(floods, "b")[0] == EVENTS.at_once
