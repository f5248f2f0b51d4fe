"""A StatsD server that only listens: what the processes of an Airflow report, as it arrives."""

from __future__ import annotations

import socket
import threading
from typing import NamedTuple

PREFIX = "airflow.nenoa."


class Metric(NamedTuple):
    """
    One report of ours.

    :param name: Its name behind `PREFIX`.
    :param tags: Its tags.
    :param kind: StatsD's word: ``c`` (counter), ``g`` (gauge) or ``ms`` (timer).
    :param value: Its value.
    """

    name: str
    tags: dict[str, str]
    kind: str
    value: float


class StatsdServer:
    """Listens on a free UDP port of 127.0.0.1, in a thread of this process; a context manager."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._listen)
        self._received: list[Metric] = []

    @property
    def environment(self) -> dict[str, str]:
        """What makes an Airflow report here, with tags, for which plain StatsD has no place."""
        host, port = self._socket.getsockname()
        settings = {"ON": "True", "HOST": host, "PORT": str(port), "INFLUXDB_ENABLED": "True"}
        return {f"AIRFLOW__METRICS__STATSD_{name}": value for name, value in settings.items()}

    def received(self, name: str, **tags: str) -> list[float]:
        """Return the values that were reported under a name with these tags, and perhaps more, oldest first."""
        return [each.value for each in list(self._received) if each.name == name and tags.items() <= each.tags.items()]

    def clear(self) -> None:
        """Forget what was received."""
        self._received.clear()

    def __enter__(self) -> StatsdServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while datagram := self._socket.recv(65536):
            for line in datagram.decode().splitlines():
                if line.startswith(PREFIX):
                    self._received.append(_read(line.removeprefix(PREFIX)))


def _read(line: str) -> Metric:
    name_and_tags, _, measure = line.rpartition(":")
    name, *tags = name_and_tags.split(",")
    value, kind = measure.split("|")[:2]
    return Metric(name, dict(tag.split("=", 1) for tag in tags), kind, float(value))  # type: ignore[misc]
