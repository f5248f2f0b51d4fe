"""NenAI's MCP server: JSON-RPC over streamable HTTP (modelcontextprotocol.io, "Transports"), with JSON or SSE."""

from __future__ import annotations

import json
import secrets
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from airflow_provider_nenoa.emulator.mcp_tools import TOOLS, ToolError, Tools, text_of
from airflow_provider_nenoa.emulator.nenai import Authenticated
from airflow_provider_nenoa.emulator.state import State
from airflow_provider_nenoa.emulator.workflow_runs import WorkflowRuns

PATH = "/mcp/v1"
_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
_SESSION = "Mcp-Session-Id"
_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS, _REFUSED = -32700, -32600, -32601, -32602, -32000


class _RpcError(Exception):
    """An error of the protocol, and no tool's."""

    def __init__(self, code: int, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def router(state: State, runs: WorkflowRuns) -> APIRouter:
    """``POST /mcp/v1``, and ``DELETE``, which ends a session. There is no stream to ``GET``."""
    api = APIRouter(tags=["NenAI by MCP"])
    tools = Tools(state, runs)

    @api.post(PATH)
    async def post(request: Request, _: Authenticated) -> Response:
        message: Any = None
        try:
            _check_headers(request)
            message = _message(await request.body())
            method = message.get("method")
            if method != "initialize":
                _check_session(request, state)
            if "id" not in message:
                return Response(status_code=202)
            if method == "initialize":
                return _opened(message, state)
            result = await _result(method, message.get("params") or {}, state, tools, str(request.base_url))
        except _RpcError as error:
            number = message.get("id") if message is not None else None
            told = {"jsonrpc": "2.0", "id": number, "error": {"code": error.code, "message": str(error)}}
            return JSONResponse(told, error.status)
        return _reply({"jsonrpc": "2.0", "id": message["id"], "result": result}, state)

    @api.delete(PATH)
    async def end_session(request: Request, _: Authenticated) -> Response:
        known = state.mcp_sessions.pop(request.headers.get(_SESSION, ""), None) is not None
        return Response(status_code=204 if known else 404)

    return api


def _check_headers(request: Request) -> None:
    accepted = request.headers.get("accept", "")
    if not all(kind in accepted for kind in ("application/json", "text/event-stream")):
        raise _RpcError(_REFUSED, "Not Acceptable: accept both application/json and text/event-stream", 406)
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise _RpcError(_REFUSED, "Unsupported Media Type: Content-Type must be application/json", 415)
    version = request.headers.get("mcp-protocol-version")
    if version is not None and version not in _VERSIONS:
        raise _RpcError(_REFUSED, f"Bad Request: unsupported protocol version {version}", 400)


def _check_session(request: Request, state: State) -> None:
    if not state.settings.mcp_sessions:
        return
    session = request.headers.get(_SESSION)
    if session is None:
        raise _RpcError(_REFUSED, f"Bad Request: {_SESSION} header is required", 400)
    opened, valid = state.mcp_sessions.get(session), state.settings.mcp_session_seconds
    if opened is None or (valid is not None and state.clock.time() >= opened + valid):
        raise _RpcError(_REFUSED, "Session not found", 404)


def _message(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except ValueError:
        raise _RpcError(_PARSE_ERROR, "Parse error", 400) from None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        raise _RpcError(_INVALID_REQUEST, "Invalid Request", 400)
    if not isinstance(message.get("params", {}), dict):
        raise _RpcError(_INVALID_PARAMS, "Invalid params", 400)
    return message


def _opened(message: dict[str, Any], state: State) -> Response:
    asked = (message.get("params") or {}).get("protocolVersion")
    result = {
        "protocolVersion": asked if asked in _VERSIONS else _VERSIONS[0],
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "nen-emulator", "version": "1.0.0"},
    }
    reply = _reply({"jsonrpc": "2.0", "id": message["id"], "result": result}, state)
    if state.settings.mcp_sessions:
        session = secrets.token_urlsafe(24)
        state.mcp_sessions[session] = state.clock.time()
        reply.headers[_SESSION] = session
    return reply


async def _result(method: str, params: dict[str, Any], state: State, tools: Tools, base_url: str) -> dict[str, Any]:
    if method == "ping":
        return {}
    if method == "tools/list":
        listed = [
            {"name": name, "description": words, "inputSchema": schema} for name, (words, schema) in TOOLS.items()
        ]
        return {"tools": listed}
    if method != "tools/call":
        raise _RpcError(_NO_METHOD, f"Method not found: {method}")
    name, arguments = params.get("name"), params.get("arguments") or {}
    if name not in TOOLS:
        raise _RpcError(_INVALID_PARAMS, f"Unknown tool: {name}")
    if not isinstance(arguments, dict):
        raise _RpcError(_INVALID_PARAMS, "arguments must be an object")
    state.counts[f"tool {name}"] += 1
    fault = state.faults.take_tool(name)
    if fault is not None and fault.kind == "rpc_error":
        raise _RpcError(-32603, fault.words)
    try:
        if fault is not None:
            raise ToolError(fault.words)
        answer = await tools.call(name, arguments, base_url)
    except ToolError as error:
        return {
            "content": [{"type": "text", "text": text_of({"success": False, "error": str(error)})}],
            "isError": True,
        }
    result: dict[str, Any] = {"content": [{"type": "text", "text": text_of(answer)}], "isError": False}
    if state.settings.mcp_structured and isinstance(answer, dict):
        result["structuredContent"] = answer
    return result


def _reply(message: dict[str, Any], state: State) -> Response:
    if state.settings.mcp_reply == "json":
        return JSONResponse(message)
    # A stream may carry more than the answer: a comment, and a notification, come first.
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "Working on it"}}
    events = f": hello\n\nevent: message\ndata: {json.dumps(note)}\n\nevent: message\ndata: {json.dumps(message)}\n\n"
    return Response(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
