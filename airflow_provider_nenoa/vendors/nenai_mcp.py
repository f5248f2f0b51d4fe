"""NenAI's public MCP server, by the vendor's page about it: its tools, and how their answers are read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    InvalidArgument,
    InvalidReply,
    NenoaError,
    NotFound,
    ServerError,
)
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.vendors.arguments import whole_number
from airflow_provider_nenoa.vendors.json_text import read_json
from airflow_provider_nenoa.vendors.messages import id_in, text_in
from airflow_provider_nenoa.vendors.presigned import without_queries

URL = "https://mcp.getnen.ai/v1"
"""Where the vendor has it; its key goes into the same header as that of the REST API."""
STATUS = "nen_status"
LIST_RUNS = "nen_list_runs"
LIST_WORKFLOWS = "nen_list_workflows"
RUN_LOGS = "nen_get_run_logs"

USUAL_LIMIT = 10
"""Runs that ``nen_list_runs`` lists if it is not told how many."""
LIMITS = (USUAL_LIMIT, 100)
"""How many runs are asked for, one after the other, where all since some time are wanted."""
CANDIDATES = 10
"""Names or ids that a message repeats, at most."""
QUOTED = 300
"""Characters of the vendor's words that a message repeats, at most."""

_UNKNOWN = re.compile(r"\b(?:not found|no such|does not exist|doesn't exist|unknown (?:run|message))\b", re.IGNORECASE)
_REFUSED = re.compile(r"\b(?:unauthori[sz]ed|invalid api key|401)\b", re.IGNORECASE)
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def status_arguments(message_id: str) -> dict[str, Any]:
    """Return the arguments of ``nen_status``."""
    return {"messageId": message_id}


def list_runs_arguments(workflow_id: str, limit: int) -> dict[str, Any]:
    """
    Return the arguments of ``nen_list_runs``.

    :raises InvalidArgument: The limit is not a number of runs.
    """
    return {"workflowId": workflow_id, "limit": whole_number("limit", limit)}


def list_workflows_arguments(deployment_id: str | None) -> dict[str, Any]:
    """Return the arguments of ``nen_list_workflows``."""
    return {} if deployment_id is None else {"deploymentId": deployment_id}


def run_logs_arguments(message_id: str, deployment_id: str | None) -> dict[str, Any]:
    """Return the arguments of ``nen_get_run_logs``."""
    return {"messageId": message_id, **list_workflows_arguments(deployment_id)}


def read_answer(
    tool: str,
    text: str,
    structured: dict[str, Any] | None,
    is_error: bool,
    connection: str = "the connection",
) -> dict[str, Any]:
    """
    Read the object that a tool answered with.

    :param tool: The tool.
    :param text: The answer's text: the object as JSON, if it is not there beside it.
    :param structured: The answer's ``structuredContent``.
    :param is_error: Whether the tool said that it failed; an object with ``success: false`` says the same. (``success:
        true`` says that the call worked, and nothing of the run.)
    :param connection: The Airflow connection, in words.
    :raises NotFound: The tool knows no such run or workflow.
    :raises AuthenticationError: It does not accept the key.
    :raises ServerError: It failed otherwise.
    :raises InvalidReply: There is no object.
    """
    answer = _object(structured) or _object(text)
    if is_error or (answer is not None and answer.get("success") is False):
        raise _failure(tool, answer, text, connection)
    if answer is None:
        raise InvalidReply(f"NenAI's MCP tool {tool} answered with something that is no JSON object: {text[:QUOTED]!r}")
    return answer


def read_status(answer: dict[str, Any], message_id: str) -> Run:
    """
    Read what ``nen_status`` answered.

    :return: The run. Its payload is the whole answer and, where ``errorData`` says why the run failed, ``error``. There
        is neither a result in it nor a file.
    :raises InvalidReply: There is no status in it.
    """
    word = text_in(answer, ("status",))
    if not word:
        raise InvalidReply(f"NenAI's MCP tool {STATUS} answered without a 'status' (it has {sorted(answer)}).")
    payload = dict(answer)
    data = answer.get("errorData")
    why = data.get("error_message") if isinstance(data, dict) else data
    if why:
        payload["error"] = str(why)
    return Run(message_id, word, payload, has_result=False)


@dataclass(frozen=True)
class ListedRun:
    """
    A run in the vendor's list.

    :param message_id: Its id.
    :param word: The vendor's status word.
    :param created_at: When it was made, in Unix seconds of the vendor's clock; None: that cannot be read.
    """

    message_id: str
    word: str
    created_at: float | None


@dataclass(frozen=True)
class RunListing:
    """
    The newest runs of a workflow.

    :param runs: The runs.
    :param whole: Whether these are all that the workflow ever had.
    :param clock_ahead: The vendor's clock minus ours, in seconds; None: the vendor did not tell the time.
    """

    runs: tuple[ListedRun, ...]
    whole: bool
    clock_ahead: float | None = None

    def reaches(self, when: float) -> bool:
        """Whether all runs are listed that were made since a time of the vendor's clock."""
        times = [run.created_at for run in self.runs if run.created_at is not None]
        newest_first = len(times) == len(self.runs) and times == sorted(times, reverse=True)
        return self.whole or (newest_first and bool(times) and times[-1] < when)


def runs_in(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    Return the runs that ``nen_list_runs`` answered, as they came.

    :raises InvalidReply: There is no list in it.
    """
    return _list(LIST_RUNS, answer, "runs")


def read_listing(answer: Mapping[str, Any], clock_ahead: float | None) -> RunListing:
    """
    Read what ``nen_list_runs`` answered.

    :param clock_ahead: The vendor's clock minus ours, in seconds.
    :raises InvalidReply: There is no list in it, or a run without an id.
    """
    rows = runs_in(answer)
    runs = []
    for row in rows:
        message_id = id_in(row, ("messageId", "message_id"))
        if message_id is None:
            raise InvalidReply(
                f"NenAI's MCP tool {LIST_RUNS} listed a run without a 'messageId' (it has {sorted(row)})."
            )
        created_at = moment(row.get("createdAt", row.get("created_at")))
        runs.append(ListedRun(message_id, str(row.get("status") or ""), created_at))
    total = answer.get("totalCount")
    if isinstance(total, bool) or not isinstance(total, int):
        total = len(rows) if len(rows) < USUAL_LIMIT else len(rows) + 1  # a page that is not full is the last
    whole = len(rows) >= total
    return RunListing(tuple(runs), whole, clock_ahead)


def workflows_in(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    Return the workflows that ``nen_list_workflows`` answered, as they came.

    :raises InvalidReply: There is no list in it.
    """
    return _list(LIST_WORKFLOWS, answer, "workflows")


def workflow_named(name: str, workflows: Iterable[Mapping[str, Any]]) -> str:
    """
    Find a workflow by its name, as it is written: case matters.

    :return: Its id.
    :raises InvalidArgument: None has this name, or several have.
    """
    by_id = {str(each.get("workflowId")): str(each.get("workflowName")) for each in workflows if each.get("workflowId")}
    found = [workflow_id for workflow_id, known in by_id.items() if known.strip() == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidArgument(
            f"NenAI has {len(found)} workflows that are named {name!r}.\nName one by 'workflow_id': {some(found)}. "
            "Nothing was started."
        )
    near = sorted(by_id.values(), key=lambda known: (name.lower() not in known.lower(), known.lower()))
    known = f"It has {some(repr(each) for each in near)}" if near else "It has none at all"
    raise InvalidArgument(f"NenAI has no workflow that is named {name!r}.\n{known}. Nothing was started.")


def some(names: Iterable[str]) -> str:
    """Return a list for a message: as many as fit, and how many more there are."""
    every = [name[:QUOTED] for name in names]
    more = f" and {len(every) - CANDIDATES} more" if len(every) > CANDIDATES else ""
    return ", ".join(every[:CANDIDATES]) + more


def read_logs(text: str, structured: dict[str, Any] | None, is_error: bool, connection: str = "the connection") -> str:
    """
    Read what ``nen_get_run_logs`` answered: the log's text, alone or in an object.

    :raises NenoaError: As `read_answer` does, but text that is no JSON object is what is wanted here.
    """
    answer = _object(structured) or _object(text)
    if is_error or (answer is not None and answer.get("success") is False):
        raise _failure(RUN_LOGS, answer, text, connection)
    for field in ("logs", "log", "text", "content", "lines", "entries"):
        value = answer.get(field) if answer is not None else None
        if isinstance(value, str):
            return value
        if isinstance(value, list):
            return "\n".join(each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for each in value)
    return text or (json.dumps(answer, ensure_ascii=False) if answer else "")


def last_lines(log: str, lines: int = 50, characters: int = 1_000) -> list[str]:
    """
    Return the last lines of a run's log, for another log.

    What could pass for a line of its own, or colour a terminal, is taken out; so are the queries of URLs, which may be
    presigned.

    :param log: The log.
    :param lines: How many lines, at most. Default 50.
    :param characters: Characters that a line may have. Default 1,000.
    """
    found = [line for line in log.split("\n") if line.strip()][-lines:]
    # Cut last: half of a presigned URL must not be left that is not seen to be one.
    return [_CONTROL.sub("", without_queries(line))[:characters] for line in found]


def moment(value: Any) -> float | None:
    """Read a time as Unix seconds: ISO 8601 (without a zone: UTC), or seconds or milliseconds since 1970."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            try:
                when = datetime.fromisoformat(value.strip())
            except ValueError:
                return None
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value / 1000 if value > 1e11 else float(value)


def _list(tool: str, answer: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    rows = answer.get(field)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidReply(f"NenAI's MCP tool {tool} answered without a list of '{field}' (it has {sorted(answer)}).")
    return rows


def _object(value: Any) -> dict[str, Any] | None:
    """Return an object, which may be given as JSON or be wrapped in ``{"result": ...}``, as some servers do."""
    for candidate in _unwrapped(value):
        if isinstance(candidate, dict) and set(candidate) != {"result"}:
            return candidate
    return None


def _unwrapped(value: Any) -> Iterator[Any]:
    for _ in range(3):
        if isinstance(value, str):
            try:
                value = read_json(value).value
            except ValueError:
                return
        yield value
        if not isinstance(value, dict) or set(value) != {"result"}:
            return
        value = value["result"]


def _failure(tool: str, answer: dict[str, Any] | None, text: str, connection: str) -> NenoaError:
    said = answer and next((answer[name] for name in ("error", "message", "detail") if answer.get(name)), None)
    if isinstance(said, dict):
        said = said.get("message") or said
    words = str(said or text or "it gave no reason")[:QUOTED]
    message = f"NenAI's MCP tool {tool} failed: {words}"
    if _UNKNOWN.search(words):
        return NotFound(
            f"{message}.\nCheck the id, and that it belongs to the workspace of the API key in {connection}."
        )
    if _REFUSED.search(words):
        return AuthenticationError(f"{message}.\nCheck the API key: it is the password of {connection}.")
    return ServerError(message)
