"""
What an attempt of a task leaves for the next one, so that no work is started twice.

Airflow 3.3 has a task state store for this. Before that a Variable holds the note: the other place that a worker can
write to and that outlives an attempt (XComs are cleared when the next attempt begins). After 3.3, who clears a task
discards its state unless he says otherwise (apache/airflow pull request 72100): there the note of an open run is a
Variable again, which a clear does not reach, and only that of a finished one is in the task's state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
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
    :param closed_by: The number of the try that got the result.
    :param asked: What was asked for, as `fingerprints` writes it.
    :param conn_id: The connection of the run.
    :param lost: Why the start's reply was lost, as far as the attempt that sent it could tell.
    """

    ref: str
    started_at: float
    told: bool
    run_id: str | None = None
    given_up: bool = False
    closed_in: int | None = None
    closed_by: int | None = None
    asked: dict[str, str] = field(default_factory=dict)
    conn_id: str | None = None
    lost: str = ""

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Note:
        """Read a note of this version, of an older one, which lacks fields, or of a newer one, which has others."""
        names = {each.name for each in fields(cls)}
        return cls(**{name: part for name, part in value.items() if name in names})


def cleared_since(note: Note, *, try_number: int, max_tries: int, retries: int) -> bool | None:
    """
    Tell a task that was cleared after it had its result from a retry: then Airflow did not hear of the success.

    A clear sets ``max_tries`` to the number of tries so far plus the task's ``retries``, as they are at that moment. So
    another ``max_tries`` than before is a clear. If it is the same, ``max_tries - retries`` is after how many tries a
    clear must have come to leave it so. It did not come if that is before the try that got the result, or not yet.
    Otherwise ``retries`` was changed since, by just as much as a clear would make up for.

    :param note: The closed note.
    :param try_number: The task instance's, now.
    :param max_tries: The task instance's, now.
    :param retries: The task's, now.
    :return: Whether it was cleared; None: that cannot be told.
    """
    if note.closed_in != max_tries:
        return True
    closed_by = 1 if note.closed_by is None else note.closed_by
    return None if closed_by <= max_tries - retries < try_number else False


class Memory(Protocol):
    """Where a task instance keeps its `Note`, across attempts."""

    def recall(self) -> Note | None:
        """Return what an earlier attempt left, or this one."""

    def write(self, note: Note) -> None:
        """Replace the note."""

    def close(self, note: Note) -> None:
        """Say that the task has its result, as the last step: see `cleared_since`."""

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
    def __init__(self, store: Any, ti: Any) -> None:
        self._store = store
        self._ti = ti

    def recall(self) -> Note | None:
        value = self._store.get(KEY)
        return Note.read(value) if value else None

    def write(self, note: Note) -> None:
        self._store.set(KEY, asdict(note))

    def close(self, note: Note) -> None:
        self.write(replace(note, closed_in=self._ti.max_tries, closed_by=self._ti.try_number))

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
        return Note.read(json.loads(value)) if value else None

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


class _Both:
    """The note of an open run outlives a clear; that of a finished one is discarded by it, and no doubt is left."""

    def __init__(self, opened: _Variable, closed: _TaskState) -> None:
        self._opened = opened
        self._closed = closed

    def recall(self) -> Note | None:
        return self._opened.recall() or self._closed.recall()

    def write(self, note: Note) -> None:
        self._opened.write(note)

    def close(self, note: Note) -> None:
        self._closed.close(note)
        self._opened.forget()

    def forget(self) -> None:
        self._opened.forget()
        self._closed.forget()


def clear_discards_state() -> bool:
    """Whether this Airflow discards a task's state when the task is cleared."""
    from airflow import __version__

    major, minor = __version__.split(".")[:2]
    return (int(major), int(minor)) > (3, 3)


def memory_of(context: Context, durable: bool) -> Memory:
    """
    Return the memory of the running task instance.

    :param context: The task's context.
    :param durable: False: nothing is remembered.
    """
    if not durable:
        return _NoMemory()
    store = context.get("task_state_store")
    if store is None:
        return _Variable(context)
    state = _TaskState(store, context["ti"])
    return _Both(_Variable(context), state) if clear_discards_state() else state
