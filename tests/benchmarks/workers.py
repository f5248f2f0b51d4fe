"""Worker processes that one awaited run takes, counted by a real Airflow: in each of our ways, and by the peers."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import requests

from tests.benchmarks.peers import PEERS, Vendor
from tests.benchmarks.table import Row
from tests.support.airflow_api import DagRun
from tests.support.local_airflow import LocalAirflow

DAGS = Path(__file__).parent / "dags"
KEY = "oa_live_acme_key"
SETTLED = 10.0
"""Seconds after which Airflow has seen that each deferring process is done: it fails a task that goes on before."""


def _counted() -> tuple[dict[str, int], dict[str, int]]:
    """Await runs that end once everybody waits; return the worker processes by our way of waiting, and by peer."""
    from airflow_provider_nenoa.emulator import Emulator

    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        emulator = stack.enter_context(Emulator(plan="unlimited"))
        vendors = {name: stack.enter_context(Vendor(peer.running, peer.ended)) for name, peer in PEERS.items()}
        trusted = home / "trusted.pem"
        trusted.write_text("".join(Path(each.environment["SSL_CERT_FILE"]).read_text() for each in vendors.values()))
        airflow = stack.enter_context(
            LocalAirflow(
                home / "airflow",
                DAGS,
                connections={
                    name.replace("-", "_"): PEERS[name].connection(vendor.url) for name, vendor in vendors.items()
                },
                environment={
                    **dict.fromkeys(("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"), str(trusted)),
                    **emulator.airflow_connections(KEY),
                },
            )
        )
        run_id = _start_elsewhere(emulator.openanalyst_url, f"{airflow.url}/nenoa/webhooks/openanalyst_default")
        ours, peers = airflow.api.trigger("ours", conf={"run_id": run_id}), airflow.api.trigger("peers")
        for run in (ours, peers):
            for task in run.task_instances():
                run.wait_for(task["task_id"], "deferred")
        time.sleep(SETTLED)
        for awaited in emulator.control.runs():
            emulator.control.finish(awaited["id"])
        for vendor in vendors.values():
            vendor.end()
        ours.expect("success")
        peers.expect("success")
        return _worker_processes(ours), _worker_processes(peers)


def _start_elsewhere(vendor: str, webhook: str) -> str:
    """Start a run outside Airflow, for sensors to wait for; return its id."""
    reply = requests.post(
        f"{vendor}/agents/run",
        headers={"Authorization": f"Bearer {KEY}"},
        json={
            "agent_id": "agent_xyz789",
            "task": "Wait",
            "context": {"emulate": {"seconds": None}},
            "webhook_url": webhook,
        },
        timeout=10,
    )
    run_id: str = reply.json()["run_id"]
    return run_id


def _worker_processes(run: DagRun) -> dict[str, int]:
    return {task["task_id"]: run.worker_processes(task["task_id"]) for task in run.task_instances()}


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])))


def rows() -> list[Row]:
    """The worker processes of one awaited run."""
    ours, peers = _counted()
    least = "start_and_end_from_trigger"
    return [
        Row(
            "worker processes for one awaited run",
            "0",
            _listed(ours),
            _listed(peers),
            ours[least] == 0,
            "deferred tasks in a real Airflow, by its log of events: how often a worker process began to run the task, "
            "until it had succeeded. Peers: their sensor, or else their operator, with `deferrable=True`; they know no "
            "other way",
        )
    ]
