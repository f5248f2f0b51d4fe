"""
Keep the files of a NenAI workflow, in two ways: by the operator that ran it, and later, by the run's id.

It needs the connection ``nenai_default`` with a ``webhook_secret``. The presigned URLs of a run's files expire, so they
are fetched as soon as the run has ended. ``output`` may be any URL that Airflow's object storage understands, for
example ``s3://aws_default@bucket/invoices``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import ObjectStoragePath, Param, dag, task

from airflow_provider_nenoa.operators.nenai import NenAIDownloadResultsOperator, NenAIRunWorkflowOperator
from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={
        "workflow_id": Param("6f9619ff-8b86-4d01-b42d-00cf4fc964ff", type="string"),
        "output": Param("file:///tmp/nenoa/invoices", type="string"),
    },
)
def nenai_files() -> None:
    fetch = NenAIRunWorkflowOperator(
        task_id="fetch_invoices",
        workflow_id="{{ params.workflow_id }}",
        output_path="{{ params.output }}/{{ run_id | replace(':', '_') }}",
        deferrable=True,
    )

    start = NenAIRunWorkflowOperator(task_id="start", workflow_id="{{ params.workflow_id }}", wait_for_completion=False)
    wait = NenAIWorkflowRunSensor(task_id="wait", message_id=start.output, deferrable=True)  # type: ignore[arg-type]
    download = NenAIDownloadResultsOperator(
        task_id="download",
        message_id=start.output,  # type: ignore[arg-type]
        output_path="{{ params.output }}/later/{{ run_id | replace(':', '_') }}",
        max_file_size=100_000_000,
    )
    wait >> download

    @task
    def look(result: dict[str, Any], later: list[dict[str, Any]]) -> None:
        for file in [*result["files"], *later]:
            print(f"{file['name']}: {file['size']} bytes, SHA-256 {file['sha256']}, at {file['path']}")
            print(ObjectStoragePath(file["path"]).read_bytes()[:100])

    look(fetch.output, download.output)  # type: ignore[arg-type]


nenai_files()
