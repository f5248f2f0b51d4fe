"""The operators of both vendors: started, awaited, and adopted by the next attempt, with and without webhooks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AirflowFailException,
    AuthenticationError,
    InvalidConnection,
    NotFound,
    PermanentError,
    PermissionDenied,
    ReceiverUnavailable,
    RunFailed,
    RunTimeout,
    StartOutcomeUnknown,
)
from airflow_provider_nenoa.operators.attempt import Attempt
from airflow_provider_nenoa.operators.base import RunOperator
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator
from airflow_provider_nenoa.waiting import kinds
from tests.support.task import Died, StateStore, Task, TaskDeferred

WORKFLOW_ID = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"


@dataclass(frozen=True)
class Job:
    """One kind of work: how its operator is made, and how its run shows."""

    kind: str
    operator: type[RunOperator]
    arguments: dict[str, Any]
    start: str
    id_key: str

    def make(self, **options: Any) -> RunOperator:
        return self.operator(task_id="task", **{"poll_interval": 0.02, "timeout": 20, **self.arguments, **options})

    def task(self, store: StateStore | None = None, **options: Any) -> Task:
        return Task(lambda: self.make(**options), StateStore() if store is None else store)

    def xcoms(self, run_id: str) -> dict[str, str]:
        """What a task has pushed once its run is known: the id, and the link if there is one."""
        link = {"_link_NenAIRunLink": f"https://app.getnen.ai/runs/{run_id}"} if self.kind == "workflow" else {}
        return {self.id_key: run_id, **link}

    def started(self, emulator: Emulator) -> int:
        return int(emulator.control.counts()["runs_started"][self.kind])


JOBS = {
    "agent": Job(
        "agent",
        OpenAnalystRunAgentOperator,
        {"agent_id": "agent_1", "task_prompt": "Summarise", "openanalyst_conn_id": "oa"},
        "POST /v1/agents/run",
        "run_id",
    ),
    "query": Job(
        "query",
        OpenAnalystExecuteQueryOperator,
        {"dataset_id": "ds_abc123", "query": "SELECT 1 AS one", "openanalyst_conn_id": "oa"},
        "POST /v1/queries",
        "query_id",
    ),
    "workflow": Job(
        "workflow",
        NenAIRunWorkflowOperator,
        {"workflow_id": WORKFLOW_ID, "workflow_params": {"a": 1}, "nenai_conn_id": "nen"},
        "POST /runs",
        "message_id",
    ),
}


@pytest.fixture(params=JOBS)
def job(request: pytest.FixtureRequest) -> Job:
    return JOBS[request.param]


@pytest.fixture(params=[False, True], ids=["blocking", "deferrable"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait a few seconds at most."""
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


pytestmark = pytest.mark.usefixtures("quick")


def result_of(job: Job, run_id: str, result: Any) -> None:
    """Check that a result is that of this run, and complete."""
    if job.kind == "query":
        assert "execution_time_ms" in str(result.pop("result"))  # wherever in the payload the rows were
        assert result == {"columns": ["one"], "row_count": 1, "rows": [{"one": 1}]}
        return
    assert result[job.id_key] == run_id
    assert result["status"] == {"agent": "completed", "workflow": "success"}[job.kind]
    assert result["result"][job.id_key] == run_id
    if job.kind == "agent":
        assert result["agent_id"] == "agent_1"
        assert result["result"]["result"]["answer"]
    else:
        assert result["workflow_id"] == WORKFLOW_ID
        assert result["result"]["assets"].startswith("http")


# A run from start to end


@pytest.mark.parametrize("way", ["told", "polled"])
def test_a_run(request: pytest.FixtureRequest, emulator: Emulator, job: Job, deferrable: bool, way: str) -> None:
    request.getfixturevalue(way)
    task = job.task(deferrable=deferrable)
    result = task.attempt()
    (run,) = emulator.control.runs()
    result_of(job, run["id"], result)
    assert task.ti.xcoms == job.xcoms(run["id"])
    assert len(task.deferrals) == deferrable
    counts = emulator.control.counts()
    assert counts.pop("runs_started")[job.kind] == counts[job.start] == 1
    (start,) = (request for request in emulator.control.requests() if request["method"] == "POST")
    if way == "told":
        assert set(counts) == {job.start}, "a run that is told of costs one request"
        assert task.events == [] or task.events[0]["by_webhook"]
    else:
        assert "webhook_url" not in start["body"]
        assert "webhook_callback" not in start["body"]


@pytest.mark.parametrize("way", ["told", "polled"])
def test_a_run_that_fails(
    request: pytest.FixtureRequest, emulator: Emulator, job: Job, deferrable: bool, way: str
) -> None:
    request.getfixturevalue(way)
    emulator.control.settings(**{job.kind: {"outcome": "failed", "error": "no idea how"}})
    task = job.task(deferrable=deferrable)
    with pytest.raises(RunFailed, match=rf"^\w+ {job.kind} run .* ended in 'failed': no idea how") as caught:
        task.attempt()
    assert not isinstance(caught.value, AirflowFailException), "Airflow's retries apply"
    assert task.store == {}, "the next attempt starts anew"
    with pytest.raises(RunFailed):
        task.retry()
    assert job.started(emulator) == 2


def test_a_run_that_takes_too_long(polled: None, emulator: Emulator, job: Job, deferrable: bool) -> None:
    emulator.control.settings(**{job.kind: {"seconds": None}})
    task = job.task(deferrable=deferrable, timeout=0.15)
    with pytest.raises(RunTimeout) as caught:
        task.attempt()
    (run,) = emulator.control.runs()
    said = str(caught.value)
    assert run["id"] in said
    assert (
        f"0 s after its start its last known status is '{'processing' if job.kind == 'workflow' else 'running'}'"
        in said
    )
    assert "It goes on" in said
    assert "the next attempt of this task goes on waiting for it" in said
    assert not isinstance(caught.value, AirflowFailException)

    emulator.control.finish(run["id"])
    result_of(job, run["id"], task.retry())
    assert job.started(emulator) == 1


def test_nothing_is_heard_of_a_run(told: None, emulator: Emulator, deferrable: bool) -> None:
    emulator.control.webhook_fault(lose=True, times=None)
    with pytest.raises(RunTimeout, match=r"https://app\.getnen\.ai/runs/.*nothing was heard of its status"):
        JOBS["workflow"].task(deferrable=deferrable, timeout=0.15).attempt()


def test_a_timeout_names_a_word_that_nobody_knows(polled: None, emulator: Emulator, job: Job, deferrable: bool) -> None:
    emulator.control.settings(**{job.kind: {"outcome": "simmering"}})
    with pytest.raises(RunTimeout, match="its last known status is 'simmering', which is no word we know"):
        job.task(deferrable=deferrable, timeout=0.3).attempt()


def test_execution_timeout_counts_too(polled: None, emulator: Emulator) -> None:
    emulator.control.settings(agent={"seconds": None})
    # Two seconds less than Airflow's own limit, and one at least.
    task = JOBS["agent"].task(deferrable=True, execution_timeout=timedelta(seconds=2), timeout=1000)
    began = time.monotonic()
    with pytest.raises(RunTimeout, match=r"Raise 'timeout' .* or 'execution_timeout'"):
        task.attempt()
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("way", ["told", "polled"])
def test_a_run_that_nobody_waits_for(
    request: pytest.FixtureRequest, emulator: Emulator, job: Job, deferrable: bool, way: str
) -> None:
    request.getfixturevalue(way)
    task = job.task(deferrable=deferrable, wait_for_completion=False)
    run_id = task.attempt()
    assert [run["id"] for run in emulator.control.runs()] == [run_id]
    assert task.ti.xcoms == job.xcoms(run_id)
    assert task.deferrals == []
    assert task.clear() != run_id, "a task that is cleared runs anew"
    assert job.started(emulator) == 2


# Queries that are answered at once


@pytest.mark.parametrize("way", ["told", "polled"])
def test_a_query_that_is_answered_at_once(request: pytest.FixtureRequest, emulator: Emulator, way: str) -> None:
    request.getfixturevalue(way)
    emulator.control.settings(query={"seconds": 0})
    task = JOBS["query"].task()
    result_of(JOBS["query"], "", task.attempt())
    counts = emulator.control.counts()
    assert counts.pop("runs_started")["query"] == 1
    assert counts == {"POST /v1/queries": 1}


def test_a_query_without_an_id_leaves_nothing_behind(
    polled: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.control.settings(query={"seconds": 0})
    emulator.control.fault("missing_id", times=None)
    finish = OpenAnalystExecuteQueryOperator.finish
    monkeypatch.setattr(OpenAnalystExecuteQueryOperator, "finish", lambda *_: 1 / 0)
    task = JOBS["query"].task()
    with pytest.raises(ZeroDivisionError):
        task.attempt()
    assert task.store == {}
    monkeypatch.setattr(OpenAnalystExecuteQueryOperator, "finish", finish)
    assert task.retry()["row_count"] == 1
    assert task.store == {}


# Before anything is spent


def test_the_receiver_does_not_answer(
    told: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", "http://127.0.0.1:1/nenoa")
    with pytest.raises(ReceiverUnavailable, match=r"receiver_url"):
        JOBS["workflow"].task(deferrable=deferrable).attempt()
    assert emulator.control.requests() == []


def test_the_receiver_does_not_answer_but_the_vendor_can_be_asked(
    told: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", "http://127.0.0.1:1/nenoa")
    task = JOBS["agent"].task(deferrable=True)
    task.attempt()
    assert not task.events[0]["by_webhook"]
    (start,) = (request for request in emulator.control.requests() if request["method"] == "POST")
    assert "webhook_url" not in start["body"]


def test_the_receiver_knows_another_secret(told: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "nenai", "host": emulator.nenai_url, "password": "key"}
    monkeypatch.setenv("AIRFLOW_CONN_NEN", json.dumps({**connection, "extra": {"webhook_secret": "another"}}))
    with pytest.raises(ReceiverUnavailable, match="refused the webhook_secret of connection 'nen'"):
        JOBS["workflow"].task().attempt()
    assert emulator.control.requests() == []


def test_an_end_that_nobody_could_tell(polled: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "nenai", "host": emulator.nenai_url, "password": "key"}
    monkeypatch.setenv("AIRFLOW_CONN_NEN", json.dumps(connection))
    with pytest.raises(
        InvalidConnection, match=r"neither a 'webhook_secret' nor an 'mcp_url'.*nothing was started"
    ) as caught:
        JOBS["workflow"].task().attempt()
    assert isinstance(caught.value, AirflowFailException)
    assert emulator.control.requests() == []
    assert JOBS["workflow"].task(wait_for_completion=False).attempt()


@pytest.mark.parametrize(
    ("status", "error"), [(401, AuthenticationError), (403, PermissionDenied), (404, NotFound), (422, PermanentError)]
)
def test_a_refusal(
    polled: None, emulator: Emulator, job: Job, deferrable: bool, status: int, error: type[Exception]
) -> None:
    emulator.control.fault("status", method="POST", status=status)
    task = job.task(deferrable=deferrable)
    with pytest.raises(error) as caught:
        task.attempt()
    assert isinstance(caught.value, AirflowFailException)
    assert task.store == {}
    assert job.started(emulator) == 0


def test_a_refusal_while_waiting(polled: None, emulator: Emulator, job: Job, deferrable: bool) -> None:
    emulator.control.settings(**{job.kind: {"seconds": None}})
    emulator.control.fault("status", method="GET", status=403, times=None)
    with pytest.raises(PermanentError, match="answered 403 to GET"):
        job.task(deferrable=deferrable).attempt()


# The next attempt


POINTS: dict[str, Callable[[], StateStore]] = {
    "before the intent is written": lambda: StateStore(die_before=0),
    "after the reply, before the id is written": lambda: StateStore(die_before=1),
    "after the id is written": lambda: StateStore(die_after=2),
    "after the result is there": lambda: StateStore(die_after=3),
}


@pytest.mark.parametrize("point", POINTS)
def test_whoever_dies_the_next_attempt_goes_on(
    told: None, emulator: Emulator, job: Job, deferrable: bool, point: str
) -> None:
    task = job.task(POINTS[point](), deferrable=deferrable)
    with pytest.raises(Died):
        task.attempt()
    result = task.retry()
    (run,) = emulator.control.runs()
    result_of(job, run["id"], result)
    assert task.ti.xcoms == job.xcoms(run["id"])
    assert job.started(emulator) == 1
    # A task that is cleared after its success runs anew.
    task.clear()
    assert job.started(emulator) == 2


@pytest.mark.parametrize("way", ["told", "polled"])
def test_a_death_while_finishing(
    request: pytest.FixtureRequest,
    emulator: Emulator,
    job: Job,
    deferrable: bool,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request.getfixturevalue(way)
    finish = job.operator.finish

    def die(*_: Any) -> Any:
        raise Died

    monkeypatch.setattr(job.operator, "finish", die)
    task = job.task(deferrable=deferrable)
    with pytest.raises(Died):
        task.attempt()
    monkeypatch.setattr(job.operator, "finish", finish)
    result_of(job, emulator.control.runs()[0]["id"], task.retry())
    assert job.started(emulator) == 1


def test_a_death_while_waiting(polled: None, emulator: Emulator, job: Job, deferrable: bool) -> None:
    """As when the worker or the triggerer is gone, or a person marks the task as failed and clears it."""
    emulator.control.settings(**{job.kind: {"seconds": None}})
    task = job.task(deferrable=deferrable, timeout=0.1)
    with pytest.raises(RunTimeout):
        task.attempt()
    (run,) = emulator.control.runs()
    emulator.control.finish(run["id"])
    result_of(job, run["id"], task.clear())
    assert job.started(emulator) == 1


def test_a_trigger_that_another_triggerer_takes_over(told: None, emulator: Emulator, job: Job) -> None:
    operator = job.make(deferrable=True)
    task = Task(lambda: operator, StateStore())
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(task.context)
    emulator_runs = emulator.control.runs()
    result_of(job, emulator_runs[0]["id"], task.resume(deferred.value))
    first = task.triggers[0]
    again = type(first)(**first.serialize()[1])
    assert again.serialize() == first.serialize()
    assert (again.deadline, again.started_at, again.told) == (first.deadline, first.started_at, first.told)


@pytest.mark.parametrize("way", ["told", "polled"])
def test_a_run_that_ended_in_time_while_no_triggerer_ran(
    request: pytest.FixtureRequest, emulator: Emulator, job: Job, way: str
) -> None:
    request.getfixturevalue(way)
    task = job.task(deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.make().execute(task.context)
    wait_until(lambda: emulator.control.runs()[0]["ended"])
    if way == "told":
        wait_until(lambda: any(each["status"] != "processing" for each in emulator.control.deliveries()))
    deferred.value.trigger.deadline = time.time()  # type: ignore[attr-defined]
    result = task.resume(deferred.value)
    assert "timeout" in task.events[0]
    result_of(job, emulator.control.runs()[0]["id"], result)
    assert job.started(emulator) == 1


def test_a_run_that_ended_between_the_last_poll_and_the_time_out(polled: None, emulator: Emulator, job: Job) -> None:
    task = job.task(deferrable=False, poll_interval=60, timeout=3)
    result = task.make().execute(task.context)
    result_of(job, emulator.control.runs()[0]["id"], result)
    assert job.started(emulator) == 1


def test_an_earlier_run_that_failed_is_not_gone_on_with(
    polled: None, emulator: Emulator, job: Job, deferrable: bool
) -> None:
    emulator.control.settings(**{job.kind: {"seconds": None}})
    task = job.task(StateStore(die_after=2), deferrable=deferrable)
    with pytest.raises(Died):
        task.attempt()
    (failed,) = emulator.control.runs()
    emulator.control.finish(failed["id"], outcome="failed")
    emulator.control.settings(**{job.kind: {"seconds": 0.05}})
    result = task.retry()
    new = next(run for run in emulator.control.runs() if run["id"] != failed["id"])
    result_of(job, new["id"], result)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started has been known for long."""
    monkeypatch.setattr(kinds, "KNOWN_WITHIN", 0.0)


@pytest.mark.parametrize("after", ["the start", "the worker's death"])
def test_a_run_that_is_not_known_yet_is_not_given_up(
    polled: None, emulator: Emulator, job: Job, deferrable: bool, after: str
) -> None:
    """The vendor answers from what is a little behind: the run is there, and paid for."""
    emulator.control.settings(**{job.kind: {"seconds": 0.1}})
    task = job.task(StateStore(die_after=2 if after == "the worker's death" else None), deferrable=deferrable)
    if after == "the worker's death":
        with pytest.raises(Died):
            task.attempt()
    emulator.control.fault("status", method="GET", status=404, times=2)
    result = task.attempt() if after == "the start" else task.retry()
    result_of(job, emulator.control.runs()[0]["id"], result)
    assert job.started(emulator) == 1


@pytest.mark.usefixtures("known")
def test_an_earlier_run_that_is_gone(polled: None, emulator: Emulator, job: Job) -> None:
    task = job.task(StateStore(die_after=2))
    with pytest.raises(Died):
        task.attempt()
    emulator.control.reset()
    emulator.control.settings(run_status_path=True, **{job.kind: {"seconds": 0.05}})
    with pytest.raises(NotFound) as caught:
        task.retry()
    assert isinstance(caught.value, AirflowFailException)
    assert job.started(emulator) == 0
    assert task.store == {}
    task.clear()
    assert job.started(emulator) == 1


@pytest.mark.usefixtures("known")
def test_a_run_that_is_gone_while_it_is_waited_for(
    polled: None, emulator: Emulator, job: Job, deferrable: bool
) -> None:
    emulator.control.settings(**{job.kind: {"seconds": None}})
    emulator.control.fault("status", method="GET", status=404)
    task = job.task(deferrable=deferrable)
    with pytest.raises(NotFound, match="answered 404 to GET") as caught:
        task.attempt()
    assert isinstance(caught.value, AirflowFailException)
    cleared_once_it_starts_anew(task, job, emulator)


@pytest.mark.usefixtures("known")
def test_a_run_that_is_gone_when_the_time_to_wait_is_over(polled: None, emulator: Emulator, job: Job) -> None:
    emulator.control.settings(**{job.kind: {"seconds": None}})
    task = job.task(deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.make().execute(task.context)
    deferred.value.trigger.deadline = time.time()  # type: ignore[attr-defined]
    emulator.control.fault("status", method="GET", status=404)
    with pytest.raises(NotFound):
        task.resume(deferred.value)
    cleared_once_it_starts_anew(task, job, emulator)


def cleared_once_it_starts_anew(task: Task, job: Job, emulator: Emulator) -> None:
    emulator.control.reset()  # the run is gone for good
    emulator.control.settings(run_status_path=True, **{job.kind: {"seconds": 0.05}})
    result = task.clear()
    result_of(job, emulator.control.runs()[0]["id"], result)
    assert job.started(emulator) == 1


def test_an_earlier_run_while_the_vendor_is_down(
    polled: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JOBS["agent"]
    task = job.task(StateStore(die_after=2), deferrable=True)
    with pytest.raises(Died):
        task.attempt()
    emulator.control.fault("status", method="GET", status=503, times=3)
    make = task.make

    def impatient() -> Any:
        operator = make()
        operator.hook.retry_for = 0  # type: ignore[attr-defined]
        return operator

    task.make = impatient
    result_of(job, emulator.control.runs()[0]["id"], task.retry())
    assert job.started(emulator) == 1


def test_a_run_that_nobody_waits_for_is_not_started_twice(polled: None, emulator: Emulator, job: Job) -> None:
    emulator.control.settings(**{job.kind: {"outcome": "failed"}})
    task = job.task(StateStore(die_after=2), wait_for_completion=False)
    with pytest.raises(Died):
        task.attempt()
    (run,) = emulator.control.runs()
    wait_until(lambda: emulator.control.runs()[0]["ended"])
    assert task.retry() == run["id"], "however it ended: whoever waits for it will see"
    assert job.started(emulator) == 1


def test_nothing_is_remembered_of_what_is_not_durable(polled: None, emulator: Emulator, job: Job) -> None:
    emulator.control.settings(**{job.kind: {"seconds": None}})
    task = job.task(durable=False, timeout=0.05)
    for expected in (1, 2):
        with pytest.raises(
            RunTimeout, match="with durable=False, the next attempt of this task will start another one"
        ):
            task.retry()
        assert job.started(emulator) == expected
    assert task.store == {}


# A start whose reply is lost


LOST = ["drop_after", "drop_body", "truncate", "missing_id", "not_json"]


@pytest.mark.parametrize("fault", LOST)
def test_a_lost_reply_is_made_up_for_by_a_webhook(
    told: None, emulator: Emulator, job: Job, deferrable: bool, fault: str
) -> None:
    emulator.control.fault(fault, method="POST")
    task = job.task(deferrable=deferrable)
    result = task.attempt()
    (run,) = emulator.control.runs()
    result_of(job, run["id"], result)
    assert task.ti.xcoms == job.xcoms(run["id"])
    assert emulator.control.counts()[job.start] == 1


def test_a_lost_run_that_has_failed_fails_the_attempt(
    told: None, emulator: Emulator, job: Job, deferrable: bool
) -> None:
    emulator.control.settings(**{job.kind: {"outcome": "failed", "error": "no idea"}})
    emulator.control.fault("drop_after", method="POST", times=None)
    with pytest.raises(RunFailed, match="no idea"):
        job.task(deferrable=deferrable).attempt()
    assert job.started(emulator) == 1, "one start an attempt"


def test_a_lost_reply_is_made_up_for_by_the_next_attempt(
    told: None, emulator: Emulator, job: Job, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.control.fault("drop_after", method="POST")
    task = job.task(deferrable=deferrable)

    def die(*args: Any, **kwargs: Any) -> Any:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "_look_for", die)
        with pytest.raises(Died):
            task.attempt()
    result_of(job, emulator.control.runs()[0]["id"], task.retry())
    assert job.started(emulator) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost run is looked for a fifth of a second."""
    for name, kind in list(kinds.KINDS.items()):
        monkeypatch.setitem(kinds.KINDS, name, replace(kind, lost_for=0.2))


@pytest.mark.usefixtures("impatient")
def test_silence_does_not_prove_that_nothing_was_started(
    told: None, emulator: Emulator, job: Job, deferrable: bool
) -> None:
    """NenAI announces a run when it begins to execute: one that waits in the queue is silent."""
    emulator.control.fault("drop_before", method="POST")
    task = job.task(deferrable=deferrable)
    words = r"its reply was lost \(.*clos.*\), and no webhook told of a run\..*\n.*starts anew if not"
    with pytest.raises(PermanentError, match=words) as caught:
        task.attempt()
    assert isinstance(caught.value, AirflowFailException)
    assert job.started(emulator) == 0
    result = task.clear()
    result_of(job, emulator.control.runs()[0]["id"], result)
    assert job.started(emulator) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["agent", "query"])
def test_a_start_that_may_have_arrived(told: None, emulator: Emulator, deferrable: bool, kind: str) -> None:
    job = JOBS[kind]
    emulator.control.settings(**{kind: {"seconds": None}})
    emulator.control.fault("drop_after", method="POST")
    task = job.task(deferrable=deferrable)
    with pytest.raises(PermanentError, match=r"may or may not have been started.*\n.*on_lost_start='restart'"):
        task.attempt()
    assert job.started(emulator) == 1
    # A person looks, and clears the task. Meanwhile the run has ended, and the vendor has told so.
    (run,) = emulator.control.runs()
    emulator.control.finish(run["id"])
    wait_until(lambda: any(delivery["outcome"] == "delivered" for delivery in emulator.control.deliveries()))
    result_of(job, run["id"], task.clear())
    assert job.started(emulator) == 1


@pytest.mark.usefixtures("impatient")
def test_each_attempt_says_why_the_reply_was_lost(told: None, emulator: Emulator) -> None:
    """Also the next one, of the same note; nobody can say it of an attempt whose worker died."""
    job = JOBS["workflow"]
    emulator.control.fault("status", method="POST", status=500)
    task = job.task(durable=True)
    with pytest.raises(PermanentError, match=r"its reply was lost \(.*500.*\), and"):
        task.attempt()
    assert "500" in task.store["nenoa_run"]["lost"]
    died = job.task(StateStore(die_after=1))
    with pytest.raises(Died):
        died.attempt()
    with pytest.raises(PermanentError, match=r"lost \(the attempt that sent it ended before the reply was there\)"):
        died.retry()


@pytest.mark.parametrize("outcome", ["success", "failed"])
def test_a_lost_start_of_which_a_webhook_tells_without_naming_it(
    told: None, emulator: Emulator, deferrable: bool, outcome: str
) -> None:
    """Our ref finds the run; what is not known of it is None, not an empty text, and no link leads nowhere."""
    emulator.control.settings(workflow={"seconds": 0.05, "outcome": outcome, "webhook_form": 2, "announce": False})
    emulator.control.fault("drop_after", method="POST")
    task = JOBS["workflow"].task(deferrable=deferrable)
    if outcome == "failed":
        with pytest.raises(RunFailed, match="NenAI workflow run of unknown id ended in 'failed'"):
            task.attempt()
    else:
        result = task.attempt()
        assert (result["message_id"], result["status"]) == (None, "success")
        assert result["result"]["assets"].startswith("http")
    assert task.ti.xcoms == {}
    assert JOBS["workflow"].started(emulator) == 1


@pytest.mark.parametrize("way", ["told", "polled"])
@pytest.mark.usefixtures("impatient")
def test_a_lost_start_is_restarted_if_that_is_wanted(
    request: pytest.FixtureRequest, emulator: Emulator, job: Job, deferrable: bool, way: str
) -> None:
    request.getfixturevalue(way)
    emulator.control.fault("drop_before", method="POST", times=2)
    task = job.task(deferrable=deferrable, on_lost_start="restart")
    words = r"lost \(.*clos.*\), and .* The next attempt starts anew"
    for _ in range(2):
        with pytest.raises(StartOutcomeUnknown, match=words) as caught:
            task.retry()
        assert caught.value.why in str(caught.value)
    result = task.retry()
    result_of(job, emulator.control.runs()[0]["id"], result)
    assert emulator.control.counts()[job.start] == 3


def test_without_webhooks_a_lost_start_is_a_persons_business(
    polled: None, emulator: Emulator, job: Job, deferrable: bool
) -> None:
    emulator.control.fault("drop_before", method="POST")
    task = job.task(deferrable=deferrable)
    with pytest.raises(
        PermanentError, match=r"named no URL to call, so no webhook can tell.*\n.*clear this task: it starts anew"
    ):
        task.attempt()
    result = task.clear()
    result_of(job, emulator.control.runs()[0]["id"], result)
    assert job.started(emulator) == 1


@pytest.mark.usefixtures("impatient")
def test_a_receiver_that_is_down_does_not_mean_that_nothing_was_started(
    told: None, emulator: Emulator, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JOBS["workflow"]
    emulator.control.fault("drop_after", method="POST")
    task = job.task(deferrable=deferrable)
    look_for = Attempt._look_for
    with monkeypatch.context() as patch:

        def look_while_it_is_down(*args: Any, **kwargs: Any) -> Any:
            patch.setenv("AIRFLOW__NENOA__RECEIVER_URL", "http://127.0.0.1:1/nenoa")
            return look_for(*args, **kwargs)

        patch.setattr(Attempt, "_look_for", look_while_it_is_down)
        with pytest.raises(ReceiverUnavailable):
            task.attempt()
    wait_until(lambda: any(delivery["outcome"] == "delivered" for delivery in emulator.control.deliveries()))
    result_of(job, emulator.control.runs()[0]["id"], task.retry())
    assert job.started(emulator) == 1


# Without a task state store


def test_on_an_airflow_without_a_task_state_store(
    polled: None, emulator: Emulator, job: Job, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk import Variable

    variables: dict[str, str] = {}
    monkeypatch.setattr(Variable, "get", lambda key, default=None: variables.get(key, default))
    monkeypatch.setattr(Variable, "set", lambda key, value, description=None: variables.update({key: value}))
    monkeypatch.setattr(Variable, "delete", lambda key: variables.pop(key))
    emulator.control.settings(**{job.kind: {"seconds": None}})
    task = Task(lambda: job.make(deferrable=deferrable, timeout=0.1))
    with pytest.raises(RunTimeout):
        task.attempt()
    assert len(variables) == 1
    (run,) = emulator.control.runs()
    emulator.control.finish(run["id"])
    result_of(job, run["id"], task.retry())
    assert job.started(emulator) == 1
    assert variables == {}
