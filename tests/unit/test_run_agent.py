"""An agent's run that is waited for on the spot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_nenoa.exceptions import DeadlinePassed, RunFailed, RunTimeout
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.waiting import agents, asking
from airflow_provider_nenoa.waiting.kinds import Ended, RunKey

NOW = 1_700_000_000.0
DONE = Run("r", "completed", {"answer": 42})


class Hook:
    """A connection on which a run is started."""

    conn_id = "c"

    def __init__(self, started: Run) -> None:
        self.started = started
        self.asked: list[Any] = []

    def run_agent(self, *args: Any, **options: Any) -> Run:
        self.asked.append((args, options))
        return self.started


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is waited for, and how; a status word that the wait ends with in vain may be put there."""
    waits: list[Any] = []

    def wait(hook: Any, key: RunKey, **how: Any) -> Ended:
        word = waits.pop() if waits else None
        waits.append((key, how))
        if word is not None:
            raise DeadlinePassed(word)
        return Ended("r", "completed", False)

    monkeypatch.setattr(agents, "time", SimpleNamespace(time=lambda: NOW))
    monkeypatch.setattr(asking, "wait", wait)
    monkeypatch.setattr(asking, "read", lambda hook, key, ended: DONE)
    return waits


HOW = {"deadline": NOW + 90.0, "poll_interval": 2.0, "started_at": NOW, "told": False}


def run_agent(started: Run) -> tuple[Run, list[Any]]:
    hook: Any = Hook(started)
    run = agents.run_agent(hook, "a", "Look.", timeout=90.0, poll_interval=2.0, model="m")
    return run, hook.asked


def test_it_is_started_and_waited_for(waits: list[Any]) -> None:
    assert run_agent(Run("r", "running")) == (DONE, [(("a", "Look."), {"model": "m"})])
    assert waits == [(RunKey("c", "agent", "r"), HOW)]


def test_what_ends_at_once_is_not_waited_for(waits: list[Any]) -> None:
    ended = Run("r", "completed", {"answer": 41})
    assert run_agent(ended)[0] is ended
    assert waits == []


@pytest.mark.parametrize(("payload", "why"), [({"error": "no credit"}, "no credit"), ({}, "it gave no reason")])
def test_a_run_that_fails(waits: list[Any], payload: dict[str, Any], why: str) -> None:
    with pytest.raises(RunFailed, match=f"^OpenAnalyst agent run r ended in 'failed': {why}$"):
        run_agent(Run("r", "failed", payload))


def test_a_run_that_takes_too_long(waits: list[Any]) -> None:
    waits.append("processing")
    with pytest.raises(RunTimeout) as caught:
        run_agent(Run("r", "running"))
    assert str(caught.value) == (
        "OpenAnalyst agent run r has not ended within 90 s; its last status is 'processing'.\nIt goes on, because "
        "OpenAnalyst's API cannot cancel it."
    )
