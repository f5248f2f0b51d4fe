"""What the receiver knows of a run, in the form in which the read API sends it and the client gets it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from dataclasses import fields as fields_of
from typing import Any, Self

from airflow_provider_nenoa.runs import Run, RunStatus


def is_of_run(row: Any) -> bool:
    """Whether what is stored is of a run, even if nobody has said of which one, rather than of an event about none."""
    return bool(row.run_id or row.ref or row.kind)


@dataclass(frozen=True)
class RunSummary:
    """
    Where a run stands, by the webhooks that came for it; or an event that is about no run.

    :param run_id: The vendor's id: NenAI's ``message_id``, OpenAnalyst's ``run_id`` or query ``id``. None: no webhook
        has named it, so that it is known by its ``ref`` only; or there is no run.
    :param ref: The token that our operator put into the callback URL; None if nobody did.
    :param status: The newest state. An end is never undone, and a word that we do not know is none.
    :param word: The vendor's word for it; empty if it gave none.
    :param seq: Grows with every change of any run: the place of this state in the stream of events.
    :param deliveries: How many webhooks came for the run, repetitions included.
    :param received_at: Unix seconds at which the webhook that made this state was stored.
    :param id: The number of the row.
    :param kind: The kind of run, where a webhook has told it.
    :param event: The name of the newest event, where the vendor gave one.
    """

    run_id: str | None
    ref: str | None
    status: RunStatus
    word: str
    seq: int
    deliveries: int
    received_at: float
    id: int = field(default=0, kw_only=True)
    kind: str | None = field(default=None, kw_only=True)
    event: str | None = field(default=None, kw_only=True)

    @property
    def is_run(self) -> bool:
        """Whether it is a run, rather than an event that is about none: see `is_of_run`."""
        return is_of_run(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Read what the read API sends; fields of a newer receiver are left out."""
        values = {each.name: body[each.name] for each in fields_of(cls) if each.name in body}
        return cls(**{**values, "status": RunStatus(values["status"])})

    def to_json(self) -> dict[str, Any]:
        """Return the run as the read API sends it."""
        return asdict(self)


@dataclass(frozen=True)
class StoredRun(RunSummary):
    """
    A run with all that its newest state brought.

    :param payload: The webhook's whole body. It may hold presigned URLs, which are secrets.
    """

    payload: Any = field(repr=False)

    @property
    def run(self) -> Run:
        """The run in the provider's common form."""
        return Run(self.run_id or "", self.word, self._fields)

    @property
    def error(self) -> str | None:
        """The vendor's words about a failure."""
        return self.run.error if self.status in (RunStatus.FAILED, RunStatus.CANCELLED) else None

    @property
    def expires_at(self) -> float | None:
        """Unix seconds at which the payload's presigned URLs expire, if the vendor says so."""
        value = self._fields.get("expires_at")
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def _fields(self) -> dict[str, Any]:
        return self.payload if isinstance(self.payload, dict) else {}

    def to_text(self, payload: str) -> str:
        """
        Return the run as the read API sends it.

        :param payload: The payload as JSON, with all its digits: it is not written anew.
        """
        fields = {each.name: getattr(self, each.name) for each in fields_of(RunSummary)}
        head = json.dumps({**fields, "error": self.error, "expires_at": self.expires_at})
        return f'{head[:-1]}, "payload": {payload}}}'


@dataclass(frozen=True)
class Events:
    """
    One page of the stream of events of a connection.

    :param cursor: What to ask for next, as ``after``.
    :param events: Runs whose state changed, each once, in its newest state, oldest change first.
    :param more: Whether there are more to be had at once.
    """

    cursor: int
    events: list[RunSummary]
    more: bool

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        return cls(body["cursor"], [RunSummary.from_json(event) for event in body["events"]], body["more"])

    def to_json(self) -> dict[str, Any]:
        """Return the page as the read API sends it."""
        return asdict(self)
