"""Whether the receiver can do its work: `/ready` finds out, and what is cold at first is warmed up."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.webhooks.connections import Senders
from airflow_provider_nenoa.webhooks.store import Store
from airflow_provider_nenoa.webhooks.writer import short

log = logging.getLogger(__name__)

REMEMBER = 2.0
"""Seconds for which an answer of `/ready` is good: however many ask, the database is asked so often."""
TIMEOUT = 5.0
"""Seconds within which the database must take a row; NenAI waits no longer for an answer."""
LOG_INTERVAL = 60.0
"""Seconds between two lines in the log about what is missing."""


class Readiness:
    """
    Answers those who look after the receiver.

    :param store: Where events are kept.
    :param senders: Reads connections.
    """

    def __init__(self, store: Store, senders: Senders) -> None:
        self._store = store
        self._senders = senders
        self._thread = ThreadPoolExecutor(max_workers=2, thread_name_prefix="nenoa-ready")
        self._warm_up: asyncio.Future[None] | None = None
        self._check: asyncio.Future[bool] | None = None
        self._checked_at = 0.0
        self._log_at = 0.0

    async def health(self, request: Request) -> Response:
        """Say that the receiver runs, and nothing else; the first time, have it warmed up."""
        self.warm_up()
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Say whether a webhook could be stored now. Why not is in the log: anybody may ask."""
        await asyncio.wait({self.warm_up()}, timeout=TIMEOUT)
        if self._check is None or (self._check.done() and time.monotonic() - self._checked_at >= REMEMBER):
            self._check = asyncio.get_running_loop().run_in_executor(self._thread, self._can_store)
            self._checked_at = time.monotonic()
        done, _ = await asyncio.wait({self._check}, timeout=TIMEOUT)
        if done and self._check.result():
            return JSONResponse({"status": "ready"})
        message = "Webhooks cannot be stored. The receiver's log says why."
        return JSONResponse({"status": "not ready", "message": message}, 503, {"Retry-After": "2"})

    def warm_up(self) -> asyncio.Future[None]:
        """
        Do once what the first webhook would have to wait for: read a connection, open the store.

        :return: Done when that is done.
        """
        if self._warm_up is None:
            self._warm_up = asyncio.get_running_loop().run_in_executor(self._thread, self._do_warm_up)
        return self._warm_up

    def _do_warm_up(self) -> None:
        self._senders.warm_up()
        self._can_store()

    def _can_store(self) -> bool:
        try:
            self._store.check()
        except Exception as error:
            if time.monotonic() >= self._log_at:
                self._log_at = time.monotonic() + LOG_INTERVAL
                log.error("Webhooks cannot be stored. %s%s", short(error), self._what_to_do(error))
            return False
        # Also where no webhook comes any more, which is when old events are deleted otherwise.
        with suppress(Exception):
            self._store.prune()
        return True

    def _what_to_do(self, error: Exception) -> str:
        if isinstance(error, NenoaError):
            return ""  # it says so itself
        return (
            " Check [nenoa] event_store_url, and that its role may read and write the event tables. "
            f"If it may not make them, and they are not there, have one that may run:\n{self._store.sql()}"
        )
