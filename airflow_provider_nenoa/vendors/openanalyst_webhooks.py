"""
OpenAnalyst's webhooks: "run ID, status and result" (API page, "Webhook Callbacks"), and the events to which a workspace
can subscribe (Server API, "Webhooks"). No page shows a whole body, so every place is looked at where replies have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_nenoa.runs import status_of
from airflow_provider_nenoa.vendors.messages import Message, id_in, parts_of, status_in, text_in

RUN_KINDS: tuple[str, ...] = ("agent", "query", "export")
"""The kinds of runs that a webhook may be about."""

_ENVELOPES = ("data", "run", "session")
_EVENT_FIELDS = ("event", "event_type", "event_name", "type")
_KINDS = {"agent": "agent", "session": "agent", "query": "query", "export": "export"}
_NO_RUN = {"alert", "report", "dashboard", "dataset"}
"""Words in the names of events that are about something else than a run."""
_PART_OF_RUN = {"step", "tool"}
"""Words in the names of events that are about a part of a run: its end is not the run's."""
_IDS = {
    None: ("query_id", "run_id", "session_id", "export_id"),
    "agent": ("run_id", "session_id"),
    "query": ("query_id", "run_id"),
    "export": ("export_id", "run_id"),
}
_KIND_OF_ID = {"query_id": "query", "session_id": "agent", "export_id": "export"}
_ONLY_AGENTS = ("agent_id", "final_answer", "steps")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")

Part = Mapping[str, Any]


def read_webhook(payload: Any, kind: str | None = None) -> Message:
    """
    Read a webhook's body: the id and the state of a run, or the name of an event that is about none.

    :param kind: The kind of run that the called URL names; what the body says of it comes first.
    """
    if not isinstance(payload, dict):
        return Message(of_run=False)
    event = text_in(payload, _EVENT_FIELDS)
    written = [word.lower() for word in _WORD.findall(event)]
    words = [word.removesuffix("s") for word in written]
    outer = list(parts_of(payload, _ENVELOPES))
    noun = next((word for word in reversed(words) if word in _KINDS or word in _NO_RUN), None)
    if noun in _NO_RUN or "alert" in words:
        return Message(None, text_in(payload, ("status",)), None, event, of_run=False)
    said = next((_KINDS[word] for word in words if word in _KINDS), None)
    if said is None and any(name in payload for name in _ONLY_AGENTS):
        said = "agent"
    run_id, part, name = _id_of_run(outer, payload.get("result"), said or kind, is_event=bool(event))
    said = said or (_KIND_OF_ID.get(name) if kind is None else None)
    if not _PART_OF_RUN.isdisjoint(words):
        return Message(run_id, "", said, event)
    result = payload.get("result")
    parts = [*outer, result] if isinstance(result, Mapping) else outer
    word = status_in(parts, lambda each: each is part, least=result)
    if not word and (said is not None or "run" in words) and written and status_of(written[-1]) is not None:
        word = written[-1]  # as in "agent.session.completed"
    return Message(run_id, word, said, event or None)


def _id_of_run(
    outer: list[Part], result: Any, kind: str | None, *, is_event: bool
) -> tuple[str | None, Part | None, str]:
    """
    Look for a run's id, in the most certain place first.

    :param outer: The body, and its envelopes.
    :param result: What the run found: it may be what tells of the run, or have ids of other things.
    :param kind: The kind of run.
    :param is_event: Whether the body is an event, whose own ``id`` is not that of what it is about.
    :return: The id, the object in which it stands, and its name there; or None, None, and no name.
    """
    payload, *inner = outer
    results = [result] if isinstance(result, Mapping) else []
    named = [(part, name) for name in _IDS[kind] for part in outer]
    named_in_result = [(part, name) for part in results for name in _IDS[kind]]
    own, of_inner, of_result = [(payload, "id")], [(part, "id") for part in inner], [(part, "id") for part in results]
    has_status = bool(text_in(payload, ("status",)))
    if is_event:
        last = own + of_result if has_status else of_result + own
        places = named + of_inner + named_in_result + last
    elif has_status:
        places = named + own + of_inner + named_in_result + of_result
    else:
        places = named + named_in_result + own + of_inner + of_result
    found = ((run_id, part, name) for part, name in places if (run_id := id_in(part, (name,))) is not None)
    return next(found, (None, None, ""))
