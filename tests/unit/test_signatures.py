"""What an editor completes: nothing that a user sets hides behind ``**kwargs``."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.operators import nenai as nenai_operators
from airflow_provider_nenoa.operators import openanalyst as openanalyst_operators
from airflow_provider_nenoa.operators.base import RunOperator
from airflow_provider_nenoa.sensors import nenai as nenai_sensors
from airflow_provider_nenoa.sensors import openanalyst as openanalyst_sensors
from airflow_provider_nenoa.sensors.base import RunSensor
from tests.support.versions import has
from tests.unit.test_docs import public_classes

MADE: list[type] = [
    getattr(module, name)
    for module, suffix in (
        (nenai_operators, "Operator"),
        (openanalyst_operators, "Operator"),
        (nenai_sensors, "Sensor"),
        (openanalyst_sensors, "Sensor"),
    )
    for name in public_classes(module.__name__, suffix)
]
NEEDED = {
    "workflow_id": "w",
    "message_id": "m",
    "agent_id": "a",
    "task_prompt": "p",
    "dataset_id": "d",
    "query": "q",
    "report_id": "r",
    "run_id": "r",
    "query_id": "q",
    "export_id": "e",
    "output_path": "s3://files/",
}
"""What each of them must have, of these what it takes."""
WRONG: dict[str, list[Any]] = {
    "bool": ["no", "", 0, None],
    "bool | None": ["no", "", 0],
    "int": ["5", 1.5, True, -1],
    "int | None": ["5", 1.5, True, 0],
    "float | timedelta": ["1h", True, 0, -1, float("inf"), timedelta(0)],
    "float | timedelta | None": ["1h", True, 0, -1, float("inf"), timedelta(0)],
}
"""By annotation, what Python would take without a word."""
OTHER = {
    "deferrable": True,
    "wait_for_completion": False,
    "poll_interval": 7.0,
    "timeout": 77.0,
    "durable": False,
    "on_lost_start": "restart",
    "on_changed_arguments": "restart",
    "poke_interval": 5.0,
    "mode": "reschedule",
    "soft_fail": True,
    "never_fail": False,
    "start_from_trigger": has("start_from_trigger"),  # false again where it is not
    "end_from_trigger": True,
}


def arguments(of: type) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(of.__init__).parameters  # type: ignore[misc]
    return {name: each for name, each in parameters.items() if name not in ("self", "kwargs")}


def needs(made: type) -> dict[str, Any]:
    return {name: value for name, value in NEEDED.items() if name in arguments(made)}


ALL = [(base, made) for base in (RunOperator, RunSensor) for made in MADE if issubclass(made, base)]


@pytest.mark.parametrize(("base", "made"), ALL, ids=lambda each: getattr(each, "__name__", ""))
def test_what_all_share_is_spelled_out_with_the_same_defaults(base: type, made: type) -> None:
    shared = arguments(base)
    assert {"deferrable", "timeout", "poll_interval"} <= shared.keys()
    assert {name: each.default for name, each in arguments(made).items() if name in shared} == {
        name: each.default for name, each in shared.items()
    }
    assert all(f":param {name}:" in (made.__doc__ or "") for name in arguments(made)), "and documented"


TYPED = [
    pytest.param(made, name, parameter.annotation, id=f"{made.__name__}-{name}")
    for made in MADE
    for name, parameter in arguments(made).items()
    if parameter.annotation in WRONG
]


def test_there_are_arguments_of_these_types() -> None:
    assert len(ALL) == 8
    assert len(TYPED) > 70


@pytest.mark.parametrize(("made", "name", "annotation"), TYPED)
def test_a_switch_is_no_word_and_a_number_no_text(made: type, name: str, annotation: str) -> None:
    for wrong in WRONG[annotation]:
        with pytest.raises(InvalidArgument, match=re.escape(f", not {wrong!r}")) as caught:
            made(task_id="t", **needs(made) | {name: wrong})
        assert str(caught.value).startswith(f"'{name}' must be ")


@pytest.mark.parametrize(("base", "made"), ALL, ids=lambda each: getattr(each, "__name__", ""))
def test_what_is_given_arrives(base: type, made: type) -> None:
    given = {name: OTHER[name] for name in arguments(base)}
    by_hand = made(task_id="t", **needs(made), **given)
    with DAG("d", schedule=None, default_args=given):
        by_default = made(task_id="t", **needs(made))
    for operator in (by_hand, by_default):
        assert {name: getattr(operator, name) for name in given} == given
