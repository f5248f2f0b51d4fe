"""OpenAnalyst as its page "Server API" shows it, and nothing else: strict about paths and bodies. On 127.0.0.1."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

BODIES = {
    "/v1/agents/run": {"prompt", "dataset_ids", "model", "max_steps"},
    "/v1/queries/run": {"dataset_id", "sql", "timeout"},
    "/v1/exports": {"dataset_id", "format", "filter"},
}
"""What a start may have in its body; anything else is refused, as a strict server would."""


@dataclass
class OpenAnalystServer:
    """
    What the server does, and what it was asked.

    :param states: The words with which a run answers, one a question; the last one stays.
    :param started_as: The word with which a start is answered.
    :param file: What an export and a report are.
    :param encoding: The Content-Encoding in which ``file`` is, if any.
    :param link: Changes the link to an export's file before it is sent.
    :param broken: How many requests for a file are broken off in the middle.
    :param link_serves: How many bytes come by one link, before the connection breaks and the link has expired; None:
        as many as there are.
    :param report_status: The status with which a report is answered that is asked for as a file.
    """

    url: str = ""
    states: list[str] = field(default_factory=lambda: ["running", "completed"])
    started_as: str = "running"
    file: bytes = b"a,b\n1,2\n" * 1000
    encoding: str | None = None
    link: Callable[[dict[str, Any]], Any] = lambda link: None
    broken: int = 0
    link_serves: int | None = None
    report_status: int = 200
    export_format: str = ""
    links: int = 0
    used: set[str] = field(default_factory=set)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    authorized: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Answer a request for JSON."""
        if method == "POST" and path in BODIES:
            if not body or set(body) - BODIES[path]:
                return 400, {"error": {"code": "invalid_request", "message": f"unknown: {sorted(body)}"}}
            self.export_format = body.get("format", "")
            prefix = {"/v1/agents/run": "ses", "/v1/queries/run": "qry", "/v1/exports": "exp"}[path]
            return 202, {"id": f"{prefix}_1", "status": self.started_as, "created_at": "2025-11-01T09:00:00Z"}
        word = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        match method, path.removeprefix("/v1/").split("/"):
            case "GET", ["agents", "sessions", run_id]:
                return 200, {"id": run_id, "status": word, "steps": [], "final_answer": "42", "prompt": "?"}
            case "GET", ["queries", query_id, "results"]:
                rows = {"columns": ["a"], "rows": [{"a": 1}], "row_count": 1} if word == "completed" else {}
                return 200, {"id": query_id, "status": word, **rows}
            case "GET", ["exports", export_id]:
                return 200, {"id": export_id, "status": word}
            case "GET", ["exports", _, "download"]:
                self.links += 1
                link = {
                    "download_url": f"{self.url}/files/export?X-Amz-Signature=verysecret&link={self.links}",
                    "expires_at": "2999-11-01T09:15:00Z",
                    "size_bytes": len(self.file),
                    "format": self.export_format,
                }
                self.link(link)
                return 200, link
        return 404, {"error": {"code": "not_found", "message": "nothing here", "request_id": "req_1"}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    vendor: OpenAnalystServer

    def _serve(self, method: str) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else dict(parse_qsl(parts.query))
        self.vendor.requests.append((method, parts.path, body))
        if "Authorization" in self.headers:
            self.vendor.authorized.append(parts.path)
        is_report = parts.path.startswith("/v1/reports/") and parts.path.endswith("/export")
        if is_report and self.vendor.report_status != 200:
            self._send(self.vendor.report_status, b"not yet", "text/plain")
            return
        if parts.path == "/files/export" and self.vendor.link_serves is not None:
            self._serve_some(parts.query, self.vendor.link_serves)
            return
        if parts.path == "/files/export" or (is_report and body.get("format") == "csv" and "none" not in parts.path):
            self._send(200, self.vendor.file, "text/csv")
            return
        status, reply = self.vendor.answer(method, parts.path, body)
        self._send(status, json.dumps(reply).encode(), "application/json")

    def _send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        if kind == "text/csv" and self.vendor.encoding:
            self.send_header("Content-Encoding", self.vendor.encoding)
        self.end_headers()
        if kind == "text/csv" and self.vendor.broken:
            self.vendor.broken -= 1
            self.close_connection = True
            data = data[: len(data) // 2]
        self.wfile.write(data)

    def _serve_some(self, link: str, size: int) -> None:
        if link in self.vendor.used:
            self._send(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", "a/xml")
            return
        self.vendor.used.add(link)
        file = self.vendor.file
        offset = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        self.send_response(206 if offset else 200)
        self.send_header("Content-Range", f"bytes {offset}-{len(file) - 1}/{len(file)}")
        self.send_header("Content-Length", str(len(file) - offset))
        self.end_headers()
        self.close_connection = True
        self.wfile.write(file[offset : offset + size])

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def openanalyst_server() -> Iterator[OpenAnalystServer]:
    """Serve as long as the context lasts; its base URL is ``url`` followed by ``/v1``."""
    vendor = OpenAnalystServer()
    handler = type("Handler", (_Handler,), {"vendor": vendor})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        vendor.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield vendor
        finally:
            server.shutdown()
            thread.join()
