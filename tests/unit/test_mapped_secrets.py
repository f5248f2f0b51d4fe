"""Secret arguments of a task are not in the serialised DAG, however the task is made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, task, task_group
from airflow.serialization import serialized_objects

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from tests.support.task import StateStore, Task

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"
SECRET = {"pin": "hunter22", "nested in a text": "x-hunter22-{{ ds }}"}
OPTIONS: dict[str, Any] = {"task_id": "t", "workflow_id": WORKFLOW}
NEEDLES = ("hunter22", "unter2")


def serialised(dag: DAG) -> str:
    # Airflow 3.0 and 3.1 call it otherwise.
    serialiser = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
    return json.dumps(serialiser.to_dict(dag))


@task
def upstream() -> Any:
    return {"pin": "from XCom"}


HIDDEN: dict[str, Callable[[], Any]] = {
    "not mapped": lambda: NenAIRunWorkflowOperator(**OPTIONS, secure_workflow_params=SECRET),
    "partial, expand": lambda: NenAIRunWorkflowOperator.partial(task_id="t", secure_workflow_params=SECRET).expand(
        workflow_id=[WORKFLOW]
    ),
    "partial, expand_kwargs": lambda: NenAIRunWorkflowOperator.partial(
        task_id="t", secure_workflow_params=SECRET
    ).expand_kwargs([{"workflow_id": WORKFLOW}]),
    "default_args of the task": lambda: NenAIRunWorkflowOperator(
        **OPTIONS, default_args={"secure_workflow_params": SECRET}
    ),
    "default_args of a mapped task": lambda: NenAIRunWorkflowOperator.partial(
        task_id="t", default_args={"secure_workflow_params": SECRET}
    ).expand(workflow_id=[WORKFLOW]),
    "partial of a text": lambda: NenAIRunWorkflowOperator.partial(
        task_id="t", secure_workflow_params=json.dumps(SECRET)
    ).expand(workflow_id=[WORKFLOW]),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_it_is_not_in_the_serialised_dag(way: str) -> None:
    with DAG("d", schedule=None) as dag:
        HIDDEN[way]()
    text = serialised(dag)
    assert WORKFLOW in text
    assert not any(needle in text for needle in NEEDLES)
    assert not any(needle in repr(each) for each in dag.tasks for needle in NEEDLES)


def test_a_partial_does_not_show_it() -> None:
    partial = NenAIRunWorkflowOperator.partial(task_id="t", secure_workflow_params=SECRET)
    assert "hunter22" not in repr(partial)
    with DAG("d", schedule=None):
        partial.expand(workflow_id=[WORKFLOW])


REFUSED: dict[str, Callable[[], Any]] = {
    "expand": lambda: NenAIRunWorkflowOperator.partial(**OPTIONS).expand(secure_workflow_params=[{"pin": "hunter22"}]),
    "expand, of some": lambda: NenAIRunWorkflowOperator.partial(**OPTIONS).expand(
        secure_workflow_params=[{"pin": "{{ conn.x.password }}"}, {"pin": "hunter22"}]
    ),
    "expand, a number": lambda: NenAIRunWorkflowOperator.partial(**OPTIONS).expand(
        secure_workflow_params=[{"pin": 1234}]
    ),
    "expand, texts": lambda: NenAIRunWorkflowOperator.partial(**OPTIONS).expand(
        secure_workflow_params=['{"pin": "hunter22"}']
    ),
    "expand, a text with a template in it": lambda: NenAIRunWorkflowOperator.partial(**OPTIONS).expand(
        secure_workflow_params=['{"user": "{{ conn.x.login }}", "pin": "hunter22"}']
    ),
    "expand_kwargs": lambda: NenAIRunWorkflowOperator.partial(**OPTIONS).expand_kwargs(
        [{"secure_workflow_params": {"pin": "hunter22"}}]
    ),
}


@task_group
def group(pin: Any, other: Any = None) -> None:
    NenAIRunWorkflowOperator(**OPTIONS, secure_workflow_params={"pin": pin})


@task_group
def group_of_mapped(pin: Any) -> None:
    NenAIRunWorkflowOperator.partial(task_id="t", secure_workflow_params={"pin": pin}).expand(workflow_id=[WORKFLOW])


REFUSED |= {
    "a task group": lambda: group.expand(pin=["hunter22"]),
    "a task group, of some": lambda: group.expand_kwargs([{"pin": "{{ conn.x.password }}"}, {"pin": "hunter22"}]),
}


def test_what_a_task_group_is_not_mapped_over_is_not_seen() -> None:
    with DAG("d", schedule=None) as dag:
        group.partial(pin="hunter22").expand(other=[1])
        group.override(group_id="b").expand(pin=["{{ conn.x.password }}"], other=["harmless"])
        group.override(group_id="c").expand(pin=upstream())
        group.override(group_id="d").expand_kwargs(upstream())
    assert "hunter22" not in serialised(dag)
    with DAG("d", schedule=None), pytest.raises(InvalidArgument, match=r"in the \.expand\(\) of a task group"):
        group_of_mapped.expand(pin=["hunter22"])


@pytest.mark.parametrize("way", REFUSED)
@pytest.mark.filterwarnings("ignore:Task .* was never mapped")
def test_what_would_be_seen_is_refused(way: str) -> None:
    with (
        DAG("d", schedule=None),
        pytest.raises(
            InvalidArgument, match=r"'secure_workflow_params' in .* would stand in Airflow's serialised DAG"
        ) as e,
    ):
        REFUSED[way]()
    assert "hunter22" not in str(e.value)
    assert "Use templates" in str(e.value)


@pytest.mark.filterwarnings("ignore:Task .* was never mapped")
def test_the_dags_default_args_are_seen_too() -> None:
    for make in (NenAIRunWorkflowOperator, NenAIRunWorkflowOperator.partial):
        with (
            DAG("d", schedule=None, default_args={"secure_workflow_params": {"pin": "hunter22"}}),
            pytest.raises(InvalidArgument, match="in default_args"),
        ):
            make(**OPTIONS)
    with DAG("d", schedule=None, default_args={"secure_workflow_params": {"pin": "{{ conn.x.password }}"}}):
        NenAIRunWorkflowOperator(**OPTIONS)


UPSTREAM: dict[str, Callable[[Any], Any]] = {
    "all of it": lambda output: NenAIRunWorkflowOperator(**OPTIONS, secure_workflow_params=output),
    "a value": lambda output: NenAIRunWorkflowOperator(**OPTIONS, secure_workflow_params={"pin": output["pin"]}),
    "partial": lambda output: NenAIRunWorkflowOperator.partial(
        task_id="t", secure_workflow_params={"pin": output["pin"]}
    ).expand(workflow_id=[WORKFLOW]),
    "partial, expand_kwargs": lambda output: NenAIRunWorkflowOperator.partial(
        task_id="t", secure_workflow_params=output
    ).expand_kwargs([{"workflow_id": WORKFLOW}]),
    "expand": lambda output: NenAIRunWorkflowOperator.partial(**OPTIONS).expand(secure_workflow_params=output),
    "expand, in a list": lambda output: NenAIRunWorkflowOperator.partial(**OPTIONS).expand(
        secure_workflow_params=[{"pin": output}]
    ),
}


@pytest.mark.parametrize("way", UPSTREAM)
def test_it_comes_after_the_tasks_whose_output_it_uses(way: str) -> None:
    with DAG("d", schedule=None) as dag:
        UPSTREAM[way](upstream())
    assert dag.get_task("t").upstream_task_ids == {"upstream"}
    assert json.loads(serialised(dag))


def test_it_is_there_when_the_mapped_task_runs(emulator: Any, nenai: str) -> None:
    emulator.control.settings(secure_params_header="x-api-key")
    with DAG("d", schedule=None):
        mapped = NenAIRunWorkflowOperator.partial(
            task_id="t",
            secure_workflow_params={"pin": "hunter22", "at": "{{ at }}"},
            nenai_conn_id=nenai,
            wait_for_completion=False,
        ).expand(workflow_id=[WORKFLOW])
    operator = mapped.unmap({"workflow_id": WORKFLOW})
    assert "secure_workflow_params" not in operator.template_fields
    run = Task(lambda: operator, StateStore())
    operator.execute({**run.context, "at": "noon"})
    (start,) = emulator.control.requests()
    assert set(start["body"]["secure_workflow_params"]) == {"pin", "at"}
    assert operator.secure_workflow_params == {"pin": "hunter22", "at": "noon"}
