"""Group commit: however many webhooks arrive at once, they share one transaction, and each waits for its commit."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING

from airflow_provider_nenoa.exceptions import NenoaError

if TYPE_CHECKING:
    from airflow_provider_nenoa.webhooks.rows import Delivery
    from airflow_provider_nenoa.webhooks.store import Store

log = logging.getLogger(__name__)

BATCH = 200
"""Deliveries in one transaction, at most."""
BATCH_BYTES = 4 * 1024 * 1024
"""Bytes in one transaction, beyond its first delivery."""
QUEUE = 1000
"""Deliveries of one connection that may be waiting, at most."""
QUEUE_BYTES = 8 * 1024 * 1024
"""Bytes of one connection that may be waiting, at most."""
QUEUE_BYTES_IN_ALL = 64 * 1024 * 1024
"""Bytes that may be waiting, at most."""


class QueueFull(Exception):
    """The database is slower than the webhooks come in. The vendor will deliver again."""


class Writer:
    """
    The one thread of this process that writes to the store.

    :param store: Where to.
    :param on_commit: Called in the writer's thread after each commit.
    """

    def __init__(self, store: Store, on_commit: Callable[[], None]) -> None:
        self._store = store
        self._on_commit = on_commit
        # By connection, so that each has its turn: one that sends without end holds nobody up but itself.
        self._waiting: dict[str, deque[tuple[Delivery, Future[bool]]]] = {}
        self._bytes: Counter[str] = Counter()
        self._lock = Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nenoa-writer")

    def submit(self, delivery: Delivery) -> Future[bool]:
        """
        Queue a delivery.

        :return: Done once the delivery is committed: with whether it told something new, or with the error because of
            which it was not stored.
        :raises QueueFull: As much as may be is waiting already, of this connection or in all.
        """
        conn_id, size = delivery.conn_id, len(delivery.sealed)
        future: Future[bool] = Future()
        with self._lock:
            waiting = self._waiting.get(conn_id)
            # One may always wait, however much the others have sent.
            if waiting is not None and (
                len(waiting) >= QUEUE
                or self._bytes[conn_id] + size > QUEUE_BYTES
                or self._bytes.total() + size > QUEUE_BYTES_IN_ALL
            ):
                raise QueueFull
            self._waiting.setdefault(conn_id, deque()).append((delivery, future))
            self._bytes[conn_id] += size
        # One call for each delivery; the first to run takes all that wait, and the others find nothing left to do.
        self._thread.submit(self._commit_waiting)
        return future

    def _take(self) -> list[tuple[Delivery, Future[bool]]]:
        """Take the next batch out of the queue: one delivery of each connection in turn."""
        batch: list[tuple[Delivery, Future[bool]]] = []
        size = 0
        with self._lock:
            while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
                conn_id = next(iter(self._waiting))
                waiting = self._waiting.pop(conn_id)
                delivery, future = waiting.popleft()
                self._bytes[conn_id] -= len(delivery.sealed)
                if waiting:
                    self._waiting[conn_id] = waiting  # behind the others
                else:
                    del self._bytes[conn_id]
                if future.set_running_or_notify_cancel():
                    batch.append((delivery, future))
                    size += len(delivery.sealed)
        return batch

    def _commit_waiting(self) -> None:
        batch = self._take()
        if not batch:
            return
        try:
            news = self._store.record([delivery for delivery, _ in batch])
        except Exception as error:
            # Not the whole error: SQLAlchemy's text has the statement's parameters in it.
            log.error("%d webhooks could not be stored, and were refused: %s", len(batch), short(error))
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), is_news in zip(batch, news, strict=True):
            future.set_result(is_news)
        self._on_commit()
        self._prune()

    def _prune(self) -> None:
        try:
            self._store.prune()
        except Exception as error:
            log.warning("Events that are too old could not be deleted; trying again later: %s", short(error))


def short(error: BaseException) -> str:
    """Say what the database said, without the statement and its parameters; or what we say of it ourselves."""
    if isinstance(error, NenoaError):
        return str(error)
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}" if cause is not error else type(error).__name__
