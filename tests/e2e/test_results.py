"""Files, rows and SQL in a real Airflow: what is stored is what the vendors have, and can be read back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from airflow_provider_nenoa.emulator import Emulator
from tests.support.airflow_api import DagRun
from tests.support.local_airflow import LocalAirflow


def downloads(emulator: Emulator) -> list[str]:
    """The files that were asked for."""
    paths = [request["path"] for request in emulator.control.requests()]
    return [path for path in paths if path.startswith(("/files/", "/assets/"))]


def shown(run: DagRun) -> str:
    """All that a person sees of a run's logs."""
    return "\n".join(run.log(task["task_id"]) for task in run.task_instances() if task["state"] == "success")


def test_files_quality_and_rows(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    run = airflow.api.trigger("results", conf={"out": str(tmp_path), "region": "South"})
    run.expect("success", timeout=180)
    assert run.states()["alarm"] == "skipped"

    files = run.xcom("workflow")["files"]
    stored = {path.name: path.read_bytes() for path in (tmp_path / "files").iterdir()}
    assert {name: len(content) for name, content in stored.items()} == {"invoice.pdf": 3_000_000, "summary.csv": 7}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in stored.items()}
    assert {Path(file["path"]).name: file["sha256"] for file in files} == digests == run.xcom("files_back")
    assert {path.partition("/assets/")[0] for path in downloads(emulator)} == {""}, "one zip, and no link"
    assert run.xcom("workflow")["result"]["assets"] == "fetched: see 'files'"

    assert run.xcom("export")["columns"] == ["date", "product", "quantity", "revenue"]
    assert "rows" not in run.xcom("export")
    assert run.xcom("rows_back") == {
        "columns": ["date", "product", "quantity", "revenue"],
        "types": ["string", "string", "int64", "double"],
        "rows": 366 * 4,
        "quantity": 23475,
    }
    assert "X-Amz-Signature" not in shown(run), "a presigned URL is in a log"


def test_a_run_that_a_sensor_awaited(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    run = airflow.api.trigger("results_later", conf={"out": str(tmp_path)})
    run.expect("success")
    assert {path.name for path in (tmp_path / "later").iterdir()} == {"invoice.pdf", "summary.csv"}
    assert {file["sha256"] for file in run.xcom("download")} == set(run.xcom("files_back").values())
    counts = emulator.control.counts()
    assert len(downloads(emulator)) == sum(counts[route] for route in counts if "/assets/" in route) > 0
    assert {route for route in counts if "assets" not in route} == {"POST /runs", "runs_started"}, "our receiver had it"


def test_reports(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    run = airflow.api.trigger("results_reports", conf={"out": str(tmp_path)})
    run.expect("success")
    assert run.xcom("list")["count"] == 4
    lines = (tmp_path / "reports.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"rep_00000{number}" for number in range(1, 5)]
    assert json.loads((tmp_path / "report.json").read_text())["data"]["row_count"] == 12


def test_bad_quality_stops_the_export(airflow: LocalAirflow, emulator: Emulator, tmp_path: Path) -> None:
    run = airflow.api.trigger("results_bad_quality", conf={"out": str(tmp_path)})
    run.expect("failed")
    assert run.states() == {"table": "failed", "export": "upstream_failed"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "words"),
    [("write", "cannot write"), ("syntax", "VALIDATION_ERROR"), ("too_many", "Set output_path")],
)
def test_what_cannot_work_is_not_tried_again(airflow: LocalAirflow, emulator: Emulator, task: str, words: str) -> None:
    run = airflow.api.trigger("results_impossible")
    run.expect("failed")
    instance = run.task_instance(task)
    assert (instance["max_tries"], instance["try_number"]) == (2, 1)
    assert words in run.log(task)


def test_expired_urls_fail_and_clearing_tries_them_again_without_another_run(
    airflow: LocalAirflow, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.control.settings(url_seconds=-60)
    run = airflow.api.trigger("results_expired", conf={"out": str(tmp_path)})
    run.expect("failed")
    assert run.task_instance("workflow")["try_number"] == 1
    assert "has expired" in run.log("workflow")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    asked = len(downloads(emulator))
    assert asked

    run.clear()
    run.expect("failed")
    assert len(downloads(emulator)) > asked
    assert emulator.control.counts()["runs_started"]["workflow"] == 1
