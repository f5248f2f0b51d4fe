"""The emulator as a server: in this process, or in the background of a test."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_nenoa.emulator.app import create_app
from airflow_provider_nenoa.emulator.client import Control
from airflow_provider_nenoa.emulator.clock import Clock
from airflow_provider_nenoa.emulator.door import TRANSPORT
from airflow_provider_nenoa.emulator.settings import Settings


class Protocol(H11Protocol):
    """uvicorn's HTTP protocol, which hands the connection's transport to the application.

    ASGI has no way to drop a connection, and dropping it is what a lost reply looks like.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket (IPv4); port 0: a free port.

    :raises OSError: if the address is not free.
    """
    # asyncio turns Nagle's algorithm off for sockets that say they are TCP, and socket.create_server's do not:
    # each reply would come 40 ms late.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)
    except OSError:
        sock.close()
        raise
    return sock


class Server(uvicorn.Server):
    """A uvicorn server for the emulator; ``run(sockets=[listen(...)])`` runs it.

    :param settings: what the emulator starts with.
    :param clock: counts limits and expiries; None: real time.
    :param on_ready: called once it answers.
    """

    def __init__(
        self, settings: Settings, clock: Clock | None = None, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        config = uvicorn.Config(
            create_app(settings, clock),
            http=Protocol,
            ws="none",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            # Longer than a client keeps a pooled connection idle: a drop shall be asked for, never an accident.
            timeout_keep_alive=300,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()


class Emulator:
    """Both vendors in a thread of this process, for tests; a context manager.

    >>> with Emulator(plan="free", agent={"seconds": 0.1}) as emulator:
    ...     reply = requests.get(f"{emulator.openanalyst_url}/datasets", headers={"Authorization": "Bearer oa_live_me"})

    :param host: where to listen.
    :param port: 0: a free port.
    :param clock: counts limits and expiries; None: real time, which :attr:`control` can stop and move.
    :param settings: see :class:`airflow_provider_nenoa.emulator.settings.Settings`.
    :raises OSError: if the port is not free.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, clock: Clock | None = None, **settings: Any) -> None:
        self.settings = Settings().patched(settings)
        self._clock = clock
        self._host = host
        self._port = port
        self._thread: threading.Thread | None = None

    def start(self) -> Emulator:
        """Start, and return when it answers."""
        sock = listen(self._host, self._port)
        self._port = sock.getsockname()[1]
        self._server = Server(self.settings, self._clock)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [sock]}, name="nenoa-emulator", daemon=True
        )
        self._thread.start()
        # The socket listens already: the first request waits in its queue until the server is up.
        self.control = Control(self.url)
        self.control.health()
        return self

    def stop(self) -> None:
        """Stop; runs that go on are dropped."""
        if self._thread is None:
            return
        self.control.close()
        self._server.should_exit = True
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """For example ``http://127.0.0.1:8090``."""
        return f"http://{self._host}:{self._port}"

    @property
    def openanalyst_url(self) -> str:
        """Host of a connection of type ``openanalyst``."""
        return f"{self.url}/v1"

    @property
    def nenai_url(self) -> str:
        """Host of a connection of type ``nenai``."""
        return self.url

    @property
    def mcp_url(self) -> str:
        """NenAI's MCP server: ``mcp_url`` of a connection of type ``nenai``."""
        return f"{self.url}/mcp/v1"

    def airflow_connections(
        self, api_key: str = "oa_live_emulator", *, receiver: bool = True, mcp: bool = False
    ) -> dict[str, str]:
        """Environment variables that point Airflow's default connections of all our types here, secrets included; that
        of type ``openanalyst_sql`` to the data set ``ds_abc123``.

        :param api_key: the key of a connection whose vendor was not set to one of its own; OpenAnalyst
            sends no webhooks for ``oa_test_...``.
        :param receiver: whether the provider's webhook receiver runs, as it does in Airflow's API server. False, for
            ``dag.test()``: the connections have no webhook secret, so runs are polled; for NenAI turn the setting
            ``run_status_path`` on.
        :param mcp: whether the connection of type ``nenai`` knows the MCP server, :attr:`mcp_url`.
        """
        openanalyst: dict[str, str] = {}
        nenai = {"run_status_path": "/runs/{message_id}"}
        if receiver:
            openanalyst = {"webhook_secret": self.settings.openanalyst_webhook_secret}
            nenai = {"webhook_secret": self.settings.nenai_webhook_secret}
        if mcp:
            nenai["mcp_url"] = self.mcp_url
        ours: list[tuple[str, str, dict[str, Any]]] = [
            ("openanalyst", self.openanalyst_url, {"extra": openanalyst}),
            ("openanalyst_sql", self.openanalyst_url, {"schema": "ds_abc123"}),
            ("nenai", self.nenai_url, {"extra": nenai}),
        ]
        keys = {"openanalyst": self.settings.openanalyst_key, "nenai": self.settings.nenai_key}
        return {
            f"AIRFLOW_CONN_{kind.upper()}_DEFAULT": json.dumps(
                {"conn_type": kind, "host": host, "password": keys[kind.partition("_")[0]] or api_key, **more}
            )
            for kind, host, more in ours
        }
