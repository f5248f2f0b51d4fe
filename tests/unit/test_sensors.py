from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import responses

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowTaskTimeout,
    InvalidArgument,
    InvalidConnection,
    NenoaError,
    NotFound,
    PermanentError,
    ReceiverUnavailable,
    ResultRefused,
    RunFailed,
    RunTimeout,
    SensorTimeout,
    ServerError,
)
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.sensors.base import RunSensor
from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystAgentRunSensor, OpenAnalystQuerySensor
from airflow_provider_nenoa.triggers import GRACE
from airflow_provider_nenoa.triggers import base as triggers
from airflow_provider_nenoa.triggers.openanalyst import OpenAnalystAgentRunTrigger
from airflow_provider_nenoa.waiting import asking, poll_source
from airflow_provider_nenoa.webhooks import client
from tests.support.task import Task, TaskDeferred
from tests.unit.conftest import Logged, requests_to

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, AirflowSkipException, TaskDeferralError
except ImportError:  # Airflow 3.0 and 3.1
    from airflow.exceptions import AirflowRescheduleException, AirflowSkipException, TaskDeferralError

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"
PLENTY = {"requests_per_minute": 10**6, "requests_per_day": 10**9}


@dataclass(frozen=True)
class Wait:
    """One kind of run to wait for: how it is started elsewhere, and its sensor."""

    kind: str
    start: Callable[[], str]
    sensor: Callable[..., RunSensor]
    id_key: str
    path: str
    running: str
    success: str

    @property
    def vendor(self) -> str:
        return "nenai" if self.kind == "workflow" else "openanalyst"

    def task(self, run_id: str, **options: Any) -> Task:
        options = {"poke_interval": 0.02, "timeout": 10, **options}
        return Task(lambda: self.sensor(task_id="t", **{self.id_key: run_id}, **options))


WAITS = {
    "agent": Wait(
        "agent",
        lambda: OpenAnalystHook("my_openanalyst").run_agent("a", "t").run_id,
        lambda **kwargs: OpenAnalystAgentRunSensor(openanalyst_conn_id="my_openanalyst", **kwargs),
        "run_id",
        "GET /v1/agents/runs/{run_id}",
        "running",
        "completed",
    ),
    "query": Wait(
        "query",
        lambda: OpenAnalystHook("my_openanalyst").execute_query("ds_abc123", "SELECT 1 AS one").run_id,
        lambda **kwargs: OpenAnalystQuerySensor(openanalyst_conn_id="my_openanalyst", **kwargs),
        "query_id",
        "GET /v1/queries/{query_id}/results",
        "running",
        "completed",
    ),
    "workflow": Wait(
        "workflow",
        lambda: NenAIHook("my_nenai").start_run(WORKFLOW).run_id,
        lambda **kwargs: NenAIWorkflowRunSensor(nenai_conn_id="my_nenai", **kwargs),
        "message_id",
        "GET /runs/{message_id}",
        "processing",
        "success",
    ),
}


@pytest.fixture(autouse=True)
def connections(
    emulator: Emulator, nenai: str, connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    connect("openanalyst", emulator.openanalyst_url, extra=PLENTY)
    emulator.control.settings(query={"seconds": None})
    monkeypatch.setattr(triggers, "SETTLE", 0.0)
    return


@pytest.fixture(params=WAITS)
def wait(request: pytest.FixtureRequest) -> Wait:
    return WAITS[request.param]


@pytest.fixture(params=["poke", "reschedule", "deferrable"])
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"deferrable": True} if request.param == "deferrable" else {"mode": request.param}


def run_to_the_end(task: Task) -> Any:
    """Let a task have its way, through as many reschedules as it takes."""
    task.ti.get_first_reschedule_date = lambda context: None  # type: ignore[attr-defined]
    return run_through_reschedules(task)


def run_through_reschedules(task: Task) -> Any:
    while True:
        try:
            return task.attempt()
        except AirflowRescheduleException:
            time.sleep(0.02)


@contextlib.contextmanager
def happening(when: str, emulator: Emulator, wait: Wait, happen: Callable[[], object]) -> Iterator[None]:
    """Let something happen "at once", or "later": when the first question about a run was answered."""
    if when == "at once":
        happen()
        yield
        return

    def once_answered() -> None:
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            asked = [f"{each['method']} {each['route']}" for each in emulator.control.requests() if each["status"]]
            if wait.path in asked:
                break
            time.sleep(0.01)
        happen()

    thread = threading.Thread(target=once_answered)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_run_that_ends(emulator: Emulator, wait: Wait, mode: dict[str, Any], when: str) -> None:
    emulator.control.settings(**{wait.kind: {"seconds": None}})
    run_id = wait.start()
    task = wait.task(run_id, **mode)
    with happening(when, emulator, wait, lambda: emulator.control.finish(run_id)):
        result = run_to_the_end(task)
    assert result[wait.id_key] == run_id
    assert result["status"] == wait.success
    assert result["result"]["status"] == wait.success
    if wait.kind == "query":
        assert result["result"]["rows"] == [{"one": 1}]
    assert len(task.deferrals) == (when == "later" and "deferrable" in mode)
    if when == "at once":
        assert requests_to(emulator)[wait.path] == 1


def test_a_run_that_fails(emulator: Emulator, wait: Wait, mode: dict[str, Any]) -> None:
    run_id = wait.start()
    emulator.control.finish(run_id, outcome="failed", error="no idea how")
    with pytest.raises(RunFailed, match=f"{wait.kind} run {run_id} ended in 'failed': no idea how"):
        run_to_the_end(wait.task(run_id, **mode))


@pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=["poke", "deferrable"])
def test_a_timeout_says_what_is_true_and_is_not_retried(wait: Wait, mode: dict[str, Any]) -> None:
    run_id = wait.start()
    with pytest.raises(SensorTimeout) as caught:
        run_to_the_end(wait.task(run_id, timeout=0.15, **mode))
    said = str(caught.value)
    assert f"{wait.kind} run {run_id} did not end within the sensor's timeout of 0 s" in said
    assert f"its last known status is '{wait.running}'" in said
    assert "The run goes on" in said
    assert isinstance(caught.value, AirflowSensorTimeout), "Airflow does not retry it, as with every sensor"


@pytest.mark.parametrize("secret", ["s3cret", None])
def test_a_timeout_without_a_word_says_where_to_look(connect: Callable[..., str], secret: str | None) -> None:
    conn_id = connect("nenai", extra={"webhook_secret": secret, "run_status_path": "/runs/{message_id}"})
    sensor = NenAIWorkflowRunSensor(task_id="t", message_id="m", nenai_conn_id=conn_id)
    advice = str(sensor._timed_out("")).splitlines()[1]
    assert (f"webhooks.selftest {conn_id}`" in advice) == bool(secret)
    assert "Raise 'timeout'" in advice


@pytest.mark.parametrize("mode", [{}, {"deferrable": True}], ids=["poke", "deferrable"])
def test_an_unknown_word_is_told_once_and_named_by_the_timeout(
    emulator: Emulator, mode: dict[str, Any], logged: Logged
) -> None:
    wait = WAITS["agent"]
    run_id = wait.start()
    emulator.control.finish(run_id, outcome="simmering")
    with pytest.raises(SensorTimeout, match="last known status is 'simmering', which is no word we know"):
        run_to_the_end(wait.task(run_id, timeout=1, **mode))
    assert requests_to(emulator)[wait.path] > 2
    warnings = [line for line in logged.text.splitlines() if "no word we know" in line and "WARN" in line.upper()]
    assert len(warnings) == (3 if mode else 1), "once in each process: task, triggerer, task"


# What Airflow makes of it in poke mode, in Airflow 3.0 as in 3.3: by outcome, without and with soft_fail, never_fail.
SKIPPED = AirflowSkipException
TABLE: dict[str, tuple[type[Exception] | None, ...]] = {
    "success": (None, None, None),
    "failed": (RunFailed, RunFailed, SKIPPED),
    "gone": (NotFound, SKIPPED, SKIPPED),
    "refused": (PermanentError, SKIPPED, SKIPPED),
    "running": (SensorTimeout, SKIPPED, SensorTimeout),
}


@pytest.mark.parametrize("when", ["at once", "later"])
@pytest.mark.parametrize("option", [None, "soft_fail", "never_fail"])
@pytest.mark.parametrize("outcome", TABLE)
def test_a_sensor_is_the_same_in_every_mode(
    emulator: Emulator, mode: dict[str, Any], outcome: str, option: str | None, when: str
) -> None:
    wait = WAITS["agent"]
    run_id = wait.start()

    def happen() -> None:
        if outcome in ("success", "failed"):
            emulator.control.finish(run_id, outcome=wait.success if outcome == "success" else outcome)
        elif outcome != "running":
            emulator.control.fault("status", method="GET", status=404 if outcome == "gone" else 403, times=None)

    began = dt.datetime.now(tz=dt.UTC)
    task = wait.task(run_id, timeout=0.2 if outcome == "running" else 10, **mode, **({option: True} if option else {}))
    task.ti.get_first_reschedule_date = lambda context: began  # type: ignore[attr-defined]
    expected = TABLE[outcome][[None, "soft_fail", "never_fail"].index(option)]
    with happening(when, emulator, wait, happen):
        if expected is None:
            assert run_through_reschedules(task)["status"] == wait.success
        else:
            with pytest.raises(expected) as caught:
                run_through_reschedules(task)
            assert issubclass(caught.type, expected)
    if outcome != "running":
        assert len(task.deferrals) == (when == "later" and "deferrable" in mode)


@pytest.mark.parametrize(("options", "expected"), [({}, RunTimeout), ({"soft_fail": True}, SKIPPED)], ids=str)
def test_execution_timeout_bounds_a_deferrable_sensor(options: dict[str, Any], expected: Any) -> None:
    wait = WAITS["agent"]
    # Two seconds less than Airflow's own limit, and one at least.
    task = wait.task(wait.start(), deferrable=True, timeout=1000, execution_timeout=timedelta(seconds=2), **options)
    began = time.monotonic()
    with pytest.raises(expected, match=r"sensor's execution_timeout of 2 s.*\n.*Raise 'execution_timeout'") as caught:
        task.attempt()
    assert 0.9 < time.monotonic() - began < 60
    assert not isinstance(caught.value, AirflowSensorTimeout), "as with Airflow's own, its retries apply"


@pytest.mark.parametrize(
    ("timeout", "execution_timeout", "patience"), [(1000, 502, 500), (300, 502, 300), (1000, None, 1000)]
)
def test_the_shorter_limit_counts(wait: Wait, timeout: float, execution_timeout: Any, patience: float) -> None:
    limit = execution_timeout and timedelta(seconds=execution_timeout)
    sensor = wait.sensor(task_id="t", deferrable=True, timeout=timeout, execution_timeout=limit, **{wait.id_key: "r"})
    sensor._ask = lambda: None  # type: ignore[method-assign]
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({})
    assert deferred.value.trigger.deadline - time.time() == pytest.approx(patience, abs=10)  # type: ignore[attr-defined]
    assert deferred.value.timeout is not None
    assert deferred.value.timeout.total_seconds() > patience


@pytest.mark.parametrize("option", ["soft_fail", "never_fail"])
def test_airflows_own_limit_on_a_poking_sensor(wait: Wait, mode: dict[str, Any], option: str) -> None:
    """It comes as an exception wherever the process is: while it asks, or while it sleeps."""
    sensor = wait.sensor(task_id="t", **{wait.id_key: "r", option: True}, **mode)

    def interrupt(*_: Any) -> Any:
        raise AirflowTaskTimeout("Timeout")

    sensor._ask = interrupt  # type: ignore[method-assign]
    with pytest.raises(AirflowSkipException):
        sensor.execute({"ti": SimpleNamespace(get_first_reschedule_date=lambda context: None)})
    sensor._ask = lambda: None  # type: ignore[method-assign]
    sensor._get_next_poke_interval = interrupt  # type: ignore[method-assign]
    if not mode.get("deferrable"):
        with pytest.raises(AirflowSkipException):
            sensor.execute({"ti": SimpleNamespace(get_first_reschedule_date=lambda context: None)})


@pytest.mark.parametrize(
    ("error", "option", "expected"),
    [
        ("Trigger timeout", "soft_fail", SKIPPED),
        ("Trigger timeout", "never_fail", SensorTimeout),
        ("Trigger failure", "soft_fail", TaskDeferralError),
        ("Trigger failure", "never_fail", SKIPPED),
    ],
)
def test_a_trigger_that_airflow_ended(wait: Wait, error: str, option: str, expected: type[Exception]) -> None:
    sensor = wait.sensor(task_id="t", **{wait.id_key: "r", option: True})
    with pytest.raises(expected):
        sensor.resume_execution("__fail__", {"error": error}, {})


def test_a_deferred_sensor_says_how_it_will_notice(emulator: Emulator, wait: Wait, logged: Logged) -> None:
    run_id = wait.start()
    with pytest.raises(TaskDeferred):
        wait.task(run_id, deferrable=True, timeout=3600, poll_interval=5).make().execute({})
    assert f"run {run_id}. Its end will be noticed by asking" in logged.text
    assert f"every 5 to 150 s, within its rate limit, on connection 'my_{wait.vendor}', until 20" in logged.text


def test_a_rescheduled_sensor_gives_its_worker_back(emulator: Emulator, wait: Wait) -> None:
    task = wait.task(wait.start(), mode="reschedule", poke_interval=300)
    task.ti.get_first_reschedule_date = lambda context: None  # type: ignore[attr-defined]
    with pytest.raises(AirflowRescheduleException) as caught:
        task.attempt()
    assert (caught.value.reschedule_date.timestamp() - time.time()) == pytest.approx(300, abs=10)


def test_a_run_that_does_not_exist(wait: Wait, mode: dict[str, Any]) -> None:
    with pytest.raises(NotFound) as caught:
        run_to_the_end(wait.task("00000000-0000-0000-0000-000000000000", **mode))
    assert isinstance(caught.value, AirflowFailException)


def test_trouble_is_waited_out(
    emulator: Emulator, wait: Wait, mode: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = wait.start()
    emulator.control.finish(run_id)
    emulator.control.fault("status", method="GET", status=503, times=2)
    emulator.control.fault("drop_before", method="GET")
    monkeypatch.setattr(poll_source, "back_off", lambda failures: asyncio.sleep(0.01))
    assert run_to_the_end(wait.task(run_id, **mode))["status"] == wait.success


@pytest.mark.parametrize("when", ["at once", "later"])
@pytest.mark.parametrize("option", [None, "soft_fail", "never_fail"])
@pytest.mark.parametrize("ends", [True, False])
def test_trouble_with_the_result_is_waited_out(
    emulator: Emulator,
    wait: Wait,
    mode: dict[str, Any],
    when: str,
    option: str | None,
    ends: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The run is known to have ended; who has its result does not answer, twice or till the end."""
    run_id = wait.start()
    read, failures = asking.read, [ServerError("It is down.")] * 2

    def flaky(*args: Any) -> Run:
        if failures:
            raise failures.pop() if ends else failures[0]
        return read(*args)

    monkeypatch.setattr(asking, "read", flaky)
    options = {option: True} if option else {}
    task = wait.task(run_id, timeout=10 if ends else 0.3, **mode, **options)
    began = dt.datetime.now(tz=dt.UTC)
    task.ti.get_first_reschedule_date = lambda context: began  # type: ignore[attr-defined]
    with happening(when, emulator, wait, lambda: emulator.control.finish(run_id)):
        if ends:
            assert run_through_reschedules(task)["status"] == wait.success
        else:
            with pytest.raises(SKIPPED if option == "soft_fail" else SensorTimeout):
                run_through_reschedules(task)


def test_the_result_is_tried_for_before_the_wait_goes_on(emulator: Emulator, sleeps: list[float]) -> None:
    wait = WAITS["query"]
    run_id = wait.start()
    task = wait.task(run_id, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.make().execute(task.context)
    emulator.control.finish(run_id)
    event = {"run_id": run_id, "word": "completed", "by_webhook": False, "started_at": time.time()}
    emulator.control.fault("status", method="GET", status=503, times=2)
    sensor = task.make()
    assert sensor.resume_execution(deferred.value.method_name, {"event": event}, task.context)["status"] == "completed"
    assert len(sleeps) == 2


def test_a_wait_that_goes_on_ends_when_it_would_have_ended(wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: Any) -> Run:
        raise ServerError("It is down.")

    monkeypatch.setattr(asking, "read", down)
    event = {"run_id": "r", "word": "completed", "by_webhook": False, "started_at": time.time() - 400}
    sensor = wait.sensor(task_id="t", deferrable=True, timeout=1000, **{wait.id_key: "r"})
    with pytest.raises(TaskDeferred) as deferred:
        sensor.resume_execution("execute_complete", {"event": event}, {})
    trigger: Any = deferred.value.trigger
    assert (trigger.started_at, trigger.deadline) == (event["started_at"], event["started_at"] + 1000)
    assert deferred.value.timeout is not None
    assert deferred.value.timeout.total_seconds() == pytest.approx(600 + GRACE, abs=10)


def test_a_refusal_while_waiting(emulator: Emulator, wait: Wait, mode: dict[str, Any]) -> None:
    run_id = wait.start()
    emulator.control.fault("status", method="GET", status=403, times=None)
    with pytest.raises(PermanentError, match="answered 403"):
        run_to_the_end(wait.task(run_id, **mode))


# The receiver


class Receiver:
    """What a sensor sees of our receiver."""

    def __init__(self) -> None:
        self.stored: Any = None
        self.asked = 0

    def __call__(self, conn_id: str, secret: str, **kwargs: Any) -> Receiver:
        return self

    def run(self, run_id: str, wait: float = 0.0, **named: Any) -> Any:
        self.asked += 1
        if isinstance(self.stored, Exception):
            raise self.stored
        return self.stored


@pytest.fixture
def receiver(emulator: Emulator, connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Receiver:
    receiver = Receiver()
    monkeypatch.setattr(client, "ReceiverClient", receiver)
    connect("openanalyst", emulator.openanalyst_url, extra={"webhook_secret": "s"})
    connect("nenai", emulator.nenai_url, extra={"webhook_secret": "s"})
    return receiver


def stored(run_id: str, word: str) -> Any:
    from airflow_provider_nenoa.webhooks.records import StoredRun

    run = Run(run_id, word, {"from": "webhook"})
    return StoredRun(run_id, None, run.status, word, 1, 1, 0.0, run.payload)


def test_a_webhook_that_came_before_costs_no_request(
    emulator: Emulator, wait: Wait, mode: dict[str, Any], receiver: Receiver
) -> None:
    receiver.stored = stored("r", "completed")
    assert run_to_the_end(wait.task("r", **mode)) == {
        wait.id_key: "r",
        "status": "completed",
        "result": {"from": "webhook"},
    }
    assert requests_to(emulator) == {}


def test_who_is_told_asks_the_vendor_rarely(emulator: Emulator, receiver: Receiver) -> None:
    wait = WAITS["agent"]
    run_id = wait.start()
    with pytest.raises(SensorTimeout):
        wait.task(run_id, timeout=0.2).attempt()
    assert receiver.asked > 3
    assert requests_to(emulator)[wait.path] == 1


def test_the_vendor_is_asked_while_the_receiver_is_down(emulator: Emulator, receiver: Receiver) -> None:
    receiver.stored = ReceiverUnavailable("down")
    wait = WAITS["agent"]
    run_id = wait.start()
    emulator.control.finish(run_id)
    assert wait.task(run_id).attempt()["status"] == "completed"


def test_a_receiver_that_is_down_is_waited_for(receiver: Receiver, logged: Logged) -> None:
    receiver.stored = ReceiverUnavailable("it is down.")
    wait = WAITS["workflow"]
    with pytest.raises(SensorTimeout, match="nothing was heard of its status"):
        wait.task("r", timeout=0.1).attempt()
    assert "it is down. Waiting on." in logged.text


def test_a_deferred_sensor_that_is_told(receiver: Receiver) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        WAITS["workflow"].sensor(task_id="t", message_id="r", deferrable=True, timeout=1000).execute({})
    trigger: Any = deferred.value.trigger
    assert (trigger.run_id, trigger.told) == ("r", True)
    assert trigger.deadline - time.time() == pytest.approx(1000, abs=10)
    assert deferred.value.timeout is not None
    assert deferred.value.timeout > timedelta(seconds=1000)


def test_an_end_that_nobody_could_tell(emulator: Emulator, connect: Callable[..., str], mode: dict[str, Any]) -> None:
    connect("nenai", emulator.nenai_url)
    with pytest.raises(InvalidConnection, match="nor an 'mcp_url': the end of a workflow run cannot be learnt"):
        run_to_the_end(WAITS["workflow"].task("r", **mode))
    assert requests_to(emulator) == {}


# Large results


@pytest.mark.parametrize("payload", [{"status": "completed"}, {"status": "completed", "result": {}}])
@pytest.mark.parametrize("row", [{"n": 1}, [1]], ids=["objects", "lists"])
def test_rows_go_through_xcom_up_to_a_limit(payload: dict[str, Any], row: Any) -> None:
    payload = deepcopy(payload)
    payload.get("result", payload)["rows"] = [row] * 1_001
    event = {"run_id": "q", "word": "completed", "by_webhook": False, "payload": payload}

    def finish(**options: Any) -> Any:
        sensor = OpenAnalystQuerySensor(task_id="t", query_id="q", openanalyst_conn_id="my_openanalyst", **options)
        return sensor.execute_complete({}, event)  # type: ignore[typeddict-item]

    with pytest.raises(ResultRefused, match=r"1,001 rows, more than max_xcom_rows = 1,000.*\nSet output_path"):
        finish()
    assert finish(max_xcom_rows=1_001)["result"] == payload


def test_a_result_without_rows_is_none_of_the_limits_business() -> None:
    sensor = OpenAnalystQuerySensor(task_id="t", query_id="q", max_xcom_rows=0)
    for payload in ({"rows": None}, {"result": "SELECT"}, {}):
        assert sensor.finish(Run("q", "completed", payload))["result"] == payload


# Bad input


def test_a_number_is_an_id(emulator: Emulator, connect: Callable[..., str], mode: dict[str, Any]) -> None:
    """As a template renders to, with render_template_as_native_obj."""
    connect("openanalyst", "https://oa.test/v1", extra=PLENTY)
    with responses.RequestsMock() as vendor:
        vendor.get("https://oa.test/v1/agents/runs/77", json={"status": "completed"})
        assert run_to_the_end(WAITS["agent"].task(77, **mode))["run_id"] == "77"  # type: ignore[arg-type]


@pytest.mark.parametrize("start_from_trigger", [True, False])
async def test_a_number_is_an_id_to_a_trigger_too(connect: Callable[..., str], start_from_trigger: bool) -> None:
    """Where the scheduler defers the task, a triggerer renders it."""
    connect("openanalyst", "https://oa.test/v1", extra=PLENTY)
    trigger = OpenAnalystAgentRunTrigger("{{ id }}", "my_openanalyst", poll_interval=0.01, started_at=1.0)
    trigger.run_id = 77  # type: ignore[assignment]
    if start_from_trigger:
        trigger.patience = 5.0
    with responses.RequestsMock() as vendor:
        vendor.get("https://oa.test/v1/agents/runs/77", json={"status": "completed"})
        (event,) = [event async for event in trigger.run()]
    assert (event.payload["run_id"], event.payload["word"]) == ("77", "completed")


@pytest.mark.parametrize("run_id", ["", "  ", None, True, [7]])
def test_no_run(emulator: Emulator, wait: Wait, mode: dict[str, Any], run_id: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"'{wait.id_key}' must be a non-empty string"):
        run_to_the_end(wait.task(run_id, **mode))
    assert requests_to(emulator) == {}


@pytest.mark.parametrize("argument", ["poke_interval", "poll_interval", "timeout"])
@pytest.mark.parametrize("value", [0, -1, timedelta(0), "15"])
def test_times_that_make_no_sense(wait: Wait, argument: str, value: Any) -> None:
    # Airflow's own check of its own arguments has an error of its own, another one in each version.
    with pytest.raises((ValueError, AirflowException), match=argument):
        wait.sensor(task_id="t", **{wait.id_key: "r", argument: value})


def test_times(wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = wait.sensor(task_id="t", **{wait.id_key: "r"}, poke_interval=timedelta(seconds=5))
    assert sensor.poll_interval == 5.0
    assert wait.sensor(task_id="t", **{wait.id_key: "r"}, poll_interval=7).poll_interval == 7.0
    assert not sensor.deferrable
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert wait.sensor(task_id="t", **{wait.id_key: "r"}).deferrable


def test_what_one_would_template_is_templated(wait: Wait) -> None:
    sensor = wait.sensor(task_id="t", **{wait.id_key: "r"})
    conn_id = "nenai_conn_id" if wait.kind == "workflow" else "openanalyst_conn_id"
    assert set(sensor.template_fields) == {wait.id_key, conn_id}


def test_a_run_that_ended_in_time_while_no_triggerer_ran(emulator: Emulator, wait: Wait) -> None:
    run_id = wait.start()
    emulator.control.finish(run_id)
    sensor = wait.sensor(task_id="t", **{wait.id_key: run_id})
    assert sensor.execute_complete({}, {"timeout": ""})["status"] == wait.success  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("permanent", "not_found", "error"),
    [(True, True, NotFound), (True, False, PermanentError), (False, False, NenoaError)],
)
def test_an_error_of_the_trigger(wait: Wait, permanent: bool, not_found: bool, error: type[Exception]) -> None:
    event = {"error": "it went wrong", "permanent": permanent, "not_found": not_found}
    with pytest.raises(error, match="it went wrong") as caught:
        wait.sensor(task_id="t", **{wait.id_key: "r"}).execute_complete({}, event)  # type: ignore[typeddict-item]
    assert type(caught.value) is error
