"""
What an attempt of a task leaves for the next one, so that no work is started twice.

Airflow 3.3 and later have a task state store for this. Before that a Variable holds the note: the other place that a
worker can write to and that outlives an attempt (XComs are cleared when the next attempt begins).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow.sdk import Context

KEY = "nenoa_run"


@dataclass(frozen=True)
class Note:
    """
    A run that is open, or a start whose outcome is not known yet.

    :param ref: Our token in the callback URL, by which a run can be recognised whose start's reply was lost.
    :param started_at: When the start was sent, in Unix seconds.
    :param told: Whether the vendor was given our webhook.
    :param run_id: The vendor's id; None: no reply has been seen.
    :param given_up: Whether a run that could not be found was left for a person to decide about.
    :param closed_in: The task's ``max_tries`` when the result was there; None: it is not there yet.
    """

    ref: str
    started_at: float
    told: bool
    run_id: str | None = None
    given_up: bool = False
    closed_in: int | None = None


class Memory(Protocol):
    """Where a task instance keeps its `Note`, across attempts."""

    def recall(self) -> Note | None:
        """Return what an earlier attempt left, or this one."""

    def write(self, note: Note) -> None:
        """Replace the note."""

    def close(self, note: Note) -> None:
        """
        Say that the task has its result, as the last step: who clears the task starts anew.

        A retry does not, where that can be told: then the attempt died before Airflow heard of its success.
        """

    def forget(self) -> None:
        """Remove the note: whoever runs this task instance next starts anew."""


class _NoMemory:
    def recall(self) -> Note | None:
        return None

    def write(self, note: Note) -> None:
        pass

    def close(self, note: Note) -> None:
        pass

    def forget(self) -> None:
        pass


class _TaskState:
    def __init__(self, store: Any, max_tries: int) -> None:
        self._store = store
        # Airflow raises it whenever the task is cleared, and only then.
        self._max_tries = max_tries

    def recall(self) -> Note | None:
        value = self._store.get(KEY)
        note = Note(**value) if value else None
        if note is not None and note.closed_in not in (None, self._max_tries):
            return None
        return note

    def write(self, note: Note) -> None:
        self._store.set(KEY, asdict(note))

    def close(self, note: Note) -> None:
        self.write(replace(note, closed_in=self._max_tries))

    def forget(self) -> None:
        self._store.delete(KEY)


class _Variable:
    def __init__(self, context: Context) -> None:
        ti = context["ti"]
        self._where = f"{ti.dag_id} {ti.task_id} {ti.run_id} {ti.map_index}"
        self._key = f"{KEY}_{hashlib.sha256(self._where.encode()).hexdigest()[:32]}"

    def recall(self) -> Note | None:
        from airflow.sdk import Variable

        value = Variable.get(self._key, default=None)
        return Note(**json.loads(value)) if value else None

    def write(self, note: Note) -> None:
        from airflow.sdk import Variable

        Variable.set(self._key, json.dumps(asdict(note)), description=f"An open run of {self._where}"[:200])

    def close(self, note: Note) -> None:
        # Nobody would ever tidy up a Variable that stayed.
        self.forget()

    def forget(self) -> None:
        from airflow.sdk import Variable

        if self.recall() is not None:
            Variable.delete(self._key)


def memory_of(context: Context, durable: bool) -> Memory:
    """
    Return the memory of the running task instance.

    :param context: The task's context.
    :param durable: False: nothing is remembered.
    """
    if not durable:
        return _NoMemory()
    store = context.get("task_state_store")
    return _Variable(context) if store is None else _TaskState(store, context["ti"].max_tries)
