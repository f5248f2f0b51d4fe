"""Lineage of stored files, and of runs that are no queries."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.utils.state import TaskInstanceState

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import PermissionDenied, RunFailed
from airflow_provider_nenoa.lineage import files
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystListDatasetsOperator,
    OpenAnalystRunAgentOperator,
)
from airflow_provider_nenoa.results.storage import NewFile, Place
from tests.support.task import StateStore, TaskInstance

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"
EventOf = Callable[..., dict[str, Any]]


def run(operator: Any) -> Any:
    return operator.execute({"ti": TaskInstance(), "task_state_store": StateStore()})


def agent(**options: Any) -> OpenAnalystRunAgentOperator:
    arguments = {"agent_id": "agent_xyz789", "task_prompt": "Look.", "openanalyst_conn_id": "my_openanalyst"}
    return OpenAnalystRunAgentOperator(task_id="t", deferrable=False, poll_interval=0.05, **arguments | options)


def told(collector: Any) -> list[str]:
    return [info.asset.uri for info in collector.collected_assets.outputs]


def test_a_stored_file_is_told_of_once_it_is_there(collector: Any, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/some file.bin"
    with NewFile(Place(url), "x") as file:
        file.write(b"12")
        assert told(collector) == []
    with ObjectStoragePath(url).open("rb") as again:
        assert again.read() == b"12"
    assert told(collector) == [url]


def test_a_file_that_is_given_up_is_not_told_of(collector: Any, tmp_path: Path) -> None:
    def give_up() -> None:
        with NewFile(Place(f"file://{tmp_path}/a"), "x") as file:
            file.write(b"1")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        give_up()
    assert told(collector) == []


def test_lineage_that_fails_loses_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> Any:
        raise RuntimeError("no lineage today")

    monkeypatch.setattr(files, "_collector", broken)
    with NewFile(Place(f"file://{tmp_path}/a"), "x") as file:
        file.write(b"1")
    assert (tmp_path / "a").read_bytes() == b"1"


def test_it_is_told_as_airflow_tells_it(collector: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, ours = f"file://{tmp_path}/theirs", f"file://{tmp_path}/ours"
    module = sys.modules[type(collector).__module__]  # it stands elsewhere in Airflow 3.0 and 3.1
    monkeypatch.setattr(module, "get_hook_lineage_collector", lambda: collector)
    monkeypatch.setattr("airflow.sdk.io.path.get_hook_lineage_collector", lambda: collector, raising=False)
    with ObjectStoragePath(theirs).open("wb") as file:
        file.write(b"1")
    with NewFile(Place(ours), "x") as new:
        new.write(b"1")
    one, two = collector.collected_assets.outputs
    assert one.asset.uri.replace("theirs", "ours") == two.asset.uri
    assert (type(one.context), one.asset.extra) == (type(two.context), two.asset.extra)


def test_the_file_of_a_list(openanalyst: str, tmp_path: Path, event_of: EventOf) -> None:
    operator = OpenAnalystListDatasetsOperator(
        task_id="t", output_path=f"file://{tmp_path}/", openanalyst_conn_id=openanalyst
    )
    operator.execute({})
    (file,) = event_of(operator)["outputs"]
    assert (file["namespace"], file["name"]) == ("file", f"{tmp_path}/datasets.jsonl")


def test_a_workflow_and_its_files(nenai: str, emulator: Emulator, tmp_path: Path, event_of: EventOf) -> None:
    emulator.control.settings(workflow={"seconds": 0, "files": [{"name": "a.csv", "content": "1"}]})
    operator = NenAIRunWorkflowOperator(
        task_id="t",
        workflow_id=WORKFLOW,
        output_path=f"file://{tmp_path}/",
        nenai_conn_id=nenai,
        deferrable=False,
        poll_interval=0.05,
    )
    result = run(operator)
    event = event_of(operator)
    assert [file["name"] for file in event["outputs"]] == [f"{tmp_path}/a.csv"]
    run_id = result["message_id"]
    assert (
        event["run"]["facets"]["nenoa_run"].items()
        >= {
            "vendor": "NenAI",
            "kind": "workflow",
            "runId": run_id,
            "status": "success",
            "url": f"https://app.getnen.ai/runs/{run_id}",
        }.items()
    )
    assert event["job"]["facets"]["nenoa_job"].items() >= {"workflowId": WORKFLOW, "connectionId": nenai}.items()


def test_an_agent(openanalyst: str, emulator: Emulator, event_of: EventOf) -> None:
    emulator.control.settings(agent={"seconds": 0})
    operator = agent()
    before = event_of(operator, TaskInstanceState.RUNNING)
    assert before["job"]["facets"]["nenoa_job"]["agentId"] == "agent_xyz789"
    result = run(operator)
    facet = event_of(operator)["run"]["facets"]["nenoa_run"]
    assert (facet["runId"], facet["status"], facet.get("error")) == (result["run_id"], "completed", None)


def test_an_agent_that_failed(openanalyst: str, emulator: Emulator, event_of: EventOf) -> None:
    emulator.control.settings(agent={"seconds": 0, "outcome": "failed", "error": "The moon is full."})
    operator = agent()
    with pytest.raises(RunFailed):
        run(operator)
    facet = event_of(operator, TaskInstanceState.FAILED)["run"]["facets"]["nenoa_run"]
    assert facet["status"] == "failed"
    assert "The moon is full." in facet["error"]
    assert facet["runId"] == operator.remote_run_id


def test_a_start_that_was_refused_has_no_run(openanalyst: str, emulator: Emulator, event_of: EventOf) -> None:
    emulator.control.fault("status", status=403)
    operator = agent()
    with pytest.raises(PermissionDenied):
        run(operator)
    facet = event_of(operator, TaskInstanceState.FAILED)["run"]["facets"]["nenoa_run"]
    assert {key: facet.get(key) for key in ("runId", "status", "error", "url")} == dict.fromkeys(
        ("runId", "status", "error", "url")
    )
