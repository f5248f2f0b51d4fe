"""As many workflows and as many agents as the environment says, all at once."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystRunAgentOperator

NUMBERS = range(int(os.environ["NENOA_HA"]))

with DAG("many", default_args={"retries": 3, "retry_delay": timedelta(seconds=1)}):
    NenAIRunWorkflowOperator.partial(
        task_id="workflow", workflow_id="6f9619ff-8b86-4d01-b42d-00cf4fc964ff", nenai_conn_id="nenai", deferrable=True
    ).expand(workflow_params=[{"number": number} for number in NUMBERS])
    OpenAnalystRunAgentOperator.partial(
        task_id="agent",
        agent_id="agent_xyz789",
        task_prompt="Count",
        openanalyst_conn_id="openanalyst",
        deferrable=True,
    ).expand(context=[{"number": number} for number in NUMBERS])
