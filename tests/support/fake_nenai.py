"""
A NenAI that is neither the emulator nor made from the provider's code: starts by REST, everything else by MCP.

It answers in each of the ways that the protocol allows, as it is told.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "nen-a-very-secret-key"
WORKFLOW_ID = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"


class FakeNenAI:
    """
    One workspace; a context manager.

    :param sse: Whether answers come as server-sent events; ``"held"``: and the stream stays open afterwards.
    :param sessions: Whether there are sessions.
    """

    def __init__(self, *, sse: bool | str = False, sessions: bool = True) -> None:
        self.sse = sse
        self.sessions = sessions
        self.known_sessions: set[str] = set()
        self.forgetful = False  # whether it knows no session that it has just given
        self.version = "2025-06-18"
        self.structured = True  # whether a tool's object is there beside its text
        self.runs: list[dict[str, Any]] = []  # the newest first
        self.workflows: list[dict[str, Any]] = [
            {"workflowId": WORKFLOW_ID, "workflowName": "Invoices", "createdAt": "2026-01-01T00:00:00Z"}
        ]
        self.logs = '{"level": "info", "message": "opened"}\n{"level": "error", "message": "no such window"}\n'
        self.on_start: Callable[[FakeNenAI], str] = lambda vendor: "reply"  # or "lose", "ignore"
        self.status_of: Callable[[dict[str, Any]], dict[str, Any]] = lambda run: {"status": run["status"]}
        self.answers: list[Any] = []  # (status, headers, body) for the next MCP requests, whatever they are
        self.listed: Callable[[dict[str, Any]], bool] = lambda run: True
        self.starts: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self._closing = threading.Event()

    def __enter__(self) -> FakeNenAI:
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                vendor._post(self, body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The REST API's base URL."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def mcp_url(self) -> str:
        return self.url + "/mcp/v1"

    def connection(self, **extra: Any) -> str:
        """An Airflow connection to it, as JSON."""
        extra = {"mcp_url": self.mcp_url, **extra}
        return json.dumps({"conn_type": "nenai", "host": self.url, "password": KEY, "extra": extra})

    def add_run(self, *, age: float = 0.0, status: str = "running", workflow_id: str = WORKFLOW_ID) -> str:
        """Let there be a run that was made so many seconds ago."""
        made = datetime.fromtimestamp(time.time() - age, UTC).isoformat().replace("+00:00", "Z")
        run = {"messageId": str(uuid.uuid4()), "status": status, "createdAt": made, "updatedAt": made}
        self.runs.append({**run, "workflowId": workflow_id})
        self.runs.sort(key=lambda each: each["createdAt"], reverse=True)
        return run["messageId"]

    def finish(self, status: str = "completed", **more: Any) -> None:
        """End all runs."""
        for run in self.runs:
            run.update(status=status, **more)

    def asked(self, tool: str) -> list[dict[str, Any]]:
        """The arguments of each call of a tool."""
        return [arguments for name, arguments in self.calls if name == tool]

    # HTTP

    def _post(self, http: BaseHTTPRequestHandler, body: Any) -> None:
        if http.headers.get("x-api-key") != KEY:
            return self._send(
                http, 401, {"error": "Unauthorized", "message": f"bad key {http.headers.get('x-api-key')}"}
            )
        if http.path == "/runs":
            return self._start(http, body)
        if http.path != "/mcp/v1":
            return self._send(http, 404, {"error": "Not found", "message": "No such path"})
        self.headers.append({name.lower(): value for name, value in http.headers.items()})
        if self.answers:
            status, headers, text = self.answers.pop(0)
            return self._send_bytes(http, status, text.encode(), headers)
        return self._mcp(http, body)

    def _start(self, http: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        if "workflow_id" not in body:
            return self._send(http, 400, {"error": "Invalid request", "message": "Missing required field: workflow_id"})
        self.starts.append(body)
        act = self.on_start(self)
        if act != "ignore":
            message_id = self.add_run(workflow_id=body["workflow_id"])
        if act == "reply":
            return self._send(http, 202, {"messageId": message_id, "workflowId": body["workflow_id"]})
        http.close_connection = True
        http.connection.shutdown(2)
        return None

    def _mcp(self, http: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        session = http.headers.get("Mcp-Session-Id")
        if body["method"] == "initialize":
            headers = {}
            if self.sessions:
                headers["Mcp-Session-Id"] = uuid.uuid4().hex
                if not self.forgetful:
                    self.known_sessions.add(headers["Mcp-Session-Id"])
            result = {"protocolVersion": self.version, "capabilities": {"tools": {}}, "serverInfo": {"name": "x"}}
            return self._answer(http, body, {"result": result}, headers)
        if self.sessions and session not in self.known_sessions:
            missing = {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "Session not found"}}
            return self._send(http, 404 if session else 400, missing)
        if "id" not in body:
            return self._send_bytes(http, 202, b"", {})
        params = body["params"]
        self.calls.append((params["name"], params["arguments"]))
        return self._answer(http, body, self._tool(params["name"], params["arguments"]))

    def _tool(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if name == "nen_get_run_logs":
            return {"result": {"content": [{"type": "text", "text": self.logs}]}}
        tool = {"nen_status": self._status, "nen_list_runs": self._list, "nen_list_workflows": self._workflows}.get(
            name
        )
        if tool is None:
            return {"error": {"code": -32602, "message": f"Unknown tool: {name}"}}
        answer, is_error = tool(arguments)
        result: dict[str, Any] = {"content": [{"type": "text", "text": json.dumps(answer)}]}
        if self.structured:
            result["structuredContent"] = answer
        return {"result": result | ({"isError": True} if is_error else {})}

    def _status(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        run = next((run for run in self.runs if run["messageId"] == arguments["messageId"]), None)
        if run is None:
            return {"success": False, "error": "Run not found"}, True
        return {"success": True, **run, **self.status_of(run)}, False

    def _list(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        runs = [run for run in self.runs if run["workflowId"] == arguments["workflowId"] and self.listed(run)]
        fields = ("messageId", "status", "createdAt", "updatedAt")
        shown = [{field: run[field] for field in fields} for run in runs[: arguments.get("limit", 10)]]
        return {"success": True, "runs": shown, "count": len(shown), "totalCount": len(runs)}, False

    def _workflows(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        return {"success": True, "workflows": self.workflows, "count": len(self.workflows), **arguments}, False

    def _answer(
        self, http: BaseHTTPRequestHandler, body: Any, answer: dict[str, Any], headers: dict[str, str] | None = None
    ) -> None:
        message = {"jsonrpc": "2.0", "id": body["id"], **answer}
        if not self.sse:
            return self._send(http, 200, message, headers)
        http.send_response(200)
        for name, value in {"Content-Type": "text/event-stream", **(headers or {})}.items():
            http.send_header(name, value)
        http.send_header("Connection", "close")
        http.end_headers()
        told = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "on it"}}
        http.wfile.write(f": hello\n\nevent: message\ndata: {json.dumps(told)}\n\n".encode())
        http.wfile.write(f"id: 7\nevent: message\ndata: {json.dumps(message)}\n\n".encode())
        http.wfile.flush()
        http.close_connection = True
        if self.sse == "held":
            self._closing.wait(20)
        return None

    def _send(
        self, http: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None
    ) -> None:
        self._send_bytes(
            http, status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
        )

    def _send_bytes(self, http: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]) -> None:
        http.send_response(status)
        for name, value in headers.items():
            http.send_header(name, value)
        http.send_header("Content-Length", str(len(body)))
        http.end_headers()
        http.wfile.write(body)
