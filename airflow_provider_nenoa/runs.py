"""The one vocabulary into which the words of both vendors are translated."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class RunStatus(StrEnum):
    """Where a remote run stands. Everything but ``RUNNING`` is an end."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether the run is over."""
        return self is not RunStatus.RUNNING

    @property
    def is_success(self) -> bool:
        """Whether it has ended as it should."""
        return self is RunStatus.SUCCESS


_WORDS = {
    RunStatus.RUNNING: ("queued", "pending", "processing", "running"),
    RunStatus.SUCCESS: ("success", "succeeded", "completed"),
    RunStatus.FAILED: ("failed", "error", "timeout"),
    RunStatus.CANCELLED: ("cancelled", "canceled"),
}
_STATUS_OF = {word: status for status, words in _WORDS.items() for word in words}


def status_of(word: object) -> RunStatus | None:
    """
    Translate a vendor's status word; case and surrounding space do not matter.

    :param word: What the vendor wrote in ``status``. Anything but text is no word.
    :return: The status, or None for a word in no list: such a word never counts as an end.
    """
    return _STATUS_OF.get(word.strip().lower()) if isinstance(word, str) else None


@dataclass(frozen=True)
class Run:
    """
    What is known of a remote run at one moment.

    :param run_id: The vendor's id: NenAI's ``message_id``, OpenAnalyst's ``run_id`` or query ``id``.
    :param word: The vendor's status word, as it came.
    :param payload: The vendor's whole answer or webhook body, every field it sent.
    """

    run_id: str
    word: str
    payload: dict[str, Any] = field(default_factory=dict, repr=False)  # may hold presigned URLs: not for logs

    @property
    def status(self) -> RunStatus:
        """The word in our vocabulary; an unknown word counts as still running."""
        return status_of(self.word) or RunStatus.RUNNING

    @property
    def error(self) -> str | None:
        """The vendor's words about a failure, or None if it gave none."""
        error = self.payload.get("error") or self.payload.get("message")
        if isinstance(error, dict):
            error = ": ".join(str(error[key]) for key in ("code", "message") if error.get(key)) or str(error)
        return str(error) if error else None
