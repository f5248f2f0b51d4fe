"""Somebody has one connection's secret and sends all that he can: the other connections notice nothing."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable

import requests
from cryptography.fernet import Fernet
from sqlalchemy import create_engine, func, select

from airflow_provider_nenoa.vendors.messages import Message
from airflow_provider_nenoa.webhooks.rows import Delivery
from airflow_provider_nenoa.webhooks.store import PRUNE_BATCH, Store
from airflow_provider_nenoa.webhooks.tables import runs
from tests.support.receiver import ReceiverProcess, body_of, signed
from tests.support.statsd import StatsdServer

SENDERS = 16
PATIENCE = 5.0
"""Seconds for which NenAI waits for an answer, the least patient of the vendors."""
NOISE = os.urandom(500_000).hex()
"""Nearly a mebibyte, of which compression leaves half."""
EXPIRED = 4 * PRUNE_BATCH
"""Rows that retention has to empty meanwhile."""
WEEK = 7 * 86400.0


class Flood:
    """
    Signed webhooks of the connection `oa`, each of a run of its own, as fast as they are taken; a context manager.

    :param url: The receiver.
    """

    def __init__(self, url: str) -> None:
        self._url = f"{url}/webhooks/oa"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]
        self.statuses: Counter[int] = Counter()

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _send(self, sender: int) -> None:
        number = 0
        with requests.Session() as session:
            while not self._over.is_set():
                number += 1
                body = body_of("openanalyst", f"flood-{sender}-{number}", "completed", noise=NOISE)
                self.statuses[session.post(self._url, body, headers=signed("oa", body)).status_code] += 1


def test_a_signed_flood_is_bounded_and_the_neighbours_are_answered(postgres_databases: Callable[[], str]) -> None:
    url = postgres_databases()
    store = Store(create_engine(url), Fernet(Fernet.generate_key()), clock=lambda: time.time() - WEEK - 60)
    store.record([Delivery("oa", Message(f"old-{number}", "completed"), b"old", "") for number in range(EXPIRED)])

    def expired() -> int:
        with store.engine.connect() as connection:
            kept = select(func.count()).where(runs.c.kept == 1, runs.c.received_at < time.time() - WEEK)
            return connection.execute(kept).scalar_one()

    answered: list[tuple[int, float]] = []
    with (
        StatsdServer() as statsd,
        ReceiverProcess(url, statsd.environment) as receiver,
        requests.Session() as neighbour,
        Flood(receiver.url) as flood,
    ):
        until = time.monotonic() + 180
        while flood.statuses[429] < 100 or expired():
            assert time.monotonic() < until, (flood.statuses, expired())
            body = body_of("nenai", f"run-{len(answered)}", "success")
            began = time.monotonic()
            reply = neighbour.post(f"{receiver.url}/webhooks/nen", body, headers=signed("nen", body))
            answered.append((reply.status_code, time.monotonic() - began))
            time.sleep(0.02)
    assert {status for status, _ in answered} == {200}
    assert max(seconds for _, seconds in answered) < PATIENCE
    assert flood.statuses.keys() <= {200, 429, 503}
    assert len(store.summaries("nen", [f"run-{number}" for number in range(len(answered))])) == len(answered)
    assert statsd.received("webhook.refused", conn_id="oa", reason="flood")
    assert not statsd.received("webhook.refused", conn_id="nen")
    store.engine.dispose()
