"""TaskFlow: what a function returns is what is asked for; everything else is the operator's."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from airflow.sdk import DAG, BaseOperator, task
from airflow.sdk.definitions.template import literal

from airflow_provider_nenoa.decorators import nenai as nenai_decorators
from airflow_provider_nenoa.decorators import openanalyst as openanalyst_decorators
from airflow_provider_nenoa.decorators.base import DecoratedRunOperator
from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import InvalidArgument, RunTimeout
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator
from tests.support.task import StateStore, Task, TaskDeferred
from tests.unit.test_mapped_secrets import serialised

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"
DECORATORS: dict[str, Any] = {
    "agent": (openanalyst_decorators.openanalyst_agent_task, OpenAnalystRunAgentOperator, {"agent_id": "agent_1"}),
    "query": (
        openanalyst_decorators.openanalyst_query_task,
        OpenAnalystExecuteQueryOperator,
        {"dataset_id": "ds_abc123"},
    ),
    "workflow": (nenai_decorators.nenai_workflow_task, NenAIRunWorkflowOperator, {"workflow_id": WORKFLOW}),
}
NAMES = {"agent": "openanalyst_agent", "query": "openanalyst_query", "workflow": "nenai_workflow"}
FINE = {"agent": "Summarise", "query": "SELECT 1 AS one", "workflow": {"a": 1}}


@pytest.fixture
def vendors(emulator: Emulator, openanalyst: str, nenai: str) -> Emulator:
    emulator.control.settings(agent={"seconds": 0}, workflow={"seconds": 0})
    return emulator


def operator(kind: str, function: Callable[..., Any], *args: Any, _kwargs: Any = None, **options: Any) -> BaseOperator:
    """The operator of a decorated function, outside of a DAG."""
    decorator, operator_class, arguments = DECORATORS[kind]
    conn = {operator_class.conn_field: "my_nenai" if kind == "workflow" else "my_openanalyst"}
    decorated = decorator(**{"task_id": "task", "poll_interval": 0.02, "timeout": 20, **conn, **arguments, **options})(
        function
    )
    made: BaseOperator = decorated(*args, **(_kwargs or {})).operator
    return made


def tried(make: Callable[[], BaseOperator]) -> Task:
    return Task(make, StateStore())


@pytest.mark.parametrize("deferrable", [True, False])
def test_what_airflow_cannot_keep_is_sent_all_the_same(vendors: Emulator, deferrable: bool) -> None:
    task = tried(lambda: operator("agent", lambda: ("p\0", {"n": 2**64}), deferrable=deferrable, poll_interval=0.01))
    made: list[Any] = []
    make, task.make = task.make, lambda: made.append(make()) or made[-1]
    task.attempt()
    assert sent(vendors)["context"] == {"n": 2**64}
    assert sent(vendors)["task"] == "p\0"
    for each in made:
        assert msgspec.msgpack.encode(each.returned())
        assert each.returned()["task_prompt"] == "p\ufffd"
    for deferral in task.deferrals:
        assert msgspec.msgpack.encode(deferral.kwargs)
    assert len(task.deferrals) == deferrable


def sent(emulator: Emulator) -> dict[str, Any]:
    """The body of the only start."""
    starts = ("/v1/agents/run", "/v1/queries", "/runs")
    (body,) = (each["body"] for each in emulator.control.requests() if each["path"] in starts)
    return json.loads(body) if isinstance(body, str) else body


@pytest.mark.parametrize("kind", DECORATORS)
def test_airflow_finds_the_decorator(kind: str) -> None:
    decorator, operator_class, arguments = DECORATORS[kind]
    assert getattr(task, NAMES[kind]) is decorator
    with DAG("d", schedule=None) as dag:

        @getattr(task, NAMES[kind])(**arguments)
        def work() -> Any:
            """What it is for."""

        work()
    (made,) = dag.tasks
    assert isinstance(made, operator_class)
    assert made.operator_name == f"@task.{NAMES[kind]}"
    assert made.doc_md == "What it is for."


@pytest.mark.parametrize("kind", DECORATORS)
def test_editors_are_told_of_every_argument(kind: str) -> None:
    decorator, operator_class, _ = DECORATORS[kind]
    _, with_arguments = typing.get_overloads(decorator)
    told = dict(inspect.signature(with_arguments).parameters)
    assert told.pop("multiple_outputs").default is False
    own = inspect.signature(operator_class.__init__).parameters
    left_out = {"self", "task_prompt", "query", "question", "workflow_params"}
    assert list(told) == [name for name in own if name not in left_out]
    for name, parameter in told.items():
        assert parameter.annotation == own[name].annotation, name
        assert (parameter.default is parameter.empty) == (own[name].default is parameter.empty), name
        assert parameter.default in (..., own[name].default), name


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("kind", DECORATORS)
def test_the_function_runs_once_an_attempt(vendors: Emulator, kind: str, deferrable: bool) -> None:
    vendors.control.settings(query={"seconds": 0.1})
    calls: list[int] = []

    def work() -> Any:
        calls.append(1)
        return FINE[kind]

    found = tried(lambda: operator(kind, work, deferrable=deferrable))
    result = found.attempt()
    assert result[{"agent": "run_id", "query": "columns", "workflow": "message_id"}[kind]]
    assert calls == [1]
    assert len(found.deferrals) == deferrable
    assert vendors.control.counts()["runs_started"][kind] == 1


FORMS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "a prompt": ("agent", "Do it", {"task": "Do it"}),
    "a prompt and its context": ("agent", ("Do it", {"a": [1]}), {"task": "Do it", "context": {"a": [1]}}),
    "a prompt and no context": ("agent", ("Do it", None), {"task": "Do it"}),
    "by name": (
        "agent",
        {"task_prompt": "Do it", "context": '{"a": 1}'},
        {"task": "Do it", "context": {"a": 1}},
    ),
    "a template": ("agent", ("{{ ti.dag_id }}", {"a": "{{ 1 + 1 }}"}), {"task": "dag", "context": {"a": "2"}}),
    "no template": ("agent", literal("{{ ti.dag_id }}"), {"task": "{{ ti.dag_id }}"}),
    "SQL": ("query", "SELECT 1 AS one", {"query": "SELECT 1 AS one"}),
    "SQL and its values": ("query", ("SELECT :a AS one", {"a": "x'y"}), {"query": "SELECT 'x''y' AS one"}),
    "SQL by name": ("query", {"query": "SELECT 1 AS one"}, {"query": "SELECT 1 AS one"}),
    "parameters": ("workflow", {"a": "{{ ti.dag_id }}"}, {"workflow_params": {"a": "dag"}}),
    "parameters as JSON": ("workflow", '{"a": 1}', {"workflow_params": {"a": 1}}),
    "no parameters": ("workflow", None, {"workflow_params": {}}),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_it_may_return(vendors: Emulator, form: str) -> None:
    kind, value, expected = FORMS[form]
    tried(lambda: operator(kind, lambda: value)).attempt()
    body = sent(vendors)
    for name in ("task", "context", "query", "workflow_params"):
        assert body.get(name) == expected.get(name), name


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("agent", None),
        ("agent", 3.5 + 1j),
        ("agent", ("Do it",)),
        ("agent", ("Do it", {}, {})),
        ("agent", ()),
        ("agent", {"prompt": "Do it"}),
        ("agent", {"task_prompt": "Do it", "agent_id": "agent_2"}),
        ("agent", {"context": {}}),
        ("agent", ("Do it", ["no object"])),
        ("agent", ""),
        ("query", None),
        ("query", ["SELECT 1", {}]),
        ("query", ("SELECT :a", {"b": 1})),
        ("workflow", ["a"]),
        ("workflow", ({"a": 1}, {"b": 1})),
        ("workflow", "no JSON"),
    ],
)
def test_anything_else_is_told_before_anything_is_sent(vendors: Emulator, kind: str, value: Any) -> None:
    with pytest.raises(InvalidArgument):
        tried(lambda: operator(kind, lambda: value)).attempt()
    assert sum(vendors.control.counts()["runs_started"].values()) == 0


def test_the_context_stands_in_one_place(vendors: Emulator) -> None:
    tried(lambda: operator("agent", lambda: "Do it", context={"a": 1})).attempt()
    assert sent(vendors)["context"] == {"a": 1}
    with pytest.raises(InvalidArgument, match=r"'context' is given to @task.openanalyst_agent and returned"):
        tried(lambda: operator("agent", lambda: ("Do it", {"b": 1}), context={"a": 1})).attempt()


@pytest.mark.parametrize(
    ("kind", "argument"),
    [("agent", "task_prompt"), ("query", "query"), ("query", "question"), ("workflow", "workflow_params")],
)
def test_what_the_function_returns_is_no_argument(kind: str, argument: str) -> None:
    with pytest.raises(InvalidArgument, match=f"does not take '{argument}'"):
        operator(kind, lambda: None, **{argument: "x"})


async def asynchronous() -> str:
    return "Do it"


def generator() -> Any:
    yield "Do it"


@pytest.mark.parametrize("function", [asynchronous, generator])
def test_only_plain_functions(function: Any) -> None:
    with pytest.raises(InvalidArgument, match="plain functions"):
        operator("agent", function)


def test_arguments_and_the_context_reach_the_function(vendors: Emulator) -> None:
    def work(subject: str, *, tone: str = "plain", ti: Any = None) -> str:
        return f"{subject} {tone} {ti.dag_id}"

    tried(lambda: operator("agent", work, "sales", _kwargs={"tone": "warm"})).attempt()
    assert sent(vendors)["task"] == "sales warm dag"


def test_an_error_of_the_function_starts_nothing(vendors: Emulator) -> None:
    def work() -> str:
        raise LookupError("no such month")

    with pytest.raises(LookupError, match="no such month"):
        tried(lambda: operator("agent", work)).attempt()
    assert vendors.control.counts()["runs_started"]["agent"] == 0


def test_upstream_texts_are_not_rendered_twice(vendors: Emulator) -> None:
    """What a template renders to is no template."""
    tried(lambda: operator("agent", lambda: "{{ '{' }}{ ti.dag_id }}")).attempt()
    assert sent(vendors)["task"] == "{{ ti.dag_id }}"


def test_the_next_attempt_goes_on_with_the_run_and_its_function_runs_again(vendors: Emulator) -> None:
    """Its arguments may be other objects: what is asked for is what the function returns."""
    vendors.control.settings(agent={"seconds": None})
    calls: list[int] = []

    def work(each: Any) -> str:
        calls.append(1)
        return "Do it"

    found = tried(lambda: operator("agent", work, object(), timeout=0.1))
    for _ in range(2):
        with pytest.raises(RunTimeout, match="did not end in time"):
            found.attempt() if not calls else found.retry()
    assert len(calls) == 2
    assert vendors.control.counts()["runs_started"]["agent"] == 1


def test_another_prompt_is_told_or_starts_anew(vendors: Emulator, logged: Any) -> None:
    vendors.control.settings(agent={"seconds": None})
    prompts = iter(["one", "two", "three"])
    mode = ["adopt"]

    found = tried(lambda: operator("agent", lambda: next(prompts), timeout=0.1, on_changed_arguments=mode[0]))
    with pytest.raises(RunTimeout, match="did not end in time"):
        found.attempt()
    with pytest.raises(RunTimeout, match="did not end in time"):
        found.retry()
    assert "was asked for something else" in logged.text
    assert "task_prompt" in logged.text
    mode[0] = "restart"
    with pytest.raises(RunTimeout, match="did not end in time"):
        found.retry()
    assert vendors.control.counts()["runs_started"]["agent"] == 2


@pytest.mark.parametrize("kind", DECORATORS)
def test_the_rendered_fields_show_what_was_asked_for_after_a_deferral_too(vendors: Emulator, kind: str) -> None:
    vendors.control.settings(query={"seconds": 0.1})
    made: list[Any] = []

    def make() -> BaseOperator:
        made.append(operator(kind, lambda: FINE[kind], deferrable=True))
        return made[-1]

    tried(make).attempt()
    assert len(made) == 2
    field = made[0].returned_fields[0]
    assert getattr(made[1], field) == getattr(made[0], field) == FINE[kind]
    assert field in made[0].template_fields
    assert {"op_args", "op_kwargs"} <= set(made[0].template_fields)
    assert made[0].overwrite_rtif_after_execution


def test_a_secret_does_not_travel_with_a_deferral(vendors: Emulator) -> None:
    from airflow_provider_nenoa.compat import mask_secret

    mask_secret("hunter2222")
    found = tried(lambda: operator("workflow", lambda: {"note": "it is hunter2222"}, deferrable=True))
    found.attempt()
    assert sent(vendors)["workflow_params"] == {"note": "it is hunter2222"}
    assert "hunter2222" not in str([each.kwargs for each in found.deferrals])


def test_a_start_after_a_look_for_a_lost_one_has_what_the_function_returned(
    vendors: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retry looks for the run of its predecessor in the triggerer, finds a failed one, and starts anew itself."""
    calls: list[int] = []

    def work() -> Any:
        calls.append(1)
        return {"number": len(calls)}

    made = operator("workflow", work, deferrable=True)
    assert isinstance(made, DecoratedRunOperator)
    starts: list[Any] = []
    monkeypatch.setattr(
        type(made),
        "execute_found",
        lambda self, context, event, lost, inherited: starts.append((self.workflow_params, event, lost, inherited)),
    )
    made.workflow_params = {"number": 7}
    with pytest.raises(TaskDeferred) as deferred:
        made.defer(
            trigger=made.make_trigger("m1", poll_interval=1, deadline=1, started_at=1, told=False, ref="r"),
            method_name="execute_found",
            kwargs={"attempt": 1, "lost": {}, "inherited": True},
        )
    kwargs = json.loads(json.dumps(deferred.value.kwargs))  # type: ignore[attr-defined]
    again = operator("workflow", work, deferrable=True)
    again.resume_execution("execute_found", {"event": {"run_id": "m1"}, **kwargs}, {"ti": tried(lambda: again).ti})  # type: ignore[typeddict-item]
    assert starts == [({"number": 7}, {"run_id": "m1"}, {}, True)]
    assert calls == []


def test_the_result_is_the_runs_whatever_the_function_is_annotated_with() -> None:
    def work() -> dict[str, Any]:
        return {}

    assert not operator("workflow", work).multiple_outputs
    assert operator("workflow", work, multiple_outputs=True).multiple_outputs


def test_mapped_partial_and_overridden() -> None:
    with DAG("d", schedule=None) as dag:

        @task.openanalyst_agent(agent_id="agent_1", deferrable=True)
        def ask(region: str, tone: str) -> str:
            return f"{region} {tone}"

        ask.partial(tone="warm").expand(region=["North", "South"])
        ask.override(task_id="other", agent_id="agent_2", durable=False)("East", "cold")
    mapped, other = (dag.get_task(name) for name in ("ask", "other"))
    assert mapped.is_mapped
    assert isinstance(other, OpenAnalystRunAgentOperator)
    assert (other.agent_id, other.durable, other.deferrable) == ("agent_2", False, True)
    assert json.loads(serialised(dag))


SECRET = {"pin": "hunter22"}


@pytest.mark.filterwarnings("ignore:Task .* was never mapped")
def test_secret_parameters_are_not_in_the_serialised_dag() -> None:
    with DAG("d", schedule=None) as dag:

        @task
        def upstream() -> Any: ...

        @task.nenai_workflow(workflow_id=WORKFLOW, secure_workflow_params=SECRET)
        def pay(amount: int) -> dict[str, Any]:
            return {"amount": amount}

        pay(1)
        pay.override(task_id="mapped").expand(amount=[1, 2])
        pay.override(task_id="by_sets").expand_kwargs([{"amount": 1}])
        pay.override(task_id="partial", secure_workflow_params={"pin": "hunter22", "x": "y"}).partial().expand(
            amount=[1]
        )
        pay.override(task_id="after", secure_workflow_params={"pin": upstream()["pin"]}).expand(amount=[1])
    text = serialised(dag)
    assert WORKFLOW in text
    assert "hunter22" not in text
    assert dag.get_task("pay").secure_workflow_params == SECRET
    assert dag.get_task("after").upstream_task_ids == {"upstream"}
    unmapped = dag.get_task("mapped").unmap({"op_kwargs": {"amount": 1}})
    assert unmapped.secure_workflow_params == SECRET

    with (
        DAG("e", schedule=None, default_args={"secure_workflow_params": SECRET}),
        pytest.raises(InvalidArgument, match="in default_args"),
    ):
        pay.override(task_id="t").expand(amount=[1])
