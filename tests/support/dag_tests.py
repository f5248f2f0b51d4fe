"""
``python -m tests.support.dag_tests FILE...``: ``dag.test()`` of all DAGs in the files; the last line is JSON.

With ``--tasks`` before the files, ``airflow tasks test`` of each of their tasks instead.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from airflow.sdk import DAG
from airflow.sdk.definitions._internal.contextmanager import DagContext


def dags_in(path: Path) -> list[DAG]:
    """Import a DAG file, as Airflow does, under a name of its own."""
    spec = spec_from_file_location(f"tested_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    DagContext.current_autoregister_module_name = spec.name
    spec.loader.exec_module(module)
    found = {dag.dag_id: dag for dag, registered in DagContext.autoregistered_dags if registered is module}
    return list(found.values())


def tested(dag: DAG) -> dict[str, Any]:
    """Test a DAG, and tell how it went."""
    began = time.monotonic()
    run = dag.test()
    return {"state": str(run.state), "tasks": states(run), "seconds": time.monotonic() - began}


def tested_by_task(dag: DAG) -> dict[str, Any]:
    """Test a DAG's tasks one after the other, and tell how it went."""
    run = dag.test(mark_success_pattern=".*")  # a run that has all tasks, and has done nothing
    began = time.monotonic()
    for task in dag.topological_sort():
        for ti in [ti for ti in run.get_task_instances() if ti.task_id == task.task_id]:
            test_task(ti)
    return {"tasks": states(run), "seconds": time.monotonic() - began}


def test_task(ti: Any) -> None:
    """Do what ``airflow tasks test`` does, and again while the task says "later"."""
    from airflow.cli.cli_parser import get_parser

    mapped = [] if ti.map_index < 0 else ["--map-index", str(ti.map_index)]
    command = get_parser().parse_args(["tasks", "test", ti.dag_id, ti.task_id, ti.run_id, *mapped])
    command.func(command)
    while ti.get_dagrun().get_task_instance(ti.task_id, map_index=ti.map_index).state == "up_for_reschedule":
        command.func(command)


def states(run: Any) -> dict[str, list[str]]:
    """The states of a run's tasks."""
    found: dict[str, list[str]] = {}
    for ti in run.get_task_instances():
        found.setdefault(ti.task_id, []).append(str(ti.state))
    return found


def main() -> None:
    arguments = sys.argv[1:]
    test = tested_by_task if arguments[0] == "--tasks" else tested
    results = {dag.dag_id: test(dag) for path in arguments if path != "--tasks" for dag in dags_in(Path(path))}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
