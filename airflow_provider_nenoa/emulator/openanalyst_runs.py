"""OpenAnalyst's agent runs and queries: how they go, and how replies and webhooks tell of them."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pydantic

from airflow_provider_nenoa.emulator.behaviour import Behaviour
from airflow_provider_nenoa.emulator.openanalyst_access import Caller, webhook_url
from airflow_provider_nenoa.emulator.openanalyst_errors import OpenAnalystError
from airflow_provider_nenoa.emulator.registered import Registered
from airflow_provider_nenoa.emulator.settings import Settings
from airflow_provider_nenoa.emulator.state import Kind, Run, State
from airflow_provider_nenoa.emulator.webhooks import Webhooks
from airflow_provider_nenoa.emulator.wire import iso

_SQL_COMMENT = re.compile(r"/\*\s*+(?P<word>slow|emulate):(?P<value>(?:[^*]++|\*(?!/))*+)\*/")
_ID_PREFIXES: dict[Kind, str] = {"agent": "run_", "query": "qry_", "export": "exp_"}


def behaviour_of(default: Behaviour, wish: Any) -> Behaviour:
    try:
        return default.overruled(wish)
    except pydantic.ValidationError as error:
        raise OpenAnalystError(422, f"emulate: {error}") from None


def behaviour_in_sql(default: Behaviour, sql: str) -> Behaviour:
    """``/* slow: 2 */`` and ``/* emulate: {"seconds": 2, "outcome": "failed"} */`` steer a query."""
    behaviour = default
    for comment in _SQL_COMMENT.finditer(sql):
        try:
            value = json.loads(comment["value"])
        except ValueError:
            raise OpenAnalystError(422, f"{comment['word']}: not JSON in a comment of the query.") from None
        behaviour = behaviour_of(behaviour, {"seconds": value} if comment["word"] == "slow" else value)
    return behaviour


def word_of(run: Run) -> str:
    """How a run stands, in the vendor's word."""
    if not run.ended and run.behaviour.progress:
        return run.behaviour.progress[-1]
    if run.status == "success":
        return "ready" if run.kind == "export" else "completed"
    return run.status


def webhook_body(run: Run, settings: Settings) -> dict[str, Any]:
    """What is posted at the end: run ID, status and result (OpenAnalyst docs: "Webhook Callbacks")."""
    named = f"run_{uuid.uuid4().hex[:20]}" if run.kind == "query" and settings.other_query_ids else run.id
    body: dict[str, Any] = {settings.webhook_id: named, "status": word_of(run), "result": shown_rows(run, settings)}
    if run.error:
        body["error"] = run.error
    if settings.webhook_envelope is not None:
        body = {settings.webhook_envelope: body}
    return body | run.behaviour.extra


def agent_view(run: Run) -> dict[str, Any]:
    """What ``GET /agents/runs/{id}`` answers."""
    view: dict[str, Any] = {
        "run_id": run.id,
        "agent_id": run.detail.get("agent_id"),
        "status": word_of(run),
        "started_at": run.created_at,
        "completed_at": run.ended_at,
        "result": run.result if run.ended else None,
    }
    if run.error:
        view["error"] = run.error
    return view


def session_view(run: Run) -> dict[str, Any]:
    """What ``GET /agents/sessions/{id}`` answers."""
    result = run.result or {} if run.ended else {}
    view: dict[str, Any] = {
        "id": run.id,
        "status": word_of(run),
        "prompt": run.detail["prompt"],
        "model": run.detail.get("model"),
        "steps": [{"step": 1, "type": "query", "dataset_ids": run.detail.get("dataset_ids", [])}] if run.ended else [],
        "final_answer": result.get("answer"),
        "created_at": iso(run.created_at),
        "completed_at": iso(run.ended_at) if run.ended_at is not None else None,
    }
    view |= {name: value for name, value in result.items() if name != "answer"}
    if run.error:
        view["error"] = run.error
    return view


def query_view(run: Run, settings: Settings) -> dict[str, Any]:
    """What ``GET /queries/{id}/results`` answers, and ``POST /queries`` too."""
    view: dict[str, Any] = {"id": run.id, "status": word_of(run)}
    if run.ended and run.result:
        view |= shown_rows(run, settings) or {}
    if run.error:
        view["error"] = run.error
    return view


def shown_rows(run: Run, settings: Settings) -> dict[str, Any] | None:
    """A run's result; the rows of a query's as objects, or as lists beside the ``columns``."""
    result = run.result
    if result is None or settings.rows_as == "objects" or "rows" not in result:
        return result
    return {**result, "rows": [list(row.values()) if isinstance(row, dict) else row for row in result["rows"]]}


class AnalystRuns:
    """Starts agent runs, queries and exports, tells of their end by webhook, and finds them."""

    def __init__(self, state: State, webhooks: Webhooks, registered: Registered) -> None:
        self._state = state
        self._webhooks = webhooks
        self._registered = registered

    def new(
        self, kind: Kind, caller: Caller, body: dict[str, Any], behaviour: Behaviour, result: dict[str, Any] | None
    ) -> Run:
        """A run that has not started yet."""
        url = webhook_url(body)
        prefix = "ses_" if "prompt" in body else _ID_PREFIXES[kind]
        return Run(
            id=f"{prefix}{uuid.uuid4().hex[:20]}",
            kind=kind,
            behaviour=behaviour,
            detail=body,
            created_at=self._state.clock.time(),
            workspace=caller.workspace,
            webhook_url=url if caller.live else None,
            result=result,
            on_end=lambda run: self._tell(run, caller),
        )

    async def start(self, run: Run, *, at_once: bool = False) -> None:
        """Let a run begin.

        :param at_once: it ends before the start is answered.
        """
        self._state.start(run)
        if at_once or run.faults.before_reply:
            self._state.finish(run)
        if run.faults.before_reply:
            await self._webhooks.answered(run)

    def find(self, run_id: str, kind: Kind, caller: Caller) -> Run:
        """The run of that id.

        :raises OpenAnalystError: if the workspace has none of this kind.
        """
        run = self._state.runs.get(run_id)
        if run is None or run.kind != kind or run.workspace != caller.workspace:
            raise OpenAnalystError(404, f"No {kind} run with the given ID exists in this workspace.")
        return run

    def _tell(self, run: Run, caller: Caller) -> None:
        self._webhooks.send(run, word_of(run), webhook_body(run, self._state.settings))
        if not caller.live:
            return
        if run.kind == "agent" and "prompt" in run.detail:
            told = {"session_id": run.id, "status": word_of(run), "final_answer": (run.result or {}).get("answer")}
            self._registered.tell("agent.session.completed", told, caller.workspace)
        elif run.kind == "export" and run.status == "success":
            self._registered.tell("export.ready", {"export_id": run.id, "status": "ready"}, caller.workspace)
