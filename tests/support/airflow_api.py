"""Airflow's public REST API (``/api/v2``), as far as tests and the demo drive DAGs with it; the same on 3.0 to 3.3."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

ENDS = frozenset({"success", "failed"})


class AirflowApi:
    """
    A client for an Airflow whose simple auth manager lets everybody in (``simple_auth_manager_all_admins``).

    :param url: Base URL of the API server.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands between a test and its own machine
        # A server closes what was idle for some seconds, and a request that is under way just then is reset.
        self._session.headers["Connection"] = "close"
        # What only reads is asked again: a busy machine's API server resets a connection now and then.
        reads_again = Retry(total=3, backoff_factor=0.5, allowed_methods=["GET"], status=0)
        self._session.mount("http://", HTTPAdapter(max_retries=reads_again))

    def request(self, method: str, path: str, **kwargs: Any) -> Any:
        """
        Send one request below ``/api/v2`` and return the JSON of the answer (None if it has no body).

        :raises requests.HTTPError: On any 4xx or 5xx, with the body in its message.
        """
        if "Authorization" not in self._session.headers:
            self._login()
        # Longer than Airflow waits for a lock of SQLite's, which is 60 s here.
        response = self._session.request(method, f"{self.url}/api/v2{path}", timeout=90, **kwargs)
        if not response.ok:
            raise requests.HTTPError(f"{response.status_code} for {method} {path}: {response.text}", response=response)
        return response.json() if response.content else None

    def _login(self) -> None:
        response = self._session.get(f"{self.url}/auth/token", timeout=30)
        response.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {response.json()['access_token']}"

    def get(self, path: str, **params: Any) -> Any:
        """GET a path below ``/api/v2``."""
        return self.request("GET", path, params=params)

    def post(self, path: str, body: Any) -> Any:
        """POST a JSON body to a path below ``/api/v2``."""
        return self.request("POST", path, json=body)

    def health(self) -> dict[str, Any]:
        """Return the health of the components, by name; it needs no login."""
        response = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5)
        response.raise_for_status()
        health: dict[str, Any] = response.json()
        return health

    def form_metadata(self) -> Any:
        """Return what the UI makes its connection forms from, by connection type."""
        self.get("/connections", limit=1)  # logs in
        response = self._session.get(f"{self.url}/ui/connections/hook_meta", timeout=30)
        response.raise_for_status()
        return response.json()

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, timeout: float = 120) -> DagRun:
        """
        Start a run of a DAG, waiting until its file is parsed, and unpausing it.

        :param timeout: Seconds to wait for the DAG to appear (default 120).
        :raises TimeoutError: It did not; the message has the import errors.
        """
        self.wait_for_dag(dag_id, timeout)
        self.set_paused(dag_id, False)
        run = self.post(f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf or {}})
        return DagRun(self, dag_id, run["dag_run_id"])

    def wait_for_dag(self, dag_id: str, timeout: float = 120) -> None:
        """
        Wait until the file of a DAG is parsed.

        :param timeout: Seconds (default 120).
        :raises TimeoutError: It was not; the message has the import errors.
        """
        wait_until(
            lambda: self._is_known(dag_id),
            timeout,
            lambda: f"no DAG {dag_id!r}; import errors: {self.get('/importErrors')['import_errors']}",
        )

    def set_paused(self, dag_id: str, paused: bool) -> None:
        """Pause a DAG, or let it run."""
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": paused})

    def end_all_runs(self) -> None:
        """Mark every run that goes on as failed, which ends its tasks."""
        for run in self.get("/dags/~/dagRuns", state=["running", "queued"])["dag_runs"]:
            self.request("PATCH", f"/dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}", json={"state": "failed"})

    def _is_known(self, dag_id: str) -> bool:
        try:
            return bool(self.get(f"/dags/{dag_id}"))
        except requests.HTTPError as error:
            if error.response is not None and error.response.status_code == 404:
                return False
            raise


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG; ``map_index`` is -1 for a task that is not mapped."""

    api: AirflowApi
    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"

    @property
    def state(self) -> str:
        """The run's state: ``queued``, ``running``, ``success`` or ``failed``."""
        state: str = self.api.get(self.path)["state"]
        return state

    def task_instances(self) -> list[dict[str, Any]]:
        """Return all task instances, mapped ones one by one, as the API describes them."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.api.get(f"{self.path}/taskInstances", limit=100, offset=len(found))
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def task_instance(self, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return one task instance."""
        suffix = "" if map_index < 0 else f"/{map_index}"
        instance: dict[str, Any] = self.api.get(f"{self.path}/taskInstances/{task_id}{suffix}")
        return instance

    def states(self) -> dict[str, str | None]:
        """Return each task's state, by task id (``id[map_index]`` for a mapped one)."""
        return {_label(instance): instance["state"] for instance in self.task_instances()}

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return an XCom's value."""
        path = f"{self.path}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api.get(path, map_index=map_index, deserialize=False)["value"]

    def log(self, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return the log of one try as text: each entry's event, and its other fields as JSON."""
        return "\n".join(map(_in_full, self._log_entries(task_id, try_number, map_index)))

    def _log_entries(self, task_id: str, try_number: int, map_index: int) -> list[dict[str, Any] | str]:
        answer = self.api.get(
            f"{self.path}/taskInstances/{task_id}/logs/{try_number}", map_index=map_index, full_content=True
        )
        entries: list[dict[str, Any] | str] = answer["content"]
        return entries

    def worker_processes(self, task_id: str) -> int:
        """Return how many worker processes a task has taken so far, by Airflow's log of events (3.3)."""
        started = self.api.get("/eventLogs", dag_id=self.dag_id, run_id=self.run_id, task_id=task_id, event="running")
        count: int = started["total_entries"]
        return count

    def clear(self, task_ids: list[str] | None = None) -> None:
        """Clear tasks, in whatever state, so that they run again (default: all)."""
        self.api.post(
            f"/dags/{self.dag_id}/clearTaskInstances",
            {"dry_run": False, "only_failed": False, "dag_run_id": self.run_id, "task_ids": task_ids},
        )

    def set_state(self, task_id: str, state: str) -> None:
        """Mark a task as ``success`` or ``failed``, as a person does in the UI."""
        self.api.request("PATCH", f"{self.path}/taskInstances/{task_id}", json={"new_state": state})

    def wait(self, timeout: float = 300) -> str:
        """
        Wait until the run has ended and return its state.

        :param timeout: Seconds (default 300).
        :raises TimeoutError: With the state of each task.
        """
        wait_until(lambda: self.state in ENDS, timeout, lambda: f"{self.dag_id} has not ended: {self.states()}")
        return self.state

    def expect(self, state: str = "success", timeout: float = 300) -> None:
        """
        Wait until the run has ended, and fail with the logs of its failed tasks if it did not end in ``state``.

        :raises AssertionError: It ended otherwise.
        :raises TimeoutError: It did not end within ``timeout`` seconds (default 300).
        """
        if self.wait(timeout) != state:
            raise AssertionError(f"{self.dag_id} did not end in {state}: {self.states()}\n\n{self.failures()}")

    def failures(self) -> str:
        """Return the logs of the last try of each failed task, with a headline."""
        logs = []
        for task in self.task_instances():
            if task["state"] == "failed":
                entries = self._log_entries(task["task_id"], task["try_number"], task["map_index"])
                logs.append("\n".join([f"--- {_label(task)}, try {task['try_number']}", *map(_for_people, entries)]))
        return "\n\n".join(logs)

    def wait_for(self, task_id: str, *states: str, timeout: float = 120) -> dict[str, Any]:
        """Wait until a task is in one of ``states`` and return it; raise TimeoutError after ``timeout`` seconds."""
        seen: dict[str, Any] = {}

        def reached() -> bool:
            seen.update(self.task_instance(task_id))
            return seen["state"] in states

        wait_until(reached, timeout, lambda: f"{task_id} is {seen.get('state')}, not one of {states}")
        return seen

    def changes(self, timeout: float = 300) -> Iterator[tuple[str, str]]:
        """Yield ``(task, state)`` at each change of a task's state until the run has ended."""
        deadline = time.monotonic() + timeout
        last: dict[str, str | None] = {}
        ended = False
        while not ended:
            ended = self.state in ENDS  # asked before the tasks: the last look comes after the end
            states = self.states()
            for task, state in states.items():
                if state is not None and last.get(task) != state:
                    yield task, state
            last = states
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.dag_id} has not ended after {timeout:g} s: {states}")
            time.sleep(0.2)


def wait_until(condition: Callable[[], Any], timeout: float, complaint: Callable[[], str], every: float = 0.2) -> None:
    """
    Wait until ``condition()`` is true.

    :param timeout: Seconds.
    :param complaint: Makes the message if it never is.
    :param every: Seconds between two looks (default 0.2).
    :raises TimeoutError: With that message.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout:g} s: {complaint()}")
        time.sleep(every)


def _label(instance: dict[str, Any]) -> str:
    index = instance["map_index"]
    return instance["task_id"] if index < 0 else f"{instance['task_id']}[{index}]"


def _in_full(entry: dict[str, Any] | str) -> str:
    return entry if isinstance(entry, str) else f"{entry['event']}  {json.dumps(entry, ensure_ascii=False)}"


def _for_people(entry: dict[str, Any] | str) -> str:
    if isinstance(entry, str):
        return entry
    lines = [f"{(entry.get('timestamp') or '')[11:19]} {entry.get('level', '')}: {entry['event']}"]
    for error in entry.get("error_detail") or []:
        lines += [f"    {frame['filename']}:{frame['lineno']} in {frame['name']}" for frame in error["frames"]]
        lines.append(f"    {error['exc_type']}: {error['exc_value']}")
    return "\n".join(lines)
