"""The control API under ``/_control``: what was received and sent, and what shall happen. For tests, not a vendor's."""

from __future__ import annotations

from typing import Any

import pydantic
from fastapi import APIRouter, Body, HTTPException
from fastapi.responses import JSONResponse

from airflow_provider_nenoa.emulator.behaviour import Strict, WebhookFault
from airflow_provider_nenoa.emulator.door import CONTROL
from airflow_provider_nenoa.emulator.faults import Fault
from airflow_provider_nenoa.emulator.registered import Registered
from airflow_provider_nenoa.emulator.state import Run, State

_SECRETS = {"openanalyst_key", "nenai_key", "openanalyst_webhook_secret", "nenai_webhook_secret"}


class ClockChange(Strict):
    """What ``POST /_control/clock`` takes.

    :param freeze: True: stop at the present; a number: stop at that Unix time.
    :param advance: then jump ahead by so many seconds.
    """

    freeze: bool | float = False
    advance: float = 0


class Event(Strict):
    """What ``POST /_control/events`` takes: an event of OpenAnalyst's, which need not name a run.

    :param event: its name, for example ``alert_triggered``.
    :param fields: of the body; for registered webhooks they are in its ``data``.
    :param url: where to; None: to the registered webhooks that asked for it.
    """

    event: str
    fields: dict[str, Any] = {}
    url: str | None = None


def router(state: State, registered: Registered) -> APIRouter:
    """The control API."""
    api = APIRouter(prefix=CONTROL, tags=["Control"])

    @api.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok"}

    @api.get("/requests")
    async def requests() -> JSONResponse:
        return JSONResponse(list(state.requests))

    @api.get("/counts")
    async def counts() -> dict[str, Any]:
        return {**state.counts, "runs_started": dict(state.runs_started)}

    @api.get("/deliveries")
    async def deliveries() -> JSONResponse:
        return JSONResponse(list(state.deliveries))

    @api.get("/runs")
    async def runs() -> JSONResponse:
        shown = [
            {"id": r.id, "kind": r.kind, "status": r.status, "phase": r.phase, "ended": r.ended}
            for r in state.runs.values()
        ]
        return JSONResponse(shown)

    def going_on(run_id: str) -> Run:
        run = state.runs.get(run_id)
        if run is None:
            raise HTTPException(404, f"There is no run {run_id}.")
        if run.ended:
            raise HTTPException(409, f"The run {run_id} has ended as {run.status}.")
        return run

    @api.post("/runs/{run_id}/begin")
    async def begin(run_id: str) -> dict[str, Any]:
        run = going_on(run_id)
        if run.phase != "queued":
            raise HTTPException(409, f"The run {run_id} has begun.")
        state.begin(run)
        return {"id": run.id, "phase": run.phase}

    @api.post("/runs/{run_id}/finish")
    async def finish(run_id: str, change: dict[str, Any] = Body(default={})) -> dict[str, Any]:  # noqa: B008
        run = going_on(run_id)
        try:
            run.behaviour = run.behaviour.overruled(change)
        except pydantic.ValidationError as error:
            raise HTTPException(422, str(error)) from None
        state.finish(run)
        return {"id": run.id, "status": run.status}

    @api.get("/settings")
    async def settings() -> dict[str, Any]:
        return state.settings.model_dump(exclude=_SECRETS)

    @api.post("/settings")
    async def change_settings(patch: dict[str, Any]) -> dict[str, Any]:
        try:
            state.patch_settings(patch)
        except pydantic.ValidationError as error:
            raise HTTPException(422, str(error)) from None
        return state.settings.model_dump(exclude=_SECRETS)

    @api.post("/faults")
    async def add_fault(fault: Fault | list[Fault]) -> dict[str, Any]:
        for one in fault if isinstance(fault, list) else [fault]:
            state.faults.add(one)
        return {"status": "ok"}

    @api.post("/webhook-faults")
    async def add_webhook_fault(fault: WebhookFault) -> dict[str, Any]:
        state.webhook_faults.append(fault)
        return {"status": "ok"}

    @api.post("/events")
    async def send_event(event: Event) -> dict[str, Any]:
        if event.url is None:
            return {"sent": registered.tell(event.event, event.fields)}
        registered.send(event.event, event.fields, event.url)
        return {"sent": 1}

    @api.post("/clock")
    async def change_clock(change: ClockChange) -> dict[str, Any]:
        if change.freeze is not False:
            state.clock.freeze(None if change.freeze is True else change.freeze)
        state.clock.advance(change.advance)
        return {"time": state.clock.time()}

    @api.post("/reset")
    async def reset() -> dict[str, Any]:
        state.reset()
        return {"status": "ok"}

    return api
