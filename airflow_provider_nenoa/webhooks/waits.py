"""Who waits for which run, and what of the plan is used up: told by those who wait, kept as long as they say so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, update

from airflow_provider_nenoa.webhooks.spent import PERIODS
from airflow_provider_nenoa.webhooks.tables import spent as spent_table
from airflow_provider_nenoa.webhooks.tables import waits

if TYPE_CHECKING:
    from airflow_provider_nenoa.webhooks.spent import Spent
    from airflow_provider_nenoa.webhooks.store import Store
    from airflow_provider_nenoa.webhooks.wait import Wait

KEEP = 900.0
"""Seconds after which a wait is over if nobody says it again; waiters say it every five minutes."""
KEEP_LOST = 7 * 86400.0
"""Seconds for which a start whose reply never came is remembered."""


class Waits:
    """
    The tables of waits and of requests spent. All methods block.

    :param store: In whose database it is.
    :param clock: Unix time in seconds, replaced in tests.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def tell(self, conn_id: str, waiting: Iterable[Wait], over: Sequence[str], spent: Iterable[Spent] = ()) -> None:
        """
        Note who waits on a connection.

        :param waiting: Waits that go on; told again within `KEEP`, or forgotten.
        :param over: The names of those that are over.
        :param spent: What is known of the connection's plan; it takes the place of what was told before.
        """
        now = self._clock()
        new = {wait.name: wait for wait in waiting}
        with self._store.engine.begin() as connection:
            # As one row each, deleted and written anew: the same on every database.
            # A start whose reply was lost is so no more once somebody waits for its run.
            found = {f"ref:{wait.ref}" for wait in new.values() if wait.ref and not wait.lost}
            names = sorted({*new, *over, *found})
            if names:
                connection.execute(delete(waits).where(waits.c.conn_id == conn_id, waits.c.name.in_(names)))
            if new:
                rows = [
                    {**wait.to_json(), "conn_id": conn_id, "name": name, "lost": int(wait.lost), "seen_at": now}
                    for name, wait in sorted(new.items())
                ]
                connection.execute(insert(waits), rows)
            for each in spent:
                named = (spent_table.c.conn_id == conn_id, spent_table.c.seconds == each.seconds)
                told = {"requests": each.requests, "most": each.limit, "seen_at": now}
                # Another triggerer may tell the same at this moment: a row that is there is altered.
                if not connection.execute(update(spent_table).where(*named).values(told)).rowcount:
                    connection.execute(insert(spent_table).values(conn_id=conn_id, seconds=each.seconds, **told))
            connection.execute(delete(spent_table).where(spent_table.c.seen_at < now - max(PERIODS)))
            for lost, keep in ((0, KEEP), (1, KEEP_LOST)):
                connection.execute(delete(waits).where(waits.c.lost == lost, waits.c.seen_at < now - keep))
