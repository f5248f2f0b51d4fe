"""DAGs for the end-to-end tests of OpenAnalyst's operators and sensors. Each test triggers those it needs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystGetDatasetOperator,
    OpenAnalystListDatasetsOperator,
    OpenAnalystRunAgentOperator,
)
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystAgentRunSensor, OpenAnalystQuerySensor

QUERY = "SELECT region, sum(quantity) AS quantity FROM sales GROUP BY region ORDER BY region"
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=1)}
# The emulator ends such a run when the test says so.
ENDLESS: dict[str, Any] = {"emulate": {"seconds": None}}

for way in ("told", "polled"):
    for mode, deferrable in (("deferred", True), ("blocking", False)):
        with DAG(f"agent_{mode}_{way}", params={"subject": "sales"}):
            OpenAnalystRunAgentOperator(
                task_id="agent",
                agent_id="agent_xyz789",
                task_prompt="Summarise {{ params.subject }}",
                context=ENDLESS,
                openanalyst_conn_id=f"openanalyst_{way}",
                deferrable=deferrable,
                poll_interval=1,
            )

for mode, deferrable in (("deferred", True), ("blocking", False)):
    with DAG(f"query_{mode}"):
        for name, query in (("rows", QUERY), ("slow_rows", f"/* slow: 2 */ {QUERY}")):
            OpenAnalystExecuteQueryOperator(
                task_id=name,
                dataset_id="ds_abc123",
                query=query,
                openanalyst_conn_id="openanalyst_polled",
                deferrable=deferrable,
                poll_interval=1,
            )

with DAG("mapping"):
    datasets = OpenAnalystListDatasetsOperator(task_id="datasets", openanalyst_conn_id="openanalyst_polled")
    OpenAnalystRunAgentOperator.partial(
        task_id="agent", agent_id="agent_xyz789", openanalyst_conn_id="openanalyst_told", deferrable=True
    ).expand(task_prompt=datasets.output.map(lambda dataset: f"Describe {dataset['id']}"))

with DAG("sensors"):
    agent = OpenAnalystRunAgentOperator(
        task_id="agent",
        agent_id="agent_xyz789",
        task_prompt="Take your time",
        context=ENDLESS,
        wait_for_completion=False,
        openanalyst_conn_id="openanalyst_polled",
    )
    query = OpenAnalystExecuteQueryOperator(
        task_id="query",
        dataset_id="ds_abc123",
        query=f'/* emulate: {{"seconds": null}} */ {QUERY}',
        wait_for_completion=False,
        openanalyst_conn_id="openanalyst_polled",
    )
    for mode, arguments in (
        ("poke", {"mode": "poke"}),
        # Airflow takes a task that is due again before its process's end was seen for one that died.
        ("reschedule", {"mode": "reschedule", "poke_interval": 3}),
        ("deferred", {"deferrable": True}),
    ):
        common: dict[str, Any] = {"openanalyst_conn_id": "openanalyst_polled", "poke_interval": 1, **arguments}
        OpenAnalystAgentRunSensor(task_id=f"agent_{mode}", run_id=agent.output["run_id"], **common)
        OpenAnalystQuerySensor(task_id=f"query_{mode}", query_id=query.output["query_id"], **common)

with DAG("error_401", default_args=RETRIES):
    OpenAnalystRunAgentOperator(
        task_id="task", agent_id="agent_xyz789", task_prompt="Never heard", openanalyst_conn_id="openanalyst_wrong_key"
    )

with DAG("error_404", default_args=RETRIES):
    OpenAnalystGetDatasetOperator(task_id="task", dataset_id="ds_gone", openanalyst_conn_id="openanalyst_polled")

with DAG("error_422", default_args=RETRIES):
    OpenAnalystExecuteQueryOperator(
        task_id="task", dataset_id="ds_abc123", query="SELEKT 1", openanalyst_conn_id="openanalyst_polled"
    )
