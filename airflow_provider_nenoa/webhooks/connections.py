"""What the receiver knows of a connection: its type and its webhook secrets, remembered for half a minute."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.vendors import VENDORS
from airflow_provider_nenoa.webhooks.paths import is_conn_id, is_misspelled
from airflow_provider_nenoa.webhooks.secret import webhook_secrets

log = logging.getLogger(__name__)

REMEMBER = 30.0
"""Seconds after which a connection is read again: about how long a changed secret takes to be seen."""
REMEMBER_UNKNOWN = 5.0
"""The same for one that was not found: who has just created it should not have to wait."""
KEEP = 300.0
"""Seconds for which a connection that cannot be read again is still good: Airflow does not tell a backend that is down
from a connection that was deleted."""
LIMIT = 1000
"""Connections remembered, at most; and as many names that are none: strangers can ask for any number of them."""
THREADS = 2
"""Threads that read known connections, and as many of their own for the names that anybody may have thought of."""
CROWD = 64
"""Look-ups of unknown names that may be waiting, at most."""


@dataclass(frozen=True)
class Sender:
    """
    A connection as a sender of webhooks.

    :param conn_type: ``nenai`` or ``openanalyst``.
    :param secret: The connection's ``webhook_secret``.
    :param previous: Its ``webhook_secret_previous``: what was signed before the secret was changed is still good.
    """

    conn_type: str
    secret: str = field(repr=False)
    previous: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """All secrets with which its messages may be signed."""
        return (self.secret,) if self.previous is None else (self.secret, self.previous)


NOBODY = Sender("nenai", secrets.token_hex(32))
"""Stands for every connection that cannot send webhooks: it is checked like any other, and nobody knows its secret."""


def read_sender(conn_id: str) -> Sender:
    """
    Read a connection as a server process does.

    :return: `NOBODY` if it has another type or no webhook secret, or is not spelled as it was configured: each
        spelling would keep events of its own, and what was delivered to one could be played again to the other.
    """
    connection = airflow_internals.server_connection(conn_id)
    secrets = webhook_secrets(connection.extra_dejson)
    if connection.conn_type not in VENDORS or not secrets or connection.conn_id != conn_id or is_misspelled(conn_id):
        return NOBODY
    return Sender(connection.conn_type, *secrets)


@dataclass
class _Known:
    sender: Sender
    read_at: float
    read_again_at: float


@dataclass(eq=False)
class _LookUp:
    job: Future[Sender | None]
    future: asyncio.Future[Sender | None]
    began: float
    is_known: bool
    waiting: int = 0


class Senders:
    """
    Look up connections without blocking the event loop, and without letting strangers stand before senders.

    A known sender is served from memory, also while it is read again. Names that are not known are looked up in threads
    of their own, `CROWD` at a time, and only as long as somebody waits for it.

    :param read: Reads one connection; raises if there is none. It may block.
    :param clock: Seconds, replaced in tests.
    :param on_read: Called with the seconds that each look-up took, its time in the queue included.
    """

    def __init__(
        self,
        read: Callable[[str], Sender] = read_sender,
        clock: Callable[[], float] = time.monotonic,
        on_read: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._read = read
        self._clock = clock
        self.on_read = on_read
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()  # until when
        self._lookups: dict[str, _LookUp] = {}
        self._crowd = 0
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="nenoa-connections")
        self._threads_for_unknown = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="nenoa-strangers")

    def remembered(self, conn_id: str) -> Sender | None:
        """
        Return a connection from memory; `NOBODY` if it is unknown, or cannot send webhooks.

        :return: None if it has to be looked up. One that is due to be read again is, for those who come later.
        """
        if not is_conn_id(conn_id):
            return NOBODY
        now = self._clock()
        known = self._known.get(conn_id)
        if known is not None and now - known.read_at < KEEP:
            self._known.move_to_end(conn_id)
            if now >= known.read_again_at:
                self._begin(conn_id)
            return known.sender
        if now < self._unknown.get(conn_id, 0.0):
            self._unknown.move_to_end(conn_id)
            return NOBODY
        return None

    def is_known(self, conn_id: str) -> bool:
        """Whether a connection has been found that can send webhooks."""
        return conn_id in self._known

    def is_reading(self, conn_id: str) -> bool:
        """Whether a connection is being looked up."""
        return conn_id in self._lookups

    async def get(self, conn_id: str) -> Sender:
        """Return the connection as a sender: from memory, or else looked up."""
        sender = self.remembered(conn_id)
        return await self.newest(conn_id) if sender is None else sender

    async def newest(self, conn_id: str) -> Sender:
        """Return the connection, after the look-up that is under way or due; without one, from memory."""
        sender = self.remembered(conn_id)
        if sender is not None and not self.is_reading(conn_id):
            return sender
        lookup = self._begin(conn_id)
        if lookup is None:
            return NOBODY
        lookup.waiting += 1
        try:
            # Shielded: others wait for the same look-up when one of them is cancelled.
            return await asyncio.shield(lookup.future) or self.remembered(conn_id) or NOBODY
        finally:
            lookup.waiting -= 1
            if not lookup.waiting and not lookup.is_known:
                lookup.job.cancel()  # one that has begun goes on, and is remembered

    def warm_up(self) -> None:
        """Read some connection: the first look-up takes seconds, which the first webhook does not have. It blocks."""
        self._look_up("nenoa-warm-up")

    def _begin(self, conn_id: str) -> _LookUp | None:
        """Look up a connection, if nobody does; None: too many unknown ones are being looked up."""
        lookup = self._lookups.get(conn_id)
        if lookup is not None and not lookup.job.cancelled():
            return lookup
        is_known = conn_id in self._known
        if not is_known and self._crowd >= CROWD:
            return None
        self._crowd += not is_known
        threads = self._threads if is_known else self._threads_for_unknown
        job = threads.submit(self._look_up, conn_id)
        lookup = self._lookups[conn_id] = _LookUp(job, asyncio.wrap_future(job), self._clock(), is_known)
        lookup.future.add_done_callback(lambda _: self._ended(conn_id, lookup))
        return lookup

    def _ended(self, conn_id: str, lookup: _LookUp) -> None:
        if self._lookups.get(conn_id) is lookup:
            del self._lookups[conn_id]
        self._crowd -= not lookup.is_known
        if lookup.future.cancelled():
            return
        now, sender = self._clock(), lookup.future.result()
        self.on_read(now - lookup.began)
        known = self._known.get(conn_id)
        if sender is None and known is not None and now - known.read_at < KEEP:
            known.read_again_at = now + REMEMBER_UNKNOWN
        elif sender is None or sender is NOBODY:
            self._known.pop(conn_id, None)
            self._unknown[conn_id] = now + REMEMBER_UNKNOWN
            self._unknown.move_to_end(conn_id)
        else:
            self._unknown.pop(conn_id, None)
            self._known[conn_id] = _Known(sender, now, now + REMEMBER)
            self._known.move_to_end(conn_id)
        for names in (self._known, self._unknown):
            if len(names) > LIMIT:
                names.popitem(last=False)

    def _look_up(self, conn_id: str) -> Sender | None:
        try:
            return self._read(conn_id)
        except Exception as error:
            # Airflow raises the same for what does not exist and for backends that are down.
            log.debug("Reading a connection failed: %s", type(error).__name__)
            return None
