"""
A real Airflow of its own, made of the same processes as in production, for tests, benchmarks and the demo.

API server, scheduler (LocalExecutor), DAG processor and triggerer run as processes in an ``AIRFLOW_HOME`` of their own,
on free ports of 127.0.0.1, each with a log file, and each can be stopped, killed and started again by itself. So do
Celery's workers, where the environment names another executor. Nothing of them outlives the process that made them,
even if that is killed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support import processes
from tests.support.airflow_api import AirflowApi, wait_until

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")

# Where Airflow waits for seconds between two looks because a production database has many clients, this one need not.
_FAST = {
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "1",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "2",
    "DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "2",
}


# What Airflow's task runner calls its process.
_TASK_TITLE = re.compile(r"airflow worker -- ([0-9a-f-]{36})")


@dataclass
class _Component:
    name: str
    command: list[str]
    process: psutil.Popen
    started: datetime
    logged: int
    """Bytes of the log that an earlier process with this name has written."""


class LocalAirflow:
    """
    One Airflow; use it as a context manager, or call :meth:`start` and :meth:`stop`.

    :param home: ``AIRFLOW_HOME``: database, logs and configuration live there. Made if missing.
    :param dags: The folder with the DAG files.
    :param connections: Connections by id, each a mapping as in Airflow's JSON form (``conn_type``, ``host``, ...).
    :param database_url: SQLAlchemy URL of an empty PostgreSQL database (default: SQLite below ``home``).
    :param parallelism: Tasks that can run at once (default 4).
    :param port: The API server's port (default: a free one).
    :param environment: More environment variables for every component, e.g. ``AIRFLOW__NENOA__...``.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        database_url: str | None = None,
        parallelism: int = 4,
        port: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home.resolve()
        self.logs = self.home / "logs"
        self._sqlite = self.home / "airflow.db"
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = AirflowApi(self.url)
        self._group = f"airflow-{uuid.uuid4()}"
        self._components: dict[str, _Component] = {}
        self._guard: subprocess.Popen[bytes] | None = None
        settings = {
            **_FAST,
            "API__BASE_URL": self.url,
            "API__SECRET_KEY": secrets.token_hex(16),
            "API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "CORE__DAGS_FOLDER": str(dags.resolve()),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "CORE__EXECUTOR": "LocalExecutor",
            "CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # the default asks DNS, which may be out of reach
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__PARALLELISM": str(parallelism),
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "CORE__TEST_CONNECTION": "Enabled",
            "DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "DATABASE__SQL_ALCHEMY_CONN": database_url or f"sqlite:///{self._sqlite}?timeout=60",
            "LOGGING__BASE_LOG_FOLDER": str(self.logs / "tasks"),
            "LOGGING__COLORED_CONSOLE_LOG": "False",
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")},
            **processes.marked(self._group),
            "AIRFLOW_HOME": str(self.home),
            "NO_PROXY": "127.0.0.1,localhost",
            **{f"AIRFLOW__{key}": value for key, value in settings.items()},
            **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in (connections or {}).items()},
            **(environment or {}),
        }

    def __enter__(self) -> LocalAirflow:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, components: Iterable[str] = COMPONENTS) -> None:
        """
        Create the database, start the components and wait until they are healthy.

        :raises RuntimeError: A component ended instead; the message has the end of its log.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        self._guard = processes.guard(self._group)
        try:
            self.airflow("db", "migrate")
            if self._sqlite.exists():
                # Or a component's reads fail, "database is locked", while the others write.
                with contextlib.closing(sqlite3.connect(self._sqlite)) as connection:
                    connection.execute("PRAGMA journal_mode=WAL")
            for name in components:
                self._launch(name)
            for name in components:
                self.wait_healthy(name)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process of this Airflow: components, workers, tasks. Files stay."""
        processes.end_group(self._group)
        self._components.clear()
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            self._guard.wait()
            self._guard = None

    def airflow(self, *arguments: str) -> str:
        """
        Run an ``airflow`` command to its end and return what it printed.

        :raises RuntimeError: It failed; the message has its output.
        """
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(arguments)} failed:\n{_tail(done.stdout)}")
        return done.stdout

    # --- single components

    def start_component(self, name: str) -> None:
        """
        Start a component, one that was stopped or killed before or one more of its kind, and wait until it is healthy.

        :param name: One of :data:`COMPONENTS`, or ``triggerer-2``, ``scheduler-2``, ... for one more; or ``worker``,
            ``worker-2``, ... of Celery.
        """
        self._launch(name)
        self.wait_healthy(name)

    def start_api_server(self, name: str, port: int) -> str:
        """Start one more API server, named ``api-server-2`` or the like, on ``port`` and return its URL."""
        self._launch(name, port=port)
        url = f"http://127.0.0.1:{port}"
        self._await(name, lambda: _answers(AirflowApi(url)))
        return url

    def stop_component(self, name: str, patience: float = 30) -> None:
        """Ask a component to end (SIGTERM) and wait; after ``patience`` seconds, kill it."""
        component = self._components.pop(name)
        component.process.terminate()
        try:
            component.process.wait(patience)
        except psutil.TimeoutExpired:
            processes.kill_tree(component.process)

    def kill_component(self, name: str) -> None:
        """SIGKILL a component with all its children, as when its container is lost."""
        processes.kill_tree(self._components.pop(name).process)

    def pid(self, name: str) -> int:
        """Return the process id of a running component."""
        pid: int = self._components[name].process.pid
        return pid

    def task_processes(self) -> dict[str, psutil.Process]:
        """Return the processes that run a task's code at this moment, by task instance id; a deferred task has none."""
        found = {}
        for process in processes.members(self._group):
            with contextlib.suppress(psutil.Error):
                if title := _TASK_TITLE.fullmatch(" ".join(process.cmdline()).strip()):
                    found[title[1]] = process
        return found

    def wait_healthy(self, name: str, timeout: float = 180) -> None:
        """Wait until a component has said that it is well since it was started (at most 180 s)."""
        kind = _kind(name)
        if kind == "api-server":
            self._await(name, lambda: _answers(self.api), timeout)
        elif kind == "worker":
            self._await(name, lambda: f"@{name} ready." in self._log(name), timeout)
        else:
            self._await(name, lambda: self._has_beaten(name, kind.replace("-", "_")), timeout)

    def wait_logged(self, name: str, *words: str, timeout: float = 60) -> None:
        """Wait until a component has written a line that has all these words, since it was started (at most 60 s)."""
        self._await(
            name, lambda: any(all(word in line for word in words) for line in self._log(name).splitlines()), timeout
        )

    def _launch(self, name: str, port: int | None = None) -> None:
        command = [sys.executable, "-m", "airflow"]
        kind = _kind(name)
        command += ["celery", kind] if kind == "worker" else [kind]
        if kind == "api-server":
            command += ["--host", "127.0.0.1", "--port", str(port or self.port), "--workers", "1"]
        elif kind in ("scheduler", "triggerer"):
            command += ["--skip-serve-logs"]  # the API server reads the same disk
        elif kind == "worker":
            command += ["--skip-serve-logs", "--celery-hostname", name, "--pid", str(self.home / f"{name}.pid")]
        started = datetime.now(UTC)
        with (self.logs / f"{name}.log").open("ab") as log:
            logged = log.tell()
            process = psutil.Popen(
                command,
                env=self.environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we end them in order
            )
        self._components[name] = _Component(name, command, process, started, logged)

    def _await(self, name: str, condition: Any, timeout: float = 180) -> None:
        process = self._components[name].process

        def fulfilled() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with exit code {process.returncode}:\n{_tail(self._log(name))}")
            return bool(condition())

        wait_until(fulfilled, timeout, lambda: f"{name} is not healthy:\n{_tail(self._log(name))}")

    def _log(self, name: str) -> str:
        """What a component has written since it was started."""
        written = (self.logs / f"{name}.log").read_bytes()
        return written[self._components[name].logged :].decode(errors="replace")

    def _has_beaten(self, name: str, kind: str) -> bool:
        health = self.api.health()[kind]
        beat = health[f"latest_{kind}_heartbeat"]
        # The heartbeat of a killed predecessor counts as healthy for a while.
        return health["status"] == "healthy" and datetime.fromisoformat(beat) > self._components[name].started


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _kind(name: str) -> str:
    return name.rstrip("-0123456789")


def _answers(api: AirflowApi) -> bool:
    try:
        return api.health()["metadatabase"]["status"] == "healthy"
    except (requests.ConnectionError, requests.Timeout):
        return False


def _tail(text: str, lines: int = 40) -> str:
    return "\n".join(text.splitlines()[-lines:])
