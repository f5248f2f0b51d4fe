"""NenAI's MCP server: the protocol, and the answers of its tools."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.emulator import Control, Emulator

from .conftest import WORKFLOW_ID, Api, Receiver, eventually

ACCEPT = {"Accept": "application/json, text/event-stream"}
HELLO = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


class Client:
    """As much of an MCP client as it takes to ask; written from the specification."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update({"x-api-key": "any-key", **ACCEPT})

    def post(self, method: str, params: Any = None, **headers: str) -> requests.Response:
        message = {"jsonrpc": "2.0", "id": 7, "method": method}
        if params is not None:
            message["params"] = params
        return self.session.post(self.url, json=message, headers=headers, timeout=10)

    def open(self) -> dict[str, Any]:
        reply = self.post("initialize", HELLO)
        self.session.headers.update({"Mcp-Session-Id": reply.headers["Mcp-Session-Id"]})
        ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert self.session.post(self.url, json=ready, timeout=10).status_code == 202
        return answer(reply)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The result of a tool's call."""
        return answer(self.post("tools/call", {"name": tool, "arguments": arguments}))["result"]

    def told(self, tool: str, **arguments: Any) -> Any:
        """What the tool said, when it worked."""
        result = self.call(tool, **arguments)
        assert not result["isError"], result
        (content,) = result["content"]
        assert content["type"] == "text"
        return json.loads(content["text"])


def answer(reply: requests.Response) -> dict[str, Any]:
    """The JSON-RPC answer in a reply, which may be a stream."""
    if reply.headers["Content-Type"] == "application/json":
        return reply.json()
    assert reply.headers["Content-Type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line.startswith("data: ")]
    (answered,) = [event for event in events if "id" in event]
    return answered


@pytest.fixture
def mcp(nenoa_emulator: Emulator, control: Control) -> Iterator[Client]:
    client = Client(nenoa_emulator.mcp_url)
    with client.session:
        client.open()
        yield client


def start(nenai: Api, **emulate: Any) -> str:
    body = {"workflow_id": WORKFLOW_ID, "workflow_params": {"emulate": emulate}}
    return str(nenai.post("/runs", json=body).json()["messageId"])


def test_hello(nenoa_emulator: Emulator, control: Control) -> None:
    client = Client(nenoa_emulator.mcp_url)
    result = client.open()["result"]
    assert result["protocolVersion"] == "2025-06-18"
    assert "tools" in result["capabilities"]
    assert set(result["serverInfo"]) == {"name", "version"}
    newer = client.post("initialize", {**HELLO, "protocolVersion": "2099-01-01"})
    assert answer(newer)["result"]["protocolVersion"] == "2025-11-25"
    assert answer(client.post("ping"))["result"] == {}


@pytest.mark.parametrize(("form", "kind"), [("sse", "text/event-stream"), ("json", "application/json")])
def test_both_forms_of_answers(mcp: Client, control: Control, form: str, kind: str) -> None:
    control.settings(mcp_reply=form)
    reply = mcp.post("tools/list")
    assert reply.headers["Content-Type"].startswith(kind)
    tools = {tool["name"]: tool["inputSchema"] for tool in answer(reply)["result"]["tools"]}
    assert set(tools) == {"nen_status", "nen_list_runs", "nen_list_workflows", "nen_get_run_logs", "nen_run"}
    assert tools["nen_list_runs"]["required"] == ["workflowId"]


def test_the_key_is_checked(mcp: Client, control: Control) -> None:
    control.settings(nenai_key="right")
    assert mcp.post("ping").status_code == 401
    assert mcp.post("ping", **{"x-api-key": "right"}).status_code == 200


def test_a_session_is_asked_for(mcp: Client, control: Control) -> None:
    assert mcp.post("ping", **{"Mcp-Session-Id": "another"}).status_code == 404
    session = mcp.session.headers.pop("Mcp-Session-Id")
    assert mcp.post("ping").status_code == 400
    control.settings(mcp_sessions=False)
    assert mcp.post("ping").status_code == 200
    assert "Mcp-Session-Id" not in mcp.post("initialize", HELLO).headers
    assert str(session) not in str(control.requests())


def test_a_session_ends(mcp: Client, control: Control) -> None:
    control.settings(mcp_session_seconds=60)
    control.clock(freeze=True)
    assert mcp.post("ping").status_code == 200
    control.clock(advance=61)
    assert mcp.post("ping").status_code == 404
    mcp.open()
    assert mcp.post("ping").status_code == 200
    assert mcp.session.delete(mcp.url, timeout=10).status_code == 204
    assert mcp.post("ping").status_code == 404
    assert mcp.session.get(mcp.url, timeout=10).status_code == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "application/json"}, 406),
        ({"Content-Type": "text/plain"}, 415),
        ({"MCP-Protocol-Version": "1999-01-01"}, 400),
        ({"MCP-Protocol-Version": "2025-06-18"}, 200),
    ],
)
def test_headers_are_looked_at(mcp: Client, headers: dict[str, str], status: int) -> None:
    assert mcp.post("ping", **headers).status_code == status


@pytest.mark.parametrize(
    ("raw", "code"), [(b"{", -32700), (b"[]", -32600), (b"{}", -32600), (b'{"jsonrpc":"2.0","method":1}', -32600)]
)
def test_a_body_that_is_none(mcp: Client, raw: bytes, code: int) -> None:
    reply = mcp.session.post(mcp.url, data=raw, headers={"Content-Type": "application/json"}, timeout=10)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("resources/list", None, -32601),
        ("tools/call", {"name": "nen_fly", "arguments": {}}, -32602),
        ("tools/call", {"name": "nen_status", "arguments": [1]}, -32602),
    ],
)
def test_what_the_protocol_refuses(mcp: Client, method: str, params: Any, code: int) -> None:
    told = mcp.post(method, params).json()
    assert (told["id"], told["error"]["code"]) == (7, code)


def test_a_runs_states(mcp: Client, nenai: Api, control: Control, receiver: Receiver) -> None:
    control.clock(freeze=1_700_000_000)
    body = {
        "workflow_id": WORKFLOW_ID,
        "workflow_params": {"emulate": {"queued": None}},
        "webhook_callback": receiver.url,
    }
    run = nenai.post("/runs", json=body).json()["messageId"]
    assert mcp.told("nen_status", messageId=run) == {
        "success": True,
        "messageId": run,
        "workflowId": WORKFLOW_ID,
        "status": "queued",
        "createdAt": "2023-11-14T22:13:20.000Z",
        "updatedAt": "2023-11-14T22:13:20.000Z",
        "errorData": None,
    }
    assert control.deliveries() == [], "a queued run is silent"
    control.clock(advance=60)
    control.begin(run)
    assert receiver.wait_for(1)[0].body["status"] == "processing"
    begun = mcp.told("nen_status", messageId=run)
    assert begun["status"] in ("started", "running")
    eventually(lambda: mcp.told("nen_status", messageId=run)["status"] == "running")
    control.clock(advance=60)
    control.finish(run)
    done = mcp.told("nen_status", messageId=run)
    assert (done["status"], done["errorData"]) == ("completed", None)
    assert [done["createdAt"], begun["updatedAt"], done["updatedAt"]] == [
        "2023-11-14T22:13:20.000Z",
        "2023-11-14T22:14:20.000Z",
        "2023-11-14T22:15:20.000Z",
    ]


def test_a_run_is_queued_for_a_while(mcp: Client, nenai: Api, receiver: Receiver) -> None:
    run = start(nenai, queued=0.3, seconds=0)
    assert mcp.told("nen_status", messageId=run)["status"] == "queued"
    eventually(lambda: mcp.told("nen_status", messageId=run)["status"] == "completed")


@pytest.mark.parametrize("word", ["failed", "timeout"])
def test_a_failure_has_the_vendors_words(mcp: Client, nenai: Api, control: Control, word: str) -> None:
    control.clock(freeze=1_700_000_000)
    run = start(nenai)
    control.finish(run, outcome=word, error="Element not found: #login")
    told = mcp.told("nen_status", messageId=run)
    assert (told["success"], told["status"]) == (True, word), "success is the call's"
    assert told["errorData"] == {
        "error_message": "Element not found: #login",
        "updated_at": "2023-11-14T22:13:20.000Z",
        "error_artifacts": {},
    }


def test_the_runs_of_a_workflow_newest_first(mcp: Client, nenai: Api) -> None:
    runs = [start(nenai) for _ in range(12)]
    nenai.post("/runs", json={"workflow_id": str(uuid.uuid4())})
    told = mcp.told("nen_list_runs", workflowId=WORKFLOW_ID)
    assert [run["messageId"] for run in told["runs"]] == runs[:1:-1]
    assert (told["count"], told["totalCount"]) == (10, 12)
    assert set(told["runs"][0]) == {"messageId", "status", "createdAt", "updatedAt"}
    assert mcp.told("nen_list_runs", workflowId=WORKFLOW_ID, limit=3)["count"] == 3
    assert mcp.told("nen_list_runs", workflowId="none") == {"success": True, "runs": [], "count": 0, "totalCount": 0}


def test_a_run_may_be_listed_late(mcp: Client, nenai: Api, control: Control) -> None:
    control.settings(mcp_list_seconds=30)
    control.clock(freeze=True)
    run = start(nenai)
    assert mcp.told("nen_list_runs", workflowId=WORKFLOW_ID)["totalCount"] == 0
    assert mcp.told("nen_status", messageId=run)["messageId"] == run
    control.clock(advance=30)
    assert mcp.told("nen_list_runs", workflowId=WORKFLOW_ID)["totalCount"] == 1


def test_workflows_by_name(mcp: Client, control: Control) -> None:
    control.settings(workflows=[{"id": "a", "name": "Same"}, {"id": "b", "name": "Same"}])
    told = mcp.told("nen_list_workflows")
    assert [(one["workflowId"], one["workflowName"]) for one in told["workflows"]] == [("a", "Same"), ("b", "Same")]
    assert set(told["workflows"][0]) == {"workflowId", "workflowName", "createdAt", "updatedAt", "publishedAt"}
    assert told["count"] == 2
    assert mcp.told("nen_list_workflows", deploymentId=told["deploymentId"]) == told
    assert told["deploymentName"]
    assert mcp.call("nen_list_workflows", deploymentId="other")["isError"]


def test_a_log_is_lines_of_json(mcp: Client, nenai: Api, control: Control) -> None:
    run = start(nenai, log=["Opening the portal", "No such button"])
    control.finish(run, outcome="failed", error="No desk")
    (content,) = mcp.call("nen_get_run_logs", messageId=run)["content"]
    lines = [json.loads(line) for line in content["text"].splitlines()]
    assert [line["message"] for line in lines] == [
        "Run queued",
        "Run started",
        "Opening the portal",
        "No such button",
        "No desk",
    ]
    assert lines[-1]["level"] == "error"


def test_a_run_that_a_tool_starts(mcp: Client, control: Control) -> None:
    told = mcp.told("nen_run", workflowId=WORKFLOW_ID, params={"a": 1})
    assert (told["success"], told["workflowId"]) == (True, WORKFLOW_ID)
    assert mcp.told("nen_status", messageId=told["messageId"])["workflowId"] == WORKFLOW_ID
    assert mcp.call("nen_run", workflowId="no uuid", params={})["isError"]
    assert mcp.call("nen_run", workflowId=WORKFLOW_ID, params={"emulate": {"speed": 1}})["isError"]
    assert control.counts()["runs_started"]["workflow"] == 1


def test_what_a_tool_cannot_do(mcp: Client) -> None:
    result = mcp.call("nen_status", messageId="m-1")
    assert result["isError"]
    assert json.loads(result["content"][0]["text"]) == {"success": False, "error": "Run not found: m-1"}
    assert "messageId" in mcp.call("nen_status")["content"][0]["text"]
    assert mcp.call("nen_list_runs", workflowId=WORKFLOW_ID, limit=0)["isError"]


def test_structured_answers(mcp: Client, nenai: Api, control: Control) -> None:
    control.settings(mcp_structured=True)
    result = mcp.call("nen_status", messageId=start(nenai))
    assert result["structuredContent"] == json.loads(result["content"][0]["text"])


def test_faults_of_tools(mcp: Client, nenai: Api, control: Control) -> None:
    run = start(nenai)
    control.fault("tool_error", tool="nen_status", words="Database is down")
    control.fault("rpc_error", tool="nen_list_runs", words="Internal error")
    assert "Database is down" in mcp.call("nen_status", messageId=run)["content"][0]["text"]
    told = mcp.post("tools/call", {"name": "nen_list_runs", "arguments": {"workflowId": WORKFLOW_ID}}).json()
    assert told["error"] == {"code": -32603, "message": "Internal error"}
    assert mcp.told("nen_status", messageId=run)["success"]
    assert control.counts()["tool nen_status"] == 2
    control.fault("status", path="/mcp/v1", status=503)
    assert mcp.post("ping").status_code == 503
