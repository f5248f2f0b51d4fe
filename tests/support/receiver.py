"""What tests of the webhook receiver share: connections, deliveries as the vendors make them, and running receivers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import requests
import uvicorn
from cryptography.fernet import Fernet
from sqlalchemy import create_engine

from airflow_provider_nenoa.vendors import VENDORS, signatures
from airflow_provider_nenoa.webhooks.app import create_app
from airflow_provider_nenoa.webhooks.connections import Sender
from airflow_provider_nenoa.webhooks.store import Store

SENDERS = {
    "nen": Sender("nenai", "the secret that NenAI and we share"),
    "oa": Sender("openanalyst", "the secret that OpenAnalyst and we share"),
    "short": Sender("openanalyst", "x"),
}
"""The connections that exist; any other raises KeyError, as Airflow raises an error of its own."""

FERNET = Fernet(Fernet.generate_key())


def open_store(url: str, **options: Any) -> Store:
    """Open the store at a SQLAlchemy URL, with encryption."""
    return Store(create_engine(url), FERNET, **options)  # type: ignore[arg-type]


def body_of(conn_type: str, run_id: str, word: str, **more: Any) -> bytes:
    """Return a webhook's body as the vendor makes it."""
    name = "message_id" if conn_type == "nenai" else "run_id"
    return json.dumps({name: run_id, "status": word, **more}).encode()


def signed(conn_id: str, body: bytes) -> dict[str, str]:
    """Return the headers with which the vendor of a connection sends a body."""
    sender = SENDERS[conn_id]
    return dict([signatures.sign(VENDORS[sender.conn_type].SIGNATURE, sender.secret, body)])


def deliver(base_url: str, conn_id: str, run_id: str, word: str, ref: str | None = None, **more: Any) -> int:
    """Deliver a webhook to a receiver; return the status that it answered with."""
    body = body_of(SENDERS[conn_id].conn_type, run_id, word, **more)
    url = f"{base_url}/webhooks/{conn_id}"
    params = {} if ref is None else {"ref": ref}
    return requests.post(url, data=body, headers=signed(conn_id, body), params=params, timeout=10).status_code


class ReceiverThread:
    """
    A receiver on a free port of 127.0.0.1, in a thread of this process; a context manager.

    :param store: Its store.
    """

    def __init__(self, store: Store) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/nenoa"
        app = create_app(store, SENDERS.__getitem__)
        self._server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> ReceiverThread:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


class ReceiverProcess:
    """
    A receiver that runs alone, as documented for production, in a process of its own; a context manager.

    :param store_url: SQLAlchemy URL of its store.
    :param environment: More environment variables.
    """

    def __init__(self, store_url: str, environment: Mapping[str, str] | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{port}/nenoa"
        connections = {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(
                {"conn_type": sender.conn_type, "password": "key", "extra": {"webhook_secret": sender.secret}}
            )
            for conn_id, sender in SENDERS.items()
        }
        command = [sys.executable, "-m", "uvicorn", "airflow_provider_nenoa.webhooks.app:create_app", "--factory"]
        self.process = subprocess.Popen(
            [*command, "--port", port, "--http", "h11", "--log-level", "warning", "--no-access-log"],
            env={**os.environ, **connections, "AIRFLOW__NENOA__EVENT_STORE_URL": store_url, **(environment or {})},
        )

    def __enter__(self) -> ReceiverProcess:
        until = time.monotonic() + 60
        while True:
            try:
                requests.get(f"{self.url}/health", timeout=5).raise_for_status()
                return self
            except requests.ConnectionError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.wait()
