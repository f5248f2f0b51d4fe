from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import InvalidReply
from airflow_provider_nenoa.runs import Run, RunStatus, status_of
from airflow_provider_nenoa.vendors import nenai, nenai_mcp, openanalyst

WORDS = {
    "queued": RunStatus.RUNNING,
    "pending": RunStatus.RUNNING,
    "started": RunStatus.RUNNING,
    "in_progress": RunStatus.RUNNING,
    "ready": RunStatus.SUCCESS,
    "processing": RunStatus.RUNNING,
    "running": RunStatus.RUNNING,
    "success": RunStatus.SUCCESS,
    "succeeded": RunStatus.SUCCESS,
    "completed": RunStatus.SUCCESS,
    "failed": RunStatus.FAILED,
    "error": RunStatus.FAILED,
    "timeout": RunStatus.FAILED,
    "cancelled": RunStatus.CANCELLED,
    "canceled": RunStatus.CANCELLED,
}
SPACE = st.text(" \t\r\n", max_size=3)


@given(word=st.sampled_from(sorted(WORDS)), upper=st.lists(st.booleans(), min_size=12, max_size=12), around=SPACE)
def test_case_and_space_do_not_matter(word: str, upper: list[bool], around: str) -> None:
    written = "".join(
        letter.upper() if is_upper else letter for letter, is_upper in zip(word, upper + upper, strict=False)
    )
    assert status_of(around + written + around) is WORDS[word]
    assert Run("r", around + written).status is WORDS[word]


@given(st.text())
def test_an_unknown_word_is_never_an_end(word: str) -> None:
    if word.strip().lower() not in WORDS:
        assert status_of(word) is None
        assert Run("r", word).status is RunStatus.RUNNING


@given(st.none() | st.booleans() | st.integers() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()))
def test_what_is_no_text_is_no_word(word: Any) -> None:
    assert status_of(word) is None


@pytest.mark.parametrize("word", ["success!", "not failed", "com pleted", "", "  ", "done", "None", "\u017fuccess"])
def test_words_that_only_look_like_an_end(word: str) -> None:
    assert status_of(word) is None


def test_everything_but_running_is_an_end() -> None:
    assert [status for status in RunStatus if not status.is_end] == [RunStatus.RUNNING]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, None),
        ({"error": None, "message": ""}, None),
        ({"error": "no desk"}, "no desk"),
        ({"success": False, "error": "no desk", "message": "less said"}, "no desk"),
        ({"message": "no desk"}, "no desk"),
        ({"error": {"code": "E_1", "message": "no desk"}}, "E_1: no desk"),
        ({"error": {"message": "no desk"}}, "no desk"),
        ({"error": {"reason": 7}}, "{'reason': 7}"),
        ({"error": ["a", {"message": "b"}]}, "a; b"),
        ({"errors": [{"code": "E_1", "message": "no desk"}]}, "E_1: no desk"),
        ({"error_message": "no desk"}, "no desk"),
        ({"message": "it failed", "data": {"error": {"message": "no desk"}}}, "no desk"),
        ({"result": {"error": "no desk"}}, "no desk"),
        ({"errorData": {"error_message": "no desk"}}, "no desk"),
        ({"data": [{"error": "not read"}], "error": False}, None),
    ],
)
def test_the_vendors_words_about_a_failure(payload: dict[str, Any], expected: str | None) -> None:
    assert Run("r", "failed", payload).error == expected


def test_a_payload_is_not_shown() -> None:
    run = Run("r", "success", {"url": "https://bucket.test/file?signature=secret"})
    assert repr(run) == "Run(run_id='r', word='success')"


@pytest.mark.parametrize(
    "read",
    [
        lambda reply: openanalyst.read_agent_run(reply, "r", "/p"),
        lambda reply: openanalyst.read_query_results(reply, "r", "/p"),
        lambda reply: openanalyst.read_export(reply, "r", "/p"),
        lambda reply: nenai.read_state(reply, "r", "/p"),
        lambda reply: nenai_mcp.read_status(reply, "r"),
    ],
    ids=["agent", "query", "export", "workflow", "MCP"],
)
def test_a_word_is_one_that_can_be_logged_and_stored_whoever_told_it(read: Callable[[dict[str, Any]], Run]) -> None:
    """As in webhooks."""
    assert read({"status": " a\nb\0" + "x" * 100}).word == "a?b?" + "x" * 59 + "…"
    for nothing in ("", " ", None, 7, ["completed"]):
        with pytest.raises(InvalidReply, match="without a 'status'"):
            read({"status": nothing})
