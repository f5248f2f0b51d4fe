"""The next attempt comes when the vendor listens again."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    InvalidArgument,
    NenoaError,
    RateLimited,
    RunFailed,
    RunTimeout,
    ServerError,
)
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystRunAgentOperator
from tests.support.task import StateStore, Task
from tests.support.versions import reason
from tests.unit.test_mapped_secrets import serialised

policies = pytest.importorskip("airflow.sdk.definitions.retry_policy", reason=reason("retry_policy"))
from airflow_provider_nenoa.retries import RetryAfterPolicy  # noqa: E402


def caused(error: BaseException, *, suppressed: bool = False) -> BaseException:
    """An error of a task's own code, raised while it handled another one."""
    try:
        try:
            raise error
        except type(error):
            if suppressed:
                raise ValueError("mine") from None
            raise ValueError("mine")  # noqa: B904
    except ValueError as mine:
        return mine


def looped() -> BaseException:
    one, two = ValueError("1"), ValueError("2")
    one.__context__, two.__context__ = two, one
    return one


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (RateLimited("429", retry_after=31.5), 31.5),
        (ServerError("503", retry_after=120), 120),
        (NenoaError("any", retry_after=1), 1),
        (RateLimited("429", retry_after=10 * 86_400), 86_400),
        (RateLimited("429", retry_after=1e20), 86_400),
        (caused(RateLimited("429", retry_after=7)), 7),
        (RateLimited("429"), None),
        (RateLimited("429", retry_after=0), None),
        (ServerError("500"), None),
        (RunFailed("failed"), None),
        (RunTimeout("late"), None),
        (ValueError("mine"), None),
        (caused(RateLimited("429", retry_after=7), suppressed=True), None),
        (looped(), None),
        (KeyboardInterrupt(), None),
    ],
)
def test_the_delay(error: BaseException, seconds: float | None) -> None:
    decision = RetryAfterPolicy().evaluate(error, 1, 3)
    if seconds is None:
        assert decision == policies.RetryDecision.default()
    else:
        assert decision.action is policies.RetryAction.RETRY
        assert decision.retry_delay == timedelta(seconds=seconds)
        assert "listens again" in decision.reason


def test_arguments_of_a_wrong_type_are_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(InvalidArgument, match=r"'longest' must be a timedelta, such as .*, not 3600"):
        RetryAfterPolicy(longest=3600)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="'otherwise' must be another retry policy"):
        RetryAfterPolicy(timedelta(hours=6))  # type: ignore[arg-type]


def test_another_policy_decides_about_all_other_failures() -> None:
    rules = [policies.RetryRule(exception=RunFailed, action=policies.RetryAction.FAIL, reason="not again")]
    policy = RetryAfterPolicy(policies.ExceptionRetryPolicy(rules), longest=timedelta(minutes=1))
    assert policy.evaluate(RunFailed("failed"), 1, 3).action is policies.RetryAction.FAIL
    assert policy.evaluate(ServerError("500"), 1, 3).action is policies.RetryAction.DEFAULT
    assert policy.evaluate(RateLimited("429", retry_after=90), 1, 3).retry_delay == timedelta(minutes=1)


@pytest.mark.parametrize("status", [429, 503])
def test_what_an_operator_raises_when_its_time_is_up_tells_when(
    emulator: Emulator, openanalyst: str, sleeps: list[float], status: int
) -> None:
    emulator.control.fault("status", path="/v1/agents/run", status=status, headers={"Retry-After": "3600"}, times=None)

    def make() -> Any:
        return OpenAnalystRunAgentOperator(
            task_id="t", agent_id="a", task_prompt="x", openanalyst_conn_id=openanalyst, timeout=5, retries=2
        )

    with pytest.raises(NenoaError) as raised:
        Task(make, StateStore()).attempt()
    delay = RetryAfterPolicy().evaluate(raised.value, 1, 2).retry_delay
    assert delay is not None
    assert 3590 <= delay.total_seconds() <= 3600
    assert emulator.control.counts()["runs_started"]["agent"] == 0


def test_what_airflow_never_asks_a_policy_about(emulator: Emulator, openanalyst: str) -> None:
    """Airflow fails such a task at once: the docs say so."""
    from airflow_provider_nenoa.exceptions import AirflowFailException, AirflowSensorTimeout, SensorTimeout

    assert issubclass(AuthenticationError, AirflowFailException)
    assert issubclass(SensorTimeout, AirflowSensorTimeout)


def test_it_goes_with_a_task_and_a_mapped_one() -> None:
    with DAG("d", schedule=None) as dag:
        common: dict[str, Any] = {"agent_id": "a", "retries": 1, "retry_policy": RetryAfterPolicy()}
        OpenAnalystRunAgentOperator(task_id="one", task_prompt="x", **common)
        OpenAnalystRunAgentOperator.partial(task_id="mapped", **common).expand(task_prompt=["x", "y"])
    assert json.loads(serialised(dag))
