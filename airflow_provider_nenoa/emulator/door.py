"""What every request passes: it is written down and counted, and it may meet a fault."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_nenoa.emulator import nenai, openanalyst
from airflow_provider_nenoa.emulator.faults import Fault
from airflow_provider_nenoa.emulator.openanalyst_errors import error_body
from airflow_provider_nenoa.emulator.state import State

CONTROL = "/_control"
_NO_VENDORS = (CONTROL, "/docs", "/openapi.json")

#: Key in the ASGI scope's ``state`` under which :class:`airflow_provider_nenoa.emulator.server.Protocol` keeps the
#: connection's transport.
TRANSPORT = "emulator.transport"

#: How much of a request's body is remembered.
_REMEMBERED_BODY = 64 * 1024
_PRESIGNED = ("/files/", "/assets/", "/links/", "/exported/")
_SECRET_HEADERS = ("authorization", "x-api-key", "cookie", "mcp-session-id")


class Dropped(Exception):
    """The connection was dropped; there is nobody to answer."""


class Door:
    """ASGI middleware around the vendors' endpoints.

    :param app: the application that answers.
    :param routes: the vendors' endpoints, whose paths name the counts.
    :param state: where requests, counts and faults are kept.
    """

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute], state: State) -> None:
        self._app = app
        self._routes = routes
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_NO_VENDORS):
            await self._app(scope, receive, send)
            return
        state = self._state
        scope["state"] = {**scope.get("state", {}), "reply_headers": {}}
        method, path, route = scope["method"], scope["path"], self._route(scope)
        body = await _read(receive)
        entry = _entry(scope, body) | {"route": route, "time": state.clock.time(), "status": None}
        state.requests.append(entry)
        state.counts[f"{method} {route}"] += 1

        async def reply(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry["status"] = message["status"]
            await send(message)

        async def answer(to: Send) -> None:
            await self._app(scope, _replay(body, receive), _with_rate_headers(scope, to))

        fault = state.faults.take(method, path, route)
        if fault is None:
            await answer(reply)
            return
        entry["fault"] = fault.kind
        if fault.kind == "drop_before":
            await _drop(scope, receive)
        elif fault.kind == "status":
            if fault.acted:
                await answer(_nowhere)
            await _send_error(fault, path, state, reply)
        elif fault.kind == "slow":
            first = True

            async def late(message: Message) -> None:
                nonlocal first
                if first:
                    first = False
                    await _wait(fault.seconds, receive)
                await reply(message)

            await answer(late)
        elif fault.kind == "drop_after":
            await answer(_nowhere)
            await _drop(scope, receive)
        else:
            kept = _Kept()
            await answer(kept)
            await _send_spoilt(fault, kept, scope, receive, reply)

    def _route(self, scope: Scope) -> str:
        for route in self._routes:
            if route.matches(scope)[0] is not Match.NONE:
                return str(getattr(route, "path", scope["path"]))
        return "(unknown)"


class _Kept:
    """A reply that is held in the hand instead of being sent."""

    def __init__(self) -> None:
        self.start: Message = {"type": "http.response.start", "status": 500, "headers": []}
        self.body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.start = message
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    def headers(self, **changed: bytes) -> list[tuple[bytes, bytes]]:
        new = {name.replace("_", "-").encode(): value for name, value in changed.items()}
        return [(name, value) for name, value in self.start["headers"] if name not in new] + list(new.items())


async def _nowhere(message: Message) -> None:
    pass


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _with_rate_headers(scope: Scope, send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.lower().encode(), value.encode()) for name, value in scope["state"]["reply_headers"].items()]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return with_headers


def _entry(scope: Scope, body: bytes) -> dict[str, Any]:
    """A request as the control API shows it, with every secret in it masked."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    key = headers.get("x-api-key") or headers.get("authorization", "").rpartition(" ")[2]
    return {
        "method": scope["method"],
        "path": scope["path"],
        "query": scope["query_string"].decode("latin-1") if not scope["path"].startswith(_PRESIGNED) else "***",
        "vendor": "openanalyst" if scope["path"].startswith(openanalyst.PREFIX + "/") else "nenai",
        "key": _masked(key),
        "headers": {name: "***" if name in _SECRET_HEADERS else value for name, value in headers.items()},
        "body": _shown(body),
    }


def _masked(key: str) -> str | None:
    for prefix in ("oa_live_", "oa_test_"):
        if key.startswith(prefix):
            return prefix + "***"
    return "***" if key else None


def _shown(body: bytes) -> Any:
    if not body:
        return None
    if len(body) > _REMEMBERED_BODY:
        return f"({len(body)} bytes)"
    try:
        shown = json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
    if isinstance(shown, dict) and isinstance(secure := shown.get("secure_workflow_params"), dict):
        shown["secure_workflow_params"] = dict.fromkeys(secure, "***")
    if isinstance(shown, dict) and "secret" in shown:
        shown["secret"] = "***"  # noqa: S105
    return shown


async def _drop(scope: Scope, receive: Receive, *, flush: bool = False) -> None:
    """Cut the TCP connection.

    :param flush: what was written before still goes out.
    """
    transport = scope["state"].get(TRANSPORT)
    if transport is None:
        raise Dropped("This server does not let the emulator drop connections; start it with Emulator or -m.")
    if flush:
        transport.close()
    else:
        transport.abort()
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _wait(seconds: float, receive: Receive) -> None:
    """Wait so long, but not for a client that has gone."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _gone(receive)


async def _send(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send_error(fault: Fault, path: str, state: State, send: Send) -> None:
    content = fault.body
    if content is None:
        words = "An error that was asked for."
        if path.startswith(openanalyst.PREFIX + "/"):
            content = error_body(fault.status, words, form=state.settings.error_form)
        else:
            content = nenai.error_body("Injected fault", words)
    kind, body = ("text/plain", content.encode()) if isinstance(content, str) else ("application/json", _json(content))
    headers = {"content-type": kind, "content-length": str(len(body))}
    headers |= {name.lower(): value for name, value in fault.headers.items()}
    await _send(send, fault.status, [(name.encode(), value.encode()) for name, value in headers.items()], body)


async def _send_spoilt(fault: Fault, kept: _Kept, scope: Scope, receive: Receive, send: Send) -> None:
    body = kept.body
    status = kept.start["status"]
    if fault.kind == "drop_body":
        headers = kept.headers(content_length=str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await _drop(scope, receive, flush=True)
        return
    if fault.kind == "truncate":
        body = body[: len(body) // 2]
    elif fault.kind == "not_json":
        body = b"<!doctype html><title>Welcome</title><p>This is not what you asked for.</p>"
        await _send(send, status, kept.headers(content_type=b"text/html", content_length=str(len(body)).encode()), body)
        return
    else:
        content = json.loads(body)
        if fault.kind == "missing_id":
            content = {name: value for name, value in content.items() if name not in ("run_id", "id", "messageId")}
        else:
            content["status"] = fault.word
        body = _json(content)
    await _send(send, status, kept.headers(content_length=str(len(body)).encode()), body)


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()
