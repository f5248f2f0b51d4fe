"""What a workflow run leaves behind: its files, in a zip or one by one, and pages that its result links to."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from airflow_provider_nenoa.emulator import archive, presigned
from airflow_provider_nenoa.emulator.behaviour import ResultFile
from airflow_provider_nenoa.emulator.state import State

_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")


def assets_path(message_id: str) -> str:
    """Where the zip of a run's files is."""
    return f"/assets/{message_id}/assets.zip"


def file_path(message_id: str, name: str) -> str:
    """Where one file of a run is."""
    return f"/files/{message_id}/{quote(name, safe='')}"


def links(base: str, message_id: str, count: int) -> list[str]:
    """Links as a workflow's result may have them. Every other one carries a token, and is data all the same."""
    return [
        f"{base}/links/{message_id}/{number}" + ("" if number % 2 else f"?token={number:032x}")
        for number in range(1, count + 1)
    ]


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes that a ``Range`` header asks for; all of them if there is none or it makes no sense.

    :return: start and end (exclusive), or None if no such bytes exist.
    """
    asked = _RANGE.fullmatch(header or "")
    if asked is None or not (asked["first"] or asked["last"]):
        return 0, size
    if not asked["first"]:
        start, end = max(0, size - int(asked["last"])), size
    else:
        start, end = int(asked["first"]), min(size, int(asked["last"]) + 1) if asked["last"] else size
    return (start, end) if start < end else None


def _served(request: Request, size: int, version: str, pieces: Callable[[int, int], Iterator[bytes]]) -> Response:
    """The whole, or the part that is asked for.

    :param version: changes when the bytes do.
    :param pieces: gives the bytes from a place to another.
    """
    span = _span(request.headers.get("range"), size) if size else (0, 0)
    if span is None:
        reply = presigned.refused(416, "InvalidRange", "The requested range is not satisfiable")
        reply.headers["Content-Range"] = f"bytes */{size}"
        return reply
    start, end = span
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start),
        "ETag": f'"{hashlib.sha256(version.encode()).hexdigest()[:32]}"',
    }
    status = HTTPStatus.OK
    if (start, end) != (0, size):
        status = HTTPStatus.PARTIAL_CONTENT
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return StreamingResponse(pieces(start, end), status, headers, media_type="application/octet-stream")


def router(state: State) -> APIRouter:
    """``GET /assets/{message_id}/assets.zip``, ``GET /files/{message_id}/{name}``, ``GET /links/{message_id}/{n}``."""
    api = APIRouter(tags=["What a workflow leaves behind"])

    def files_of(message_id: str) -> list[ResultFile] | None:
        run = state.runs.get(message_id)
        return run.behaviour.files if run and run.ended else None

    def missing() -> Response:
        return presigned.refused(404, "NoSuchKey", "The specified key does not exist.")

    @api.get("/assets/{message_id}/assets.zip")
    async def get_assets(request: Request, message_id: str) -> Response:
        if problem := presigned.problem(request, state.clock):
            return problem
        files = files_of(message_id)
        if files is None:
            return missing()
        path = await asyncio.to_thread(state.archives.zipped, message_id, files)
        return _served(request, path.stat().st_size, repr(files), lambda start, end: archive.read(path, start, end))

    @api.get("/files/{message_id}/{name:path}")
    async def get_file(request: Request, message_id: str, name: str) -> Response:
        if problem := presigned.problem(request, state.clock):
            return problem
        files = {file.name: file for file in files_of(message_id) or ()}
        if name not in files:
            return missing()
        file = files[name]
        return _served(request, file.length, repr(file), file.pieces)

    @api.get("/links/{message_id}/{number}")
    async def get_link(message_id: str, number: str) -> Response:
        return HTMLResponse("<!doctype html><title>A shop</title><p>A page that a workflow saw. It is no file.</p>")

    return api
