"""``python -m dev.demo [--keep]``: the pipeline example in a real Airflow, against emulated vendors. ``make demo``."""

from __future__ import annotations

import argparse
import base64
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_nenoa.emulator import Emulator
from tests.support.airflow_api import DagRun
from tests.support.local_airflow import LocalAirflow, free_port

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".nenoa" / "demo"
DAGS = HOME / "dags"
SHELL = HOME / "shell.sh"
KEYS = HOME / "keys.json"
DAG_ID = "nenoa_pipeline"
QUERY, AGENT = "weekly_sales", "summarise"
AIRFLOW_PORT, EMULATOR_PORT = 28080, 28090
"""Taken if they are free: then what was saved by the last demo, browser tabs included, is still right."""


def main() -> int:
    """Run the demo; return 0 if the DAG ended in success, else 1, after the log of the task that failed."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    keep = parser.parse_args().keep
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the with blocks below end, too

    DAGS.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "example_dags", DAGS / "nenoa_examples", dirs_exist_ok=True)
    vendors = Emulator(
        port=port_near(EMULATOR_PORT), nenai_key="nen_emulator", workflow={"seconds": 3}, agent={"seconds": 3}
    )
    with vendors as emulator:
        print(f"NenAI and OpenAnalyst, emulated: {emulator.url}")
        theirs = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")}
        airflow = LocalAirflow(HOME, DAGS, port=port_near(AIRFLOW_PORT), environment={**lasting_keys(), **theirs})
        print(f"Starting Airflow {version('apache-airflow')} in {HOME.relative_to(ROOT)}: {airflow.url}", flush=True)
        with airflow:
            store_connections(airflow, emulator)
            write_shell(airflow)
            run = airflow.api.trigger(DAG_ID)
            print(f"\nRunning {DAG_ID}")
            show_progress(run)
            if succeeded := run.state == "success":
                show_results(run, emulator)
            else:
                print(f"\n{run.failures()}\n\nThe DAG failed.", file=sys.stderr)
            if keep:
                wait_for_interrupt(airflow, emulator)
            elif succeeded:
                print("\nmake demo KEEP=1 leaves it running, to look at and to try DAGs of your own.")
    return 0 if succeeded else 1


def port_near(wanted: int) -> int:
    """Return a port if it is free, or else another one."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
    return wanted


def lasting_keys() -> dict[str, str]:
    """Return the settings that must be the same for the next demo, or it could not read what this one stores."""
    if not KEYS.exists():
        KEYS.touch(mode=0o600)
        KEYS.write_text(
            json.dumps(
                {
                    "AIRFLOW__CORE__FERNET_KEY": base64.urlsafe_b64encode(os.urandom(32)).decode(),
                    "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
                    "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
                }
            )
        )
    keys: dict[str, str] = json.loads(KEYS.read_text())
    return keys


def store_connections(airflow: LocalAirflow, emulator: Emulator) -> None:
    """Put the emulated vendors' connections where Admin > Connections shows them."""
    connections = {
        name.removeprefix("AIRFLOW_CONN_").lower(): with_port(json.loads(value))
        for name, value in emulator.airflow_connections().items()
    }
    file = HOME / "connections.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(connections))
    airflow.airflow("connections", "import", str(file), "--overwrite")


def with_port(connection: dict[str, Any]) -> dict[str, Any]:
    """Return a connection with its port in a field of its own, without which Airflow's Test button refuses it."""
    url = urlsplit(connection["host"])
    return {**connection, "host": f"{url.scheme}://{url.hostname}{url.path}", "port": url.port}


def write_shell(airflow: LocalAirflow) -> None:
    """Write what makes the ``airflow`` command talk to this Airflow."""
    names = [name for name in airflow.environment if name.startswith("AIRFLOW")]
    lines = [f"export {name}={shlex.quote(airflow.environment[name])}" for name in sorted(names)]
    SHELL.touch(mode=0o600)
    SHELL.write_text("\n".join([*lines, f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"', ""]))


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
    """Say where everything is and what to try, and return at Ctrl-C."""
    shell = SHELL.relative_to(ROOT)
    print(
        f"""
Airflow's UI    {airflow.url} (no login: this Airflow takes everybody for an administrator)
Your DAGs       put them into {DAGS.relative_to(ROOT)}/; they show up within seconds
A shell         source {shell}
                then, for example: airflow dags list; airflow connections list
The emulator    {emulator.url}/docs shows what it can; {emulator.url}/_control/requests what it was asked

Try next
  - trigger openanalyst_mapped_agents in the UI, and look at the log of a deferred task
  - kill the worker process of a running task: its retry goes on with the run that is there
  - airflow connections add my_own --conn-type openanalyst --conn-password ..., for a real key

What you make here stays for the next `make demo KEEP=1`; `make clean` removes it. Ctrl-C stops everything."""
    )
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        print("\nStopping")


if __name__ == "__main__":
    sys.exit(main())
