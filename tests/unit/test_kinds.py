"""What a trigger's event carries of a run that has ended."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.waiting.kinds import AGENT, KINDS, LARGEST_EVENT, QUERY, WORKFLOW, Ended


def test_the_small_payload_of_an_agent_run_is_handed_over() -> None:
    run = Run("r", "completed", {"run_id": "r", "status": "completed", "result": {"answer": "42"}})
    ended = Ended("r", "completed", False, AGENT.hand_over(run))

    again = Ended.from_event(ended.to_event())

    assert again == ended
    assert again.run == run


@pytest.mark.parametrize(
    "payload",
    [
        {"result": "x" * LARGEST_EVENT},
        {"result": math.nan},
        {"result": "\0"},
        {"result": {"files": [{"url": "https://files.example.com/a?X-Amz-Signature=b"}]}},
    ],
    ids=["large", "not JSON", "not JSON for PostgreSQL", "a URL"],
)
def test_what_the_database_or_the_log_should_not_have_is_not_handed_over(payload: dict[str, Any]) -> None:
    assert AGENT.hand_over(Run("r", "completed", payload)) is None


@pytest.mark.parametrize("kind", [WORKFLOW, QUERY], ids=lambda kind: kind.name)
def test_presigned_urls_and_rows_are_not_handed_over(kind: Any) -> None:
    assert kind.hand_over(Run("r", "completed", {})) is None


def test_without_a_payload_the_task_reads_it_itself() -> None:
    event = Ended("r", "completed", True).to_event()

    assert event == {"run_id": "r", "word": "completed", "by_webhook": True}
    assert Ended.from_event(event).run is None


def test_a_run_has_its_article() -> None:
    assert [kind.a_run for kind in KINDS.values()] == [
        "a workflow run",
        "an agent run",
        "a query run",
        "an export run",
    ]
