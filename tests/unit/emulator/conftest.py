"""A running emulator, and somebody who receives its webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.emulator import Control, Emulator, pytest_plugin

nenoa_emulator_server = pytest_plugin.nenoa_emulator_server
nenoa_emulator = pytest_plugin.nenoa_emulator

LIVE_KEY = "oa_live_acme_1"
WORKFLOW_ID = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"


class Api:
    """One vendor, as any HTTP client sees it."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update(headers)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=10, allow_redirects=False, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.url + path, timeout=10, allow_redirects=False, **options)


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def control(nenoa_emulator: Emulator) -> Control:
    """Runs end when a test says so, and retries come at once."""
    nenoa_emulator.control.settings(
        agent={"seconds": None}, workflow={"seconds": None}, retry_base_seconds=0, plan="unlimited"
    )
    return nenoa_emulator.control


@pytest.fixture
def openanalyst(nenoa_emulator: Emulator, control: Control) -> Iterator[Api]:
    api = Api(nenoa_emulator.openanalyst_url, {"Authorization": f"Bearer {LIVE_KEY}"})
    with api.session:
        yield api


@pytest.fixture
def nenai(nenoa_emulator: Emulator, control: Control) -> Iterator[Api]:
    api = Api(nenoa_emulator.nenai_url, {"x-api-key": "any-key"})
    with api.session:
        yield api


@dataclass
class Received:
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        return json.loads(self.raw)

    def signed_with(self, secret: str) -> str:
        return hmac.new(secret.encode(), self.raw, hashlib.sha256).hexdigest()


class Receiver:
    """Takes webhooks; answers with the codes in ``answers``, one after the other, then 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[int] = deque()
        self.hold = threading.Event()
        self.hold.set()
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._arrived:
                    receiver.received.append(Received({k.lower(): v for k, v in self.headers.items()}, raw))
                    code = receiver.answers.popleft() if receiver.answers else 200
                    receiver._arrived.notify_all()
                receiver.hold.wait(10)
                self.send_response(code)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 1024

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?ref=abc"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def wait_for(self, count: int) -> list[Received]:
        """The first ``count`` webhooks."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, timeout=10), self.received
            return self.received[:count]

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()
