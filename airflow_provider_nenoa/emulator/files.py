"""Result files of workflow runs behind presigned URLs that expire, as an object store serves them."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from airflow_provider_nenoa.emulator.settings import ResultFile
from airflow_provider_nenoa.emulator.state import State
from airflow_provider_nenoa.emulator.wire import whole_number

_BLOCK = 64 * 1024
_RANGE = re.compile(r"bytes=(?P<first>[0-9]{0,18})-(?P<last>[0-9]{0,18})")
_signing_key = secrets.token_bytes(32)


def file_bytes(file: ResultFile, start: int, end: int) -> Iterator[bytes]:
    """The bytes ``start`` to ``end`` (exclusive) of a file, in blocks.

    No two blocks are alike, so that a reader who goes on at a wrong place is found out.
    """
    if file.content is not None:
        yield file.content.encode()[start:end]
        return
    seed = hashlib.sha256(file.name.encode()).digest()
    while start < end:
        number, offset = divmod(start, _BLOCK)
        block = hashlib.shake_128(seed + number.to_bytes(8, "big")).digest(_BLOCK)
        piece = block[offset : min(_BLOCK, offset + end - start)]
        yield piece
        start += len(piece)


def file_size(file: ResultFile) -> int:
    """Size in bytes."""
    return file.size if file.content is None else len(file.content.encode())


def _signature(path: str, expires: int) -> str:
    return hmac.new(_signing_key, f"{path}?{expires}".encode(), hashlib.sha256).hexdigest()


def presigned_url(base: str, message_id: str, name: str, expires: int) -> str:
    """A URL that serves the file to everybody who has it, until it expires.

    :param base: for example ``http://127.0.0.1:8090``.
    :param expires: Unix seconds.
    """
    path = f"/files/{message_id}/{quote(name, safe='')}"
    return f"{base}{path}?" + urlencode({"X-Expires": expires, "X-Signature": _signature(path, expires)})


def _refused(status: int, code: str, message: str) -> Response:
    xml = f"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>{code}</Code><Message>{escape(message)}</Message><RequestId>{secrets.token_hex(8).upper()}</RequestId></Error>
"""
    return Response(xml, status, media_type="application/xml")


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


def router(state: State) -> APIRouter:
    """``GET /files/{message_id}/{name}``."""
    api = APIRouter(tags=["Result files"])

    @api.get("/files/{message_id}/{name:path}")
    async def get_file(request: Request, message_id: str, name: str) -> Response:
        expires = whole_number(request.query_params.get("X-Expires", ""))
        path = request.scope["raw_path"].decode()
        if expires is None or not hmac.compare_digest(
            _signature(path, expires).encode(), request.query_params.get("X-Signature", "").encode()
        ):
            return _refused(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
        if state.clock.time() >= expires:
            return _refused(403, "AccessDenied", "Request has expired")
        run = state.runs.get(message_id)
        files = {file.name: file for file in (run.behaviour.files or ())} if run else {}
        if name not in files:
            return _refused(404, "NoSuchKey", "The specified key does not exist.")
        file, size = files[name], file_size(files[name])
        span = _span(request.headers.get("range"), size) if size else (0, 0)
        if span is None:
            reply = _refused(416, "InvalidRange", "The requested range is not satisfiable")
            reply.headers["Content-Range"] = f"bytes */{size}"
            return reply
        start, end = span
        headers = {
            "Accept-Ranges": "bytes",
            "Content-Length": str(end - start),
            "ETag": f'"{hashlib.sha256(f"{file!r}".encode()).hexdigest()[:32]}"',
        }
        status = HTTPStatus.OK
        if (start, end) != (0, size):
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        return StreamingResponse(file_bytes(file, start, end), status, headers, media_type="application/octet-stream")

    return api
