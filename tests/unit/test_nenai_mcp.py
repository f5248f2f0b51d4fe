"""What NenAI's MCP server says, and what it means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import AuthenticationError, InvalidArgument, InvalidReply, NotFound, ServerError
from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.vendors import nenai_mcp as mcp

STATUS = {
    "success": True,
    "messageId": "m",
    "workflowId": "w",
    "status": "running",
    "createdAt": "2026-01-15T10:00:00Z",
}


@pytest.mark.parametrize(
    ("text", "structured"),
    [
        (json.dumps(STATUS), None),
        ("It is running.", STATUS),
        (json.dumps(STATUS), STATUS),
        (json.dumps(STATUS, indent=2), {}),
        ("", {"result": STATUS}),
        ("", {"result": json.dumps(STATUS)}),
        (json.dumps({"result": json.dumps(STATUS)}), None),
    ],
    ids=["text", "structured", "both", "empty object", "wrapped", "wrapped text", "text in text"],
)
def test_an_answer_in_each_form(text: str, structured: dict[str, Any] | None) -> None:
    assert mcp.read_answer("nen_status", text, structured, is_error=False) == STATUS


@pytest.mark.parametrize("text", ["", "It is running.", "[]", "3", '"running"', "null", "{" * 100_000])
def test_an_answer_without_an_object(text: str) -> None:
    with pytest.raises(InvalidReply):
        mcp.read_answer("nen_status", text, None, is_error=False)


@pytest.mark.parametrize(
    ("text", "structured", "is_error", "error"),
    [
        ("Run not found: m", None, True, NotFound),
        ('{"success": false, "error": "No such run"}', None, False, NotFound),
        ("", {"success": False, "error": {"code": 1, "message": "it does not exist"}}, False, NotFound),
        ("401 Unauthorized", None, True, AuthenticationError),
        ("upstream is busy", None, True, ServerError),
        ("", None, True, ServerError),
        ('{"success": false}', None, True, ServerError),
    ],
)
def test_a_tool_that_fails(
    text: str, structured: dict[str, Any] | None, is_error: bool, error: type[Exception]
) -> None:
    with pytest.raises(error, match="nen_status failed"):
        mcp.read_answer("nen_status", text, structured, is_error)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("queued", RunStatus.RUNNING),
        ("started", RunStatus.RUNNING),
        ("Running", RunStatus.RUNNING),
        ("completed", RunStatus.SUCCESS),
        ("failed", RunStatus.FAILED),
        ("timeout", RunStatus.FAILED),
        ("on_holiday", RunStatus.RUNNING),
    ],
)
def test_success_is_said_of_the_call_and_not_of_the_run(word: str, status: RunStatus) -> None:
    run = mcp.read_status({**STATUS, "status": word}, "m")
    assert (run.run_id, run.word, run.status) == ("m", word, status)
    assert not run.has_result
    assert run.payload == {**STATUS, "status": word}


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"error_message": "no such window", "updated_at": "", "error_artifacts": {}}, "no such window"),
        ({"error_message": ""}, None),
        ({"error_message": None}, None),
        ({}, None),
        (None, None),
        ("it broke", "it broke"),
    ],
)
def test_why_a_run_failed(data: Any, error: str | None) -> None:
    assert mcp.read_status({**STATUS, "status": "failed", "errorData": data}, "m").error == error


@pytest.mark.parametrize("word", [None, "", "  ", 3, True, ["running"]])
def test_a_status_without_a_word(word: Any) -> None:
    with pytest.raises(InvalidReply, match="without a 'status'"):
        mcp.read_status({**STATUS, "status": word}, "m")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2026-01-15T10:00:00Z", 1_768_471_200.0),
        ("2026-01-15T10:00:00.250000+00:00", 1_768_471_200.25),
        ("2026-01-15T12:00:00+02:00", 1_768_471_200.0),
        ("2026-01-15 10:00:00", 1_768_471_200.0),
        (1_768_471_200, 1_768_471_200.0),
        (1_768_471_200_250, 1_768_471_200.25),
        ("1768471200", 1_768_471_200.0),
        ("yesterday", None),
        ("", None),
        (None, None),
        (True, None),
        (float("nan"), None),
        ("inf", None),
        ({}, None),
    ],
)
def test_times(value: Any, seconds: float | None) -> None:
    assert mcp.moment(value) == seconds


def row(message_id: str, created_at: Any) -> dict[str, Any]:
    return {"messageId": message_id, "status": "running", "createdAt": created_at}


@pytest.mark.parametrize(
    ("runs", "more", "reaches"),
    [
        ([row("a", 200), row("b", 50)], {}, True),
        ([row("a", 200), row("b", 150)], {"totalCount": 9}, False),
        ([row("a", 200), row("b", 150)], {"totalCount": 2}, True),
        ([row("a", 200), row("b", 150)], {}, True),  # a page that is not full
        ([row(str(number), 200 - number) for number in range(10)], {}, False),
        ([row("a", 200), row("b", 50)], {"totalCount": 9}, True),
        ([row("b", 50), row("a", 200)], {"totalCount": 9}, False),  # not the newest first
        ([row("a", None), row("b", 50)], {"totalCount": 9}, False),
        ([], {"totalCount": 0}, True),
        ([], {"totalCount": 3}, False),
        ([], {}, True),
    ],
)
def test_how_far_back_a_list_reaches(runs: list[Any], more: dict[str, Any], reaches: bool) -> None:
    listing = mcp.read_listing({"success": True, "runs": runs, "count": len(runs), **more}, None)
    assert listing.reaches(100.0) == reaches


def test_an_id_that_is_a_number() -> None:
    (run,) = mcp.read_listing({"runs": [{"messageId": 17, "status": "running"}]}, None).runs
    assert run.message_id == "17"


@pytest.mark.parametrize(
    "answer", [{}, {"runs": None}, {"runs": {}}, {"runs": ["m"]}, {"runs": [{"status": "running"}]}]
)
def test_what_is_no_list_of_runs(answer: dict[str, Any]) -> None:
    with pytest.raises(InvalidReply, match="nen_list_runs"):
        mcp.read_listing({"success": True, **answer}, None)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "10"])
def test_a_limit_that_makes_no_sense(limit: Any) -> None:
    with pytest.raises(InvalidArgument, match="'limit'"):
        mcp.list_runs_arguments("w", limit)


# Names


def workflows(*names: str) -> list[dict[str, Any]]:
    return [{"workflowId": f"id-{number}", "workflowName": name} for number, name in enumerate(names)]


def test_a_workflow_by_its_name() -> None:
    assert mcp.workflow_named("Invoices", workflows("invoices", "Invoices", "Invoices 2")) == "id-1"


def test_an_ambiguous_name_is_told_with_the_ids() -> None:
    with pytest.raises(InvalidArgument, match=r"2 workflows.*\n.*id-0, id-2"):
        mcp.workflow_named("Invoices", workflows("Invoices", "Orders", "Invoices"))


def test_an_unknown_name_is_told_with_those_that_there_are() -> None:
    known = [f"Workflow {number}" for number in range(500)]
    with pytest.raises(InvalidArgument, match=r"no workflow that is named 'invoices'\.\n.*'Invoices'") as caught:
        mcp.workflow_named("invoices", workflows(*known, "Invoices"))
    assert "and 491 more" in str(caught.value)
    assert len(str(caught.value)) < 1000
    with pytest.raises(InvalidArgument, match="has none at all"):
        mcp.workflow_named("Invoices", [])


# Logs


@pytest.mark.parametrize(
    ("text", "structured"),
    [
        ("one\ntwo", None),
        ("", {"success": True, "logs": "one\ntwo"}),
        ('{"success": true, "logs": ["one", "two"]}', None),
    ],
)
def test_a_log_in_each_form(text: str, structured: dict[str, Any] | None) -> None:
    assert mcp.read_logs(text, structured, is_error=False) == "one\ntwo"


def test_a_log_of_one_json_line_is_a_log() -> None:
    line = '{"level": "error", "message": "no such window"}'
    assert mcp.read_logs(line, None, is_error=False) == line


def test_a_log_that_is_not_there() -> None:
    with pytest.raises(NotFound):
        mcp.read_logs("Run not found", None, is_error=True)


def test_the_last_lines() -> None:
    log = "\n".join(f"line {number}" for number in range(1000)) + "\n\n"
    assert mcp.last_lines(log, lines=2) == ["line 998", "line 999"]


def test_a_line_brings_neither_secrets_nor_colours_along() -> None:
    url = "https://files.test/a.pdf?X-Amz-Signature=very-secret&b=c"
    (line,) = mcp.last_lines(f'\x1b[31mred\x1b[0m {{"url": "{url}"}}\r::error::x\u2028y {"z" * 5000}')
    assert line.startswith('red {"url": "https://files.test/a.pdf?***"}::error::xy zzz')
    assert len(line) == 1000


@given(st.text(max_size=300), st.integers(1, 40))
def test_whatever_a_run_logs_stays_within_its_line(log: str, characters: int) -> None:
    for line in mcp.last_lines(log, 3, characters):
        assert len(line.splitlines()) <= 1
        assert len(line) <= characters
