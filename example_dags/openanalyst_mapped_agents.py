"""Start one agent run for each data set of the workspace, all waited for at once without holding a worker."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import dag

from airflow_provider_nenoa.operators.openanalyst import OpenAnalystListDatasetsOperator, OpenAnalystRunAgentOperator


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    params={"agent_id": "agent_xyz789"},
)
def openanalyst_mapped_agents() -> None:
    datasets = OpenAnalystListDatasetsOperator(task_id="list_datasets", limit=20)
    OpenAnalystRunAgentOperator.partial(
        task_id="describe",
        agent_id="{{ params.agent_id }}",
        task_prompt="Describe this data set in one paragraph.",
        deferrable=True,
    ).expand(context=datasets.output.map(lambda dataset: {"dataset_id": dataset["id"]}))


openanalyst_mapped_agents()
