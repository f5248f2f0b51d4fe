"""An agent is told of a failure."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, BaseNotifier

from airflow_provider_nenoa.compat import mask_secret
from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.notifications.agent import OpenAnalystAgentNotifier
from tests.support.task import TaskInstance


class Chat(BaseNotifier):
    """Another notifier, with a template."""

    template_fields = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.said: list[str] = []

    def notify(self, context: Any) -> None:
        self.said.append(self.text)


@pytest.fixture
def agents(emulator: Emulator, openanalyst: str) -> Emulator:
    emulator.control.settings(agent={"seconds": 0, "result": {"answer": "The disk is full."}})
    return emulator


def context(**more: Any) -> Any:
    return {"dag": DAG("my_dag", schedule=None), "ti": TaskInstance(), "exception": ValueError("no space left"), **more}


def notifier(**options: Any) -> OpenAnalystAgentNotifier:
    return OpenAnalystAgentNotifier(
        **{
            "agent_id": "agent_1",
            "openanalyst_conn_id": "my_openanalyst",
            "timeout": 10,
            "poll_interval": 0.05,
            **options,
        }
    )


def sent(emulator: Emulator) -> dict[str, Any]:
    (body,) = (each["body"] for each in emulator.control.requests() if each["path"] == "/v1/agents/run")
    assert isinstance(body, dict)
    return body


def test_the_agent_is_told_and_its_answer_goes_to_the_log(agents: Emulator, logged: Any) -> None:
    notifier()(context())
    assert sent(agents)["agent_id"] == "agent_1"
    prompt = sent(agents)["task"]
    assert "Task 'task' of the Airflow DAG 'dag' has failed in run 'manual__1', in attempt 1." in prompt
    assert "The error: no space left" in prompt
    assert "The OpenAnalyst agent answers: " in logged.text
    assert "The disk is full." in logged.text


@pytest.mark.parametrize("name", ["timeout", "poll_interval"])
def test_times_that_are_none_are_refused_when_the_dag_is_parsed(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"'{name}' must be a number of seconds or a timedelta"):
        notifier(**{name: "5"})


def test_what_cannot_be_called_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(InvalidArgument, match="'then' must be another notifier"):
        notifier(then="#alerts")


def test_a_dag_that_has_failed_has_no_task(agents: Emulator) -> None:
    notifier()({"dag": DAG("my_dag", schedule=None), "reason": "task_failure"})
    assert sent(agents)["task"].startswith("The Airflow DAG 'my_dag' has failed.")


def test_the_answer_goes_to_another_notifier(agents: Emulator) -> None:
    chat = Chat("{{ ti.task_id }}: {{ agent_answer }}")
    notifier(then=chat)(context())
    (said,) = chat.said
    assert said.startswith("task: ")
    assert "The disk is full." in said


def test_the_words_are_a_template_and_secrets_are_masked(agents: Emulator) -> None:
    mask_secret("horse-battery")
    notifier(task_prompt="{{ ti.task_id }} failed: {{ exception }}")(context(exception=ValueError("bad horse-battery")))
    assert sent(agents)["task"] == "task failed: bad ***"


@pytest.mark.parametrize(
    ("settings", "fault", "timeout", "words"),
    [
        ({"outcome": "failed", "error": "out of ideas"}, None, 20, "out of ideas"),
        ({"seconds": None}, None, 0.5, "has not ended within 0.5 s"),
        ({}, {"kind": "status", "status": 401}, 20, "401"),
        ({}, {"kind": "status", "status": 503, "times": None}, 20, "503"),
        ({}, {"kind": "drop_after"}, 20, "No answer"),
    ],
)
def test_the_other_notifier_hears_of_the_failure_in_any_case(
    agents: Emulator, logged: Any, settings: dict[str, Any], fault: dict[str, Any] | None, timeout: float, words: str
) -> None:
    agents.control.settings(agent={"seconds": 0, **settings})
    if fault:
        agents.control.fault(path="/v1/agents/run", **fault)
    chat = Chat("{{ agent_answer }}")
    notifier(then=chat, timeout=timeout)(context())
    (said,) = chat.said
    assert said.startswith("No answer of the OpenAnalyst agent: ")
    assert words in said
    assert words in logged.text


def test_a_connection_that_is_not_there(logged: Any) -> None:
    chat = Chat("{{ agent_answer }}")
    notifier(then=chat, openanalyst_conn_id="nowhere")(context())
    assert "nowhere" in chat.said[0]


def test_it_waits_no_longer_than_airflow_grants(agents: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    agents.control.settings(agent={"seconds": None})
    monkeypatch.setenv("AIRFLOW__CORE__TASK_SUCCESS_OVERTIME", "8")
    chat = Chat("{{ agent_answer }}")
    notifier(then=chat, timeout=None)(context())
    assert "has not ended within 3 s" in chat.said[0]
