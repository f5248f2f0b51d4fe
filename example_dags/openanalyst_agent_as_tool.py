"""
An agent of Airflow's own asks an OpenAnalyst agent, as one of its tools, and writes the answer up.

It needs the connections ``openanalyst_default`` and ``pydanticai_default``, the latter with the model that thinks, and
Airflow's Common AI provider, which fits Airflow 3.3 and later. Without that, there is no such DAG.
"""

from __future__ import annotations

from airflow.sdk import Param, dag

try:
    from airflow.providers.common.ai.operators.agent import AgentOperator
    from airflow.providers.common.ai.toolsets.managed_agent import ManagedAgentToolset

    from airflow_provider_nenoa.agents.managed import OpenAnalystManagedAgentHook
except ImportError:
    pass
else:

    @dag(
        schedule=None,
        tags=["nenoa", "example"],
        doc_md=__doc__,
        params={"question": Param("What should the board know about last week's sales?", type="string")},
    )
    def openanalyst_agent_as_tool() -> None:
        analyst = ManagedAgentToolset(
            OpenAnalystManagedAgentHook("openanalyst_default").agent("agent_xyz789"),
            tool_name="ask_sales_analyst",
            description="Knows orders, products and regions. Cannot see costs.",
            timeout=600,
        )
        AgentOperator(
            task_id="review",
            prompt="{{ params.question }}",
            llm_conn_id="pydanticai_default",
            toolsets=[analyst],
        )

    openanalyst_agent_as_tool()
