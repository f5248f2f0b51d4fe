"""
A client for the tools of an MCP server (Model Context Protocol, transport "streamable HTTP").

Plain JSON-RPC over our own `http`, not the official SDK: the SDK is asynchronous and brings along an HTTP client, a web
server and a validator of its own (httpx, starlette, uvicorn, jsonschema...), while all that is needed here is one POST
that may be repeated. So the time-outs, the retries, ``Retry-After``, the proxies, the refusal of
redirects, the count of requests and the keeping of secrets are those of every other request of this provider.
What a server may send beside the answer (progress, log messages, questions to the client) is passed over.
"""

from __future__ import annotations

import codecs
import itertools
import re
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_nenoa import __version__
from airflow_provider_nenoa.exceptions import (
    ConnectionFailed,
    InvalidConnection,
    InvalidReply,
    InvalidRequest,
    NenoaError,
    NotFound,
    ServerError,
)
from airflow_provider_nenoa.vendors.json_text import read_json

if TYPE_CHECKING:
    import requests

    from airflow_provider_nenoa.http import HttpApi

PROTOCOL = "2025-06-18"
"""The revision of the protocol that is proposed. The server may choose another: tools are called alike in all."""
LARGEST = 8 * 1024**2
"""Bytes that an answer may have."""
QUOTED = 300
"""Characters of the server's words that an error message repeats, at most."""
INVALID = (-32600, -32601, -32602)
"""JSON-RPC's codes for a request that will not get better: not valid, no such method or tool, wrong arguments."""

_VERSION = re.compile(r"[0-9A-Za-z.-]{1,40}")
_VISIBLE = re.compile(r"[\x21-\x7e]{1,1000}")


class ToolResult(NamedTuple):
    """
    What a tool answered.

    :param text: Its text.
    :param structured: Its object, where the server sent one beside the text.
    :param is_error: Whether the tool says that it failed.
    :param clock_ahead: The server's clock minus ours, in seconds, to within one; None: it did not tell its time.
    """

    text: str
    structured: dict[str, Any] | None
    is_error: bool
    clock_ahead: float | None


class McpClient:
    """
    One MCP server. It may be used by several threads at once.

    :param api: The HTTP client; its base URL is the server's address.
    """

    def __init__(self, api: HttpApi) -> None:
        self._api = api
        self.connection = api.connection
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._session: dict[str, str] | None = None

    def call(self, tool: str, arguments: Mapping[str, Any]) -> ToolResult:
        """
        Call a tool that only tells something: it may be called again where no answer came.

        :param tool: Its name.
        :param arguments: Its arguments.
        :raises NenoaError: The server could not be asked, or refused. What the tool itself says of an error is in the
            result.
        """
        params = {"name": tool, "arguments": dict(arguments)}
        session = self.open()
        try:
            try:
                result, ahead = self._request("tools/call", params, session)
            except (NotFound, InvalidRequest) as error:
                if "Mcp-Session-Id" not in session or error.http_status not in (400, 404):
                    raise
                # The session has expired (404, in the protocol's words; 400 with some servers): open a new one.
                result, ahead = self._request("tools/call", params, self.open(instead_of=session))
        except NotFound as error:
            raise self._nobody_there(error) from None
        return _tool_result(result, ahead)

    def open(self, instead_of: dict[str, str] | None = None) -> dict[str, str]:
        """
        Open a session if there is none.

        :param instead_of: A session that is there and of no use any more.
        :return: The headers that belong to it.
        :raises NenoaError: The server could not be asked, or refused.
        """
        with self._lock:
            if self._session is None or self._session is instead_of:
                self._session = None
                self._session = self._initialize()
            return self._session

    def _initialize(self) -> dict[str, str]:
        headers: dict[str, str] = {}

        def keep_session_id(response: requests.Response) -> None:
            session_id = response.headers.get("Mcp-Session-Id", "")
            if _VISIBLE.fullmatch(session_id):
                headers["Mcp-Session-Id"] = session_id

        client = {"name": "airflow-provider-nenoa", "version": __version__}
        params = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client}
        try:
            result, _ = self._request("initialize", params, {}, keep_session_id)
            version = result.get("protocolVersion")
            if not isinstance(version, str) or not _VERSION.fullmatch(version):
                raise InvalidReply(
                    f"{self._api.vendor} answered 'initialize' without a 'protocolVersion' (it has {sorted(result)}).\n"
                    "Check that 'mcp_url' is the address of its MCP server."
                )
            headers["MCP-Protocol-Version"] = version
            self._send({"jsonrpc": "2.0", "method": "notifications/initialized"}, headers, lambda response: None)
        except NotFound as error:
            raise self._nobody_there(error) from None
        return headers

    def _request(
        self, method: str, params: dict[str, Any], session: Mapping[str, str], look: Any = lambda response: None
    ) -> tuple[dict[str, Any], float | None]:
        request_id = next(self._ids)
        message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}

        def read(response: requests.Response) -> tuple[dict[str, Any], float | None]:
            look(response)
            ahead = _clock_ahead(response.headers.get("Date"))
            return _answer_to(request_id, _messages(response, self._api.timeout)), ahead

        try:
            answer, ahead = self._send(message, session, read)
        except InvalidReply as error:
            raise InvalidReply(self._api.scrub(f"{self._api.vendor} answered '{method}' with {error}")) from None
        if answer.get("error") is not None:
            raise self._refused(method, answer["error"])
        result = answer.get("result")
        if not isinstance(result, dict):
            raise InvalidReply(f"{self._api.vendor} answered '{method}' without a result.")
        return result, ahead

    def _send(self, message: Mapping[str, Any], session: Mapping[str, str], read: Any) -> Any:
        headers = {"Accept": "application/json, text/event-stream", "Accept-Encoding": "identity", **session}
        return self._api.ask("", message, headers=headers, read=read)

    def _refused(self, method: str, error: Any) -> NenoaError:
        code, words = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, error)
        text = self._api.scrub(f"{self._api.vendor} refused '{method}': {str(words)[:QUOTED]} (code {code}).")
        if code in INVALID:
            return InvalidRequest(f"{text}\nCheck that 'mcp_url' is the address of the vendor's own MCP server.")
        return ServerError(text)

    def _nobody_there(self, error: NotFound) -> InvalidConnection:
        """Return the error for a wrong address: what is not found is the server, and never a run."""
        return InvalidConnection(
            f"There is no MCP server at the 'mcp_url' of {self._api.connection}: {self._api.base_url} answered "
            f"{error.http_status}.\nSet it to the address of the vendor's own MCP server."
        )


def _tool_result(result: dict[str, Any], ahead: float | None) -> ToolResult:
    content = result.get("content")
    blocks = content if isinstance(content, list) else []
    texts = [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
    structured = result.get("structuredContent")
    return ToolResult(
        "\n".join(texts), structured if isinstance(structured, dict) else None, result.get("isError") is True, ahead
    )


def _answer_to(request_id: int, messages: Iterator[Any]) -> dict[str, Any]:
    for message in messages:
        for one in message if isinstance(message, list) else [message]:
            if not isinstance(one, dict) or not ("result" in one or "error" in one):
                continue  # what the server tells or asks meanwhile
            if str(one.get("id")) == str(request_id) or (one.get("id") is None and "error" in one):
                return one
    raise InvalidReply("something else than an answer to it.")


def _messages(response: requests.Response, timeout: float) -> Iterator[Any]:
    """Read JSON-RPC messages, from one JSON body or out of a stream of events, as they come."""
    chunks = _chunks(response, timeout)
    if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/event-stream":
        texts = _events(chunks)
    else:
        texts = iter([b"".join(chunks)])
    for text in texts:
        try:
            yield read_json(bytes(text)).value
        except ValueError:
            quoted = bytes(text[:QUOTED]).decode(errors="replace")
            raise InvalidReply(f"what is not JSON: {quoted!r}") from None


def _chunks(response: requests.Response, timeout: float) -> Iterator[bytes]:
    """Read the body as it comes: a stream of events need not end with the answer."""
    size, until = 0, time.monotonic() + timeout
    while chunk := response.raw.read1(65_536, decode_content=True):
        size += len(chunk)
        if size > LARGEST:
            raise InvalidReply(f"more than {LARGEST} bytes.")
        yield chunk
        if time.monotonic() > until:
            raise ConnectionFailed(f"No answer from the MCP server within {timeout:g} s, though it sends something.")


def _events(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Split a stream of server-sent events into the data of each."""
    data: list[bytes] = []
    for number, line in enumerate(_lines(chunks)):
        name, _, value = (line if number else line.removeprefix(codecs.BOM_UTF8)).partition(b":")
        if not line:
            if data:
                yield b"\n".join(data)
            data = []
        elif name == b"data":
            data.append(value.removeprefix(b" "))
    if data:  # a stream that breaks off; the data may be whole
        yield b"\n".join(data)


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Split at every kind of line end: LF, CR LF, CR."""
    rest = b""
    for chunk in chunks:
        # A CR at the end may be the half of a CR LF.
        text = rest + chunk
        held = b"\r" if text.endswith(b"\r") else b""
        *lines, rest = re.split(rb"\r\n|\n|\r", text[: len(text) - len(held)])
        rest += held
        yield from lines
    yield from re.split(rb"\r\n|\n|\r", rest)


def _clock_ahead(date: str | None) -> float | None:
    try:
        when = parsedate_to_datetime(date or "")
    except (TypeError, ValueError):
        return None
    # The header has whole seconds; and the answer was a moment on its way.
    return when.timestamp() + 0.5 - time.time()
