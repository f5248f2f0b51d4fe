"""Group commit: however many webhooks arrive at once, they share one transaction, and each waits for its commit."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_nenoa.webhooks.store import Delivery, Store

log = logging.getLogger(__name__)

BATCH = 200
"""Deliveries in one transaction, at most."""
QUEUE = 1000
"""Deliveries that may be waiting, at most."""


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
        self._waiting: deque[tuple[Delivery, Future[bool]]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nenoa-writer")

    def submit(self, delivery: Delivery) -> Future[bool]:
        """
        Queue a delivery.

        :return: Done once the delivery is committed: with whether it told something new, or with the error because of
            which it was not stored.
        :raises QueueFull: `QUEUE` deliveries are waiting already.
        """
        if len(self._waiting) >= QUEUE:
            raise QueueFull
        future: Future[bool] = Future()
        self._waiting.append((delivery, future))
        # One call for each delivery; the first to run takes all that wait, and the others find nothing left to do.
        self._thread.submit(self._commit_waiting)
        return future

    def _commit_waiting(self) -> None:
        batch: list[tuple[Delivery, Future[bool]]] = []
        while self._waiting and len(batch) < BATCH:
            delivery, future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                batch.append((delivery, future))
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
    """Say what the database said, without the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {cause}" if cause is not error else type(error).__name__
