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
    RunStatus.RUNNING: ("queued", "pending", "started", "processing", "running", "in_progress"),
    RunStatus.SUCCESS: ("success", "succeeded", "completed", "ready"),
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


def same_run(key: tuple[str | None, str | None, str | None], told: tuple[str | None, str | None, str | None]) -> bool:
    """
    Whether what a webhook told of is the run that is asked for: it has the same ``ref``, or else the same id.

    Ids are unique within a kind only. Where a webhook does not tell its kind, another ``ref`` says that it is about
    another run.

    :param key: Id, ``ref`` and kind that are asked for; None: not known.
    :param told: Id, ``ref`` and kind that the webhook told of, likewise.
    """
    (run_id, ref, kind), (told_id, told_ref, told_kind) = key, told
    if ref is not None and ref == told_ref:
        return True
    if run_id is None or run_id != told_id:
        return False
    if kind is not None and told_kind is not None:
        return kind == told_kind
    return None in (ref, told_ref)


@dataclass(frozen=True)
class Run:
    """
    What is known of a remote run at one moment.

    :param run_id: The vendor's id: NenAI's ``message_id``, OpenAnalyst's ``run_id`` or query ``id``.
    :param word: The vendor's status word, as it came.
    :param payload: The vendor's whole answer or webhook body, every field it sent.
    :param has_result: Whether it would have the result and the files of a run that has ended; NenAI's MCP server tells
        neither.
    """

    run_id: str
    word: str
    payload: dict[str, Any] = field(default_factory=dict, repr=False)  # may hold presigned URLs: not for logs
    has_result: bool = field(default=True, repr=False)

    @property
    def status(self) -> RunStatus:
        """The word in our vocabulary; an unknown word counts as still running."""
        return status_of(self.word) or RunStatus.RUNNING

    @property
    def error(self) -> str | None:
        """The vendor's words about a failure, or None if it gave none."""
        parts = [self.payload, *(self.payload.get(name) for name in _AROUND)]
        for names in (_ERRORS, _MESSAGES):
            for part in parts:
                values = [part.get(name) for name in names] if isinstance(part, dict) else []
                if value := next(filter(None, values), None):
                    return _words(value)
        return None


_AROUND = ("data", "run", "session", "result", "errorData", "error_data")
"""Where a payload may tell why its run failed, if not at its top."""
_ERRORS = ("error", "errors", "error_message", "errorMessage")
_MESSAGES = ("message", "detail", "reason")


def _words(error: Any) -> str:
    if isinstance(error, dict):
        return ": ".join(str(error[key]) for key in ("code", "message") if error.get(key)) or str(error)
    return "; ".join(map(_words, error)) if isinstance(error, list) else str(error)
