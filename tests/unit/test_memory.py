from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk import Variable

from airflow_provider_nenoa.operators.memory import Memory, Note, memory_of
from tests.support.task import StateStore, TaskInstance

NOTE = Note("ref-1", 1_700_000_000.5, True)


def instance(**values: Any) -> TaskInstance:
    ti = TaskInstance()
    for name, value in values.items():
        setattr(ti, name, value)
    return ti


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's variables."""
    variables: dict[str, str] = {}
    monkeypatch.setattr(Variable, "get", lambda key, default=None: variables.get(key, default))
    monkeypatch.setattr(Variable, "set", lambda key, value, description=None: variables.update({key: value}))
    monkeypatch.setattr(Variable, "delete", lambda key: variables.pop(key))
    return variables


@pytest.fixture(params=["store", "variable"])
def remember(request: pytest.FixtureRequest, variables: dict[str, str]) -> Callable[..., Memory]:
    """A function that opens the memory of a task instance, as each attempt does: in 3.3 and later, and before."""
    stores: dict[Any, StateStore] = {}

    def remember(**values: Any) -> Memory:
        ti = instance(**values)
        key = (ti.dag_id, ti.task_id, ti.run_id, ti.map_index)
        store = {"task_state_store": stores.setdefault(key, StateStore())} if request.param == "store" else {}
        return memory_of({"ti": ti, **store}, durable=True)  # type: ignore[typeddict-item]

    return remember


def test_a_note_outlives_the_attempt(remember: Callable[..., Memory]) -> None:
    assert remember().recall() is None
    remember().write(NOTE)
    assert remember().recall() == NOTE
    with_id = replace(NOTE, run_id="run-1")
    remember(try_number=2).write(with_id)
    assert remember(try_number=3).recall() == with_id
    remember(try_number=3).forget()
    assert remember(try_number=3).recall() is None


def test_what_is_forgotten_may_be_forgotten_again(remember: Callable[..., Memory]) -> None:
    remember().forget()
    remember().write(NOTE)
    remember().forget()
    remember().forget()
    assert remember().recall() is None


@pytest.mark.parametrize(
    "other",
    [{"dag_id": "other"}, {"task_id": "group.task"}, {"run_id": "scheduled__2"}, {"map_index": 0}, {"map_index": 1}],
    ids=str,
)
def test_each_task_instance_has_its_own(remember: Callable[..., Memory], other: dict[str, Any]) -> None:
    remember().write(NOTE)
    assert remember(**other).recall() is None
    remember(**other).write(replace(NOTE, ref="other"))
    remember(**other).forget()
    assert remember().recall() == NOTE


def test_a_finished_task_is_gone_on_with_by_a_retry_and_not_after_a_clear() -> None:
    store = StateStore()

    def remember(max_tries: int) -> Memory:
        context: Any = {"ti": instance(max_tries=max_tries), "task_state_store": store}
        return memory_of(context, durable=True)

    remember(2).close(replace(NOTE, run_id="run-1"))
    # Airflow did not hear of the success: the worker was lost in that moment.
    assert remember(2).recall() == replace(NOTE, run_id="run-1", closed_in=2)
    # Clearing a task raises its max_tries.
    assert remember(5).recall() is None


def test_a_variable_does_not_stay_when_the_task_is_finished(variables: dict[str, str]) -> None:
    memory = memory_of({"ti": instance()}, durable=True)  # type: ignore[typeddict-item]
    memory.write(NOTE)
    ((key, value),) = variables.items()
    assert key.startswith("nenoa_run_")
    assert len(key) <= 250
    assert "ref-1" in value
    memory.close(NOTE)
    assert variables == {}


def test_what_is_not_durable_is_not_remembered(variables: dict[str, str]) -> None:
    store = StateStore()
    memory = memory_of({"ti": instance(), "task_state_store": store}, durable=False)  # type: ignore[typeddict-item]
    memory.write(NOTE)
    memory.close(NOTE)
    assert memory.recall() is None
    memory.forget()
    assert store == variables == {}
