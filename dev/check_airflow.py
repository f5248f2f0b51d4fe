"""
``python -m dev.check_airflow``: does the installed Airflow run a DAG, with all its components?

Ends with exit code 0 if so. An Airflow whose libraries do not fit together may well install, migrate and look healthy.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path

from tests.support.local_airflow import LocalAirflow

DAG = """
from datetime import timedelta
from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor
from airflow.sdk import ObjectStoragePath, dag, task

@dag
def check():
    @task
    def write():
        ObjectStoragePath(f"file://{__file__}.txt").write_text("ran")

    write() >> TimeDeltaSensor(task_id="wait", delta=timedelta(seconds=15), deferrable=True)

check()
"""


def main() -> None:
    """Run a DAG with a plain and a deferred task; what goes wrong is raised."""
    with tempfile.TemporaryDirectory(prefix="nenoa-") as directory:
        home = Path(directory)
        dags = home / "dags"
        dags.mkdir()
        (dags / "check.py").write_text(DAG)
        with LocalAirflow(home, dags) as airflow:
            run = airflow.api.trigger("check")
            state = run.wait()
            if state != "success":
                raise RuntimeError(f"the DAG ended in {run.states()}:\n{run.failures()}")
            print(f"Airflow {version('apache-airflow')} runs: {run.states()}")


if __name__ == "__main__":
    main()
