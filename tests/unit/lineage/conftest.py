"""Events as OpenLineage would send them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.lineage import hook as compat
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.utils.state import TaskInstanceState
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.serde import Serde

from airflow_provider_nenoa.lineage import files
from tests.support.openlineage import check_event

try:
    from airflow.sdk.lineage import HookLineageCollector, get_hook_lineage_collector
except ImportError:  # Airflow 3.0 and 3.1
    from airflow.lineage.hook import HookLineageCollector, get_hook_lineage_collector  # type: ignore[no-redef]


class DagRun:
    run_id = "manual__1"


class Ti:
    """As much of a task instance as extraction looks at."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.dag_id, self.task_id = task.dag_id, task.task_id


@pytest.fixture(autouse=True)
def collector(monkeypatch: pytest.MonkeyPatch) -> HookLineageCollector:
    """A collector for this test alone, that collects although nobody has registered a reader."""
    get_hook_lineage_collector()  # OpenLineage looks for nothing before somebody has asked for Airflow's own
    mine = HookLineageCollector()
    if compat._lacks_add_extra_method(mine):  # before Airflow 3.2, where the provider adds it to Airflow's own
        compat._add_extra_polyfill(mine)
    monkeypatch.setattr(files, "_collector", lambda: mine)
    monkeypatch.setattr(compat, "get_hook_lineage_collector", lambda: mine)
    return mine


@pytest.fixture
def event_of() -> Callable[..., dict[str, Any]]:
    """A function that has OpenLineage look at an operator, and returns the checked event."""

    def event_of(operator: Any, state: TaskInstanceState = TaskInstanceState.SUCCESS) -> dict[str, Any]:
        lineage = ExtractorManager().extract_metadata(DagRun(), operator, state, Ti(operator))
        event = RunEvent(
            eventType=RunState.COMPLETE,
            eventTime=datetime.now(UTC).isoformat(),
            run=Run(str(uuid4()), lineage.run_facets),
            job=Job("default", "dag.task", lineage.job_facets),
            inputs=lineage.inputs,
            outputs=lineage.outputs,
            producer="https://airflow-provider-nenoa.readthedocs.io",
        )
        found: dict[str, Any] = json.loads(Serde.to_json(event))
        check_event(found)
        return found

    return event_of
