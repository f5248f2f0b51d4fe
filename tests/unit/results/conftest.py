"""Object stores to write to, and a server of files that misbehaves as a test wants."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

BUCKET = "results"


@pytest.fixture(scope="session")
def s3() -> Iterator[S3FileSystem]:
    """An S3-compatible server with one bucket; ``s3://`` and ``s3://aws_test@`` lead to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    fs = S3FileSystem(key="test", secret="test", endpoint_url=f"http://{host}:{port}", skip_instance_cache=True)
    fs.mkdir(BUCKET)
    attach("s3", fs=fs)
    attach("s3", "aws_test", fs=fs)
    yield fs
    server.stop()


@pytest.fixture(params=["file", "memory", "s3", "s3 with a connection"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a directory that does not exist yet, in one store after the other."""
    fresh = uuid.uuid4().hex
    if request.param == "file":
        return f"file://{tmp_path}/{fresh}"
    if request.param == "memory":
        return str(ObjectStoragePath(f"memory:///{fresh}/deep"))  # Airflow 3.2 writes it with two slashes
    request.getfixturevalue("s3")
    return f"s3://{'aws_test@' if 'connection' in request.param else ''}{BUCKET}/{fresh}/deep"


def names_in(directory: str) -> list[str]:
    """The names of all files in a directory, those in the making too; none if there is no such directory."""
    path = ObjectStoragePath(directory)
    fs = MemoryFileSystem() if path.protocol == "memory" else path.fs
    fs.invalidate_cache()
    if not fs.exists(path.path):
        return []
    return sorted(found["name"].rpartition("/")[2] for found in fs.ls(path.path, detail=True))


def content_of(path: str) -> bytes:
    """Read a stored file by the path that was returned for it."""
    found = ObjectStoragePath(path)
    fs = MemoryFileSystem() if found.protocol == "memory" else found.fs
    content: bytes = fs.cat_file(found.path)
    return content


class FileServer:
    """
    A server of one file that answers as it is told.

    ``answers`` are taken one after the other, the last one again and again; each is a function that gets the request's
    handler. ``seen`` has the headers of each request.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = [self.whole]
        self.seen: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.seen.append({"path": self.path, **{k.lower(): v for k, v in self.headers.items()}})
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = (
            f"http://127.0.0.1:{self._server.server_address[1]}/bucket/report.pdf?X-Signature=verysecretsignature"
        )

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def send(
        self, handler: BaseHTTPRequestHandler, status: int, body: bytes, *, cut: int | None = None, **headers: str
    ) -> None:
        """Answer; ``cut``: drop the connection after so many bytes of the body."""
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body if cut is None else body[:cut])
        if cut is not None:
            handler.close_connection = True

    def whole(self, handler: BaseHTTPRequestHandler) -> None:
        """The file, as if ranges were unknown."""
        self.send(handler, 200, self.content)

    def breaking(self, cut: int, etag: str = '"one"') -> Callable[[BaseHTTPRequestHandler], None]:
        """The file from where it is asked for, but no more than ``cut`` bytes of it."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            self._ranged(handler, etag, cut)

        return answer

    def ranged(self, handler: BaseHTTPRequestHandler) -> None:
        """The file from where it is asked for, to its end."""
        self._ranged(handler, '"one"', None)

    def changed(self, handler: BaseHTTPRequestHandler) -> None:
        """Another version of the file."""
        self._ranged(handler, '"two"', None)

    def status(self, status: int, body: bytes = b"", **headers: Any) -> Callable[[BaseHTTPRequestHandler], None]:
        """A bare answer."""
        return lambda handler: self.send(handler, status, body, **headers)

    def _ranged(self, handler: BaseHTTPRequestHandler, etag: str, cut: int | None) -> None:
        asked = handler.headers.get("Range")
        if asked and handler.headers.get("If-Range", etag) == etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            spot = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
            self.send(handler, 206, self.content[start:], cut=cut, ETag=etag, Content_Range=spot)
        else:
            self.send(handler, 200, self.content, cut=cut, ETag=etag)


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    with FileServer(b"".join(number.to_bytes(4, "big") for number in range(750_000))) as server:
        yield server
