"""What a webhook tells, whichever vendor sent it: nothing that stands in a signed body is a reason to refuse it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_nenoa.runs import RunStatus, status_of
from airflow_provider_nenoa.vendors.payloads import is_token

LONGEST_WORD = 64
"""Characters of a status word or an event's name that are kept."""


@dataclass(frozen=True)
class Message:
    """
    What a webhook's body tells.

    :param run_id: The vendor's id of the run; None: the body names none.
    :param word: The vendor's status word, known or not; empty: there is none.
    :param kind: What kind of run it is about (``workflow``, ``agent``, ``query`` or ``export``), where the body tells.
    :param event: The name of the event, where the body tells.
    :param of_run: Whether it can be about a run at all. If not, a ``ref`` in the called URL means nothing either.
    """

    run_id: str | None = None
    word: str = ""
    kind: str | None = None
    event: str | None = None
    of_run: bool = True

    @property
    def status(self) -> RunStatus:
        """The word in our vocabulary; an unknown word is no end."""
        return status_of(self.word) or RunStatus.RUNNING


def shown(text: str, longest: int = LONGEST_WORD) -> str:
    """Return a text from outside as it can be stored and logged: in one line, without odd characters, not too long."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text.strip()[: longest + 1])
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def parts_of(payload: Mapping[str, Any], names: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    """Give the objects in which a body may tell of its run: itself, then those that it has under ``names``."""
    for part in (payload, *(payload.get(name) for name in names)):
        if isinstance(part, Mapping):
            yield part


def id_in(part: Mapping[str, Any], names: Iterable[str]) -> str | None:
    """Return the first of some fields that can be a run's id."""
    for name in names:
        value = part.get(name)
        text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
        if is_token(text):
            return text
    return None


def text_in(part: Mapping[str, Any], names: Iterable[str]) -> str:
    """Return the first of some fields that is a text with something in it, as it can be stored; or an empty text."""
    return next((shown(value) for name in names if isinstance(value := part.get(name), str) and value.strip()), "")


def status_in(
    parts: Sequence[Mapping[str, Any]],
    is_beside: Callable[[Mapping[str, Any]], bool],
    least: Mapping[str, Any] | None = None,
) -> str:
    """
    Read a run's status: what stands beside its id is about the same thing.

    Around an object that has one, it says how the call went: ``{"status": "success", "data": {"status": "running"}}``.

    :param parts: The objects in which it may stand, the outermost first.
    :param is_beside: Whether one has the run's id.
    :param least: The one that counts only where no other, but for that with the id, has a status.
    :return: An empty text: there is none.
    """
    said = [(part, word) for part in parts if (word := text_in(part, ("status",)))]

    def place(each: tuple[Mapping[str, Any], str]) -> tuple[bool, bool, bool]:
        part, word = each
        return not is_beside(part), part is least, part is parts[0] or status_of(word) is None

    return min(said, key=place)[1] if said else ""
