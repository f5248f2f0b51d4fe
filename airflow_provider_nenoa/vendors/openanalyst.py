"""
OpenAnalyst, by its API page and the public pages that it leads to: replies, rows, plans, webhooks.

What is sent, in either of the vendor's two forms, is in `openanalyst_forms`; how a list goes on is in
`openanalyst_pages`. Replies are read here in both forms, whichever the connection names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidReply, StartOutcomeUnknown
from airflow_provider_nenoa.runs import Run, RunStatus, status_of
from airflow_provider_nenoa.vendors.messages import parts_of, status_in, text_in
from airflow_provider_nenoa.vendors.openanalyst_webhooks import RUN_KINDS as RUN_KINDS
from airflow_provider_nenoa.vendors.openanalyst_webhooks import read_webhook as read_webhook
from airflow_provider_nenoa.vendors.rows import part_with_rows
from airflow_provider_nenoa.vendors.signatures import Scheme

NAME = "OpenAnalyst"
BASE_URL = "https://api.openanalyst.com/v1"
SIGNATURE = Scheme("X-OpenAnalyst-Signature", "sha256=", exact=False)  # how it is written is not documented
WEBHOOKS_NEED_HTTPS = True

PLANS: dict[str, tuple[float, float]] = {
    "free": (30, 500),
    "basic": (120, 5_000),
    "pro": (600, 50_000),
    "max": (1_200, 200_000),
}
"""Requests per minute and per day of each plan, per workspace (API page, "Rate Limits"). Enterprise has its own."""

TEST_KEY_PREFIX = "oa_test_"
"""What the keys begin with that return synthetic data and send no webhooks; others are ``oa_live_`` and ``oa_sk_``."""

_ENVELOPES = ("data", "run", "session")
"""Where a reply may keep what it tells, instead of at its top."""
_AGENT_IDS = ("run_id", "id", "session_id")
_QUERY_IDS = ("query_id", "id", "run_id")
_EXPORT_IDS = ("export_id", "id")
_IDS = {*_AGENT_IDS, *_QUERY_IDS, *_EXPORT_IDS}
_AGENT_RESULTS = ("result", "results", "final_answer", "output")
_EXPORTED = "ready"
"""The status of an export whose file can be had, by the Server API's page."""


def read_query_start(reply: dict[str, Any], path: str) -> Run:
    """
    Read the answer to a query: its rows, or an id and ``running``.

    :raises StartOutcomeUnknown: It has neither.
    """
    query_id, _ = _id(reply, _QUERY_IDS)
    word = _word(reply, query_id)
    has_rows = _has_rows(reply) if not word and query_id is not None else part_with_rows(reply) is not None
    if has_rows and status_of(word or "completed") is RunStatus.SUCCESS:
        return Run(query_id or "", word or "completed", reply)
    return _started(reply, _QUERY_IDS, path)


def read_query_results(reply: dict[str, Any], query_id: str, path: str) -> Run:
    """
    Read how a query stands, and its rows once it is ``completed``.

    :raises InvalidReply: There is no status in it, and there are no rows.
    """
    if not _word(reply, query_id) and "status" not in reply and _has_rows(reply):
        return Run(query_id, "completed", reply)
    return _state(reply, query_id, path)


def read_agent_start(reply: dict[str, Any], path: str) -> Run:
    """
    Read the answer to the start of an agent: its ``run_id``, or a session's ``id``.

    :raises StartOutcomeUnknown: It names no run.
    """
    run = _started(reply, _AGENT_IDS, path)
    if run.status.is_success and not any(
        name in part for part in parts_of(reply, _ENVELOPES) for name in _AGENT_RESULTS
    ):
        return replace(run, word="running")  # it says that the call worked: what the agent found is not there yet
    return run


def read_agent_run(reply: dict[str, Any], run_id: str, path: str) -> Run:
    """
    Read how an agent run stands, and its result once it is ``completed``.

    :raises InvalidReply: There is no status in it.
    """
    return _state(reply, run_id, path)


def final_answer(payload: Mapping[str, Any]) -> Any:
    """Return what an agent answered, where a payload about its run names it (``final_answer``); None elsewhere."""
    parts = parts_of(payload, (*_ENVELOPES, "result"))
    return next((part["final_answer"] for part in parts if "final_answer" in part), None)


def read_export_start(reply: dict[str, Any], path: str) -> Run:
    """
    Read the answer to the start of an export.

    :raises StartOutcomeUnknown: It names no export.
    """
    run = _started(reply, _EXPORT_IDS, path)
    if run.status.is_success and run.word.strip().lower() != _EXPORTED:
        return replace(run, word="running")  # it says that the call worked: the file may not be there yet
    return run


def read_export(reply: dict[str, Any], export_id: str, path: str) -> Run:
    """
    Read how an export stands: its file can be had once it is ``ready``.

    :raises InvalidReply: There is no status in it.
    """
    return _state(reply, export_id, path)


@dataclass(frozen=True)
class ExportLink:
    """
    Where the file of an export can be fetched, without a key: the URL is a secret. It is valid for 15 minutes.

    :param url: The URL.
    :param size: How many bytes the file has; None: the vendor did not say.
    :param expires_at: Until when the URL is valid, in Unix seconds; None: the vendor did not say.
    :param file_format: The file's format, such as ``csv``; None: the vendor did not say.
    """

    url: str = field(repr=False)
    size: int | None
    expires_at: float | None
    file_format: str | None


def read_export_link(reply: Mapping[str, Any], path: str) -> ExportLink:
    """
    Read where the file of an export can be fetched.

    :raises InvalidReply: There is no URL in it.
    """
    part = next((each for each in parts_of(reply, _ENVELOPES) if "download_url" in each), reply)
    url, size, expires_at = part.get("download_url"), part.get("size_bytes"), part.get("expires_at")
    if not isinstance(url, str) or not url.strip():
        raise InvalidReply(f"OpenAnalyst answered GET {path} without a 'download_url' (it has {sorted(reply)}).")
    file_format = text_in(part, ("format",)).lower()
    is_word = file_format.isascii() and file_format.isalnum()  # it becomes a part of the file's name
    return ExportLink(url.strip(), _whole(size), _unix_seconds(expires_at), file_format if is_word else None)


def _has_rows(reply: Mapping[str, Any]) -> bool:
    """Whether there are rows, be it none; null stands for those that are still to come."""
    part = part_with_rows(reply)
    return part is not None and part["rows"] is not None


def _id(reply: Mapping[str, Any], names: Iterable[str]) -> tuple[str | None, Mapping[str, Any]]:
    """
    Return an id, and the object in which it stands.

    An ``id`` may be that of the request: one of a better name comes first, and one with a status beside it.
    """
    parts = sorted(parts_of(reply, _ENVELOPES), key=lambda part: "status" not in part)
    for name in names:
        for part in parts:
            if (value := _id_text(part.get(name))) is not None:
                return value, part
    return None, reply


def _id_text(value: Any) -> str | None:
    text = str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text or None


def _word(reply: Mapping[str, Any], run_id: str | None) -> str:
    def names_it(part: Mapping[str, Any]) -> bool:
        return run_id is not None and any(_id_text(part.get(name)) == run_id for name in _IDS)

    return status_in(list(parts_of(reply, _ENVELOPES)), names_it)


def _started(reply: dict[str, Any], names: Iterable[str], path: str) -> Run:
    run_id, part = _id(reply, names)
    if run_id is None:
        missing = next(name for name in names if name in ("run_id", "id"))  # as the pages call it
        raise StartOutcomeUnknown(
            f"OpenAnalyst accepted POST {path}, but its reply has no '{missing}' (it has {sorted(reply)}): "
            "something may run now that cannot be named. It was not sent again.",
            why=f"its reply has no '{missing}'",
        )
    word = part.get("status")
    return Run(run_id, word if isinstance(word, str) and word.strip() else "running", reply)


def _state(reply: dict[str, Any], run_id: str, path: str) -> Run:
    word = _word(reply, run_id)
    if not word:
        raise InvalidReply(f"OpenAnalyst answered GET {path} without a 'status' (it has {sorted(reply)}).")
    return Run(run_id, word, reply)


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (str, int)) and str(value).isdecimal() else None


def _unix_seconds(value: Any) -> float | None:
    """Read a time, which the page shows as a text in the form of ISO 8601."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    if not isinstance(value, str):
        return value
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
