"""
### The next attempt comes when the vendor listens again

A start that is still over the rate limit when the task's time is up is retried when the vendor has said that it will
listen again, and not after a fixed `retry_delay`. Airflow before 3.3 knows no retry policies: there, it is the delay.

Runs as it is against the emulator, with the connection `openanalyst_default`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag

from airflow_provider_nenoa.exceptions import AirflowOptionalProviderFeatureException
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystRunAgentOperator

try:
    from airflow_provider_nenoa.retries import RetryAfterPolicy

    policy: dict[str, Any] = {"retry_policy": RetryAfterPolicy()}
except AirflowOptionalProviderFeatureException:
    policy = {}


@dag(
    schedule=None,
    tags=["nenoa", "example"],
    doc_md=__doc__,
    params={"agent_id": Param("agent_xyz789", type="string")},
)
def nenoa_retries() -> None:
    OpenAnalystRunAgentOperator(
        task_id="ask",
        agent_id="{{ params.agent_id }}",
        task_prompt="How were sales last week?",
        timeout=timedelta(minutes=10),
        poll_interval=5,
        retries=3,
        retry_delay=timedelta(minutes=5),
        **policy,
    )


nenoa_retries()
