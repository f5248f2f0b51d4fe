"""
The event table: one row per run, in its newest state, and a counter that orders the changes.

Readers follow the stream of changes with a cursor, so a change must never become visible behind it. Therefore every
writer, in whatever process, first updates the one row of the counter: its lock is held until the commit, and thus
changes are committed in the order of their numbers. Nothing else is needed, on any database; in particular, rows can
be looked up and then inserted or updated without racing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from airflow_provider_nenoa.runs import Run, RunStatus
from airflow_provider_nenoa.webhooks.records import Events, RunSummary, StoredRun

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

# MySQL compares text without case unless told otherwise, and its TEXT ends at 64 KiB.
_BINARY = mysql.VARCHAR(250, charset="utf8mb4", collation="utf8mb4_bin")
_ID = String(250).with_variant(_BINARY, "mysql").with_variant(_BINARY, "mariadb")
_LONG_TEXT = Text().with_variant(mysql.LONGTEXT(), "mysql").with_variant(mysql.LONGTEXT(), "mariadb")

_tables = MetaData()
_counter = Table(
    "nenoa_counter",
    _tables,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
)
_runs = Table(
    "nenoa_run",
    _tables,
    Column("conn_id", _ID, primary_key=True),
    Column("run_id", _ID, primary_key=True),
    Column("ref", _ID),
    Column("status", String(16), nullable=False),
    Column("word", String(32), nullable=False),
    Column("payload", _LONG_TEXT, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("received_at", Float(53), nullable=False),
    Index("nenoa_run_seq", "seq"),
    Index("nenoa_run_feed", "conn_id", "seq"),
    Index("nenoa_run_ref", "conn_id", "ref"),
    Index("nenoa_run_received_at", "received_at"),
)
_summary = [_runs.c[name] for name in ("run_id", "ref", "status", "word", "seq", "deliveries", "received_at")]


@dataclass(frozen=True)
class Delivery:
    """
    A webhook that was verified and read.

    :param conn_id: The connection whose secret signed it.
    :param run: The run it tells of.
    :param ref: The ``ref`` in the URL that was called, if there was one.
    """

    conn_id: str
    run: Run
    ref: str | None = None


@dataclass(frozen=True)
class Change:
    """A state that somebody may be waiting for."""

    seq: int
    conn_id: str
    run_id: str
    ref: str | None


class Store:
    """
    The event table in one database. All methods block, and all may be called from any thread.

    :param engine: The database. Its tables are made when first needed.
    :param fernet: Encrypts payloads, which carry presigned URLs.
    :param retention_days: Days after which a run that has not changed is deleted. Default 7.
    :param clock: Unix time in seconds, replaced in tests.
    """

    def __init__(
        self,
        engine: Engine,
        fernet: FernetProtocol,
        retention_days: float = 7.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._fernet = fernet
        self._retention = retention_days * 86400.0
        self._clock = clock
        self._prune_at = 0.0

    def record(self, deliveries: Sequence[Delivery]) -> list[bool]:
        """
        Store deliveries in one transaction. When this returns, they are committed.

        A run's state changes with its first delivery, with another status word, and with its end. After its end
        nothing changes it: what comes then is counted, be it late or a repetition. The first ``ref`` stays.

        :param deliveries: Deliveries in the order in which they came, for any number of runs and connections.
        :return: For each delivery, whether it told something new.
        :raises sqlalchemy.exc.SQLAlchemyError: Nothing was stored.
        """
        sealed = [self._seal(delivery.run.payload) for delivery in deliveries]
        return _retry(self._record, deliveries, sealed)

    def run(self, conn_id: str, run_id: str) -> StoredRun | None:
        """Return a run with its payload, or None if no webhook has told of it."""
        return self._one(select(_runs).where(_runs.c.conn_id == conn_id, _runs.c.run_id == run_id))

    def by_ref(self, conn_id: str, ref: str) -> StoredRun | None:
        """Return the run whose webhooks carry a ``ref``, or None."""
        query = select(_runs).where(_runs.c.conn_id == conn_id, _runs.c.ref == ref)
        return self._one(query.order_by(_runs.c.seq.desc()).limit(1))

    def summaries(self, conn_id: str, run_ids: Iterable[str]) -> list[RunSummary]:
        """Return those of the runs that a webhook has told of, in no particular order."""
        return self._summaries(select(*_summary).where(_runs.c.conn_id == conn_id, _runs.c.run_id.in_(list(run_ids))))

    def cursor(self) -> int:
        """Return the present end of the stream of changes: what ``after`` is for whoever wants only new ones."""
        with self._ready.connect() as connection:
            return connection.execute(select(_counter.c.seq)).scalar_one()

    def events(self, conn_id: str, after: int) -> Events:
        """
        Return what has changed in a connection's runs after a cursor, oldest change first, `PAGE` at most.

        A cursor from beyond the end belongs to another database, say one from before a restore. Then everything
        counts as new, for better twice than never.
        """
        query = select(*_summary).where(_runs.c.conn_id == conn_id).order_by(_runs.c.seq).limit(PAGE + 1)
        found = self._summaries(query.where(_runs.c.seq > after))
        if not found and after > (end := self.cursor()):
            found, after = self._summaries(query), end
        events = found[:PAGE]
        return Events(events[-1].seq if events else after, events, more=len(found) > PAGE)

    def changes(self, after: int) -> list[Change]:
        """Return what has changed in any run, in the order of the changes, `PAGE` at most."""
        columns = (_runs.c.seq, _runs.c.conn_id, _runs.c.run_id, _runs.c.ref)
        query = select(*columns).where(_runs.c.seq > after).order_by(_runs.c.seq).limit(PAGE)
        with self._ready.connect() as connection:
            return [Change(*row) for row in connection.execute(query)]

    def newest(self, conn_id: str) -> float | None:
        """Return when a webhook last told something new of a connection's runs, in Unix seconds; None: never."""
        # By the order of the changes, for which there is an index.
        query = select(_runs.c.received_at).where(_runs.c.conn_id == conn_id).order_by(_runs.c.seq.desc()).limit(1)
        with self._ready.connect() as connection:
            return connection.execute(query).scalar()

    def prune(self) -> int:
        """
        Delete rows that are too old, `PRUNE_BATCH` at most, if it is time for it.

        :return: How many were deleted. While there may be more, it stays time for it.
        """
        now = self._clock()
        if now < self._prune_at:
            return 0
        old = select(_runs.c.seq).where(_runs.c.received_at < now - self._retention).limit(PRUNE_BATCH)
        with self._ready.begin() as connection:
            self._reserve(connection, 0)
            numbers = connection.execute(old).scalars().all()
            if numbers:
                connection.execute(delete(_runs).where(_runs.c.seq.in_(numbers)))
        if len(numbers) < PRUNE_BATCH:
            self._prune_at = now + PRUNE_INTERVAL
        return len(numbers)

    @cached_property
    def _ready(self) -> Engine:
        # Another server may make the same tables between our look and our CREATE; then the next look finds them.
        _retry(_tables.create_all, self._engine)
        _retry(self._make_counter)
        return self._engine

    def _make_counter(self) -> None:
        with self._engine.begin() as connection:
            if connection.execute(select(_counter.c.id)).first() is None:
                connection.execute(insert(_counter).values(id=1, seq=0))

    def _reserve(self, connection: Connection, numbers: int) -> int:
        """Take the writers' lock and a range of numbers; return the number before the range."""
        connection.execute(update(_counter).values(seq=_counter.c.seq + numbers))
        return connection.execute(select(_counter.c.seq)).scalar_one() - numbers

    def _record(self, deliveries: Sequence[Delivery], sealed: Sequence[str]) -> list[bool]:
        news = []
        with self._ready.begin() as connection:
            seq = self._reserve(connection, len(deliveries))
            rows = _Rows(connection, deliveries)
            for delivery, payload in zip(deliveries, sealed, strict=True):
                seq += 1
                news.append(rows.take(delivery, payload, seq, self._clock()))
            rows.write()
        return news

    def _one(self, query: Select) -> StoredRun | None:
        with self._ready.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        values = {column.name: row[column.name] for column in _summary}
        return StoredRun(**{**values, "status": RunStatus(row["status"])}, payload=self._unseal(row["payload"]))

    def _summaries(self, query: Select) -> list[RunSummary]:
        with self._ready.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [RunSummary(**{**row, "status": RunStatus(row["status"])}) for row in rows]

    def _seal(self, payload: dict[str, Any]) -> str:
        return self._fernet.encrypt(json.dumps(payload).encode()).decode()

    def _unseal(self, text: str) -> dict[str, Any]:
        # Without a key, Fernet in Airflow does nothing: such rows stay readable when a key is set later.
        return json.loads(text if text.startswith("{") else self._fernet.decrypt(text.encode()))


def _retry(call: Callable[..., T], *args: Any) -> T:
    """Call again what the database refused: a lock, a lost connection, a race. In all far below NenAI's 5 seconds."""
    again = retry_if_exception_type(DBAPIError)
    return Retrying(retry=again, stop=stop_after_attempt(3), wait=wait_fixed(0.2), reraise=True)(call, *args)


class _Rows:
    """
    The rows that a batch of deliveries is about. Read once, changed here, written once.

    :param connection: Holds the writers' lock: nobody else changes the rows meanwhile.
    """

    def __init__(self, connection: Connection, deliveries: Iterable[Delivery]) -> None:
        self._connection = connection
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        # Payloads are large, and never needed to decide.
        columns = (_runs.c.conn_id, _runs.c.run_id, _runs.c.ref, _runs.c.status, _runs.c.word, _runs.c.deliveries)
        for conn_id in {delivery.conn_id for delivery in deliveries}:
            run_ids = {delivery.run.run_id for delivery in deliveries if delivery.conn_id == conn_id}
            query = select(*columns, _runs.c.seq).where(_runs.c.conn_id == conn_id, _runs.c.run_id.in_(list(run_ids)))
            for row in connection.execute(query).mappings():
                self._known[conn_id, row["run_id"]] = dict(row)
        self._in_table = set(self._known)

    def take(self, delivery: Delivery, payload: str, seq: int, now: float) -> bool:
        """Apply one delivery; return whether it told something new."""
        key = (delivery.conn_id, delivery.run.run_id)
        row = self._known.setdefault(key, {"conn_id": key[0], "run_id": key[1], "ref": None, "deliveries": 0})
        row["deliveries"] += 1
        status, word = delivery.run.status, delivery.run.word
        is_news = "status" not in row or not (RunStatus(row["status"]).is_end or row["word"] == word)
        if is_news:
            row.update(status=status.value, word=word, payload=payload, received_at=now)
        names_ref = row["ref"] is None and delivery.ref is not None
        if names_ref:
            row["ref"] = delivery.ref
        if is_news or names_ref:
            row["seq"] = seq
        return is_news

    def write(self) -> None:
        """Insert and update what has changed."""
        new = [row for key, row in self._known.items() if key not in self._in_table]
        if new:
            self._connection.execute(insert(_runs), new)
        old = [self._known[key] for key in self._in_table]
        self._update([row for row in old if "payload" in row], ("status", "word", "payload", "received_at"))
        self._update([row for row in old if "payload" not in row], ())

    def _update(self, rows: Sequence[dict[str, Any]], state: Sequence[str]) -> None:
        if not rows:
            return
        columns = ("ref", "seq", "deliveries", *state)
        self._connection.execute(
            update(_runs)
            .where(_runs.c.conn_id == bindparam("key_conn_id"), _runs.c.run_id == bindparam("key_run_id"))
            .values({column: bindparam(f"new_{column}") for column in columns}),
            [
                {
                    "key_conn_id": row["conn_id"],
                    "key_run_id": row["run_id"],
                    **{f"new_{column}": row[column] for column in columns},
                }
                for row in rows
            ],
        )
