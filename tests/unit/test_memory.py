from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import airflow
import pytest
from airflow.sdk import Variable
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.operators import memory as memory_module
from airflow_provider_nenoa.operators.memory import Memory, Note, cleared_since, memory_of
from tests.support.task import StateStore, TaskInstance

NOTE = Note("ref-1", 1_700_000_000.5, True)


def instance(**values: Any) -> TaskInstance:
    ti = TaskInstance()
    for name, value in values.items():
        setattr(ti, name, value)
    return ti


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow's variables; whoever finds one in its list must see whose it is."""
    variables: dict[str, str] = {}

    def store(key: str, value: str, description: str | None = None) -> None:
        assert (description or "").startswith(("An open run of dag", "An open run of other "))
        assert len(description or "") <= 200
        variables[key] = value

    monkeypatch.setattr(Variable, "get", lambda key, default=None: variables.get(key, default))
    monkeypatch.setattr(Variable, "set", store)
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
    [
        {"dag_id": "other"},
        {"dag_id": "dag" * 80},
        {"task_id": "group.task"},
        {"run_id": "scheduled__2"},
        {"map_index": 0},
        {"map_index": 1},
    ],
    ids=str,
)
def test_each_task_instance_has_its_own(remember: Callable[..., Memory], other: dict[str, Any]) -> None:
    remember().write(NOTE)
    assert remember(**other).recall() is None
    remember(**other).write(replace(NOTE, ref="other"))
    remember(**other).forget()
    assert remember().recall() == NOTE


def test_a_closed_note_says_which_try_closed_it() -> None:
    store = StateStore()
    context: Any = {"ti": instance(max_tries=5, try_number=4), "task_state_store": store}
    memory_of(context, durable=True).close(replace(NOTE, run_id="run-1"))
    assert memory_of(context, durable=True).recall() == replace(NOTE, run_id="run-1", closed_in=5, closed_by=4)


# The try that closed the note and max_tries then; the try, max_tries and retries now; whether it was cleared meanwhile.
CLOSED: list[tuple[tuple[int | None, int], tuple[int, int, int], bool | None]] = [
    ((1, 2), (2, 2, 2), False),  # a retry: the worker died before Airflow heard of the success
    ((1, 2), (2, 3, 2), True),  # cleared: 1 try + 2 retries
    ((3, 2), (4, 5, 2), True),  # cleared after the last try
    ((4, 5), (5, 5, 2), False),  # a retry after an earlier clear
    ((4, 5), (5, 6, 2), True),
    ((1, 0), (2, 1, 0), True),  # without retries, whoever runs again was cleared
    ((1, 2), (2, 1, 0), True),  # retries lowered from 2 to 0, and cleared: 1 + 0
    ((1, 2), (2, 2, 0), False),  # lowered, and not cleared: that would give 1
    ((1, 2), (2, 2, 1), None),  # lowered by one: a clear gives 1 + 1, which is what it was
    ((2, 2), (3, 2, 0), None),
    ((1, 2), (2, 2, 5), False),  # raised, and not cleared: that would give 6
    ((1, 2), (2, 6, 5), True),
    ((1, 3), (2, 3, 1), False),  # lowered by two: a clear would have given 2
    ((1, 3), (3, 3, 1), None),  # or 3, if one more try has died before it could leave a note
    ((None, 2), (2, 2, 2), False),  # written by a version that did not note the try
    ((None, 2), (2, 2, 1), None),
    ((None, 2), (2, 3, 2), True),
]


@pytest.mark.parametrize(("then", "now", "cleared"), CLOSED)
def test_whether_a_finished_task_was_cleared(
    then: tuple[int | None, int], now: tuple[int, int, int], cleared: bool | None
) -> None:
    note = replace(NOTE, run_id="run-1", closed_by=then[0], closed_in=then[1])
    assert cleared_since(note, try_number=now[0], max_tries=now[1], retries=now[2]) is cleared


@given(st.data())
def test_what_airflow_does_is_never_told_wrong(data: st.DataObject) -> None:
    """As its scheduler and its clear count: tries go up by one, and a clear adds the task's retries to them."""
    retries = data.draw(st.integers(0, 3))
    tries, max_tries = 0, retries
    lowered = False
    for _ in range(data.draw(st.integers(1, 6))):
        tries += 1
        if tries > max_tries + 1:
            max_tries = tries - 1 + retries  # only a clear lets it run again
        if data.draw(st.booleans()):
            retries, lowered = data.draw(st.integers(0, 3)), True
    closed = replace(NOTE, run_id="r", closed_by=tries, closed_in=max_tries)
    if data.draw(st.booleans()):
        retries, lowered = data.draw(st.integers(0, 3)), True
    told = cleared_since(closed, try_number=tries + 1, max_tries=max_tries, retries=retries)
    assert told is not True, "a retry"
    assert lowered or told is False
    told = cleared_since(closed, try_number=tries + 1, max_tries=tries + retries, retries=retries)
    assert told is not False, "a clear"
    assert lowered or told is True


@pytest.mark.parametrize("store", [True, False])
def test_a_note_of_another_version(variables: dict[str, str], store: bool) -> None:
    old = {"ref": "ref-1", "started_at": 1.5, "told": True, "run_id": "r", "given_up": False, "closed_in": None}
    for value in (old, {**old, "from_tomorrow": [1]}, {"ref": "ref-1", "started_at": 1.5, "told": True, "run_id": "r"}):
        states = StateStore()
        context: Any = {"ti": instance(), **({"task_state_store": states} if store else {})}
        memory = memory_of(context, durable=True)
        memory.write(NOTE)
        (written,) = states or variables
        (states if store else variables)[written] = value if store else json.dumps(value)
        assert memory.recall() == Note("ref-1", 1.5, True, "r")


def test_where_a_clear_discards_state_an_open_run_outlives_it(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "clear_discards_state", lambda: True)
    store = StateStore()
    context: Any = {"ti": instance(), "task_state_store": store}
    memory = memory_of(context, durable=True)
    memory.write(NOTE)
    store.clear()  # as a clear does
    assert memory.recall() == NOTE
    memory.close(NOTE)
    assert variables == {}, "nobody would tidy it up"
    assert memory.recall() == replace(NOTE, closed_in=2, closed_by=1), "a retry gets the result"
    store.clear()
    assert memory.recall() is None
    memory.write(NOTE)
    memory.forget()
    assert memory.recall() is None
    assert store == variables == {}
    store.set("nenoa_run", asdict(NOTE))  # an Airflow that was upgraded meanwhile
    assert memory.recall() == NOTE


@pytest.mark.parametrize(
    ("version", "discards"),
    [
        ("3.0.6", False),
        ("3.3.2", False),
        ("3.3.10rc1", False),
        ("3.4.0.dev0", True),
        ("3.10.0", True),
        ("4.0.0b1", True),
    ],
)
def test_which_airflow_discards_state(monkeypatch: pytest.MonkeyPatch, version: str, discards: bool) -> None:
    monkeypatch.setattr(airflow, "__version__", version)
    assert memory_module.clear_discards_state() is discards


def test_a_variable_does_not_stay_when_the_task_is_finished(variables: dict[str, str]) -> None:
    memory = memory_of({"ti": instance()}, durable=True)  # type: ignore[typeddict-item]
    memory.write(NOTE)
    ((key, value),) = variables.items()
    assert key == "nenoa_run_d8a10109da8b791dfd5e24eb463c72a8", "a later version must find it"
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
