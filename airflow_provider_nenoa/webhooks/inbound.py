"""Taking a webhook: who wrote it, how much of it may come, what it says; it is committed before it is answered."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.vendors import VENDORS, signatures
from airflow_provider_nenoa.vendors.payloads import is_token
from airflow_provider_nenoa.webhooks.age import NewestAge
from airflow_provider_nenoa.webhooks.connections import Sender
from airflow_provider_nenoa.webhooks.floods import Flood, Floods
from airflow_provider_nenoa.webhooks.gate import Gate
from airflow_provider_nenoa.webhooks.reading import Busy, NotJson, Readers, Reading
from airflow_provider_nenoa.webhooks.refusals import Refusal, try_again
from airflow_provider_nenoa.webhooks.rows import Delivery
from airflow_provider_nenoa.webhooks.tally import ACCEPTED, REPEATED, Tally
from airflow_provider_nenoa.webhooks.writer import QueueFull, Writer

log = logging.getLogger(__name__)

COMMIT_TIMEOUT = 4.5
"""Seconds to wait for a commit. NenAI gives up after 5, OpenAnalyst after 10."""
LOG_INTERVAL = 60.0
"""Seconds between two lines in the log about connections that send too much."""


class Inbound:
    """
    The endpoint that the vendors call.

    :param gate: Tells vendors from strangers.
    :param bodies: Reads what they say.
    :param writer: Stores it.
    :param newest_age: Reports how old the newest event is.
    :param tally: Counts what comes, for the page.
    """

    def __init__(self, gate: Gate, bodies: Readers, writer: Writer, newest_age: NewestAge, tally: Tally) -> None:
        self._tally = tally
        self._floods = Floods()
        self._log_at = 0.0
        self._gate = gate
        self._bodies = bodies
        self._writer = writer
        self._newest_age = newest_age

    async def webhook(self, request: Request) -> Response:
        """Take a webhook: find out who wrote it, then what it says; commit it, then say 200."""
        conn_id = request.path_params["conn_id"]
        sender, body = await self._gate.webhook(request)
        self._bound(conn_id, len(body))
        kind = request.query_params.get("kind")
        kind = kind if kind in VENDORS[sender.conn_type].RUN_KINDS else None
        reading = await self._read(conn_id, sender, body, kind)
        sent_at = signatures.signed_time(VENDORS[sender.conn_type].SIGNATURE, request.headers)
        delivery = _delivery(conn_id, reading, kind, request.query_params.get("ref"), sent_at)
        is_news = await self._commit(delivery)
        metrics.count("webhook.accepted" if is_news else "webhook.duplicate", conn_id=conn_id)
        self._tally.count(conn_id, ACCEPTED if is_news else REPEATED)
        if is_news:
            self._floods.stored(conn_id)
            self._newest_age.came(conn_id)
            if reading.warning:
                log.warning("A webhook of connection '%s' is stored. %s", conn_id, reading.warning)
            if not delivery.has_run:
                metrics.count("webhook.without_run", conn_id=conn_id)
                log.info(
                    "A webhook of connection '%s' is about no run: event %s, fields %s",
                    conn_id,
                    reading.message.event or "without a name",
                    reading.fields,
                )
        return JSONResponse({"status": "stored"})

    def _bound(self, conn_id: str, size: int) -> None:
        try:
            self._floods.came(conn_id, size)
        except Flood as flood:
            self._refused(conn_id, "flood")
            if time.monotonic() >= self._log_at:
                self._log_at = time.monotonic() + LOG_INTERVAL
                log.error(
                    "Webhooks of connection '%s' are refused: more %s came than one connection may send. If it is not "
                    "the vendor who sends them, the connection's webhook_secret has leaked: change it",
                    conn_id,
                    flood.what,
                )
            wait = {"Retry-After": str(round(flood.seconds))}
            raise Refusal(429, "flood", f"Too many {flood.what} of this connection.", wait) from None

    def _refused(self, conn_id: str, reason: str) -> None:
        metrics.count("webhook.refused", reason=reason, conn_id=conn_id)
        self._tally.count(conn_id, reason)

    async def _read(self, conn_id: str, sender: Sender, body: bytes, kind: str | None) -> Reading:
        try:
            return await self._bodies.read(conn_id, sender.conn_type, body, kind)
        except NotJson as error:
            self._refused(conn_id, "bad_payload")
            log.warning("Refused a signed webhook of connection '%s': %s", conn_id, error)
            raise Refusal(400, "bad_payload", str(error)) from None
        except Busy:
            self._refused(conn_id, "busy")
            log.error("A webhook of connection '%s' was refused: it sends more large bodies than can be read", conn_id)
            raise try_again("Too many large webhooks at once.") from None

    async def _commit(self, delivery: Delivery) -> bool:
        try:
            stored = self._writer.submit(delivery)
            return await asyncio.wait_for(asyncio.wrap_future(stored), COMMIT_TIMEOUT)
        except QueueFull:
            log.error("A webhook of '%s' was refused: the database does not keep up with it", delivery.conn_id)
        except TimeoutError:
            log.error("A webhook was refused: the database took longer than %g s", COMMIT_TIMEOUT)
        except Exception:  # noqa: S110  (the writer has logged it, once for the whole batch)
            pass
        self._refused(delivery.conn_id, "not_stored")
        raise try_again("The webhook could not be stored.")


def _delivery(conn_id: str, reading: Reading, kind: str | None, ref: str | None, sent_at: float | None) -> Delivery:
    message = reading.message
    if message.kind is None and message.of_run:
        message = replace(message, kind=kind)  # what our own callback URL says, where the vendor does not
    ref = ref if ref is not None and is_token(ref) else None
    return Delivery(conn_id, message, reading.sealed, reading.digest, ref, sent_at)
