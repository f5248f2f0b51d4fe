"""What a trigger's event carries of a run that has ended."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_nenoa.exceptions import InvalidReply, NotFound
from airflow_provider_nenoa.runs import Run, RunStatus
from airflow_provider_nenoa.waiting.kinds import (
    AGENT,
    EXPORT,
    KINDS,
    LARGEST_EVENT,
    QUERY,
    WORKFLOW,
    Ended,
    RunKey,
    ask_vendor,
)


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


@pytest.mark.parametrize(("characters", "travels"), [(16_384, True), (16_385, False)])
def test_how_large_it_may_be(characters: int, travels: bool) -> None:
    payload = {"result": "x" * (characters - len('{"result": ""}'))}
    assert len(json.dumps(payload)) == characters
    run = Run("r", "completed", payload)
    assert AGENT.hand_over(run) is (run if travels else None)


@pytest.mark.parametrize("kind", [WORKFLOW, QUERY, EXPORT], ids=lambda kind: kind.name)
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


def test_how_long_each_vendor_tries_to_deliver_and_a_lost_run_is_looked_for() -> None:
    assert {name: (kind.patience, kind.lost_for) for name, kind in KINDS.items()} == {
        "workflow": (5.0, 600.0),
        "agent": (30.0, 600.0),
        "query": (30.0, 600.0),
        "export": (30.0, 600.0),
    }


def test_only_nenai_has_a_log_and_need_not_have_an_endpoint() -> None:
    hook = SimpleNamespace(can_ask=False, last_log_lines=lambda run_id: [f"of {run_id}"])
    assert [kind.log_lines(hook, "r") for kind in KINDS.values()] == [["of r"], [], [], []]
    assert [kind.can_poll(hook) for kind in KINDS.values()] == [False, True, True, True]


@pytest.mark.parametrize(("word", "status"), [("done?", RunStatus.RUNNING), ("Completed", RunStatus.SUCCESS)])
def test_a_word_that_nobody_knows_is_no_end(word: str, status: RunStatus) -> None:
    assert Ended("r", word, True).status is status


@pytest.mark.parametrize(
    ("age", "ref", "believed"),
    [(0.0, "ref", False), (59.5, "ref", False), (60.0, "ref", True), (0.0, None, True), (None, "ref", True)],
)
def test_a_vendor_that_does_not_know_a_run_which_we_have_just_started(
    age: float | None, ref: str | None, believed: bool
) -> None:
    """It is believed after a minute, or where somebody else has started the run, nobody knows when."""

    def get_agent_run(run_id: str) -> Run:
        raise NotFound(f"404: no run {run_id}.")

    hook: Any = SimpleNamespace(get_agent_run=get_agent_run)
    with pytest.raises(NotFound if believed else InvalidReply, match=r"^404: no run r\.") as caught:
        ask_vendor(hook, RunKey("c", "agent", "r", ref), None if age is None else 1_000.0 - age, lambda: 1_000.0)
    if not believed:
        assert str(caught.value).endswith(f" But it was started {age:.0f} s ago, and may be known a little later.")
