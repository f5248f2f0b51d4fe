"""A wait, in the form in which whoever waits tells the receiver of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from airflow_provider_nenoa.vendors.payloads import is_token

BATCH = 200
"""Waits in one request, at most."""
_LONGEST = 250


def is_plain(text: object, longest: int) -> bool:
    """Whether a value is a text that every database can take: of printable characters, and not too long."""
    return isinstance(text, str) and len(text) <= longest and text.isprintable()


@dataclass(frozen=True)
class Wait:
    """
    A run that somebody waits for.

    :param kind: The kind of run.
    :param run_id: The vendor's id; None: it is known by its ``ref`` only.
    :param ref: The token in its callback URL.
    :param started_at: When it was started, in Unix seconds.
    :param dag_id: The task that waits; None where it is not known.
    :param dag_run_id: Its DAG run.
    :param task_id: Its task id.
    :param map_index: Its map index; -1: it is not mapped.
    :param lost: Whether the reply to its start never came.
    """

    kind: str
    run_id: str | None = None
    ref: str | None = None
    started_at: float = 0.0
    dag_id: str | None = None
    dag_run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None
    lost: bool = False

    @property
    def name(self) -> str:
        """What tells it from the other waits on its connection."""
        return f"{self.kind}:{self.run_id}" if self.run_id else f"ref:{self.ref}"

    @classmethod
    def from_json(cls, body: Any) -> Self:
        """
        Read what `to_json` wrote; fields of a newer sender are left out.

        :raises ValueError: It is none.
        """
        if not isinstance(body, dict):
            raise ValueError("a wait is an object")
        wait = cls(**{each.name: body[each.name] for each in fields(cls) if each.name in body})
        texts = (wait.dag_id, wait.dag_run_id, wait.task_id)
        if not (
            is_plain(wait.kind, 16)
            and all(name is None or (isinstance(name, str) and is_token(name)) for name in (wait.run_id, wait.ref))
            and (wait.run_id or wait.ref)
            and all(text is None or is_plain(text, _LONGEST) for text in texts)
            and (wait.map_index is None or (type(wait.map_index) is int and -1 <= wait.map_index < 2**31))
            and type(wait.started_at) in (int, float)
            and 0 <= wait.started_at < 1e11
            and isinstance(wait.lost, bool)
        ):
            raise ValueError("a field of a wait is none")
        return wait

    def to_json(self) -> dict[str, Any]:
        """Return the wait as it is sent."""
        return asdict(self)
