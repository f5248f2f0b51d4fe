"""A Redis server, as a broker for Celery: Debian's package `redis-server`, or whatever is called that."""

from __future__ import annotations

import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which

import redis

from tests.support import processes
from tests.support.airflow_api import wait_until
from tests.support.local_airflow import free_port


@contextmanager
def redis_server() -> Iterator[str]:
    """
    Run a server that keeps nothing on disk, on a free port of 127.0.0.1, and give its URL.

    :raises RuntimeError: It is not installed.
    """
    executable = which("redis-server")
    if executable is None:
        raise RuntimeError("redis-server is not installed; in Debian it is the package of that name")
    group = f"redis-{uuid.uuid4()}"
    port = free_port()
    guard = processes.guard(group)
    with tempfile.TemporaryDirectory(prefix="nenoa-redis-") as directory:
        command = [executable, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", directory]
        command += ["--set-proc-title", "no"]  # a title is written over the environment, by which the guard knows it
        server = subprocess.Popen(command, env=processes.marked(group), stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(port=port) as client:
                wait_until(lambda: _answers(client), 30, lambda: f"{executable} does not answer: {server.poll()}")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            assert guard.stdin is not None
            guard.stdin.close()
            guard.wait()
            server.wait()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
