"""
The event table: one row per run, in its newest state, and a counter that orders the changes.

Readers follow the stream of changes with a cursor, so a change must never become visible behind it. Therefore every
writer, in whatever process, first updates the one row of the counter: its lock is held until the commit, and thus
changes are committed in the order of their numbers. Nothing else is needed, on any database; in particular, rows can
be looked up and then inserted or updated without racing.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import delete, insert, or_, select, update
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from airflow_provider_nenoa.runs import RunStatus, same_run
from airflow_provider_nenoa.vendors.json_text import read_json
from airflow_provider_nenoa.webhooks import schema
from airflow_provider_nenoa.webhooks.records import Events, RunSummary, StoredRun
from airflow_provider_nenoa.webhooks.rows import Change, Delivery, Rows
from airflow_provider_nenoa.webhooks.tables import counter, runs

if TYPE_CHECKING:
    from airflow.models.crypto import FernetProtocol
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.sql import Select

T = TypeVar("T")

PAGE = 1000
"""Changes read at once, at most."""
PRUNE_BATCH = 500
"""Rows deleted at once, at most: nobody waits long for the counter's lock."""
PRUNE_INTERVAL = 60.0
"""Seconds between two looks for rows that are too old."""

TOMBSTONE_DAYS = 90.0
"""Days for which a run is still known after its payload was deleted: what is played again in that time is no news."""

_SUMMARY = [
    runs.c[name]
    for name in ("run_id", "ref", "status", "word", "seq", "deliveries", "received_at", "id", "kind", "event")
]
_FERNET = b"gAAAA"  # what every token of Fernet's begins with, and no zlib stream


class Store:
    """
    The event table in one database. All methods block, and all may be called from any thread.

    :param engine: The database.
    :param fernet: Encrypts payloads, which carry presigned URLs.
    :param retention_days: Days after which the payload of a run that has not changed is deleted. Default 7.
    :param clock: Unix time in seconds, replaced in tests.
    :param prepare: Is given the database before it is first used. Default: its tables are made; `schema.check` where
        others make them.
    """

    def __init__(
        self,
        engine: Engine,
        fernet: FernetProtocol,
        retention_days: float = 7.0,
        clock: Callable[[], float] = time.time,
        prepare: Callable[[Engine], None] = schema.make,
    ) -> None:
        self._engine = engine
        self._prepare = prepare
        self._fernet = fernet
        self._retention = retention_days * 86400.0
        self._clock = clock
        self._prune_at = 0.0

    @property
    def engine(self) -> Engine:
        """The database, with all tables in it."""
        return self._ready

    def seal(self, body: bytes) -> bytes:
        """Return a webhook's body as it is stored: compressed, then encrypted."""
        return self._fernet.encrypt(zlib.compress(body, 1))

    def check(self) -> None:
        """
        Do all that storing does, and undo it.

        :raises Exception: Webhooks could not be stored.
        """
        row: dict[str, Any] = {column.name: None if column.nullable else 0 for column in runs.columns}
        row |= dict.fromkeys(("conn_id", "kind", "status", "word", "digest"), "") | {"id": -1, "payload": b""}
        with self._ready.connect() as connection, connection.begin() as transaction:
            self._reserve(connection, 1)
            connection.execute(insert(runs), row)
            connection.execute(update(runs).where(runs.c.id == -1).values(kept=0))
            connection.execute(delete(runs).where(runs.c.id == -1))
            transaction.rollback()

    def sql(self) -> str:
        """Return the SQL that makes the tables, for whoever may."""
        return schema.sql(self._engine.dialect.name)

    def record(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """
        Store deliveries in one transaction. When this returns, they are committed.

        A run's state changes with its first delivery, with another status word, and with its end. After its end
        nothing changes it: what comes then is counted, be it late or a repetition. So is a repetition of an event
        without a run. A run has the ``ref`` of its first delivery, and none if that had none; a ``ref`` leads to the
        first run that came with it.

        :param deliveries: Deliveries in the order in which they came, for any number of runs and connections.
        :return: For each delivery, whether it told something new.
        :raises sqlalchemy.exc.SQLAlchemyError: Nothing was stored.
        """
        return _retry(self._record, deliveries)

    def find(
        self, conn_id: str, run_id: str | None = None, ref: str | None = None, kind: str | None = None
    ) -> tuple[StoredRun, str] | None:
        """
        Find a run by its ``ref``, or else by its id.

        :param kind: The kind of run that is asked for; None: any.
        :return: The run, and its payload as a JSON text with all its digits; None if no webhook has told of it.
        """
        names = [column == value for column, value in ((runs.c.run_id, run_id), (runs.c.ref, ref)) if value is not None]
        if not names:
            return None
        key = (run_id, ref, kind)
        rows = [
            row
            for row in self._rows(select(*_SUMMARY).where(runs.c.conn_id == conn_id, runs.c.kept == 1, or_(*names)))
            if same_run(key, (row.run_id, row.ref, row.kind))
        ]
        if not rows:
            return None
        best = max(rows, key=lambda row: (row.status.is_end, row.ref == ref, row.kind == kind, row.seq))
        return self.event(conn_id, best.id)

    def event(self, conn_id: str, number: int) -> tuple[StoredRun, str] | None:
        """Return a run or event by the number of its row, as `find` does."""
        query = select(*_SUMMARY, runs.c.payload).where(runs.c.id == number, runs.c.conn_id == conn_id)
        with self._ready.connect() as connection:
            row = connection.execute(query.where(runs.c.kept == 1)).mappings().first()
        if row is None:
            return None
        payload = read_json(self._unseal(bytes(row["payload"])))
        values = {column.name: row[column.name] for column in _SUMMARY}
        return StoredRun(**_typed(values), payload=payload.value), payload.text

    def run(self, conn_id: str, run_id: str) -> StoredRun | None:
        """Return a run by its id, or None if no webhook has told of it."""
        found = self.find(conn_id, run_id)
        return None if found is None else found[0]

    def by_ref(self, conn_id: str, ref: str) -> StoredRun | None:
        """Return the run with a ``ref``, or None if no webhook has told of it."""
        found = self.find(conn_id, ref=ref)
        return None if found is None else found[0]

    def summaries(self, conn_id: str, run_ids: Iterable[str], refs: Iterable[str] = ()) -> list[RunSummary]:
        """Return those runs with one of the ids or refs that a webhook has told of, in no particular order."""
        names = or_(runs.c.run_id.in_(list(run_ids)), runs.c.ref.in_(list(refs)))
        return self._rows(select(*_SUMMARY).where(runs.c.conn_id == conn_id, runs.c.kept == 1, names))

    def cursor(self) -> int:
        """Return the present end of the stream of changes: what ``after`` is for whoever wants only new ones."""
        with self._ready.connect() as connection:
            return connection.execute(select(counter.c.seq)).scalar_one()

    def events(self, conn_id: str, after: int) -> Events:
        """
        Return what has changed in a connection's runs after a cursor, oldest change first, `PAGE` at most.

        A cursor from beyond the end belongs to another database, say one from before a restore. Then everything
        counts as new, for better twice than never.
        """
        query = select(*_SUMMARY).where(runs.c.conn_id == conn_id, runs.c.kept == 1).order_by(runs.c.seq)
        query = query.limit(PAGE + 1)
        found = self._rows(query.where(runs.c.seq > after))
        if not found and after > (end := self.cursor()):
            found, after = self._rows(query), end
        events = found[:PAGE]
        return Events(events[-1].seq if events else after, events, more=len(found) > PAGE)

    def changes(self, after: int) -> list[Change]:
        """Return what has changed in any run, in the order of the changes, `PAGE` at most."""
        columns = (runs.c.seq, runs.c.conn_id, runs.c.run_id, runs.c.ref)
        query = select(*columns).where(runs.c.seq > after).order_by(runs.c.seq).limit(PAGE)
        with self._ready.connect() as connection:
            return [Change(*row) for row in connection.execute(query)]

    def newest(self, conn_id: str) -> float | None:
        """Return when a webhook last told something new of a connection's runs, in Unix seconds; None: never."""
        # By the order of the changes, for which there is an index.
        query = select(runs.c.received_at).where(runs.c.conn_id == conn_id).order_by(runs.c.seq.desc()).limit(1)
        with self._ready.connect() as connection:
            return connection.execute(query).scalar()

    def prune(self) -> int:
        """
        Take the payloads from rows that are too old, and delete those that have been without for `TOMBSTONE_DAYS`;
        `PRUNE_BATCH` of each at most, if it is time for it.

        :return: How many there were. While there may be more, it stays time for it.
        """
        now = self._clock()
        if now < self._prune_at:
            return 0
        expired = now - self._retention
        with self._ready.begin() as connection:
            self._reserve(connection, 0)
            old = self._older(connection, 1, expired)
            if old:
                empty = update(runs).where(runs.c.id.in_(old)).values(kept=0, payload=b"")
                connection.execute(empty)
            oldest = self._older(connection, 0, expired - TOMBSTONE_DAYS * 86400.0)
            if oldest:
                connection.execute(delete(runs).where(runs.c.id.in_(oldest)))
        if max(len(old), len(oldest)) < PRUNE_BATCH:
            self._prune_at = now + PRUNE_INTERVAL
        return len(old) + len(oldest)

    def _older(self, connection: Connection, kept: int, than: float) -> Sequence[int]:
        query = select(runs.c.id).where(runs.c.kept == kept, runs.c.received_at < than).limit(PRUNE_BATCH)
        return connection.execute(query).scalars().all()

    @cached_property
    def _ready(self) -> Engine:
        # Another server may make the same tables between our look and our CREATE; then the next look finds them.
        _retry(self._prepare, self._engine)
        _retry(self._make_counter)
        return self._engine

    def _make_counter(self) -> None:
        with self._engine.begin() as connection:
            if connection.execute(select(counter.c.id)).first() is None:
                connection.execute(insert(counter).values(id=1, seq=0))

    def _reserve(self, connection: Connection, numbers: int) -> int:
        """Take the writers' lock and a range of numbers; return the number before the range."""
        connection.execute(update(counter).values(seq=counter.c.seq + numbers))
        return connection.execute(select(counter.c.seq)).scalar_one() - numbers

    def _record(self, deliveries: Sequence[Delivery]) -> list[bool]:
        with self._ready.begin() as connection:
            seq = self._reserve(connection, len(deliveries))
            rows = Rows(connection, deliveries)
            news = [rows.take(delivery, number, self._clock()) for number, delivery in enumerate(deliveries, seq + 1)]
            rows.write()
        return news

    def _rows(self, query: Select) -> list[RunSummary]:
        with self._ready.connect() as connection:
            return [RunSummary(**_typed(row)) for row in connection.execute(query).mappings()]

    def _unseal(self, sealed: bytes) -> bytes:
        # Without a key, Fernet in Airflow does nothing: such rows stay readable when a key is set later.
        return zlib.decompress(self._fernet.decrypt(sealed) if sealed.startswith(_FERNET) else sealed)


def _typed(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {**row, "status": RunStatus(row["status"]), "kind": row["kind"] or None}


def _retry(call: Callable[..., T], *args: Any) -> T:
    """Call again what the database refused: a lock, a lost connection, a race. In all far below NenAI's 5 seconds."""
    again = retry_if_exception_type(DBAPIError)
    return Retrying(retry=again, stop=stop_after_attempt(3), wait=wait_fixed(0.2), reraise=True)(call, *args)
