"""A stage for one case: a vendor of its own, a connection to it, and one run of a DAG."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any, NamedTuple

from airflow_provider_nenoa.emulator import Emulator
from tests.support.airflow_api import ENDS, AirflowApi, DagRun, wait_until
from tests.support.local_airflow import LocalAirflow

AIRFLOW = tuple(int(part) for part in version("apache-airflow").split(".")[:2])
KINDS = ("agent", "workflow", "query")
MODES = ("blocking", "deferrable")
API_KEY = "oa_live_crash0123456789"
WEBHOOK_SECRET = "webhook-secret-crash0123456789"
START = {"agent": "/v1/agents/run", "workflow": "/runs", "query": "/v1/queries"}
ASK = {"agent": "/v1/agents/runs/*", "workflow": "/runs/*", "query": "/v1/queries/*/results"}
ID_KEY = {"agent": "run_id", "workflow": "message_id", "query": "query_id"}
PATIENCE = 150.0
"""Seconds to wait for something that is sure to happen, on a machine that is busy with other cases."""


class Outcome(NamedTuple):
    """What came of it.

    :param posts: starts that the vendor received.
    :param runs: runs that it made of them.
    :param attempts: tries of the task.
    :param end: the task's state at the end.
    """

    posts: int
    runs: int
    attempts: int
    end: str


class Stage:
    """
    One DAG run on a connection and a vendor that nobody else uses; a context manager.

    :param airflow: Where it runs.
    :param kind: ``agent``, ``workflow`` or ``query``.
    :param mode: ``blocking`` or ``deferrable``.
    :param told: Whether the connection has a webhook secret; if not, runs are polled.
    :param seconds: How long a run takes at the vendor; None: until `finish`.
    :param dies: Where the process of the first try is killed; see the DAG file.
    :param arguments: Attributes of the operator to set.
    :param extra: More extra fields of the connection.
    :param mcp: Whether the connection has the address of NenAI's MCP server, and nothing else to learn from.
    :param grace: Seconds after the task's deadline at which Airflow itself gives up on a trigger, instead of 600.
    :param dag: The end of the name of a special DAG for the kind and mode.
    """

    def __init__(
        self,
        airflow: LocalAirflow,
        kind: str,
        mode: str,
        *,
        told: bool = True,
        seconds: float | None = 2.0,
        dies: str | None = None,
        arguments: dict[str, Any] | None = None,
        extra: dict[str, Any] | None = None,
        mcp: bool = False,
        grace: float | None = None,
        dag: str = "",
    ) -> None:
        self.airflow = airflow
        self.api = AirflowApi(airflow.url)  # a session of its own: cases run in threads
        self.kind = kind
        self.mode = mode
        self.dag_id = f"{kind}_{mode}{dag}"
        self.conn_id = f"case_{uuid.uuid4().hex}"
        self.emulator = Emulator(
            openanalyst_key=API_KEY,
            nenai_key=API_KEY,
            openanalyst_webhook_secret=WEBHOOK_SECRET,
            nenai_webhook_secret=WEBHOOK_SECRET,
            plan="unlimited",
            run_status_path=True,
            **{kind: {"seconds": seconds}},
        )
        self._extra = dict(extra or {})
        self._mcp = mcp
        if told and not mcp:
            self._extra["webhook_secret"] = WEBHOOK_SECRET
        elif kind == "workflow" and not mcp:
            self._extra["run_status_path"] = "/runs/{message_id}"
        self.conf: dict[str, Any] = {
            "conn_id": self.conn_id,
            "dies": dies,
            "arguments": {"poll_interval": 1.0, **(arguments or {})},
        }
        if grace is not None:
            self.conf["grace"] = grace
        self._faults = 0
        self._exit = ExitStack()

    def __enter__(self) -> Stage:
        self._exit.enter_context(self.emulator)
        if self._mcp:
            self._extra["mcp_url"] = self.emulator.mcp_url
        vendor = "nenai" if self.kind == "workflow" else "openanalyst"
        self.api.post(
            "/connections",
            {
                "connection_id": self.conn_id,
                "conn_type": vendor,
                "host": getattr(self.emulator, f"{vendor}_url"),
                "password": API_KEY,
                "extra": json.dumps(self._extra),
            },
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def fault_start(self, kind: str, **fault: Any) -> None:
        """Let the vendor meet a start with a fault."""
        self._fault(kind, method="POST", path=START[self.kind], **fault)

    def fault_questions(self, kind: str, **fault: Any) -> None:
        """Let the vendor meet questions about the run, or about its result, with a fault."""
        self._fault(kind, method="GET", path=ASK[self.kind], **fault)

    def trigger(self) -> None:
        """Start the DAG's run."""
        self.run: DagRun = self.api.trigger(self.dag_id, self.conf, timeout=PATIENCE)
        self.task_id: str = self.task()["id"]
        if self.conf["dies"]:
            self._try_again()

    def task(self) -> dict[str, Any]:
        """Return the task instance."""
        return self.run.task_instance("task")

    def until(self, what: str, condition: Callable[[], Any], timeout: float = PATIENCE) -> None:
        """Wait until something holds; the error has the logs of all attempts."""
        wait_until(condition, timeout, lambda: f"{self.dag_id}: not {what}\n{self.story()}", every=0.7)

    def until_waiting(self, attempt: int = 1) -> None:
        """Wait until the task, in this attempt or a later one, awaits a run whose id it knows."""

        def waits() -> bool:
            task = self.task()
            return task["try_number"] >= attempt and (
                task["state"] == "deferred" or (task["state"] == "running" and self._knows_id())
            )

        self.until(f"waiting in attempt {attempt}", waits)

    def until_ended(self, timeout: float = PATIENCE) -> None:
        """Wait until the DAG's run has ended."""
        self.until("ended", lambda: self.run.state in ENDS, timeout)

    def runs(self) -> list[str]:
        """Return the ids of all runs that the vendor has started."""
        return [run["id"] for run in self.emulator.control.runs()]

    def finish(self, **behaviour: Any) -> None:
        """End the vendor's run that goes on."""
        (run_id,) = [run["id"] for run in self.emulator.control.runs() if not run["ended"]]
        self.emulator.control.finish(run_id, **behaviour)

    def clear(self) -> None:
        """Clear the task, as a person does, and wait until it runs again."""
        attempts = self.task()["try_number"]
        self.run.clear()
        self.until("cleared", lambda: self.task()["try_number"] > attempts)

    def questions(self) -> int:
        """Return how many questions about runs the vendor was asked."""
        return sum(request["method"] == "GET" for request in self.emulator.control.requests())

    def kill_task(self, *, with_worker: bool = False) -> None:
        """SIGKILL the process that runs the task's code, and the one that supervises it if asked to."""
        process = self.airflow.task_processes()[self.task_id]
        doomed = [process.parent(), process] if with_worker else [process]
        for one in doomed:
            assert one is not None
            one.kill()
        if not with_worker:
            self._try_again()

    def outcome(self) -> Outcome:
        """
        Wait until the DAG's run has ended and return what came of it.

        A success must have the right result, and all faults must have been met.
        """
        self.until_ended()
        task = self.task()
        requests = self.emulator.control.requests()
        assert sum("fault" in request for request in requests) == self._faults, self.story()
        posts = sum((request["method"], request["path"]) == ("POST", START[self.kind]) for request in requests)
        outcome = Outcome(posts, len(self.runs()), task["try_number"], task["state"])
        if task["state"] == "success":
            self._check_result()
        return outcome

    def logs(self) -> str:
        """Return the logs of all attempts."""
        return "\n".join(
            f"--- attempt {attempt}\n{self.run.log('task', attempt)}"
            for attempt in range(1, self.task()["try_number"] + 1)
        )

    def times_logged(self, *words: str) -> int:
        """Return how many lines of all attempts' logs have all these words."""
        return sum(all(word in line for word in words) for line in self.logs().splitlines())

    def story(self) -> str:
        """Return all that is known, for whoever looks for a mistake."""
        asked = [f"{r['time']:.1f} {r['method']} {r['path']} {r['status']}" for r in self.emulator.control.requests()]
        logged = [line[:300] for line in self.logs().splitlines() if not line.startswith("::")]
        return "\n".join([str(self.run.states()), *asked, *logged])

    def _fault(self, kind: str, times: int = 1, **fault: Any) -> None:
        self._faults += times
        self.emulator.control.fault(kind, times=times, **fault)

    def _try_again(self) -> None:
        """Do what Airflow 3.0 does not do with a task whose process was killed, whatever its retries."""
        if AIRFLOW < (3, 1):
            self.until_ended()
            self.clear()

    def _knows_id(self) -> bool:
        entries = self.api.get(f"{self.run.path}/taskInstances/task/xcomEntries")["xcom_entries"]
        return any(entry["key"] == ID_KEY[self.kind] for entry in entries)

    def _check_result(self) -> None:
        result = self.run.xcom("task")
        run_id = self.run.xcom("task", ID_KEY[self.kind])
        assert run_id in self.runs(), self.story()
        if self.conf["arguments"].get("wait_for_completion") is False:
            assert result == run_id
            return
        if self.kind == "query":
            (row,) = result["rows"]
            assert (result["row_count"], row["subject"]) == (1, self.run.run_id)
            return
        assert result[ID_KEY[self.kind]] == run_id
        assert result["status"] == ("completed" if self.kind == "agent" or self._mcp else "success")
        if self.kind == "agent":
            assert f"Summarise {self.run.run_id}" in str(result["result"])
        else:
            assert result["result"]["messageId" if self._mcp else "message_id"] == run_id
