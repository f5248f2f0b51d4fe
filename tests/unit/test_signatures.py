"""What an editor completes: nothing that a user sets hides behind ``**kwargs``."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.operators.base import RunOperator
from airflow_provider_nenoa.operators.nenai import NenAIDownloadResultsOperator, NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystExportOperator,
    OpenAnalystListDatasetsOperator,
    OpenAnalystRunAgentOperator,
)
from airflow_provider_nenoa.sensors.base import RunSensor
from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor
from airflow_provider_nenoa.sensors.openanalyst import (
    OpenAnalystAgentRunSensor,
    OpenAnalystExportSensor,
    OpenAnalystQuerySensor,
)
from tests.support.versions import has

OPERATORS: list[tuple[type, dict[str, Any]]] = [
    (NenAIRunWorkflowOperator, {"workflow_id": "w"}),
    (OpenAnalystRunAgentOperator, {"agent_id": "a", "task_prompt": "p"}),
    (OpenAnalystExecuteQueryOperator, {"dataset_id": "d", "query": "q"}),
    (OpenAnalystExportOperator, {"dataset_id": "d"}),
]
SENSORS: list[tuple[type, dict[str, Any]]] = [
    (NenAIWorkflowRunSensor, {"message_id": "m"}),
    (OpenAnalystAgentRunSensor, {"run_id": "r"}),
    (OpenAnalystQuerySensor, {"query_id": "q"}),
    (OpenAnalystExportSensor, {"export_id": "e"}),
]
BASES = {RunOperator: OPERATORS, RunSensor: SENSORS}
ALL = [(base, *each) for base, several in BASES.items() for each in several]
WRONG: dict[str, list[Any]] = {
    "bool": ["no", "", 0, None],
    "bool | None": ["no", "", 0],
    "int": ["5", 1.5, True, -1],
    "int | None": ["5", 1.5, True, 0],
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


@pytest.mark.parametrize(("base", "made", "needs"), ALL, ids=lambda each: getattr(each, "__name__", ""))
def test_what_all_share_is_spelled_out_with_the_same_defaults(base: type, made: type, needs: dict[str, Any]) -> None:
    shared = arguments(base)
    assert {"deferrable", "timeout", "poll_interval"} <= shared.keys()
    assert {name: each.default for name, each in arguments(made).items() if name in shared} == {
        name: each.default for name, each in shared.items()
    }
    assert all(f":param {name}:" in (made.__doc__ or "") for name in arguments(made)), "and documented"


MORE: list[tuple[type, dict[str, Any]]] = [
    (NenAIDownloadResultsOperator, {"message_id": "m", "output_path": "s3://files/"}),
    (OpenAnalystListDatasetsOperator, {}),
]
TYPED = [
    pytest.param(made, needs, name, parameter.annotation, id=f"{made.__name__}-{name}")
    for made, needs in [*OPERATORS, *SENSORS, *MORE]
    for name, parameter in arguments(made).items()
    if parameter.annotation in WRONG
]


def test_there_are_arguments_of_these_types() -> None:
    assert len(TYPED) > 40


@pytest.mark.parametrize(("made", "needs", "name", "annotation"), TYPED)
def test_a_switch_is_no_word_and_a_number_no_text(
    made: type, needs: dict[str, Any], name: str, annotation: str
) -> None:
    for wrong in WRONG[annotation]:
        with pytest.raises(InvalidArgument, match=f"^'{name}' must be .*, not {wrong!r}"):
            made(task_id="t", **needs, **{name: wrong})


@pytest.mark.parametrize(("base", "made", "needs"), ALL, ids=lambda each: getattr(each, "__name__", ""))
def test_what_is_given_arrives(base: type, made: type, needs: dict[str, Any]) -> None:
    given = {name: OTHER[name] for name in arguments(base)}
    by_hand = made(task_id="t", **needs, **given)
    with DAG("d", schedule=None, default_args=given):
        by_default = made(task_id="t", **needs)
    for operator in (by_hand, by_default):
        assert {name: getattr(operator, name) for name in given} == given
