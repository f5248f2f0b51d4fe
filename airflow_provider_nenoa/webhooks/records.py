"""What the receiver knows of a run, in the form in which the read API sends it and the client gets it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from airflow_provider_nenoa.runs import Run, RunStatus


@dataclass(frozen=True)
class RunSummary:
    """
    Where a run stands, by the webhooks that came for it.

    :param run_id: The vendor's id: NenAI's ``message_id``, OpenAnalyst's ``run_id`` or query ``id``.
    :param ref: The token that our operator put into the callback URL; None if nobody did.
    :param status: The newest state. An end is never undone.
    :param word: The vendor's word for it.
    :param seq: Grows with every change of any run: the place of this state in the stream of events.
    :param deliveries: How many webhooks came for the run, repetitions included.
    :param received_at: Unix seconds at which the webhook that made this state was stored.
    """

    run_id: str
    ref: str | None
    status: RunStatus
    word: str
    seq: int
    deliveries: int
    received_at: float

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Self:
        """Read what `to_json` wrote; fields of a newer receiver are left out."""
        values = {each.name: body[each.name] for each in fields(cls)}
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

    payload: dict[str, Any] = field(repr=False)

    @property
    def run(self) -> Run:
        """The run in the provider's common form."""
        return Run(self.run_id, self.word, self.payload)

    @property
    def error(self) -> str | None:
        """The vendor's words about a failure."""
        return self.run.error if self.status in (RunStatus.FAILED, RunStatus.CANCELLED) else None

    @property
    def expires_at(self) -> float | None:
        """Unix seconds at which the payload's presigned URLs expire, if the vendor says so."""
        value = self.payload.get("expires_at")
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    def to_json(self) -> dict[str, Any]:
        """Return the run as the read API sends it."""
        return {**asdict(self), "error": self.error, "expires_at": self.expires_at}


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
