"""Runs of NenAI's workflows, however they are started: by ``POST /runs``, or by the tool ``nen_run``."""

from __future__ import annotations

import json
import math
import uuid
from typing import Any

import pydantic

from airflow_provider_nenoa.emulator import files, nenai_bodies
from airflow_provider_nenoa.emulator.behaviour import ResultFile
from airflow_provider_nenoa.emulator.state import Run, State
from airflow_provider_nenoa.emulator.webhooks import Webhooks, url_problem


def problem(body: dict[str, Any]) -> str | None:
    """What is wrong with the body of a start, in the vendor's words; None if nothing is."""
    if not body.get("workflow_id"):
        return "Missing required field: workflow_id"
    try:
        uuid.UUID(body["workflow_id"])
    except (ValueError, TypeError, AttributeError):
        return "Invalid workflow_id: must be a UUID"
    if not isinstance(body.get("workflow_params", {}), dict):
        return "Invalid workflow_params: must be an object"
    url = body.get("webhook_callback")
    if url is not None and (fault := url_problem(url, https=False)):
        return f"Invalid webhook_callback: {fault}"
    secure = body.get("secure_workflow_params")
    if secure is not None and not (isinstance(secure, dict) and all(isinstance(one, str) for one in secure.values())):
        return "Invalid secure_workflow_params: must be an object of strings"
    return None


class WorkflowRuns:
    """Starts runs, tells of them by webhook, and shows them."""

    def __init__(self, state: State, webhooks: Webhooks) -> None:
        self._state = state
        self._webhooks = webhooks

    async def start(self, body: dict[str, Any], base_url: str) -> Run:
        """Start a run.

        :param body: a start's, without a :func:`problem`.
        :param base_url: where this server was asked.
        :raises ValueError: if its ``emulate`` makes no sense; the message says why.
        """
        state = self._state
        params = body.get("workflow_params", {})
        try:
            behaviour = state.settings.workflow.overruled(params.get("emulate"))
        except pydantic.ValidationError as error:
            raise ValueError(f"emulate: {error}") from None
        told = {name: value for name, value in params.items() if name != "emulate"}
        if behaviour.files is None:
            report = json.dumps({"workflow_id": body["workflow_id"], "workflow_params": told}, indent=2)
            behaviour = behaviour.model_copy(update={"files": [ResultFile(name="result.json", content=report)]})
        base = (state.settings.public_url or base_url).rstrip("/")
        message_id = str(uuid.uuid4())
        run = Run(
            id=message_id,
            kind="workflow",
            behaviour=behaviour,
            detail=body,
            created_at=state.clock.time(),
            webhook_url=body.get("webhook_callback"),
            result={"parameters": told, "pages": files.links(base, message_id, behaviour.links)},
            on_begin=self._tell_progress,
            on_end=lambda run: self._tell_end(run, base),
        )
        state.start(run)
        if run.faults.before_reply:
            state.finish(run)
            await self._webhooks.answered(run)
        return run

    def find(self, message_id: Any) -> Run | None:
        """The run of that id, if there is one."""
        run = self._state.runs.get(message_id) if isinstance(message_id, str) else None
        return run if run is not None and run.kind == "workflow" else None

    def view(self, run: Run) -> dict[str, Any]:
        """A run as ``GET /runs/{message_id}`` reports it."""
        if run.ended:
            return nenai_bodies.end(run, "1")
        return nenai_bodies.progress(run, word_of(run, running="processing"), self._expiry())

    def _expiry(self) -> int:
        return math.floor(self._state.clock.time() + self._state.settings.url_seconds)

    def _tell_progress(self, run: Run) -> None:
        for word in (["processing"] if run.behaviour.announce else []) + run.behaviour.progress:
            self._webhooks.send(run, word, nenai_bodies.progress(run, word, self._expiry()))

    def _tell_end(self, run: Run, base: str) -> None:
        settings = self._state.settings
        if run.status == "success":
            run.at_end = nenai_bodies.ends_with(run, base, self._state.clock.time(), settings.url_seconds)
        form = run.behaviour.webhook_form or settings.webhook_form
        self._webhooks.send(run, run.status, nenai_bodies.end(run, form))


def word_of(run: Run, *, running: str | None = None) -> str:
    """How a run stands, in one word; before its end the last of its ``progress``, if it has any.

    :param running: the word for a run that is being executed; None: ``started`` at first, then ``running``.
    """
    if run.ended:
        return run.status
    if run.phase == "queued":
        return "queued"
    if run.behaviour.progress:
        return run.behaviour.progress[-1]
    return running or run.phase
