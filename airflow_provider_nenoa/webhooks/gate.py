"""Who may come in: the vendors, by their signatures, and our own components, by their tokens."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.vendors import VENDORS, signatures
from airflow_provider_nenoa.webhooks import refusals, tokens
from airflow_provider_nenoa.webhooks.bodies import MAX_HEAD, Bodies
from airflow_provider_nenoa.webhooks.connected import while_connected
from airflow_provider_nenoa.webhooks.connections import NOBODY, Sender, Senders
from airflow_provider_nenoa.webhooks.paths import is_conn_id
from airflow_provider_nenoa.webhooks.refusals import CLOSE, Pace, Refusal, unauthorized
from airflow_provider_nenoa.webhooks.tally import NOBODY_WE_KNOW, Tally

log = logging.getLogger(__name__)

LOG_INTERVAL = 10.0
"""Seconds between two lines in the log about requests of strangers."""

_SCHEMES = tuple(vendor.SIGNATURE for vendor in VENDORS.values())
_TOKEN = re.compile(r"[Bb]earer [\w-]{1,1000}\.[\w-]{1,2000}\.[\w-]{1,1000}", re.ASCII)


class Gate:
    """
    Tell vendors and our own components from strangers.

    What no secret can make right, for want of a well-formed signature or token, is refused at once: nothing is looked
    up, and no body read. For all others, the answer does not come sooner or later because a connection exists.

    :param senders: Who may send webhooks, and read what came of them.
    :param tally: Counts what is refused, for the page.
    """

    def __init__(self, senders: Senders, tally: Tally) -> None:
        self._tally = tally
        self._senders = senders
        self._bodies = Bodies()
        self._pace = Pace()
        self._log_at = 0.0
        self._refused = 0
        senders.on_read = self._pace.took

    async def webhook(self, request: Request) -> tuple[Sender, bytes]:
        """
        Read a webhook and check its signature.

        :return: The connection that its path names, and the body.
        :raises Refusal: It is not the vendor's.
        """
        conn_id, headers = request.path_params["conn_id"], request.headers
        if not is_conn_id(conn_id) or not any(signatures.given(scheme, headers) for scheme in _SCHEMES):
            is_signed = any(headers.get(scheme.header) for scheme in _SCHEMES)
            self._note_refused(conn_id, "malformed" if is_signed else "unsigned")
            raise unauthorized()

        async def checked(body: bytes) -> tuple[Sender, bytes]:
            # By sending slowly, nobody gets around the time at which strangers are answered.
            arrived = time.monotonic()
            sender = await self._who(
                request,
                lambda sender: signatures.verify(VENDORS[sender.conn_type].SIGNATURE, sender.secrets, body, headers),
            )
            if sender is None:
                self._note_refused(conn_id, self._why(conn_id, headers))
                raise await self._pace.refuse(arrived)
            return sender, body

        try:
            return await self._bodies.read(request, conn_id, checked)
        except Refusal as refusal:
            if refusal.error != "unauthorized":
                self._tally.count(conn_id, refusal.error, proven=self._senders.is_known(conn_id))
            raise

    async def body(self, request: Request) -> bytes:
        """
        Read the body of a request to the read API, within the same bounds.

        :raises Refusal: It has no token: then no body is read.
        """
        _token(request)

        async def as_it_is(body: bytes) -> bytes:
            return body

        return await self._bodies.read(request, request.path_params["conn_id"], as_it_is)

    async def reader(self, request: Request) -> str:
        """
        Check the token of a request to the read API.

        :return: The connection that its path names.
        :raises Refusal: The token is not one of ours.
        """
        arrived = time.monotonic()
        conn_id, token = request.path_params["conn_id"], _token(request)
        if await self._who(request, lambda sender: tokens.verify(token, conn_id, sender.secrets)) is None:
            raise await self._pace.refuse(arrived)
        return conn_id

    async def _who(self, request: Request, is_right: Callable[[Sender], bool]) -> Sender | None:
        """Find out whether who signed with the secret of the connection that he names; None: he did not."""
        conn_id = request.path_params["conn_id"]
        sender = self._senders.remembered(conn_id)
        if sender is not None and _is_right(sender, is_right):
            return sender
        if sender is not None and not self._senders.is_reading(conn_id):
            return None
        # It is not known, or its secret may have been changed since it was read.
        try:
            async with asyncio.timeout(refusals.LOOK_UP_TIME):
                newest = await while_connected(request, self._senders.newest(conn_id))
        except TimeoutError:
            self._pace.took(refusals.LOOK_UP_TIME)
            return None
        return newest if newest != sender and _is_right(newest, is_right) else None

    def _why(self, conn_id: str, headers: Headers) -> str:
        sender = self._senders.remembered(conn_id)
        if sender is None or sender is NOBODY:
            return NOBODY_WE_KNOW
        return signatures.why_refused(VENDORS[sender.conn_type].SIGNATURE, headers)

    def _note_refused(self, conn_id: str, why: str) -> None:
        self._tally.count(conn_id, why, proven=self._senders.is_known(conn_id))
        metrics.count("webhook.refused", reason="unauthorized")
        self._refused += 1
        if time.monotonic() < self._log_at:
            return
        log.info(
            "Refused %d webhooks: unknown connection, no webhook_secret in it, another one than the sender's, or a "
            "signed time that is more than %.0f h away",
            self._refused,
            signatures.MAX_AGE / 3600,
        )
        self._refused = 0
        self._log_at = time.monotonic() + LOG_INTERVAL


def _token(request: Request) -> str:
    """Return the token of a request to the read API, which may be anybody's; refuse what can be none."""
    authorization = request.headers.get("Authorization", "")
    if not is_conn_id(request.path_params["conn_id"]) or not _TOKEN.fullmatch(authorization):
        raise unauthorized()
    return authorization.partition(" ")[2]


def _is_right(sender: Sender, is_right: Callable[[Sender], bool]) -> bool:
    # Checked for nobody too: it takes its time.
    return is_right(sender) and sender is not NOBODY


class BoundedHead:
    """
    Refuse requests with more headers than any client of ours sends.

    :param app: Answers the others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            size = len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
            size += sum(len(name) + len(value) for name, value in scope["headers"])
            if size > MAX_HEAD:
                response = Refusal(431, "too_large", f"A request may have {MAX_HEAD} bytes of headers.", CLOSE).response
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)
