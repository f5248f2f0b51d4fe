from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import responses

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AirflowFailException,
    InvalidArgument,
    InvalidConnection,
    InvalidReply,
    InvalidRequest,
    PermissionDenied,
    StartOutcomeUnknown,
)
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.waiting.asking import how_noticed
from airflow_provider_nenoa.waiting.kinds import KINDS
from tests.unit.conftest import API_KEY, Logged, requests_to

BASE = "https://api.getnen.ai"
WORKFLOW = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"
MESSAGE = "0b9d0d65-1c9f-4c92-9a4e-6a3f8f1e7b11"


class Signature(requests.auth.AuthBase):
    """Signs a request as somebody may have agreed with the vendor."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["X-Signed"] = "yes"
        return request


@pytest.fixture
def hook(nenai: str, sleeps: list[float]) -> NenAIHook:
    return NenAIHook(nenai)


@pytest.fixture
def far(connect: Callable[..., str], sleeps: list[float]) -> NenAIHook:
    """For replies that no emulator makes."""
    return NenAIHook(connect("nenai", extra={"run_status_path": "/runs/{message_id}"}))


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as web:
        yield web


def test_a_workflow_run(emulator: Emulator, hook: NenAIHook) -> None:
    sent: list[None] = []
    run = hook.start_run(
        WORKFLOW, {"a": [1]}, webhook_callback="https://hook.test/x?ref=r", before_send=lambda: sent.append(None)
    )
    assert (run.status, run.payload["messageId"], len(sent)) == (RunStatus.RUNNING, run.run_id, 1)
    (start,) = emulator.control.requests()
    assert start["body"] == {
        "workflow_id": WORKFLOW,
        "workflow_params": {"a": [1]},
        "webhook_callback": "https://hook.test/x?ref=r",
    }
    assert (hook.get_run(run.run_id).word, hook.get_run(run.run_id).status) == ("processing", RunStatus.RUNNING)
    emulator.control.finish(run.run_id)
    ended = hook.get_run(run.run_id)
    assert ended.status is RunStatus.SUCCESS
    assert ended.payload["assets"].startswith("http")


def test_the_key_is_in_its_header(web: responses.RequestsMock, far: NenAIHook) -> None:
    web.post(f"{BASE}/runs", json={"messageId": MESSAGE}, status=202)
    assert far.start_run(WORKFLOW).run_id == MESSAGE
    request = web.calls[0].request
    assert request.headers["x-api-key"] == API_KEY
    assert "Authorization" not in request.headers
    assert json.loads(request.body) == {"workflow_id": WORKFLOW, "workflow_params": {}}


BAD: dict[str, Callable[[NenAIHook], Any]] = {
    "'workflow_id' must be a non-empty string, not None": lambda hook: hook.start_run(None),  # type: ignore[arg-type]
    "'workflow_id' must be a non-empty string, not ''": lambda hook: hook.start_run(""),
    "'workflow_id' must be a UUID, not 'my-workflow'": lambda hook: hook.start_run("my-workflow"),
    "'workflow_params' is not JSON: ": lambda hook: hook.start_run(WORKFLOW, "{'a': 1}"),  # type: ignore[arg-type]
    "'workflow_params' must be a dict that can be sent as JSON, or the text of one; it is a list": lambda hook: (
        hook.start_run(WORKFLOW, [("a", 1)])  # type: ignore[arg-type]
    ),
    "'workflow_params' must be a dict that can be sent as JSON, or the text of one; it is a int": lambda hook: (
        hook.start_run(WORKFLOW, "7")  # type: ignore[arg-type]
    ),
    "'workflow_params' cannot be sent as JSON: workflow_params['a'] is of the class object": lambda hook: (
        hook.start_run(WORKFLOW, {"a": object()})
    ),
    "'secure_workflow_params' must be a dict whose keys and values are strings": lambda hook: hook.start_run(
        WORKFLOW,
        secure_workflow_params={"pin": [1234]},  # type: ignore[dict-item]
    ),
    "'message_id' must be a non-empty string": lambda hook: hook.get_run(""),
    "'message_id' cannot be '..'": lambda hook: hook.get_run(".."),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused_before_anything_is_sent(emulator: Emulator, hook: NenAIHook, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        BAD[message](hook)
    assert str(caught.value).startswith(message)
    assert "1234" not in str(caught.value)
    assert requests_to(emulator) == {}


def test_a_message_id_stays_within_its_place_in_the_path(web: responses.RequestsMock, far: NenAIHook) -> None:
    web.get(f"{BASE}/runs/a%2Fb%3Fc", json={"status": "processing"})
    assert far.get_run("a/b?c").word == "processing"


# Secret parameters


def test_secret_parameters_want_a_signature(emulator: Emulator, hook: NenAIHook, logged: Logged) -> None:
    with pytest.raises(
        PermissionDenied, match=r"hmac_required_for_secure_params: .*\n.*Pass a requests.auth.Auth"
    ) as e:
        hook.start_run(WORKFLOW, secure_workflow_params={"pin": "hunter22"})
    assert (e.value.http_status, e.value.code) == (403, "hmac_required_for_secure_params")
    assert isinstance(e.value, AirflowFailException)
    assert "permission" not in str(e.value), "another key would not help"
    assert "hunter22" not in f"{logged.text} {e.value!r}"
    assert emulator.control.counts()["runs_started"]["workflow"] == 0


def test_secret_parameters_are_sent_with_one(emulator: Emulator, nenai: str) -> None:
    emulator.control.settings(secure_params_header="x-signed")
    hook = NenAIHook(nenai, auth=Signature())
    hook.start_run(WORKFLOW, secure_workflow_params={"pin": "hunter22"})
    hook.start_run(WORKFLOW)
    with_secrets, without = emulator.control.requests()
    assert with_secrets["headers"]["x-signed"] == "yes"
    assert with_secrets["body"]["secure_workflow_params"] == {"pin": "***"}
    assert "x-signed" not in without["headers"]


def test_another_403_is_left_as_it_is(web: responses.RequestsMock, far: NenAIHook) -> None:
    web.post(f"{BASE}/runs", json={"error": "Forbidden", "message": "no"}, status=403)
    with pytest.raises(PermissionDenied) as caught:
        far.start_run(WORKFLOW)
    assert "AuthBase" not in str(caught.value)


# What the vendor may answer


def test_the_vendors_words(web: responses.RequestsMock, far: NenAIHook) -> None:
    web.post(f"{BASE}/runs", json={"error": "Invalid request", "message": "No such workflow"}, status=400)
    with pytest.raises(InvalidRequest, match="NenAI answered 400 to POST /runs: Invalid request: No such workflow"):
        far.start_run(WORKFLOW)


@pytest.mark.parametrize(
    "reply", [{}, {"messageId": None}, {"messageId": ""}, {"messageId": True}, {"messageId": [7]}, {"id": "x"}]
)
def test_a_start_whose_reply_lacks_the_id(web: responses.RequestsMock, far: NenAIHook, reply: dict[str, Any]) -> None:
    web.post(f"{BASE}/runs", json=reply, status=202)
    with pytest.raises(StartOutcomeUnknown, match="its reply has no 'messageId'") as caught:
        far.start_run(WORKFLOW)
    assert caught.value.why == "its reply has no 'messageId'"


@pytest.mark.parametrize("reply", [{}, {"status": None}, {"status": ""}, {"status": 1}])
def test_a_state_without_a_status(web: responses.RequestsMock, far: NenAIHook, reply: dict[str, Any]) -> None:
    web.get(f"{BASE}/runs/m", json=reply)
    with pytest.raises(InvalidReply, match="answered GET /runs/m without a 'status'"):
        far.get_run("m")


def test_without_a_path_nothing_can_be_asked(emulator: Emulator, connect: Callable[..., str]) -> None:
    hook = NenAIHook(connect("nenai", emulator.nenai_url))
    assert hook.run_status_path is None
    with pytest.raises(InvalidConnection, match="neither an 'mcp_url' nor a 'run_status_path'"):
        hook.get_run("m")
    assert requests_to(emulator) == {}


@pytest.mark.parametrize("path", ["runs/{message_id}", "/runs", "/runs/{id}", 7, ["/runs/{message_id}"]])
def test_a_path_that_makes_no_sense(connect: Callable[..., str], path: Any) -> None:
    hook = NenAIHook(connect("nenai", extra={"run_status_path": path}))
    with pytest.raises(InvalidConnection, match=r"'run_status_path' is .*; it must be a (path with|text)"):
        hook.get_run("m")


# The Test button


def test_a_good_connection_and_nothing_is_started(emulator: Emulator, hook: NenAIHook) -> None:
    assert hook.test_connection() == (True, f"NenAI accepted the API key at {emulator.nenai_url}.")
    assert emulator.control.counts() == {"POST /runs": 1, "runs_started": {"agent": 0, "query": 0, "workflow": 0}}


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, {"error": "Unauthorized", "message": "Invalid API key"}, "Check the API key"),
        (403, {"error": "Forbidden"}, "no permission"),
        (400, "The plain HTTP request was sent to HTTPS port", "NenAI answered 400"),
        (404, "<html>nginx</html>", "NenAI answered 404"),
        (500, {}, "an error at the vendor's end"),
        (302, "", "Redirects are not followed"),
        (200, {"welcome": "to another API"}, "not what its API promises"),
    ],
)
def test_bad_connections(web: responses.RequestsMock, far: NenAIHook, status: int, body: Any, message: str) -> None:
    web.post(f"{BASE}/runs", status=status, **({"body": body} if isinstance(body, str) else {"json": body}))
    works, said = far.test_connection()
    assert not works
    assert message in said


def test_where_nobody_answers(connect: Callable[..., str]) -> None:
    works, said = NenAIHook(connect("nenai", "http://127.0.0.1:1")).test_connection()
    assert (works, "Connection refused" in said) == (False, True)


# Who is asked


@pytest.mark.parametrize(
    ("extra", "who"),
    [
        ({"mcp_url": "https://mcp.test/v1"}, "NenAI's MCP server"),
        ({"run_status_path": "/runs/{message_id}"}, "NenAI"),
        ({"run_status_path": "/runs/{message_id}", "mcp_url": "https://mcp.test/v1"}, "NenAI"),
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_who_is_asked_is_named(connect: Callable[..., str], extra: dict[str, str], who: str, told: bool) -> None:
    hook = NenAIHook(connect("nenai", extra={"webhook_secret": "w" * 20, **extra}))
    line = how_noticed(hook, KINDS["workflow"], told=told, poll_interval=15.0, deadline=1_700_000_000.0)
    assert f"by asking {who} every " in line
    assert ("by NenAI's webhook" in line) is told
    assert line.endswith("on connection 'my_nenai', until 2023-11-14 22:13:20+00:00.")


def test_a_start_whose_reply_names_the_run_by_a_number(web: responses.RequestsMock, far: NenAIHook) -> None:
    web.post(f"{BASE}/runs", json={"messageId": 17}, status=202)
    assert far.start_run(WORKFLOW).run_id == "17"
