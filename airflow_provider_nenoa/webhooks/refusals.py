"""How the receiver says no, and when: an answer's time must tell a stranger as little as its words do."""

from __future__ import annotations

import asyncio
import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

LOOK_UP_TIME = 4.0
"""Seconds for which a look-up is waited for: NenAI waits 5 for an answer."""
REFUSAL_TIMES = (0.1, 1.0, LOOK_UP_TIME)
"""
Seconds after its arrival at which a request from nobody we know is answered: the first of these that the look-up of any
connection has kept within lately.
"""
SLOW_FOR = 600.0
"""Seconds for which a slow look-up counts."""

CLOSE = {"Connection": "close"}
"""The header with which whatever the client still sends is not read."""


class Refusal(Exception):
    """
    The request is answered with an error.

    :param status_code: The HTTP status.
    :param error: A word for machines.
    :param message: A sentence for people.
    :param headers: Further headers of the answer.
    """

    def __init__(self, status_code: int, error: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.response = JSONResponse({"error": error, "message": message}, status_code, headers)


def unauthorized() -> Refusal:
    """Refuse whoever is not who he says, in one and the same way."""
    return Refusal(401, "unauthorized", "Unknown connection, or not signed with its webhook secret.", CLOSE)


def try_again(message: str, headers: dict[str, str] | None = None) -> Refusal:
    """Refuse what can be done a moment later."""
    return Refusal(503, "unavailable", f"{message} Try again.", {"Retry-After": "2", **(headers or {})})


async def answer(request: Request, error: Exception) -> Response:
    """Answer with a refusal: the app's exception handler."""
    assert isinstance(error, Refusal)
    return error.response


async def nobody_listens(request: Request, error: Exception) -> Response:
    """Answer a client that has hung up meanwhile: nobody reads it, and it is no error of the server."""
    return Response(status_code=400, headers=CLOSE)


class Pace:
    """When strangers are answered: all of them at the same time after their arrival, whomever they named."""

    def __init__(self) -> None:
        self._slow: dict[float, float] = {}  # until when each time is needed

    @property
    def seconds(self) -> float:
        """Seconds after its arrival at which a stranger's request is answered."""
        now = time.monotonic()
        return max((seconds for seconds, until in self._slow.items() if now < until), default=REFUSAL_TIMES[0])

    def took(self, seconds: float) -> None:
        """Take note of a look-up."""
        needed = next((each for each in REFUSAL_TIMES if seconds <= each * 0.8), REFUSAL_TIMES[-1])
        if needed > REFUSAL_TIMES[0]:
            self._slow[needed] = time.monotonic() + SLOW_FOR

    async def refuse(self, arrived: float) -> Refusal:
        """Wait for the time to refuse a request, and return the refusal."""
        await asyncio.sleep(max(0.0, arrived + self.seconds - time.monotonic()))
        return unauthorized()
