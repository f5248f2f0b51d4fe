"""
Thousands of deferred tasks in the database of a real Airflow, without the days that it would take to run them.

``python -m tests.benchmarks.deferred 12000``, in the environment of an Airflow with one task, which is deferred: makes
so many copies of it, mapped ones, each with a trigger of its own for the run ``run-<map index>``.
"""

from __future__ import annotations

import sys
import time
import uuid

BATCH = 1000


def make(count: int) -> None:
    """Make so many copies of the one task that there is."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session
    from sqlalchemy import insert, select

    from airflow_provider_nenoa.triggers.nenai import NenAIWorkflowRunTrigger

    table = TaskInstance.__table__
    now = time.time()
    with create_session() as session:
        task = dict(session.execute(select(table)).mappings().one())
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            triggers = [
                Trigger.from_object(
                    NenAIWorkflowRunTrigger(f"run-{n}", "nen", told=True, started_at=now, deadline=now + 86_400)
                )
                for n in numbers
            ]
            session.add_all(triggers)
            session.flush()
            copies = [
                {**task, "id": uuid.uuid4(), "map_index": number, "trigger_id": trigger.id}
                for number, trigger in zip(numbers, triggers, strict=True)
            ]
            session.execute(insert(table), copies)


if __name__ == "__main__":
    make(int(sys.argv[1]))
