"""``python -m dev.demo [--keep]``: the pipeline example in a real Airflow, against emulated vendors. ``make demo``."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections import Counter
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from airflow_provider_nenoa.emulator import Emulator
from tests.support.airflow_api import DagRun
from tests.support.local_airflow import LocalAirflow

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".nenoa" / "demo"
DAG_ID = "nenoa_pipeline"
QUERY, AGENT = "weekly_sales", "summarise"


def main() -> int:
    """Run the demo; return 0 if the DAG ended in success, else 1, after the log of the task that failed."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the with blocks below end, too

    shutil.rmtree(HOME, ignore_errors=True)
    with Emulator(workflow={"seconds": 3}, agent={"seconds": 3}) as emulator:
        print(f"NenAI and OpenAnalyst, emulated: {emulator.url}")
        airflow = LocalAirflow(HOME, ROOT / "example_dags", environment=emulator.airflow_connections())
        print(f"Starting Airflow {version('apache-airflow')} in {HOME.relative_to(ROOT)}: {airflow.url}", flush=True)
        with airflow:
            run = airflow.api.trigger(DAG_ID)
            print(f"\nRunning example_dags/{DAG_ID}.py")
            show_progress(run)
            if succeeded := run.state == "success":
                show_results(run, emulator)
            else:
                print(f"\n{run.failures()}\n\nThe DAG failed.", file=sys.stderr)
            if keep:
                wait_for_interrupt(airflow, emulator)
    return 0 if succeeded else 1


def show_progress(run: DagRun) -> None:
    """Print a line whenever the state of a task changes, until the run has ended."""
    started = time.monotonic()
    for task, state in run.changes():
        print(f"  {time.monotonic() - started:5.1f} s  {task:<16}{state}", flush=True)


def show_results(run: DagRun, emulator: Emulator) -> None:
    """Print what the query and the agent returned, and what each task asked of the vendors."""
    print(f"\nThe rows of {QUERY}:")
    rows = run.xcom(QUERY)
    for row in [dict(zip(rows["columns"], rows["columns"], strict=True)), *rows["rows"]]:
        print("  " + "".join(f"{row[column]!s:<16}" for column in rows["columns"]))

    print(f"\nThe answer of {AGENT}:")
    for line in run.xcom(AGENT)["result"]["result"]["answer"].splitlines():
        print(f"  {line}")

    print("\nRequests to the vendors:")
    for (task, request), count in requests_by_task(run, emulator).items():
        print(f"  {task:<16}{count:>3}  {request}")


def requests_by_task(run: DagRun, emulator: Emulator) -> Counter[tuple[str, str]]:
    """Count the requests of each task, by method and path. The tasks of the pipeline run one after the other."""
    ends = sorted(
        (datetime.fromisoformat(task["end_date"]).timestamp(), task["task_id"]) for task in run.task_instances()
    )
    return Counter(
        (next(task for end, task in ends if request["time"] <= end), f"{request['method']} {request['route']}")
        for request in emulator.control.requests()
    )


def wait_for_interrupt(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Say where everything is, and return at Ctrl-C."""
    print(f"\nAirflow's UI: {airflow.url} (no login: this Airflow takes everybody for an administrator)")
    print(f"The emulator's API: {emulator.url}/docs")
    print("Ctrl-C stops everything.", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("\nStopping")


if __name__ == "__main__":
    sys.exit(main())
