"""OpenAnalyst's agents and data as tools of an Airflow agent. A stub stands for its model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import NenoaError, RunTimeout
from tests.support.task import TaskInstance
from tests.support.versions import reason

pytest.importorskip("airflow.providers.common.ai.managed_agents.base", reason=reason("common_ai"))

from airflow.providers.common.ai.exceptions import ManagedAgentInvocationError, ManagedAgentRejected
from airflow.providers.common.ai.hooks.pydantic_ai import PydanticAIHook
from airflow.providers.common.ai.managed_agents.base import ManagedAgentRequest
from airflow.providers.common.ai.operators.agent import AgentOperator
from airflow.providers.common.ai.operators.llm_sql import LLMSQLQueryOperator
from airflow.providers.common.ai.toolsets.managed_agent import ManagedAgentToolset
from airflow.providers.common.ai.toolsets.sql import SQLToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from airflow_provider_nenoa.agents import managed
from airflow_provider_nenoa.agents.managed import OpenAnalystManagedAgentHook

Answer = Callable[[list[ModelMessage], AgentInfo], ModelResponse]


@pytest.fixture
def agents(emulator: Emulator, openanalyst: str, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    emulator.control.settings(agent={"seconds": 0.05, "result": {"final_answer": "Forty-two."}})
    monkeypatch.setattr(managed, "POLL_INTERVAL", 0.02)
    return emulator


@pytest.fixture
def database(emulator: Emulator, connect: Callable[..., str]) -> str:
    return connect("openanalyst_sql", emulator.openanalyst_url, schema="ds_abc123")


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Give Airflow's hook a model that answers as a function does."""
    monkeypatch.setenv("AIRFLOW_CONN_LLM", json.dumps({"conn_type": "pydanticai"}))

    def give(answer: Answer) -> None:
        monkeypatch.setattr(PydanticAIHook, "get_conn", lambda self: FunctionModel(answer))

    return give


def calls(*tools: tuple[str, dict[str, Any]], seen: list[Any]) -> Answer:
    """Return a model that calls one tool after the other, and then says what the last of them has said."""
    rest = iter(tools)

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        last = messages[-1].parts[-1]
        if last.part_kind != "user-prompt":
            seen.append(last.content)
        tool = next(rest, None)
        return ModelResponse(parts=[TextPart(f"It says: {seen[-1]}") if tool is None else ToolCallPart(*tool)])

    return answer


def context() -> Any:
    return {"task_instance": TaskInstance(), "ti": TaskInstance()}


def invoke(**request: Any) -> Any:
    return OpenAnalystManagedAgentHook("my_openanalyst").agent("agent_1").invoke(ManagedAgentRequest(**request))


def sent(emulator: Emulator) -> list[dict[str, Any]]:
    return [each["body"] for each in emulator.control.requests() if each["path"] == "/v1/agents/run"]


def test_an_agent_operator_asks_an_agent(agents: Emulator, model: Callable[[Answer], None]) -> None:
    model(calls(("ask_analyst", {"prompt": "How many?"}), seen=[]))
    analyst = OpenAnalystManagedAgentHook("my_openanalyst").agent("agent_1")
    operator = AgentOperator(
        task_id="ask",
        prompt="Find out.",
        llm_conn_id="llm",
        toolsets=[ManagedAgentToolset(analyst, tool_name="ask_analyst", vendor_options={"context": {"year": 2026}})],
    )
    assert operator.execute(context()) == "It says: Forty-two."
    (body,) = sent(agents)
    assert (body["agent_id"], body["task"], body["context"]) == ("agent_1", "How many?", {"year": 2026})


def test_what_an_answer_has(agents: Emulator) -> None:
    answer = invoke(prompt="How many?")
    (run,) = agents.control.runs()
    assert (answer.text, answer.trace_ref, answer.raw["status"]) == ("Forty-two.", run["id"], "completed")
    assert json.dumps(answer.raw)


def test_messages_become_words(agents: Emulator) -> None:
    invoke(messages=[{"role": "user", "content": "How many?"}, {"content": [{"type": "text", "text": "Briefly."}]}])
    assert sent(agents)[0]["task"] == "user: How many?\n\nuser: Briefly."


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"messages": [{"content": [{"type": "image", "url": "x"}]}]}, "take text only"),
        ({"prompt": " "}, "task"),
        ({"prompt": "p", "vendor_options": {"agent_id": "another"}}, "not agent_id"),
        ({"prompt": "p", "vendor_options": {"model": "m"}}, "api_form"),
    ],
)
def test_what_cannot_be_asked(agents: Emulator, request_: dict[str, Any], words: str) -> None:
    with pytest.raises(ManagedAgentInvocationError, match=words):
        invoke(**request_)
    assert sent(agents) == []


@pytest.mark.parametrize(
    ("settings", "fault", "timeout", "error", "words"),
    [
        ({"outcome": "failed", "error": "out of ideas"}, None, 20, ManagedAgentRejected, "out of ideas"),
        ({}, {"kind": "status", "status": 422}, 20, ManagedAgentRejected, "422"),
        ({}, {"kind": "status", "status": 401}, 20, ManagedAgentInvocationError, "401"),
        ({}, {"kind": "status", "status": 404}, 20, ManagedAgentInvocationError, "404"),
        ({}, {"kind": "drop_after"}, 20, ManagedAgentInvocationError, "may or may not"),
        ({}, {"kind": "status", "status": 503}, 20, ManagedAgentInvocationError, "may or may not"),
        ({"seconds": None}, None, 0.5, RunTimeout, "has not ended within 0.5 s"),
    ],
)
def test_what_goes_wrong(
    agents: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    fault: dict[str, Any] | None,
    timeout: float,
    error: type[Exception],
    words: str,
) -> None:
    agents.control.settings(agent={"seconds": 0, **settings})
    if fault:
        agents.control.fault(path="/v1/agents/run", **fault)
    hook = OpenAnalystManagedAgentHook("my_openanalyst")
    hook.api.retry_for = 0
    with pytest.raises(error, match=words) as caught:
        hook.agent("agent_1").invoke(ManagedAgentRequest(prompt="p", timeout=timeout))
    assert issubclass(error, NenoaError) == isinstance(caught.value, NenoaError)
    assert len(sent(agents)) <= 1


def test_an_agent_explores_the_data(agents: Emulator, model: Callable[[Answer], None], database: str) -> None:
    seen: list[Any] = []
    model(
        calls(
            ("list_tables", {}),
            ("get_schema", {"table_name": "sales"}),
            ("query", {"sql": "SELECT region, quantity FROM sales LIMIT 2"}),
            seen=seen,
        )
    )
    operator = AgentOperator(task_id="ask", prompt="?", llm_conn_id="llm", toolsets=[SQLToolset(database)])
    operator.execute(context())
    tables, columns, rows = (json.loads(text) for text in seen)
    assert tables == ["sales"]
    assert {"name": "quantity", "type": "integer"} in columns["columns"]
    assert (rows["columns"], len(rows["rows"])) == (["region", "quantity"], 2)


def test_a_model_that_writes_sql_knows_the_columns(
    agents: Emulator, model: Callable[[Answer], None], database: str
) -> None:
    told: list[str] = []

    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        told.append(f"{info.instructions} {messages}")
        return ModelResponse(parts=[TextPart("SELECT SUM(quantity) FROM sales")])

    model(answer)
    operator = LLMSQLQueryOperator(
        task_id="sql", prompt="How many?", llm_conn_id="llm", db_conn_id=database, table_names=["sales"]
    )
    assert operator.execute(context()).upper().startswith("SELECT")
    assert "quantity" in told[0]
