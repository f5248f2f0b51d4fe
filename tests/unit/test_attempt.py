"""How long an attempt waits, for what, and what it asks of the trigger, to the second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_nenoa.exceptions import PermanentError, StartOutcomeUnknown
from airflow_provider_nenoa.operators import attempt, giving_up
from airflow_provider_nenoa.operators.lost_start import Finding
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.webhooks.client import ReceiverClient
from tests.support.task import StateStore, Task, TaskDeferred

NOW = 1_700_000_000.0
WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"


class Clock:
    """The time of an attempt and of what it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        stopped = SimpleNamespace(time=lambda: self.now, monotonic=lambda: self.now)
        for module in (attempt, giving_up):
            monkeypatch.setattr(module, "time", stopped)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def workflow(**options: Any) -> NenAIRunWorkflowOperator:
    arguments = {"workflow_id": WORKFLOW, "nenai_conn_id": "my_nenai", "deferrable": True, **options}
    return NenAIRunWorkflowOperator(task_id="t", **arguments)


def go_on(task: Task, deferred: TaskDeferred) -> Any:
    """Go on after a trigger that has waited in vain."""
    kwargs = {**(deferred.kwargs or {}), "event": {"timeout": "", "run_id": None}}
    return task.make().resume_execution(deferred.method_name, kwargs, task.context)


def deferral(call: Callable[..., Any], *args: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        call(*args)
    return deferred.value


def begin(task: Task) -> TaskDeferred:
    return deferral(task.make().execute, task.context)


@pytest.mark.parametrize(
    ("options", "took", "seconds"),
    [
        ({}, 0.0, 86_400.0),
        ({"timeout": 100}, 0.0, 100.0),
        ({"timeout": 100}, 30.0, 70.0),
        ({"timeout": 100}, 99.5, 1.0),
        ({"timeout": 0.5}, 30.0, 0.5),
        ({"timeout": 100, "execution_timeout": timedelta(seconds=200)}, 0.0, 100.0),
        ({"timeout": 100, "execution_timeout": timedelta(seconds=50)}, 0.0, 48.0),
        ({"timeout": 100, "execution_timeout": timedelta(seconds=2.5)}, 0.0, 1.0),
    ],
)
def test_how_long_an_attempt_waits(
    nenai: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], took: float, seconds: float
) -> None:
    """The time that its start took counts."""

    def start(self: Any, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        before_send()
        clock.now += took
        return Run("m-1", "processing")

    monkeypatch.setattr(NenAIRunWorkflowOperator, "start", start)
    deferred = begin(task := Task(lambda: workflow(poll_interval=7, **options), StateStore()))
    arguments = deferred.trigger.serialize()[1]
    (note,) = (task.store or {}).values()
    expected: dict[str, Any] = {
        "poll_interval": 7.0,
        "deadline": NOW + took + seconds,
        "started_at": NOW,
        "told": False,
    }
    expected |= {"ref": note["ref"], "message_id": "m-1", "nenai_conn_id": nenai}
    assert {name: value for name, value in arguments.items() if name in expected} == expected
    assert deferred.timeout == timedelta(seconds=seconds + 600)
    assert (deferred.method_name, deferred.kwargs) == ("execute_complete", {"attempt": 1})


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch, nenai: str, connect: Callable[..., str]) -> Callable[..., Task]:
    """A function that makes a task whose start's reply is lost."""

    def start(self: Any, callback_url: str | None, before_send: Callable[[], None]) -> Run:
        before_send()
        raise StartOutcomeUnknown("Nobody knows.", why="it hung up")

    def make(*, told: bool, findings: list[Finding] | None = None, **options: Any) -> Task:
        if told:
            connect("nenai", "https://api.vendor.test", extra={"webhook_secret": "s"})
        monkeypatch.setattr(NenAIRunWorkflowOperator, "has_list", lambda self: findings is not None)
        monkeypatch.setattr(NenAIRunWorkflowOperator, "look_in_list", lambda self, *args: (findings or []).pop(0))
        return Task(lambda: workflow(**options), StateStore())

    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", "https://airflow.example.com/nenoa")
    monkeypatch.setattr(ReceiverClient, "check", lambda self: None)
    monkeypatch.setattr(ReceiverClient, "by_ref", lambda self, ref, wait=0.0: None)
    monkeypatch.setattr(NenAIRunWorkflowOperator, "start", start)
    return make


def waited(deferred: TaskDeferred) -> float:
    return float(deferred.trigger.serialize()[1]["deadline"]) - NOW


@pytest.mark.parametrize(("timeout", "seconds"), [(1_000, 600.0), (600, 600.0), (100, 100.0)])
def test_how_long_a_webhook_is_waited_for(
    lost: Callable[..., Task], clock: Clock, timeout: float, seconds: float
) -> None:
    task = lost(told=True, timeout=timeout)
    deferred = begin(task)
    assert waited(deferred) == seconds
    clock.now = NOW + seconds - 1
    assert waited(deferral(go_on, task, deferred)) == seconds
    clock.now = NOW + seconds
    with pytest.raises(PermanentError, match="no webhook told of a run"):
        go_on(task, deferred)


UNCLEAR = Finding(None, (), False)
NONE = Finding(None, (), True)


@pytest.mark.parametrize("told", [False, True])
def test_when_the_list_is_looked_at(lost: Callable[..., Task], clock: Clock, told: bool) -> None:
    """Not before 5 s, then when more can have come; an empty list ends it as soon as it proves something."""
    task = lost(told=told, findings=[UNCLEAR, NONE, NONE, NONE])
    looks = [waited(deferred := begin(task))]
    for age in (5.0, 10.0, 89.0):
        clock.now = NOW + age
        looks.append(waited(deferred := deferral(go_on, task, deferred)))
    assert looks == [5.0, 10.0, 15.0, 119.0 if told else 90.0]
    clock.now = NOW + 90.0
    with pytest.raises(StartOutcomeUnknown, match=r"has no such run\. The next attempt starts anew\.$"):
        go_on(task, deferred)
    assert task.store == {}


def test_without_a_webhook_and_a_list_there_is_nothing_to_wait_for(lost: Callable[..., Task], clock: Clock) -> None:
    task = lost(told=False)
    with pytest.raises(PermanentError, match="that start named no URL to call"):
        task.make().execute(task.context)
    (note,) = (task.store or {}).values()
    assert (note["given_up"], note["lost"], note["told"]) == (True, "it hung up", False)
