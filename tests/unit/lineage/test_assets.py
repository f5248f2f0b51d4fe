"""Assets: their spelling, their names in OpenLineage, what the events of outlets tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.openlineage.utils.utils import translate_airflow_asset
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import RunFailed
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator
from airflow_provider_nenoa.waiting import asking
from tests.support.task import StateStore, TaskInstance

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"


@pytest.mark.parametrize(
    ("uri", "spelling"),
    [
        (f"nenai://workflows/{WORKFLOW}", f"nenai://workflows/{WORKFLOW}"),
        (f"NenAI://Workflows/{WORKFLOW.upper()}/", f"nenai://workflows/{WORKFLOW}"),
        ("openanalyst://agents/Agent_1#x", "openanalyst://agents/Agent_1"),
        ("openanalyst://datasets/ds_1", "openanalyst://datasets/ds_1"),
        ("openanalyst://DATASETS/ds_1/Sales/", "openanalyst://datasets/ds_1/Sales"),
        ("openanalyst://reports/rep_1", "openanalyst://reports/rep_1"),
    ],
)
def test_one_spelling(uri: str, spelling: str) -> None:
    assert Asset(uri=uri, name="x").uri == spelling


@pytest.mark.parametrize(
    "uri",
    [
        "nenai://workflows",
        "nenai://agents/a",
        "nenai://workflows/a/b",
        "openanalyst://datasets//sales",
        "openanalyst://datasets/ds/a/b",
        "openanalyst://agents/a/b",
        "openanalyst://workflows/a",
        "openanalyst://agents/a?x=1",
        "openanalyst:///agents/a",
    ],
)
def test_what_is_no_asset(uri: str) -> None:
    with pytest.raises(ValueError, match=r"It must be (nenai|openanalyst)://"):
        Asset(uri=uri, name="x")


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("openanalyst://datasets/ds_1/sales", "openanalyst://api.openanalyst.com", "ds_1.sales"),
        ("openanalyst://datasets/ds_1", "openanalyst://api.openanalyst.com", "ds_1"),
        ("openanalyst://agents/a_1", "openanalyst://api.openanalyst.com", "agents/a_1"),
        (f"nenai://workflows/{WORKFLOW}", "nenai://api.getnen.ai", f"workflows/{WORKFLOW}"),
    ],
)
def test_in_openlineage(uri: str, namespace: str, name: str) -> None:
    dataset = translate_airflow_asset(Asset(uri=uri, name="x"), None)
    assert (dataset.namespace, dataset.name) == (namespace, name)


AGENT = Asset("openanalyst://agents/agent_xyz789")
FILE = Asset("file:///rows")


def events_of(operator: Any) -> tuple[OutletEventAccessors, Any]:
    events = OutletEventAccessors()
    context = {"ti": TaskInstance(), "task_state_store": StateStore(), "outlet_events": events}
    return events, operator.execute(context)


def agent(**options: Any) -> OpenAnalystRunAgentOperator:
    arguments: dict[str, Any] = {
        "agent_id": "agent_xyz789",
        "task_prompt": "Look.",
        "openanalyst_conn_id": "my_openanalyst",
        "outlets": [AGENT, AssetAlias("x")],
    }
    return OpenAnalystRunAgentOperator(task_id="t", deferrable=False, poll_interval=0.05, **arguments | options)


def test_an_event_tells_the_run(openanalyst: str, emulator: Emulator) -> None:
    emulator.control.settings(agent={"seconds": 0})
    events, result = events_of(agent())
    assert events[AGENT].extra == {"run_id": result["run_id"], "status": "completed", "files": []}


@pytest.mark.parametrize("ref", [Asset.ref(name="agents"), Asset.ref(uri=AGENT.uri)], ids=["name", "uri"])
def test_an_asset_may_be_named_by_a_reference(
    openanalyst: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, ref: Any
) -> None:
    emulator.control.settings(agent={"seconds": 0})
    # In a worker, Airflow asks its API server which asset it is.
    monkeypatch.setattr(OutletEventAccessors, "_get_asset_from_db", staticmethod(lambda **ref: AGENT))
    events, result = events_of(agent(outlets=[ref]))
    assert events[AGENT].extra["run_id"] == result["run_id"]


def test_an_event_names_a_run_whose_webhook_does_not(
    openanalyst: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.control.settings(agent={"seconds": 0})
    read = asking.read
    monkeypatch.setattr(asking, "read", lambda *about: replace(read(*about), run_id=""))
    events, _ = events_of(agent())
    (made,) = emulator.control.runs()
    assert events[AGENT].extra["run_id"] == made["id"]


def test_an_event_of_a_run_that_goes_on(openanalyst: str, emulator: Emulator) -> None:
    events, run_id = events_of(agent(wait_for_completion=False))
    assert events[AGENT].extra == {"run_id": run_id}


def test_an_event_tells_where_the_result_is(openanalyst: str, tmp_path: Path) -> None:
    operator = OpenAnalystExecuteQueryOperator(
        task_id="t",
        dataset_id="ds_abc123",
        query="SELECT region FROM sales",
        output_path=f"file://{tmp_path}/rows.csv",
        openanalyst_conn_id=openanalyst,
        deferrable=False,
        outlets=[FILE],
    )
    events, _ = events_of(operator)
    assert events[FILE].extra["files"] == [f"file://{tmp_path}/rows.csv"]


def test_a_failed_run_tells_nothing(openanalyst: str, emulator: Emulator) -> None:
    emulator.control.settings(agent={"seconds": 0, "outcome": "failed"})
    events = OutletEventAccessors()
    with pytest.raises(RunFailed):
        agent().execute({"ti": TaskInstance(), "task_state_store": StateStore(), "outlet_events": events})
    assert events[AGENT].extra == {}


def test_without_a_place_for_events(openanalyst: str, emulator: Emulator, connect: Callable[..., str]) -> None:
    emulator.control.settings(agent={"seconds": 0})
    assert agent().execute({"ti": TaskInstance(), "task_state_store": StateStore()})["run_id"]
