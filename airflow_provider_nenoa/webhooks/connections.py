"""What the receiver knows of a connection: its type and its webhook secret, remembered for half a minute."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.webhooks.paths import is_conn_id
from airflow_provider_nenoa.webhooks.signatures import SCHEMES

log = logging.getLogger(__name__)

REMEMBER = 30.0
"""Seconds for which a connection is not looked up again: how long a changed secret takes to be seen."""
REMEMBER_UNKNOWN = 5.0
"""The same for one that was not found: who has just created it should not have to wait."""
LIMIT = 1000
"""Connections remembered, at most: strangers can ask for any number of them."""


@dataclass(frozen=True)
class Sender:
    """
    A connection as a sender of webhooks.

    :param conn_type: ``nenai`` or ``openanalyst``.
    :param secret: The connection's ``webhook_secret``.
    """

    conn_type: str
    secret: str = field(repr=False)


NOBODY = Sender("nenai", secrets.token_hex(32))
"""Stands for every connection that cannot send webhooks: it is checked like any other, and nobody knows its secret."""


def read_sender(conn_id: str) -> Sender:
    """Read a connection as a server process does. `NOBODY` if it has another type, or no webhook secret."""
    connection = airflow_internals.server_connection(conn_id)
    secret = connection.extra_dejson.get("webhook_secret")
    if connection.conn_type not in SCHEMES or not isinstance(secret, str) or not secret:
        return NOBODY
    return Sender(connection.conn_type, secret)


class Senders:
    """
    Look up connections without blocking the event loop, each once in a while, however many webhooks come.

    :param read: Reads one connection; raises if there is none. It may block.
    :param clock: Seconds, replaced in tests.
    """

    def __init__(
        self, read: Callable[[str], Sender] = read_sender, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._clock = clock
        self._remembered: OrderedDict[str, tuple[float, asyncio.Future[Sender]]] = OrderedDict()
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="nenoa-connections")

    async def get(self, conn_id: str) -> Sender:
        """Return the connection as a sender; `NOBODY` if it is unknown, or cannot send webhooks."""
        if not is_conn_id(conn_id):
            return NOBODY
        at, lookup = self._remembered.get(conn_id, (0.0, None))
        if lookup is None or self._clock() - at >= _good_for(lookup):
            lookup = asyncio.get_running_loop().run_in_executor(self._threads, self._look_up, conn_id)
            self._remembered[conn_id] = (self._clock(), lookup)
            self._remembered.move_to_end(conn_id)
            if len(self._remembered) > LIMIT:
                self._remembered.popitem(last=False)
        # Shielded: others wait for the same lookup when one of them is cancelled.
        return await asyncio.shield(lookup)

    def _look_up(self, conn_id: str) -> Sender:
        try:
            return self._read(conn_id)
        except Exception as error:
            # Airflow raises the same for what does not exist and for backends that are down.
            log.debug("Reading a connection failed: %s", type(error).__name__)
            return NOBODY


def _good_for(lookup: asyncio.Future[Sender]) -> float:
    return REMEMBER_UNKNOWN if lookup.done() and lookup.result() is NOBODY else REMEMBER
