"""Run an operator as Airflow's task runner and triggerer do, without either: attempts, deferrals, deaths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

from airflow.sdk import BaseOperator

try:
    from airflow.sdk.exceptions import TaskDeferred
except ImportError:  # Airflow 3.0 and 3.1
    from airflow.exceptions import TaskDeferred


class Died(BaseException):
    """The worker's process is gone."""


class StateStore(dict[str, Any]):
    """
    Airflow's task state store.

    :param die_before: How many writes succeed before the process dies instead of writing; None: all.
    :param die_after: How many writes succeed, with the last of which the process dies; None: all.
    """

    def __init__(self, *, die_before: int | None = None, die_after: int | None = None) -> None:
        super().__init__()
        self.die_before = die_before
        self.die_after = die_after
        self.writes = 0

    def set(self, key: str, value: Any) -> None:
        if self.writes == self.die_before:
            self.die_before = None
            raise Died
        self[key] = json.loads(json.dumps(value))
        self.writes += 1
        if self.writes == self.die_after:
            self.die_after = None
            raise Died

    def delete(self, key: str) -> None:
        self.pop(key, None)


class TaskInstance:
    """As much of a task instance as an operator looks at."""

    dag_id, task_id, run_id, map_index = "dag", "task", "manual__1", -1
    try_number, max_tries = 1, 2

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


class Task:
    """
    One task instance.

    :param make: Makes the operator, anew for each process that works on the task.
    :param store: Its task state store; None: this Airflow has none.
    """

    def __init__(self, make: Callable[[], BaseOperator], store: StateStore | None = None) -> None:
        self.make = make
        self.store = store
        self.ti = TaskInstance()
        self.events: list[dict[str, Any]] = []
        self.triggers: list[Any] = []
        self.deferrals: list[TaskDeferred] = []

    @property
    def context(self) -> Any:
        return {"ti": self.ti} | ({} if self.store is None else {"task_state_store": self.store})

    def attempt(self) -> Any:
        """Run one attempt to its end, through as many deferrals as it takes."""
        try:
            return self.make().execute(self.context)
        except TaskDeferred as deferred:
            return self.resume(deferred)

    def resume(self, deferred: TaskDeferred) -> Any:
        """Run a trigger, and what comes after it."""
        while True:
            self.deferrals.append(deferred)
            # What goes through Airflow's database must survive it.
            class_path, arguments = json.loads(json.dumps(deferred.trigger.serialize()))
            kwargs = json.loads(json.dumps(deferred.kwargs or {}))
            event = json.loads(json.dumps(asyncio.run(self._fire(class_path, arguments))))
            self.events.append(event)
            try:
                return self.make().resume_execution(deferred.method_name, {"event": event, **kwargs}, self.context)
            except TaskDeferred as again:
                deferred = again

    def retry(self) -> Any:
        """Run the next attempt, after one that failed or died."""
        self.ti.try_number += 1
        self.ti.xcoms.clear()
        return self.attempt()

    def clear(self) -> Any:
        """Run the task anew, as after a person has cleared it."""
        self.ti.max_tries = self.ti.try_number + 2
        return self.retry()

    async def _fire(self, class_path: str, arguments: dict[str, Any]) -> Any:
        module, _, name = class_path.rpartition(".")
        trigger = getattr(import_module(module), name)(**arguments)
        self.triggers.append(trigger)
        events = trigger.run()
        try:
            event = await anext(events)
            return event.payload
        finally:
            await events.aclose()
