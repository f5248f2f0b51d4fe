"""What the operators do with their arguments; what they do with runs is in the integration tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jinja2
import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_nenoa import compat
from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import AirflowFailException, InvalidArgument, InvalidConnection, RunTimeout
from airflow_provider_nenoa.operators.base import RunOperator, positive_seconds
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
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
    (agent, {"task_prompt": 7}, "'task_prompt' must be a non-empty string, not 7"),
    (agent, {"context": "{not JSON"}, "'context' is not JSON: .*Nothing was sent"),
    (agent, {"context": "[" * 100_000}, "'context' is not JSON"),
    (agent, {"context": "[1, 2]"}, "'context' must be a dict that can be sent as JSON: it is a list"),
    (agent, {"context": []}, "'context' must be a dict that can be sent as JSON: it is a list"),
    (agent, {"context": 0}, "'context' must be a dict that can be sent as JSON: it is a int"),
    (agent, {"context": {"when": object()}}, "Object of type object is not JSON serializable"),
    (agent, {"context": '{"x": NaN}'}, "'context' must be a dict that can be sent as JSON: Out of range"),
    (query, {"dataset_id": ""}, "'dataset_id' must be a non-empty string"),
    (query, {"query": "\n"}, "'query' must be a non-empty string"),
    (query, {"query": None}, "'query' must be a non-empty string"),
    (workflow, {"workflow_id": ""}, "'workflow_id' must be a non-empty string"),
    (workflow, {"workflow_id": "mine"}, "'workflow_id' must be a UUID, not 'mine'"),
    (workflow, {"workflow_params": "text"}, "'workflow_params' must be a dict"),
    (workflow, {"workflow_params": {"a": {1}}}, "'workflow_params' must be a dict"),
    (workflow, {"secure_workflow_params": {"pin": 1234}}, "'secure_workflow_params' must be a dict"),
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
