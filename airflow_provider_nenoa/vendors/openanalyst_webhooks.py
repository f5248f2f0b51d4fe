"""
OpenAnalyst's webhooks: "run ID, status and result" (API page, "Webhook Callbacks"), and the events to which a workspace
can subscribe (Server API, "Webhooks"). No page shows a whole body, so every place is looked at where replies have it.
"""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_nenoa.runs import status_of
from airflow_provider_nenoa.vendors.messages import Message, id_in, parts_of, text_in

RUN_KINDS: tuple[str, ...] = ("agent", "query", "export")
"""The kinds of runs that a webhook may be about."""

_ENVELOPES = ("data", "run", "session", "result")
_EVENT_FIELDS = ("event", "event_type", "event_name", "type")
_KINDS = {"agent": "agent", "session": "agent", "query": "query", "export": "export"}
_NO_RUN = {"alert", "report", "dashboard", "dataset"}
"""Words in the names of events that are about something else than a run."""
_IDS = {
    None: ("query_id", "run_id", "session_id", "export_id"),
    "agent": ("run_id", "session_id"),
    "query": ("query_id", "run_id"),
    "export": ("export_id", "run_id"),
}
_KIND_OF_ID = {"query_id": "query", "session_id": "agent", "export_id": "export"}
_ONLY_AGENTS = ("agent_id", "final_answer", "steps")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


def read_webhook(payload: Any) -> Message:
    """Read a webhook's body: the id and the state of a run, or the name of an event that is about none."""
    if not isinstance(payload, dict):
        return Message(of_run=False)
    event = text_in(payload, _EVENT_FIELDS)
    words = [word.lower().removesuffix("s") for word in _WORD.findall(event)]
    parts = list(parts_of(payload, _ENVELOPES))
    if not _NO_RUN.isdisjoint(words):
        return Message(None, text_in(payload, ("status",)), None, event, of_run=False)
    kind = next((_KINDS[word] for word in words if word in _KINDS), None)
    if kind is None and any(name in part for part in parts[:1] for name in _ONLY_AGENTS):
        kind = "agent"
    for part, name in _places(parts, kind, is_event=bool(event)):
        if (run_id := id_in(part, (name,))) is not None:
            # What stands beside the id is about the same thing.
            parts.insert(0, part)
            kind = kind or _KIND_OF_ID.get(name)
            break
    else:
        run_id = None
    word = next((word for part in parts if (word := text_in(part, ("status",)))), "")
    last = event.rpartition(".")[2].rpartition("_")[2]
    if not word and kind is not None and status_of(last) is not None:
        word = last  # as in "agent.session.completed"
    return Message(run_id, word, kind, event or None)


def _places(parts: list[Any], kind: str | None, *, is_event: bool) -> list[tuple[Any, str]]:
    """Return where a run's id may stand, the most certain place first."""
    named = [(part, name) for name in _IDS[kind] for part in parts]
    # The id of an event is not that of what it is about.
    return named + [(part, "id") for part in ([*parts[1:], parts[0]] if is_event else parts)]
