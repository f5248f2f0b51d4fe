"""Signed webhooks of both vendors, with retries, and with all that can go wrong on their way."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx

from airflow_provider_nenoa.emulator.signing import signature
from airflow_provider_nenoa.emulator.state import Run, State
from airflow_provider_nenoa.emulator.wire import json_bytes

#: At most so many deliveries are in the air at once; the rest wait for their turn.
CONCURRENT_DELIVERIES = 100


def url_problem(url: Any, *, https: bool) -> str | None:
    """What is wrong with a webhook URL, in words; None if nothing is.

    :param https: plain HTTP is accepted on a loopback host only.
    """
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        host = parts.hostname if parts else None
    except ValueError:
        parts, host = None, None
    if parts is None or not host or parts.scheme not in ("http", "https"):
        return "must be an absolute http(s) URL"
    if https and parts.scheme == "http" and not _loopback(host):
        return "must use HTTPS"
    return None


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


class Webhooks:
    """Sends webhooks in the background, the ones of a run in their order unless a fault says otherwise."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._idle: list[httpx.AsyncClient] = []
        self._turns = asyncio.Semaphore(CONCURRENT_DELIVERIES)

    async def close(self) -> None:
        """Give back what the deliveries used."""
        for client in self._idle:
            await client.aclose()

    def send(self, run: Run, status: str, payload: dict[str, Any]) -> None:
        """Send one webhook of a run, if the run has anywhere to send it.

        :param status: the vendor's status word in ``payload``.
        """
        if run.webhook_url is None:
            return
        if run.faults.reorder and not run.ended:
            run.held_back = (status, payload)
            return
        self._queue(run, status, payload)
        if run.held_back:
            self._queue(run, *run.held_back)
            run.held_back = None

    async def answered(self, run: Run) -> None:
        """Wait until every webhook of the run so far was answered, or given up once."""
        if run.deliveries:
            await asyncio.wait(run.deliveries)

    def _queue(self, run: Run, status: str, payload: dict[str, Any]) -> None:
        earlier = list(run.deliveries)
        run.deliveries.append(self._state.spawn(self._deliver(run, status, payload, earlier)))

    async def _deliver(self, run: Run, status: str, payload: dict[str, Any], earlier: list[asyncio.Task[None]]) -> None:
        faults = run.faults
        faulty = faults.concerns(status)
        if faulty and faults.lose:
            self._note(run, status, attempt=0, outcome="lost")
            return
        if faulty and faults.late:
            await asyncio.sleep(faults.late)
        elif earlier and not faults.late:
            await asyncio.wait(earlier)
        body = json_bytes(payload)
        for _ in range(1 + (faults.duplicate if faulty else 0)):
            if not await self._attempt(run, status, body, 1):
                # A retry does not hold up what comes after it: that is how deliveries get out of order in real life.
                self._state.spawn(self._retry(run, status, body))

    async def _retry(self, run: Run, status: str, body: bytes) -> None:
        settings = self._state.settings
        retries = settings.nenai_retries if run.kind == "workflow" else settings.openanalyst_retries
        for retry in range(retries):
            await asyncio.sleep(settings.retry_base_seconds * 2**retry)
            if await self._attempt(run, status, body, retry + 2):
                return

    async def _attempt(self, run: Run, status: str, body: bytes, attempt: int) -> bool:
        """Send once.

        :return: whether the receiver took it: it answered 2xx, and in time.
        """
        settings = self._state.settings
        faults = run.faults
        if run.kind == "workflow":
            header, form = "X-Hmac-Signature", "prefixed"
            secret, timeout = settings.nenai_webhook_secret, settings.nenai_webhook_timeout
        else:
            header, form = "X-OpenAnalyst-Signature", settings.signature
            secret, timeout = settings.openanalyst_webhook_secret, settings.openanalyst_webhook_timeout
        secret = run.secret or secret
        if faults.bad_signature and faults.concerns(status):
            secret = f"not {secret}"
        headers = {"Content-Type": "application/json", header: signature(form, secret, body, self._state.clock.time())}
        assert run.webhook_url is not None
        async with self._turns:
            client = self._client()
            started = time.monotonic()
            try:
                async with asyncio.timeout(timeout):
                    reply = await client.post(run.webhook_url, content=body, headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
                code, outcome = None, type(error).__name__
            else:
                code, outcome = reply.status_code, "delivered" if reply.is_success else "refused"
            self._idle.append(client)
        self._note(run, status, attempt, outcome, code, round(time.monotonic() - started, 4))
        return outcome == "delivered"

    def _client(self) -> httpx.AsyncClient:
        """A client for one delivery: one shared by many takes longer for each, the more of them there are."""
        if self._idle:
            return self._idle.pop()
        return httpx.AsyncClient(
            # Receivers are on this machine, mostly: no proxy from the environment.
            trust_env=False,
            verify=_tls(),
            # The whole attempt has a time limit, so its parts need none.
            timeout=None,  # noqa: S113
            # A receiver may close an idle connection just when it is used again. Losses shall be asked for.
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def _note(
        self,
        run: Run,
        status: str,
        attempt: int,
        outcome: str,
        code: int | None = None,
        seconds: float | None = None,
    ) -> None:
        self._state.deliveries.append(
            {
                "run_id": run.id,
                "kind": run.kind,
                "status": status,
                "url": run.webhook_url,
                "attempt": attempt,
                "outcome": outcome,
                "code": code,
                "time": self._state.clock.time(),
                "seconds": seconds,
            }
        )
