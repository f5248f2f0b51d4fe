from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.xcom import XCom

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import AirflowException, AirflowFailException, NenoaError
from airflow_provider_nenoa.links.nenai import NenAIRunLink
from airflow_provider_nenoa.operators.base import RunOperator
from airflow_provider_nenoa.operators.nenai import NenAIDownloadResultsOperator, NenAIRunWorkflowOperator
from tests.support.task import StateStore, Task, TaskDeferred
from tests.unit.test_mapped_secrets import serialised

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"
KEY = NenAIRunLink().xcom_key


@pytest.fixture(autouse=True)
def no_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """An XCom that is not there is an error in the task's log, in every version of Airflow."""

    def ask(*_: Any, **__: Any) -> Any:
        raise AssertionError("XCom was asked")

    for name in ("get_value", "get_one"):
        monkeypatch.setattr(XCom, name, ask)


def task(made: list[RunOperator] | None = None, **options: Any) -> Task:
    def make() -> RunOperator:
        operator = NenAIRunWorkflowOperator(task_id="t", workflow_id=WORKFLOW, nenai_conn_id="my_nenai", **options)
        if made is not None:
            made.append(operator)
        return operator

    return Task(make, StateStore())


def link_of(operator: Any) -> str:
    """What Airflow gets when the task pauses or ends."""
    (link,) = operator.operator_extra_links
    assert isinstance(link, NenAIRunLink)
    return link.get_link(operator, ti_key=object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run_id", "link"), [("0b9d0d65-1c9f", "https://app.getnen.ai/runs/0b9d0d65-1c9f"), (None, ""), ("", "")]
)
def test_the_run_in_the_browser(run_id: Any, link: str) -> None:
    operator = NenAIRunWorkflowOperator(task_id="t", workflow_id=WORKFLOW)
    operator.remote_run_id = run_id
    assert link_of(operator) == link


def test_it_is_there_as_soon_as_the_run_is_known(
    emulator: Emulator, nenai: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = task()
    seen: list[Any] = []
    monkeypatch.setattr(
        "airflow_provider_nenoa.operators.attempt.Attempt._wait",
        lambda *_: seen.append(dict(waiting.ti.xcoms)) or 1 / 0,
    )
    with pytest.raises(ZeroDivisionError):
        waiting.attempt()
    (run,) = emulator.control.runs()
    assert seen == [{"message_id": run["id"], KEY: f"https://app.getnen.ai/runs/{run['id']}"}]


def test_it_stays_while_deferred_and_after(emulator: Emulator, nenai: str) -> None:
    made: list[RunOperator] = []
    waiting = task(made, deferrable=True, poll_interval=0.05)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.make().execute(waiting.context)
    (run,) = emulator.control.runs()
    url = f"https://app.getnen.ai/runs/{run['id']}"
    assert waiting.ti.xcoms[KEY] == link_of(made[-1]) == url
    emulator.control.finish(run["id"], outcome="failed")
    with pytest.raises(NenoaError):
        waiting.resume(deferred.value)
    assert link_of(made[-1]) == url, "Airflow writes it again when the task ends, also one that failed"


@pytest.mark.parametrize(
    ("error", "said"), [("Trigger timeout", "no triggerer had said so"), ("Trigger failure", "Trigger failure")]
)
def test_it_stays_when_airflow_ends_the_trigger(emulator: Emulator, nenai: str, error: str, said: str) -> None:
    made: list[RunOperator] = []
    waiting = task(made, deferrable=True)
    with pytest.raises(TaskDeferred):
        waiting.make().execute(waiting.context)
    (run,) = emulator.control.runs()
    with pytest.raises(AirflowException, match=said):
        waiting.make().resume_execution("__fail__", {"error": error}, waiting.context)
    assert link_of(made[-1]) == f"https://app.getnen.ai/runs/{run['id']}"


def test_who_started_nothing_has_none(emulator: Emulator, nenai: str) -> None:
    made: list[RunOperator] = []
    emulator.control.fault("status", method="POST", status=422)
    with pytest.raises(AirflowFailException):
        task(made).attempt()
    assert link_of(made[-1]) == ""


def test_a_download_has_the_link_of_its_run(emulator: Emulator, nenai: str, tmp_path: Any) -> None:
    run_id = task(wait_for_completion=False).attempt()
    operator = NenAIDownloadResultsOperator(
        task_id="t", message_id=run_id, output_path=f"file://{tmp_path}", nenai_conn_id=nenai
    )
    with pytest.raises(NenoaError, match="has not ended"):
        operator.execute(Task(lambda: operator).context)
    assert link_of(operator) == f"https://app.getnen.ai/runs/{run_id}"


@pytest.mark.parametrize(("push", "keys"), [(True, {"message_id", KEY}), (False, {KEY})])
def test_do_xcom_push_is_obeyed(
    emulator: Emulator, nenai: str, connect: Callable[..., str], push: bool, keys: set[str]
) -> None:
    """A link is an XCom too, but Airflow stores links whatever it says."""
    starting = task(wait_for_completion=False, do_xcom_push=push)
    starting.attempt()
    assert set(starting.ti.xcoms) == keys


def test_each_instance_of_a_mapped_task_has_its_own(emulator: Emulator, nenai: str) -> None:
    with DAG("d", schedule=None) as dag:
        mapped = NenAIRunWorkflowOperator.partial(
            task_id="t", workflow_id=WORKFLOW, nenai_conn_id=nenai, wait_for_completion=False
        ).expand(workflow_params=[{"number": 1}, {"number": 2}])
    assert KEY in serialised(dag), "Airflow's page asks the serialised, unmapped task which links there are"
    links = []
    for number in (1, 2):
        operator = mapped.unmap({"workflow_params": {"number": number}})
        instance = Task(lambda operator=operator: operator, StateStore())  # type: ignore[misc]
        run_id = instance.attempt()
        assert instance.ti.xcoms[KEY] == link_of(operator) == f"https://app.getnen.ai/runs/{run_id}"
        links.append(link_of(operator))
    assert len(set(links)) == 2
