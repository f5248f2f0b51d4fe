"""The client of MCP servers, against one that answers in each of the ways that the protocol allows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    ConnectionFailed,
    InvalidConnection,
    InvalidReply,
    InvalidRequest,
    ServerError,
)
from airflow_provider_nenoa.hooks import mcp
from airflow_provider_nenoa.hooks.mcp import McpClient
from airflow_provider_nenoa.http import ApiKeyAuth, HttpApi
from airflow_provider_nenoa.vendors import nenai_mcp
from tests.support.fake_nenai import KEY, FakeNenAI

JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream"}


@pytest.fixture
def vendor() -> Iterator[FakeNenAI]:
    with FakeNenAI() as vendor:
        yield vendor


def client(
    vendor: FakeNenAI, *, url: str | None = None, key: str = KEY, timeout: float = 5.0, **kwargs: Any
) -> McpClient:
    auth = ApiKeyAuth("x-api-key", key)
    options = {"secrets": [key], "timeout": timeout, "retry_for": 0.0, **kwargs}
    return McpClient(HttpApi("NenAI's MCP server", url or vendor.mcp_url, auth, **options))


def open_client(vendor: FakeNenAI, **kwargs: Any) -> McpClient:
    opened = client(vendor, **kwargs)
    opened.open()
    return opened


@pytest.mark.parametrize("sse", [False, True, "held"], ids=["JSON", "events", "events without an end"])
@pytest.mark.parametrize("sessions", [True, False], ids=["sessions", "no sessions"])
def test_a_tool_is_called(vendor: FakeNenAI, sse: bool | str, sessions: bool) -> None:
    vendor.sse, vendor.sessions, vendor.version = sse, sessions, "2025-03-26"
    run_id = vendor.add_run()
    ours = client(vendor)
    began = time.monotonic()
    for _ in range(2):
        result = ours.call("nen_status", {"messageId": run_id})
        assert result.structured is not None
        assert (result.structured["messageId"], result.is_error) == (run_id, False)
        assert json.loads(result.text) == result.structured
        assert result.clock_ahead is not None
        assert abs(result.clock_ahead) < 1.5
    assert time.monotonic() - began < 20, "nobody waits for the end of the stream"
    first, told, *calls = vendor.headers
    assert len(calls) == 2, "the session is opened once"
    assert all(headers["accept"] == "application/json, text/event-stream" for headers in vendor.headers)
    assert "mcp-session-id" not in first
    for headers in (told, *calls):
        assert headers["mcp-protocol-version"] == "2025-03-26", "what the server has chosen"
        assert ("mcp-session-id" in headers) == sessions


def test_what_json_cannot_carry_is_null_here_too(vendor: FakeNenAI) -> None:
    vendor.status_of = lambda run: {"status": run["status"], "score": float("nan"), "text": "a\ud83d"}
    run_id = vendor.add_run()
    for vendor.structured in (True, False):
        answer = nenai_mcp.read_answer("nen_status", *client(vendor).call("nen_status", {"messageId": run_id})[:3])
        assert (answer["score"], answer["text"]) == (None, "a\ufffd")


@pytest.mark.parametrize("sse", [False, True])
def test_an_expired_session_is_opened_anew(vendor: FakeNenAI, sse: bool) -> None:
    vendor.sse = sse
    run_id = vendor.add_run()
    ours = open_client(vendor)
    vendor.known_sessions.clear()
    assert ours.call("nen_status", {"messageId": run_id}).structured
    assert len(vendor.known_sessions) == 1
    assert ours.call("nen_status", {"messageId": run_id}).structured
    assert len(vendor.known_sessions) == 1, "and kept"


def test_a_session_that_will_not_come_is_not_asked_for_for_ever(vendor: FakeNenAI) -> None:
    ours = open_client(vendor)
    vendor.known_sessions.clear()
    vendor.forgetful = True
    with pytest.raises(InvalidConnection, match="no MCP server at the 'mcp_url' of the connection"):
        ours.call("nen_status", {"messageId": "x"})
    assert len(vendor.headers) < 10


def test_a_wrong_address_is_said_to_be_one(vendor: FakeNenAI) -> None:
    with pytest.raises(InvalidConnection, match=r"at the 'mcp_url' of the connection: .*/elsewhere answered 404"):
        client(vendor, url=vendor.url + "/elsewhere").call("nen_status", {})


def test_a_key_that_is_refused_is_not_repeated(vendor: FakeNenAI) -> None:
    with pytest.raises(AuthenticationError) as caught:
        client(vendor, key="nen-another-secret-key").call("nen_status", {})
    assert "nen-another-secret-key" not in str(caught.value)


def test_redirects_are_not_followed(vendor: FakeNenAI) -> None:
    vendor.answers = [(307, {"Location": vendor.url + "/runs"}, "")]
    with pytest.raises(InvalidRequest, match="Redirects are not followed"):
        client(vendor).call("nen_status", {})
    assert vendor.starts == []


@pytest.mark.parametrize("code", [-32600, -32601, -32602])
def test_a_request_that_will_not_get_better(vendor: FakeNenAI, code: int) -> None:
    ours = open_client(vendor)
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": f"no, {KEY}"}}
    vendor.answers = [(200, JSON, json.dumps(error))]
    with pytest.raises(InvalidRequest, match=rf"refused 'tools/call': no, \*\*\* \(code {code}\)"):
        ours.call("nen_status", {})


def test_an_error_of_the_server_may_be_over_in_a_moment(vendor: FakeNenAI) -> None:
    ours = open_client(vendor)
    vendor.answers = [
        (200, JSON, json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": -32603, "message": "oh"}}))
    ]
    with pytest.raises(ServerError, match="oh"):
        ours.call("nen_status", {})


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, "<html>"),
        (JSON, ""),
        (JSON, "[]"),
        (JSON, "3"),
        (JSON, '{"jsonrpc": "2.0", "id": 99999, "result": {}}'),
        (JSON, '{"jsonrpc": "2.0", "method": "ping", "id": 3}'),
        (JSON, '{"jsonrpc": "2.0", "id": 2, "result": 3}'),
        (SSE, ""),
        (SSE, "data: <html>\n\n"),
        (SSE, ": nothing\n\nevent: message\n\n"),
        ({}, "\x00" * 1000),
    ],
)
def test_what_is_no_answer(vendor: FakeNenAI, headers: dict[str, str], body: str) -> None:
    ours = open_client(vendor)
    vendor.answers = [(200, headers, body)]
    with pytest.raises(InvalidReply):
        ours.call("nen_status", {})


def test_what_is_too_large(vendor: FakeNenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "LARGEST", 1000)
    ours = open_client(vendor)
    vendor.logs = "x" * 2000
    with pytest.raises(InvalidReply, match="more than 1000 bytes"):
        ours.call("nen_get_run_logs", {})


@pytest.mark.parametrize(
    "result", [{}, {"protocolVersion": None}, {"protocolVersion": "a\r\nx-evil: b"}, {"protocolVersion": 3}]
)
def test_who_does_not_speak_the_protocol(vendor: FakeNenAI, result: dict[str, Any]) -> None:
    vendor.answers = [(200, JSON, json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}))]
    with pytest.raises(InvalidReply, match="'mcp_url'"):
        client(vendor).call("nen_status", {})


def test_trouble_is_waited_out(vendor: FakeNenAI) -> None:
    sleeps: list[float] = []
    run_id = vendor.add_run()
    ours = client(vendor, retry_for=100.0, sleep=sleeps.append)
    vendor.answers = [(503, {}, ""), (429, {"Retry-After": "3"}, ""), (502, JSON, "{}")]
    assert ours.call("nen_status", {"messageId": run_id}).structured
    assert len(sleeps) == 3
    assert 3.0 <= sleeps[1] < 8


def test_nobody_answers() -> None:
    with FakeNenAI() as vendor:
        url = vendor.mcp_url
    with pytest.raises(ConnectionFailed) as caught:
        client(vendor, url=url, conn_id="mine", field="'mcp_url'").call("nen_status", {})
    said, advice, _ = str(caught.value).split("\n")
    assert said.startswith("No answer from NenAI's MCP server to POST /mcp/v1: ")
    assert advice == "Check the 'mcp_url' of connection 'mine', and whether this machine can reach it."


def test_each_response_is_seen_for_its_rate_limit(vendor: FakeNenAI) -> None:
    seen: list[int] = []
    run_id = vendor.add_run()
    client(vendor, on_response=lambda response: seen.append(response.status_code)).call(
        "nen_status", {"messageId": run_id}
    )
    assert seen == [200, 202, 200]


# Streams of events

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=20).map(str.encode)


@given(st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=4), LINE_ENDS, st.data())
def test_events_however_they_are_cut(events: list[list[bytes]], end: bytes, data: st.DataObject) -> None:
    stream = b"".join(b"".join(b"data: " + line + end for line in event) + b": c" + end + end for event in events)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert list(mcp._events(iter(chunks))) == [b"\n".join(event) for event in events]


PARTS = [b"data:", b"data: ", b"data", b"event: x", b": c"]
PARTS += [b" ", b"{}", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xff"]


@given(st.lists(st.sampled_from(PARTS)).map(b"".join), st.integers(1, 9))
@example(b"\xef\xbb\xbfdata: {}\r\r", 1)
def test_any_stream_is_read_alike_wherever_it_is_cut(stream: bytes, size: int) -> None:
    whole = list(mcp._events(iter([stream])))
    assert list(mcp._events(stream[start : start + size] for start in range(0, len(stream), size))) == whole
    assert not [event for event in whole if b"\r" in event]
