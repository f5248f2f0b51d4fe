"""Starts that wait their turn behind a rate limit."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.emulator.limits import FixedWindow, Limiter, SlidingWindow
from airflow_provider_nenoa.exceptions import ConnectionFailed, InvalidRequest, RateLimited
from airflow_provider_nenoa.http import Turn, turns
from airflow_provider_nenoa.http.turns import LONGEST_SPREAD, in_turn, spread
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystRunAgentOperator
from tests.support.task import StateStore, Task
from tests.unit.conftest import Logged


class Door:
    """Refuses with these ``Retry-After``, one a call, and then lets in."""

    def __init__(self, *refusals: float | Exception | None) -> None:
        self.refusals = list(refusals)
        self.slept: list[float] = []
        self.refused = 0

    def __call__(self) -> str:
        if not self.refusals:
            return "in"
        refusal = self.refusals.pop(0)
        raise refusal if isinstance(refusal, Exception) else RateLimited("429: slow down.\nMore.", retry_after=refusal)

    def on_refusal(self) -> None:
        self.refused += 1

    def enter(self, patience: float) -> str:
        return in_turn(self, Turn(patience, self.on_refusal), self.slept.append)


def test_it_waits_longer_than_other_calls_are_tried_again(logged: Logged) -> None:
    door = Door(400, 3_000, None)
    assert door.enter(86_400) == "in"
    first, second, third = door.slept
    assert 400 <= first <= 460
    assert 3_000 <= second <= 3_060
    assert 1 <= third <= 121
    assert door.refused == 3
    assert "429: slow down. The start waits its turn: it is sent again at 2" in logged.text
    assert "More." not in logged.text


@pytest.mark.parametrize(("chance", "waits"), [(min, [400, 3_000, 1, 0]), (max, [460, 3_060, 121, 240])])
def test_each_refusal_in_turn_widens_the_spread(
    monkeypatch: pytest.MonkeyPatch, chance: Callable[[float, float], float], waits: list[float]
) -> None:
    monkeypatch.setattr(random, "uniform", chance)
    door = Door(400, 3_000, None, 0)
    assert door.enter(86_400) == "in"
    assert door.slept == waits


def test_the_time_of_the_calls_themselves_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 60.0])
    monkeypatch.setattr(turns, "time", SimpleNamespace(monotonic=lambda: next(now)))
    door = Door(40)
    with pytest.raises(RateLimited):
        door.enter(100)
    assert door.slept == []


def test_it_gives_up_where_the_vendor_listens_too_late() -> None:
    door = Door(400, 400)
    with pytest.raises(RateLimited):
        door.enter(399)
    assert (door.slept, door.refused) == ([], 1)


def test_chance_does_not_cost_the_turn() -> None:
    for _ in range(20):
        door = Door(59)
        assert door.enter(60) == "in"
        assert 59 <= door.slept[0] <= 60


def test_the_waits_add_up() -> None:
    door = Door(*[40.0] * 10)
    with pytest.raises(RateLimited):
        door.enter(100)
    assert sum(door.slept) <= 100


@pytest.mark.parametrize("error", [ConnectionFailed("no"), InvalidRequest("no")])
def test_other_errors_are_not_waited_for(error: Exception) -> None:
    door = Door(error)
    with pytest.raises(type(error)):
        door.enter(1_000)
    assert (door.slept, door.refused) == ([], 0)


def test_the_spread() -> None:
    assert [spread(after, 1) for after in (0, 2, 30, 60, 40_000)] == [15, 15, 30, 60, 60]
    assert [spread(2, refusals) for refusals in (2, 3, 4)] == [60, 120, 240]
    assert spread(2, 10**9) == LONGEST_SPREAD


@pytest.mark.parametrize("window", [FixedWindow, SlidingWindow])
def test_a_crowd_of_starts_gets_in_without_a_storm(window: Any) -> None:
    """480 starts from as many processes at once on the plan Free: 30 a minute, so 16 minutes at the very least."""
    chance, limiter = random.Random(1), Limiter(30, 500, window)
    todo = [(chance.uniform(0, 2), number, 0) for number in range(480)]
    heapq.heapify(todo)
    tries: list[float] = []
    started: list[float] = []
    while todo:
        now, number, refusals = heapq.heappop(todo)
        tries.append(now)
        retry_after = limiter.admit(now)
        if retry_after is None:
            started.append(now)
            continue
        wait = retry_after + chance.uniform(0, spread(retry_after, refusals + 1))
        heapq.heappush(todo, (now + wait, number, refusals + 1))
    assert len(started) == 480
    assert max(started) <= 3 * 3600
    assert sorted(started)[400] <= 3600
    assert len(tries) <= 480 * 7
    # After the first rush, nobody comes back with all the others.
    assert max(Counter(int(at) for at in tries if at > 5).values()) <= 40


def agent(**options: Any) -> OpenAnalystRunAgentOperator:
    return OpenAnalystRunAgentOperator(
        **{"task_id": "t", "agent_id": "a", "task_prompt": "p", "openanalyst_conn_id": "my_openanalyst", **options}
    )


def test_an_operators_start_waits_within_the_tasks_time(
    emulator: Emulator, openanalyst: str, sleeps: list[float]
) -> None:
    emulator.control.fault("status", status=429, headers={"Retry-After": "900"}, times=2)
    task = Task(lambda: agent(wait_for_completion=False), StateStore())
    run_id = task.attempt()
    assert run_id
    assert len(sleeps) == 2
    assert emulator.control.counts()["runs_started"]["agent"] == 1


@pytest.mark.parametrize("options", [{"timeout": 600}, {"execution_timeout": 600}])
def test_an_operators_start_waits_no_longer(
    emulator: Emulator, openanalyst: str, sleeps: list[float], options: dict[str, Any]
) -> None:
    from datetime import timedelta

    emulator.control.fault("status", status=429, headers={"Retry-After": "900"}, times=2)
    given = {name: timedelta(seconds=seconds) for name, seconds in options.items()}
    task = Task(lambda: agent(**given), StateStore())
    with pytest.raises(RateLimited, match="listen again in 900 s"):
        task.attempt()
    assert (sleeps, task.store) == ([], {})


def test_who_dies_while_waiting_has_sent_nothing(
    emulator: Emulator, openanalyst: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt must not look for a run that was never started."""
    from airflow_provider_nenoa.http import HttpApi
    from tests.support.task import Died

    def die(seconds: float) -> None:
        raise Died

    sleep: Callable[[float], None] = die
    monkeypatch.setitem(HttpApi.__init__.__kwdefaults__, "sleep", sleep)
    emulator.control.fault("status", status=429, headers={"Retry-After": "5"})
    task = Task(lambda: agent(wait_for_completion=False), StateStore())
    with pytest.raises(Died):
        task.attempt()
    assert task.store == {}
    assert task.retry()
    assert emulator.control.counts()["runs_started"]["agent"] == 1
