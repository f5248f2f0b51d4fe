"""Who asks OpenAnalyst, whether there is room for the request, and what it says."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

import pydantic
from fastapi import Depends, Request

from airflow_provider_nenoa.emulator.openanalyst_errors import OpenAnalystError
from airflow_provider_nenoa.emulator.state import State
from airflow_provider_nenoa.emulator.webhooks import url_problem
from airflow_provider_nenoa.emulator.wire import json_object

_KEY = re.compile(r"oa_(?P<kind>live|test|sk)_(?P<workspace>.+?)(?:_[^_]*)?")


class Caller(pydantic.BaseModel):
    """Who asks.

    :param workspace: the keys ``oa_live_acme_1`` and ``oa_test_acme_2`` belong to the workspace ``acme``, the key
        ``oa_live_acme`` too.
    :param live: False for ``oa_test_`` keys, whose runs send no webhooks (OpenAnalyst docs: "API keys").
    """

    workspace: str
    live: bool


def authenticated(request: Request) -> Caller:
    """Check the key, then count the request against the limits of its workspace."""
    state: State = request.app.state.emulator
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    form = _KEY.fullmatch(key)
    wanted = state.settings.openanalyst_key
    if scheme.lower() != "bearer" or (key != wanted if wanted is not None else form is None):
        raise OpenAnalystError(401, "Missing or invalid API key.")
    caller = Caller(workspace=form["workspace"] if form else key, live=not (form and form["kind"] == "test"))

    now = state.clock.time()
    limiter = state.limiter(caller.workspace)
    wait = limiter.admit(now)
    if state.settings.rate_headers:
        request.state.reply_headers = limiter.headers(now)
    if wait is not None:
        seconds = max(1, math.ceil(wait))
        raise OpenAnalystError(
            429, f"Too many requests. Retry after {seconds} seconds.", headers={"Retry-After": str(seconds)}
        )
    return caller


Authenticated = Annotated[Caller, Depends(authenticated)]


def only_in(form: Literal["api", "server"]) -> Any:
    """A dependency of what only one of the vendor's two references knows: the workspace may speak the other one."""

    def check(request: Request) -> None:
        state: State = request.app.state.emulator
        if state.settings.api_form not in ("both", form):
            raise OpenAnalystError(404, "The requested resource does not exist.")

    return Depends(check)


async def json_body(request: Request) -> dict[str, Any]:
    try:
        return json_object(await request.body())
    except ValueError as problem:
        raise OpenAnalystError(422, f"The request body {problem}.") from None


def text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise OpenAnalystError(422, f"{name}: a non-empty string is required.")
    return value


def webhook_url(body: dict[str, Any]) -> str | None:
    url = body.get("webhook_url")
    if url is None:
        return None
    if problem := url_problem(url, https=True):
        raise OpenAnalystError(422, f"webhook_url: {problem}.")
    return str(url)
