"""What the operators do with their arguments; what they do with runs is in the integration tests."""

from __future__ import annotations

import copy
import datetime as dt
import json
import re
import time
from collections import UserDict
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import jinja2
import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_nenoa import compat
from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AirflowFailException,
    AirflowTaskTimeout,
    InvalidArgument,
    InvalidConnection,
    NenoaError,
    RunTimeout,
)
from airflow_provider_nenoa.hooks.base import VendorHook
from airflow_provider_nenoa.operators.base import RunOperator, positive_seconds
from airflow_provider_nenoa.operators.giving_up import timed_out
from airflow_provider_nenoa.operators.memory import Note
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystExportOperator,
    OpenAnalystGetDatasetOperator,
    OpenAnalystGetReportOperator,
    OpenAnalystListDashboardsOperator,
    OpenAnalystListDatasetsOperator,
    OpenAnalystListReportsOperator,
    OpenAnalystRunAgentOperator,
)
from tests.support.task import StateStore, Task, TaskDeferred
from tests.unit.conftest import Logged, requests_to

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"


def agent(**options: Any) -> OpenAnalystRunAgentOperator:
    return OpenAnalystRunAgentOperator(
        **{"task_id": "t", "agent_id": "a", "task_prompt": "p", "openanalyst_conn_id": "my_openanalyst", **options}
    )


def query(**options: Any) -> OpenAnalystExecuteQueryOperator:
    return OpenAnalystExecuteQueryOperator(
        **{"task_id": "t", "dataset_id": "d", "query": "q", "openanalyst_conn_id": "my_openanalyst", **options}
    )


def workflow(**options: Any) -> NenAIRunWorkflowOperator:
    return NenAIRunWorkflowOperator(**{"task_id": "t", "workflow_id": WORKFLOW, "nenai_conn_id": "my_nenai", **options})


def export(**options: Any) -> OpenAnalystExportOperator:
    return OpenAnalystExportOperator(
        **{"task_id": "t", "dataset_id": "d", "export_format": "csv", "output_path": "/tmp/x.csv", **options}
    )


# Bad input


@pytest.mark.parametrize("make", [agent, query, workflow])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(
            (argument, value)
            for argument in ("poll_interval", "timeout")
            for value in (0, -1, "15", True, None, float("nan"), float("inf"), timedelta(0), timedelta(seconds=-1))
        ),
        ("on_lost_start", "maybe"),
        ("on_changed_arguments", "ask"),
    ],
)
def test_an_argument_that_makes_no_sense(make: Callable[..., RunOperator], argument: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=f"'{argument}' must be"):
        make(**{argument: value})


def test_a_time_may_be_given_as_a_timedelta() -> None:
    assert agent(timeout=timedelta(hours=2), poll_interval=timedelta(seconds=5)).timeout == 7200
    assert positive_seconds("x", timedelta(milliseconds=1)) == 0.001
    assert positive_seconds("x", 1) == 1.0


BAD: list[tuple[Callable[..., RunOperator], dict[str, Any], str]] = [
    (agent, {"agent_id": ""}, "'agent_id' must be a non-empty string"),
    (agent, {"agent_id": None}, "'agent_id' must be a non-empty string, not None"),
    (agent, {"task_prompt": "  "}, "'task_prompt' must be a non-empty string"),
    (agent, {"task_prompt": True}, "'task_prompt' must be a non-empty string, not True"),
    (agent, {"task_prompt": ["7"]}, "'task_prompt' must be a non-empty string"),
    (agent, {"context": "{not JSON"}, "'context' is not JSON: .*Nothing was sent"),
    (agent, {"context": "[" * 100_000}, "'context' is not JSON"),
    (agent, {"context": "[1, 2]"}, "'context' must be a dict that can be sent as JSON.* it is a list"),
    (agent, {"context": []}, "'context' must be a dict that can be sent as JSON.* it is a list"),
    (agent, {"context": 0}, "'context' must be a dict that can be sent as JSON.* it is a int"),
    (agent, {"context": {"when": object()}}, r"context\['when'\] is of the class object, for which JSON has nothing"),
    (agent, {"context": '{"x": NaN}'}, "'context' cannot be sent as JSON: x is NaN"),
    (query, {"dataset_id": ""}, "'dataset_id' must be a non-empty string"),
    (query, {"query": "\n"}, "'query' must be a non-empty string"),
    (query, {"query": None}, "'query' must be a non-empty string"),
    (query, {"question": "How much?"}, "either 'query' or 'question', not both"),
    (query, {"query": None, "question": "How much?"}, "form 'api' knows no 'question'.*\\n.*'api_form' to 'server'"),
    (query, {"query": None, "question": "?", "parameters": {"a": 1}}, "'parameters' are for SQL"),
    (query, {"query_timeout": 5}, "form 'api' knows no 'query_timeout'.*\\n.*'api_form' to 'server'"),
    (query, {"extra_body": {"query": "other"}}, "'extra_body' cannot have 'query'"),
    (agent, {"dataset_ids": ["d"]}, "form 'api' knows no 'dataset_ids'.*\\n.*'api_form' to 'server'"),
    (agent, {"model": "m"}, "form 'api' knows no 'model'"),
    (agent, {"max_steps": 3}, "form 'api' knows no 'max_steps'"),
    (agent, {"extra_body": {"task": "other"}}, "'extra_body' cannot have 'task'"),
    (agent, {"extra_body": "{not JSON"}, "'extra_body' is not JSON"),
    (agent, {"extra_body": [1]}, "'extra_body' must be a dict"),
    (workflow, {"extra_body": {"workflow_id": WORKFLOW}}, "'extra_body' cannot have 'workflow_id'"),
    (workflow, {"extra_body": {"a": object()}}, "'extra_body' cannot be sent as JSON"),
    (workflow, {"workflow_id": ""}, "'workflow_id' must be a non-empty string"),
    (workflow, {"workflow_id": "mine"}, "'workflow_id' must be a UUID, not 'mine'"),
    (workflow, {"workflow_params": "text"}, "'workflow_params' is not JSON.*\\nIt must be a dict"),
    (workflow, {"workflow_params": {"a": {1}}}, r"workflow_params\['a'\] is of the class set"),
    (workflow, {"secure_workflow_params": {"pin": ["1234"]}}, "'secure_workflow_params' must be a dict"),
    (workflow, {"secure_workflow_params": ["pin"]}, "'secure_workflow_params' must be a dict"),
]


@pytest.mark.parametrize(("make", "options", "message"), BAD, ids=[f"{bad[0].__name__} {bad[2]}" for bad in BAD])
@pytest.mark.parametrize("deferrable", [False, True])
def test_bad_input_is_refused_before_anything_is_sent(
    emulator: Emulator,
    openanalyst: str,
    nenai: str,
    make: Callable[..., RunOperator],
    options: dict[str, Any],
    message: str,
    deferrable: bool,
) -> None:
    task = Task(lambda: make(deferrable=deferrable, **options), StateStore())
    with pytest.raises(InvalidArgument, match=message) as caught:
        task.attempt()
    assert isinstance(caught.value, AirflowFailException)
    assert "1234" not in str(caught.value)
    assert requests_to(emulator) == {}
    assert task.store == {}


@pytest.mark.parametrize("make", [agent, query, workflow])
@pytest.mark.parametrize(
    "fields",
    [{"password": None}, {"host": "http://example.com"}, {"conn_type": "http"}, {"extra": {"timeout": -1}}],
    ids=str,
)
def test_a_bad_connection_is_refused_before_anything_is_sent(
    connect: Callable[..., str], make: Callable[..., RunOperator], fields: dict[str, Any]
) -> None:
    fields = dict(fields)
    conn_type = make().hook.conn_type
    connect(fields.pop("conn_type", conn_type), conn_id=f"my_{conn_type}", **fields)
    task = Task(make, StateStore())
    with pytest.raises(InvalidConnection):
        task.attempt()
    assert task.store == {}


@pytest.mark.parametrize(
    "operator", [OpenAnalystListDatasetsOperator, OpenAnalystListReportsOperator, OpenAnalystListDashboardsOperator]
)
@pytest.mark.parametrize("options", [{"page_size": 0}, {"page_size": "5"}, {"limit": 0}, {"limit": -1}, {"limit": 1.5}])
def test_lists_that_make_no_sense(operator: type[BaseOperator], options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=f"'{next(iter(options))}' must be a whole number of at least 1"):
        operator(task_id="t", **options)


@pytest.mark.parametrize(
    "operator",
    [
        OpenAnalystGetDatasetOperator(task_id="t", dataset_id=" ", openanalyst_conn_id="my_openanalyst"),
        OpenAnalystGetReportOperator(task_id="t", report_id="..", openanalyst_conn_id="my_openanalyst"),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_objects_without_an_id(emulator: Emulator, openanalyst: str, operator: BaseOperator) -> None:
    with pytest.raises(InvalidArgument, match=r"_id' (must be|cannot be)"):
        Task(lambda: operator).attempt()
    assert requests_to(emulator) == {}


# What is sent


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (None, None),
        ("", None),
        (" \n", None),
        ("null", None),
        ({}, {}),
        ("{}", {}),
        ({"a": 1}, {"a": 1}),
        ('{"a": [1, null]}', {"a": [1, None]}),
    ],
)
def test_a_context(emulator: Emulator, openanalyst: str, given: Any, sent: Any) -> None:
    Task(lambda: agent(context=given, wait_for_completion=False), StateStore()).attempt()
    (start,) = emulator.control.requests()
    assert start["body"].get("context") == sent


@pytest.mark.parametrize(
    "make",
    [
        agent,
        lambda **options: agent(**options | {"extra_body": '{"tomorrow": [1]}'}),
        lambda **options: query(dataset_id="ds_abc123", query="SELECT 1 AS one", **options),
        workflow,
    ],
    ids=["agent", "text", "query", "workflow"],
)
def test_what_the_vendor_takes_tomorrow(
    emulator: Emulator, openanalyst: str, nenai: str, make: Callable[..., RunOperator]
) -> None:
    task = Task(lambda: make(extra_body={"tomorrow": [1]}, wait_for_completion=False), StateStore())
    emulator.control.settings(query={"seconds": None})
    task.attempt()
    (start,) = emulator.control.requests()
    assert start["body"]["tomorrow"] == [1]


class Lazily(Sequence[Any]):
    """What an upstream mapped task's output is: each item is fetched when it is read."""

    def __init__(self, *items: Any) -> None:
        self.items, self.reads = items, 0

    def __getitem__(self, index: Any) -> Any:
        self.reads += 1
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


def test_upstream_values_are_sent_as_they_come(emulator: Emulator, openanalyst: str, nenai: str) -> None:
    answers = Lazily({"on": dt.date(2024, 1, 31), "cost": Decimal("1.50")}, UserDict(id=UUID(int=7)))
    sent = {"answers": [{"on": "2024-01-31", "cost": 1.5}, {"id": str(UUID(int=7))}]}
    Task(lambda: agent(context={"answers": answers}, wait_for_completion=False), StateStore()).attempt()
    reads = answers.reads
    Task(lambda: workflow(workflow_params=UserDict(answers=answers), wait_for_completion=False), StateStore()).attempt()
    Task(lambda: workflow(workflow_params=json.dumps(sent), wait_for_completion=False), StateStore()).attempt()
    bodies = [request["body"] for request in emulator.control.requests()]
    assert bodies[0]["context"] == bodies[1]["workflow_params"] == bodies[2]["workflow_params"] == sent
    assert reads <= 3, "each is fetched once, and one more read ends the iteration"


def test_a_number_is_a_text_where_a_text_is_wanted(emulator: Emulator, openanalyst: str) -> None:
    """With render_template_as_native_obj, '{{ 7 }}' comes as 7."""
    Task(lambda: agent(agent_id=7, task_prompt=1.5, wait_for_completion=False), StateStore()).attempt()
    (start,) = emulator.control.requests()
    assert (start["body"]["agent_id"], start["body"]["task"]) == ("7", "1.5")


def test_deferrable_is_what_airflow_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not agent().deferrable
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert agent().deferrable
    assert not agent(deferrable=False).deferrable


def test_a_deferred_task_gives_airflow_a_limit_beyond_its_own(emulator: Emulator, openanalyst: str) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        agent(deferrable=True, timeout=1000).execute(Task(agent, StateStore()).context)
    assert deferred.value.method_name == "execute_complete"
    assert deferred.value.timeout is not None
    assert timedelta(seconds=1500) < deferred.value.timeout < timedelta(seconds=1700)
    trigger = deferred.value.trigger
    assert (trigger.told, trigger.poll_interval) == (False, 15.0)  # type: ignore[attr-defined]
    assert trigger.deadline - trigger.started_at == pytest.approx(1000, abs=5)  # type: ignore[attr-defined]


# Templates


def rendered(operator: BaseOperator, **context: Any) -> BaseOperator:
    operator.render_template_fields(context, jinja2.Environment())  # type: ignore[arg-type]
    return operator


def test_what_one_would_template_is_templated() -> None:
    with DAG("d", schedule=None):
        one = rendered(
            agent(
                agent_id="{{ x }}", task_prompt="say {{ x }}", context={"a": ["{{ x }}"]}, openanalyst_conn_id="{{ x }}"
            ),
            x="X",
        )
    assert (one.agent_id, one.task_prompt, one.context, one.conn_id) == ("X", "say X", {"a": ["X"]}, "X")  # type: ignore[attr-defined]
    assert set(query().template_fields) >= {"dataset_id", "query", "openanalyst_conn_id"}
    assert ".sql" in query().template_ext
    assert set(workflow().template_fields) >= {"workflow_id", "workflow_params", "nenai_conn_id"}
    for operator in (agent(), query(), workflow()):
        assert all(hasattr(operator, field) for field in operator.template_fields)


def test_secret_parameters_are_rendered_and_masked_and_not_recorded(
    emulator: Emulator, nenai: str, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    from requests.auth import AuthBase

    class Signature(AuthBase):
        def __call__(self, request: Any) -> Any:
            request.headers["X-Signed"] = "yes"
            return request

    masked: list[Any] = []
    monkeypatch.setattr(compat, "mask_secret", masked.append)
    emulator.control.settings(secure_params_header="x-signed")
    with DAG("d", schedule=None):
        operator = workflow(secure_workflow_params={"pin": "{{ pin }}"}, auth=Signature(), wait_for_completion=False)
    assert "secure_workflow_params" not in operator.template_fields
    task = Task(lambda: operator, StateStore())
    monkeypatch.setattr(Task, "context", {"ti": task.ti, "task_state_store": task.store, "pin": "hunter22"})
    assert task.attempt()
    assert masked == ["hunter22"]
    (start,) = emulator.control.requests()
    assert start["headers"]["x-signed"] == "yes"
    assert set(start["body"]["secure_workflow_params"]) == {"pin"}
    assert "hunter22" not in f"{logged.text} {operator!r} {task.store} {task.ti.xcoms}"


# Being ended


def test_who_is_ended_says_that_the_run_goes_on(emulator: Emulator, openanalyst: str, logged: Logged) -> None:
    operator = agent(wait_for_completion=False)
    operator.on_kill()
    assert "goes on" not in logged.text, "nothing was started yet"
    run_id = operator.execute(Task(agent, StateStore()).context)
    operator.on_kill()
    assert f"The task was ended, but OpenAnalyst agent run {run_id} goes on; the next attempt" in logged.text


def test_the_link_of_a_workflow_run_is_told(emulator: Emulator, nenai: str, logged: Logged) -> None:
    run_id = Task(lambda: workflow(wait_for_completion=False), StateStore()).attempt()
    assert f"Started NenAI workflow run {run_id} (https://app.getnen.ai/runs/{run_id})" in logged.text


# Being resumed


def deferred_by(operator: RunOperator, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(context)
    return deferred.value


def test_a_retry_is_not_resumed_with_the_event_of_the_attempt_before(emulator: Emulator, openanalyst: str) -> None:
    """As Airflow 3.0 does."""
    emulator.control.settings(agent={"seconds": None})
    task = Task(lambda: agent(deferrable=True), StateStore())
    deferred = deferred_by(agent(deferrable=True), task.context)
    (run,) = emulator.control.runs()
    event = {"run_id": run["id"], "ref": None, "told": False, "started_at": 0.0, "timeout": "running"}
    resume = {"event": event, **(deferred.kwargs or {})}

    with pytest.raises(RunTimeout):
        agent(deferrable=True).resume_execution("execute_complete", resume, task.context)
    task.ti.try_number += 1
    with pytest.raises(TaskDeferred) as again:
        agent(deferrable=True).resume_execution("execute_complete", resume, task.context)
    assert again.value.trigger.run_id == run["id"]  # type: ignore[attr-defined]


def test_airflow_itself_ends_the_wait(emulator: Emulator, openanalyst: str) -> None:
    emulator.control.settings(agent={"seconds": None})
    task = Task(lambda: agent(deferrable=True), StateStore())
    deferred_by(agent(deferrable=True), task.context)
    (run,) = emulator.control.runs()
    with pytest.raises(RunTimeout, match=rf"agent run {run['id']} goes on; the next attempt .* a triggerer runs"):
        agent(deferrable=True).resume_execution("__fail__", {"error": "Trigger timeout"}, task.context)


def test_a_deferred_task_says_how_the_end_will_be_noticed(
    emulator: Emulator, openanalyst: str, nenai: str, connect: Callable[..., str], logged: Logged, monkeypatch: Any
) -> None:
    deferred_by(agent(deferrable=True, poll_interval=5, timeout=3600), Task(agent, StateStore()).context)
    until = r"until 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\+00:00\."
    asks = r"by asking OpenAnalyst every 5 to 150 s, within its rate limit, on connection 'my_openanalyst', "
    assert re.search(asks + until, logged.text)
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", "https://airflow.example.com/nenoa")
    monkeypatch.setattr("airflow_provider_nenoa.webhooks.client.ReceiverClient.check", lambda self: None)
    connect("openanalyst", emulator.openanalyst_url, extra={"webhook_secret": "s"})
    logged.clear()
    deferred_by(agent(deferrable=True), Task(agent, StateStore()).context)
    told = (
        r"by OpenAnalyst's webhook at https://airflow\.example\.com/nenoa/webhooks/my_openanalyst or by asking "
        r"OpenAnalyst every 10 minutes, should that get lost, on connection 'my_openanalyst', "
    )
    assert re.search(told + until, logged.text)
    assert "ref=" not in "".join(line for line in logged.text.splitlines() if "noticed" in line)


# What a clear means


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize(
    ("retries", "cleared", "again"),
    [
        (2, False, False),  # the worker died before Airflow heard of the success
        (2, True, True),
        (1, True, True),  # lowered meanwhile: the clear sets max_tries to what it was
        (0, True, True),
        (5, True, True),
        (5, False, False),
    ],
)
def test_a_finished_task_that_runs_again(
    emulator: Emulator, openanalyst: str, retries: int, cleared: bool, again: bool, wait: bool
) -> None:
    emulator.control.settings(agent={"seconds": 0.01})
    options: dict[str, Any] = {"wait_for_completion": wait, "poll_interval": 0.02, "retries": 2}
    task = Task(lambda: agent(**options), StateStore())
    task.attempt()
    while not emulator.control.runs()[0]["ended"]:
        time.sleep(0.01)
    options["retries"] = retries
    if cleared:
        task.ti.max_tries = task.ti.try_number + retries
    task.retry()
    assert len(emulator.control.runs()) == (2 if again else 1)


def test_where_nothing_can_be_told_an_open_run_is_not_started_twice(emulator: Emulator, openanalyst: str) -> None:
    """One that nobody waits for: retries went from 2 to 1, and max_tries is 2, before and after a clear."""
    for ended in (False, True):
        task = Task(lambda: agent(wait_for_completion=False, retries=1), StateStore())
        run_id = task.attempt()
        if ended:
            emulator.control.finish(run_id)
        assert (task.retry() == run_id) is not ended


OPEN: list[tuple[Callable[..., RunOperator], dict[str, Any], dict[str, Any], str]] = [
    (agent, {"task_prompt": "old"}, {"task_prompt": "new"}, "task_prompt"),
    (agent, {"context": {"a": 1, "b": [2]}}, {"context": {"a": 1, "b": [3]}}, "context['b']"),
    (query, {"query": "SELECT 1 AS one"}, {"query": "SELECT 1 AS two"}, "query"),
    (workflow, {"workflow_params": {"url": "a"}}, {"workflow_params": {"url": "b"}}, "workflow_params['url']"),
    (
        workflow,
        {"secure_workflow_params": {"pin": "hunter22"}},
        {"secure_workflow_params": {"pin": "hunter23"}},
        "secure_workflow_params['pin']",
    ),
]


@pytest.mark.parametrize("make", [agent, query, export])
def test_all_that_is_sent_is_compared(make: Callable[..., Any]) -> None:
    operator = make()
    assert operator._options().keys() <= operator.asked().keys()


@pytest.mark.parametrize("choice", ["adopt", "restart", "the same"])
@pytest.mark.parametrize(("make", "then", "now", "name"), OPEN, ids=[each[3] for each in OPEN])
def test_an_open_run_of_other_arguments(
    emulator: Emulator,
    openanalyst: str,
    nenai: str,
    logged: Logged,
    make: Callable[..., RunOperator],
    then: dict[str, Any],
    now: dict[str, Any],
    name: str,
    choice: Any,
) -> None:
    emulator.control.settings(query={"seconds": None}, secure_params_header="x-api-key")
    options: dict[str, Any] = {"dataset_id": "ds_abc123"} if make is query else {}
    options |= {"poll_interval": 0.02, "timeout": 0.1, **then}
    task = Task(lambda: make(**options), StateStore())
    with pytest.raises(RunTimeout):
        task.attempt()
    (old,) = emulator.control.runs()
    logged.clear()
    if choice != "the same":
        options |= {"on_changed_arguments": choice, **now}
    with pytest.raises(RunTimeout):
        task.clear()
    assert len(emulator.control.runs()) == (2 if choice == "restart" else 1)
    warned = f"run {old['id']}" in logged.text and "was asked for something else" in logged.text
    assert warned == (choice != "the same")
    assert (f"({name})" in logged.text) == (choice != "the same")
    assert "hunter" not in logged.text + json.dumps(task.store)


@pytest.mark.parametrize("error", [RuntimeError("the API server does not answer"), AirflowTaskTimeout("over")])
def test_a_note_whose_writing_failed_is_of_no_start(
    emulator: Emulator, openanalyst: str, logged: Logged, error: BaseException
) -> None:
    """Nothing was sent, even if the note is there, because the answer to its writing was lost."""

    class Store(StateStore):
        broken = True

        def set(self, key: str, value: Any) -> None:
            super().set(key, value)
            if self.broken:
                raise error

    store = Store()
    task = Task(lambda: agent(wait_for_completion=False), store)
    with pytest.raises(type(error), match=str(error)):
        task.attempt()
    assert emulator.control.runs() == []
    store.broken = False
    assert task.retry() == emulator.control.runs()[0]["id"]
    assert "did not see the reply" not in logged.text


def test_the_id_is_in_the_log_though_it_cannot_be_noted(emulator: Emulator, openanalyst: str, logged: Logged) -> None:
    class Store(StateStore):
        def set(self, key: str, value: Any) -> None:
            if value["run_id"]:
                raise RuntimeError("the API server does not answer")
            super().set(key, value)

    with pytest.raises(RuntimeError, match="the API server does not answer"):
        Task(lambda: agent(), Store()).attempt()
    (run,) = emulator.control.runs()
    assert f"Started OpenAnalyst agent run {run['id']}." in logged.text


def test_a_run_on_another_connection_is_not_gone_on_with(
    emulator: Emulator, openanalyst: str, connect: Callable[..., str], logged: Logged
) -> None:
    other = connect("openanalyst", emulator.openanalyst_url, conn_id="other")
    options: dict[str, Any] = {"poll_interval": 0.02, "timeout": 0.1}
    task = Task(lambda: agent(**options), StateStore())
    with pytest.raises(RunTimeout):
        task.attempt()
    options["openanalyst_conn_id"] = other
    with pytest.raises(RunTimeout):
        task.retry()
    assert len(emulator.control.runs()) == 2
    assert "is on connection 'my_openanalyst'. Starting anew on this one." in logged.text


def test_a_note_without_arguments_is_gone_on_with(emulator: Emulator, openanalyst: str, logged: Logged) -> None:
    task = Task(lambda: agent(poll_interval=0.02, timeout=0.1), StateStore())
    with pytest.raises(RunTimeout):
        task.attempt()
    (key,) = task.store or ()
    task.store[key] = {name: task.store[key][name] for name in ("ref", "started_at", "told", "run_id")}  # type: ignore[index]
    with pytest.raises(RunTimeout):
        task.retry()
    assert len(emulator.control.runs()) == 1
    assert "something else" not in logged.text


# Secrets


@pytest.mark.parametrize("entry", ["execute", "resume_execution", "execute_complete", "execute_found"])
def test_secrets_are_masked_in_every_process_of_the_task(
    emulator: Emulator, nenai: str, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    masked: list[Any] = []
    monkeypatch.setattr(compat, "mask_secret", masked.append)
    operator = workflow(secure_workflow_params={"pin": "{{ pin }}", "word": 'say "ä"'}, deferrable=True)
    context: Any = {**Task(lambda: operator, StateStore()).context, "pin": "hunter22"}
    event = {"run_id": "r", "ref": "x", "told": False, "started_at": 0.0, "error": "e", "permanent": 0, "not_found": 0}
    lost = {"ref": "x", "started_at": 0.0, "told": False}
    entries: dict[str, Callable[[], Any]] = {
        "execute": lambda: operator.execute(context),
        "resume_execution": lambda: operator.resume_execution("execute_complete", {"event": event}, context),
        "execute_complete": lambda: operator.execute_complete(context, event),
        "execute_found": lambda: operator.execute_found(context, event, lost, False),
    }
    emulator.control.fault("status", method="POST", status=422)
    with pytest.raises(NenoaError):
        entries[entry]()
    assert {"hunter22", 'say "ä"', 'say \\"\\u00e4\\"', 'say \\"ä\\"', "say%20%22%C3%A4%22"} <= set(masked)
    assert "{{ pin }}" not in masked


def test_a_secret_is_rendered_once(emulator: Emulator, nenai: str) -> None:
    """What is in a secret is no template."""
    operator = workflow(secure_workflow_params={"pin": "{{ pin }}"})
    operator.prepare({"pin": "{{ pin }}x"})  # type: ignore[arg-type,typeddict-unknown-key]
    operator.prepare({"pin": "y"})  # type: ignore[arg-type,typeddict-unknown-key]
    assert operator.secure_workflow_params == {"pin": "{{ pin }}x"}


# Files with SQL


def test_only_query_names_a_file(tmp_path: Path, emulator: Emulator, openanalyst: str) -> None:
    (tmp_path / "q.sql").write_text("SELECT :name AS name, '{{ x }}' AS x")
    with DAG("d", schedule=None, template_searchpath=str(tmp_path)) as dag:
        operator = query(
            query="q.sql", dataset_id="my.sql", parameters={"name": "report.sql"}, extra_body={"a": ["b.sql"]}
        )
    for resolve in (False, True):
        again = copy.deepcopy(operator)
        if resolve:
            again.resolve_template_files()
        again.render_template_fields({"x": "X"}, dag.get_template_env())  # type: ignore[typeddict-unknown-key]
        assert again.query == "SELECT :name AS name, 'X' AS x"
        assert again.dataset_id == "my.sql"
        assert again.parameters == {"name": "report.sql"}
        assert again.extra_body == {"a": ["b.sql"]}
        assert again.template_ext == (".sql",)


def test_a_template_is_rendered_whichever_way_it_is_asked_for() -> None:
    assert query().render_template("{{ x }}", {"x": 1}) == query().render_template("{{ x }}", context={"x": 1}) == "1"


def test_parameters_may_be_the_text_of_an_object(emulator: Emulator, openanalyst: str) -> None:
    options = {"dataset_id": "ds_abc123", "query": "SELECT :one AS one", "wait_for_completion": False}
    for parameters in ({"one": 1}, UserDict(one=1), '{"one": 1}'):
        Task(lambda given=parameters: query(parameters=given, **options), StateStore()).attempt()
    assert {start["body"]["query"] for start in emulator.control.requests()} == {"SELECT 1 AS one"}


# Queries that are answered at once


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("named", [True, False], ids=["with an id", "without an id"])
def test_a_query_that_is_answered_at_once_and_that_nobody_waits_for(
    emulator: Emulator, openanalyst: str, named: bool, deferrable: bool
) -> None:
    """With an id, whoever waits for it gets the rows; without one, they would be lost."""
    emulator.control.settings(query={"seconds": 0})
    if not named:
        emulator.control.fault("missing_id")
    options = {"dataset_id": "ds_abc123", "query": "SELECT 1 AS one"}
    task = Task(lambda: query(wait_for_completion=False, deferrable=deferrable, **options), StateStore())
    result = task.attempt()
    (run,) = emulator.control.runs()
    if named:
        assert result == run["id"]
        assert task.ti.xcoms == {"query_id": run["id"]}
    else:
        assert result.pop("result")["row_count"] == 1
        assert result == {"columns": ["one"], "row_count": 1, "rows": [{"one": 1}]}
        assert task.ti.xcoms == {}
        assert task.store == {}


# Time-outs


@pytest.mark.parametrize(("word", "known"), [("running", True), ("Queued", True), ("", True), ("simmering", False)])
def test_a_time_out_says_whether_it_knows_the_word(
    emulator: Emulator, openanalyst: str, word: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.control.settings(agent={"seconds": None})
    task = Task(lambda: agent(deferrable=True), StateStore())
    deferred = deferred_by(agent(deferrable=True), task.context)
    emulator.control.fault("status", method="GET", status=503, times=None)
    (run,) = emulator.control.runs()
    event = {"run_id": run["id"], "ref": None, "told": False, "started_at": 0.0, "timeout": word}
    monkeypatch.setattr(VendorHook.__init__, "__kwdefaults__", {**VendorHook.__init__.__kwdefaults__, "retry_for": 0.0})
    with pytest.raises(RunTimeout) as caught:
        agent(deferrable=True).resume_execution("execute_complete", {"event": event, **deferred.kwargs}, task.context)
    said = str(caught.value)
    assert ("which is no word we know" in said) == (not known)
    assert (f"its last known status is '{word}'" if word else "nothing was heard of its status") in said
    assert "webhooks arrive" not in said, "none was to come"


@pytest.mark.parametrize("word", ["running", ""])
def test_where_a_webhook_was_to_come_and_nothing_was_heard_it_says_where_to_look(
    emulator: Emulator, openanalyst: str, word: str
) -> None:
    note = Note(started_at=0.0, ref="r", told=True, run_id="run-1")
    advice = str(timed_out(note, agent(), word)).splitlines()[1]
    assert ("webhooks.selftest" in advice and f" {openanalyst}`" in advice) == (not word)
    assert "Raise 'timeout'" in advice


@pytest.mark.parametrize("value", ["1h", "3600", None])
def test_what_a_time_may_be_is_said(value: Any) -> None:
    with pytest.raises(
        InvalidArgument, match=r"a number of seconds or a timedelta, and more than 0.*\n.*timedelta\(hours=1\)"
    ):
        agent(timeout=value)


# Lists, ready for `.expand()`


def test_lists(emulator: Emulator, openanalyst: str) -> None:
    emulator.control.settings(datasets=10)
    options = {"task_id": "t", "openanalyst_conn_id": openanalyst}
    found = Task(lambda: OpenAnalystListDatasetsOperator(page_size=4, limit=5, **options)).attempt()
    assert isinstance(found, list)
    assert len(found) == 5
    assert requests_to(emulator) == {"GET /v1/datasets": 2}, "no page more than needed"
    assert len(Task(lambda: OpenAnalystListReportsOperator(**options)).attempt()) == 4
    assert len(Task(lambda: OpenAnalystListDashboardsOperator(**options)).attempt()) == 2
    dataset = Task(lambda: OpenAnalystGetDatasetOperator(dataset_id=found[0]["id"], **options)).attempt()
    assert dataset["id"] == found[0]["id"]
