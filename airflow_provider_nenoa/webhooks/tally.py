"""How many webhooks came, minute by minute, and what became of them: stored within bounds, however many come."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.vendors import VENDORS
from airflow_provider_nenoa.webhooks.paths import is_conn_id
from airflow_provider_nenoa.webhooks.secret import webhook_secrets
from airflow_provider_nenoa.webhooks.tables import tallies

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from airflow_provider_nenoa.webhooks.store import Store

log = logging.getLogger(__name__)

ACCEPTED, REPEATED = "accepted", "repeated"
NOBODY_WE_KNOW = "nobody"
"""Of a connection that cannot send webhooks: why, is found out when the counts are written."""
REFUSED = {
    "no_connection": "they named a connection that Airflow does not have. Give the vendor the address shown here",
    "no_secret": "the connection has no webhook_secret. Copy the one that the vendor shows into the connection",
    "not_ours": "the connection is of another type. Give the vendor the address of a NenAI or OpenAnalyst connection",
    "unsigned": "they were not signed. Switch signing on at the vendor; if it is on, a proxy drops the header",
    "malformed": "their signature is no signature of this vendor. See whether a proxy changes the header, or another "
    "system calls this address",
    "other_secret": "they were signed with another secret. Compare the connection's webhook_secret with the vendor's, "
    "and see whether a proxy changes the body",
    "too_old": "their signed time is more than a day away. Set the clocks, or see what sends old ones again",
    "bad_payload": "their body was not JSON. Ask the vendor, or see what a proxy makes of it",
    "too_large": "they were larger than 1 MiB. Ask the vendor for smaller ones",
    "incomplete": "they ended early. See whether a proxy or the network cuts them off",
    "too_slow": "they took longer than 10 seconds. See what slows down the way between the vendor and Airflow",
    "crowded": "too many others were under way. The vendor delivers them again; a proxy can limit strangers",
    "flood": "there were more than one connection may send. If it was not the vendor, change the webhook_secret",
    "busy": "too many large ones came at once. The vendor delivers them again",
    "not_stored": "the database did not take them in time. The vendor delivers them again; see the API server's log",
}
"""What each reason for which webhooks are refused means, and what a person can do."""

DELAY = 2.0
"""Seconds for which counts are collected before they are written."""
KEEP_MINUTES = 8 * 24 * 60
"""Minutes after which counts are deleted."""
PRUNE_INTERVAL = 3600.0
"""Seconds between two looks for counts that are too old."""
LIMIT = 20
"""Names of no known connection that are told apart in one `DELAY`, at most: each is looked up."""


_BEFORE_THE_SIGNATURE = frozenset(
    {NOBODY_WE_KNOW, "unsigned", "malformed", "too_large", "incomplete", "too_slow", "crowded"}
)


def why_not(conn_id: str) -> str | None:
    """Say why a connection cannot send webhooks, in a word of `REFUSED`; None: it can. Reading it may block."""
    try:
        connection = airflow_internals.server_connection(conn_id)
    except Exception:  # it does not exist, or no backend could be asked: Airflow does not tell which
        return "no_connection"
    if connection.conn_type not in VENDORS:
        return "not_ours"
    return None if webhook_secrets(connection.extra_dejson) else "no_secret"


class Tally:
    """
    Counts webhooks, and writes the counts in a thread of its own.

    Counting costs the sender's request nothing, so that its time tells nothing. The last `DELAY` seconds of a server
    that is killed are lost.

    :param store: Whose database to write to.
    :param why: Says why a connection cannot send webhooks.
    :param clock: Unix time in seconds, replaced in tests.
    """

    def __init__(
        self, store: Store, why: Callable[[str], str | None] = why_not, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._why = why
        self._clock = clock
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._known: set[str] = set()
        self._proven: set[str] = set()
        self._lock = threading.Lock()
        self._prune_at = 0.0

    def count(self, conn_id: str, what: str, *, proven: bool = False) -> None:
        """
        Count one webhook.

        :param conn_id: The connection that it named.
        :param what: `ACCEPTED`, `REPEATED`, `NOBODY_WE_KNOW`, or a reason of `REFUSED`.
        :param proven: Whether the connection is known to be one that can send webhooks.
        """
        with self._lock:
            if proven or what not in _BEFORE_THE_SIGNATURE:
                self._proven.add(conn_id)
            elif not is_conn_id(conn_id) or (conn_id not in self._known and len(self._known) >= LIMIT):
                conn_id, what = "", "no_connection" if what == NOBODY_WE_KNOW else what
            else:
                self._known.add(conn_id)
            first = not self._counts
            self._counts[conn_id, what, int(self._clock() // 60)] += 1
        if first:
            timer = threading.Timer(DELAY, self.flush)
            timer.daemon = True
            timer.start()

    def flush(self) -> None:
        """Write what was counted."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
            proven, self._proven = self._proven, set()
            self._known = set()
        try:
            self._write(self._explained(counts, proven))
        except Exception as error:
            log.warning("How many webhooks came could not be written: %s", type(error).__name__)

    def _explained(self, counts: Counter[tuple[str, str, int]], proven: set[str]) -> Counter[tuple[str, str, int]]:
        reasons: dict[str, str | None] = {}
        explained: Counter[tuple[str, str, int]] = Counter()
        for (conn_id, what, minute), number in counts.items():
            if what in _BEFORE_THE_SIGNATURE and conn_id and (conn_id not in proven or what == NOBODY_WE_KNOW):
                if conn_id not in reasons:
                    reasons[conn_id] = self._why(conn_id)
                reason = reasons[conn_id]
                if what in (NOBODY_WE_KNOW, "unsigned", "malformed"):
                    what = reason or (what if what != NOBODY_WE_KNOW else "no_connection")
                if reason == "no_connection" or what == "no_connection":
                    conn_id = ""  # the names that strangers think of are not kept
            explained[conn_id, what, minute] += number
        return explained

    def _write(self, counts: Counter[tuple[str, str, int]]) -> None:
        now = self._clock()
        with self._store.engine.begin() as connection:
            for key in sorted(counts):  # in one order, so that two servers do not wait for each other
                self._add(connection, key, counts[key])
            if now >= self._prune_at:
                connection.execute(delete(tallies).where(tallies.c.minute < int(now // 60) - KEEP_MINUTES))
                self._prune_at = now + PRUNE_INTERVAL

    def _add(self, connection: Connection, key: tuple[str, str, int], number: int) -> None:
        of_key = [column == value for column, value in zip(tallies.primary_key.columns, key, strict=True)]
        more = update(tallies).where(*of_key).values(number=tallies.c.number + number)
        if connection.execute(more).rowcount:
            return
        try:
            with connection.begin_nested():
                connection.execute(insert(tallies).values(conn_id=key[0], what=key[1], minute=key[2], number=number))
        except IntegrityError:  # another server was first
            connection.execute(more)
