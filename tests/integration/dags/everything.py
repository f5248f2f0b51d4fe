"""All operators and sensors, in each of their modes, for ``dag.test()``."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_nenoa.operators.nenai import (
    NenAIDownloadResultsOperator,
    NenAIListRunsOperator,
    NenAIListWorkflowsOperator,
    NenAIRunWorkflowOperator,
)
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystExportOperator,
    OpenAnalystGetDatasetOperator,
    OpenAnalystGetReportOperator,
    OpenAnalystListDashboardsOperator,
    OpenAnalystListDatasetsOperator,
    OpenAnalystListReportsOperator,
    OpenAnalystRunAgentOperator,
)
from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor
from airflow_provider_nenoa.sensors.openanalyst import (
    OpenAnalystAgentRunSensor,
    OpenAnalystExportSensor,
    OpenAnalystQuerySensor,
)
from tests.support.versions import has

WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"
SERVER: dict[str, Any] = {"openanalyst_conn_id": "openanalyst_server"}  # only that form knows exports
OUTPUT = "{{ var.value.results }}/{{ dag.dag_id }}/"
SLOW_QUERY = "/* slow: 0.5 */ SELECT region, SUM(revenue) AS revenue FROM sales GROUP BY region"

with DAG("requests", schedule=None):
    NenAIListWorkflowsOperator(task_id="workflows")
    NenAIListRunsOperator(task_id="runs", workflow_id=WORKFLOW)
    OpenAnalystListDatasetsOperator(task_id="datasets")
    reports = OpenAnalystListReportsOperator(task_id="reports")
    OpenAnalystListDashboardsOperator(task_id="dashboards")
    OpenAnalystGetDatasetOperator(task_id="dataset", dataset_id="ds_abc123")
    report = OpenAnalystGetReportOperator(task_id="report", report_id="{{ ti.xcom_pull(task_ids='reports')[0]['id'] }}")
    reports >> report

for mode in ("blocking", "deferrable"):
    common: dict[str, Any] = {"poll_interval": 0.2, "deferrable": mode == "deferrable"}
    with DAG(mode, schedule=None):
        NenAIRunWorkflowOperator(task_id="workflow", workflow_id=WORKFLOW, **common)
        OpenAnalystRunAgentOperator(task_id="agent", agent_id="agent_xyz789", task_prompt="Say so", **common)
        OpenAnalystExecuteQueryOperator(task_id="query", dataset_id="ds_abc123", query=SLOW_QUERY, **common)
        OpenAnalystExportOperator(task_id="export", dataset_id="ds_abc123", output_path=OUTPUT, **SERVER, **common)

        @task.nenai_workflow(workflow_id=WORKFLOW, **common)
        def decorated_workflow(number: int) -> dict[str, Any]:
            return {"number": number}

        @task.openanalyst_agent(agent_id="agent_xyz789", multiple_outputs=has("outputs_of_none"), **common)
        def decorated_agent(subject: str) -> str:
            return f"Summarise {subject} for {{{{ dag.dag_id }}}}"

        @task.openanalyst_query(dataset_id="ds_abc123", **common)
        def decorated_query(region: str) -> tuple[str, dict[str, Any]]:
            return "/* slow: 0.5 */ SELECT SUM(revenue) AS revenue FROM sales WHERE region = :r", {"r": region}

        @task
        def checked(answers: Any, rows: Any) -> None:
            assert mode_of() in str(answers["result"]), answers
            assert [each["row_count"] for each in rows] == [1, 1], rows

        def mode_of() -> str:
            from airflow.sdk import get_current_context

            return str(get_current_context()["dag"].dag_id)

        decorated_workflow.expand(number=[1, 2])
        checked(decorated_agent("sales"), decorated_query.expand(region=["North", "South"]))

with DAG("sensors", schedule=None):
    alone: dict[str, Any] = {"wait_for_completion": False}
    workflow = NenAIRunWorkflowOperator(task_id="workflow", workflow_id=WORKFLOW, **alone)
    agent = OpenAnalystRunAgentOperator(task_id="agent", agent_id="agent_xyz789", task_prompt="Say so", **alone)
    query = OpenAnalystExecuteQueryOperator(task_id="query", dataset_id="ds_abc123", query=SLOW_QUERY, **alone)
    export = OpenAnalystExportOperator(task_id="export", dataset_id="ds_abc123", **SERVER, **alone)
    for mode, how in (
        ("poke", {"mode": "poke"}),
        ("reschedule", {"mode": "reschedule"}),
        ("deferrable", {"deferrable": True}),
    ):
        options: dict[str, Any] = {"poke_interval": 0.2, **how}
        waited = NenAIWorkflowRunSensor(task_id=f"workflow_{mode}", message_id=workflow.output, **options)
        OpenAnalystAgentRunSensor(task_id=f"agent_{mode}", run_id=agent.output, **options)
        OpenAnalystQuerySensor(task_id=f"query_{mode}", query_id=query.output["query_id"], **options)
        OpenAnalystExportSensor(task_id=f"export_{mode}", export_id=export.output, **SERVER, **options)
    waited >> NenAIDownloadResultsOperator(
        task_id="files",
        message_id=workflow.output,  # type: ignore[arg-type]
        output_path=OUTPUT,
    )
