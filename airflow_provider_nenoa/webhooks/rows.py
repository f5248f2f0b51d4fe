"""What a batch of deliveries does to the rows of the event table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, insert, or_, select, update

from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.vendors.messages import Message
from airflow_provider_nenoa.webhooks.tables import runs

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


@dataclass(frozen=True)
class Delivery:
    """
    A webhook that was verified and read.

    :param conn_id: The connection whose secret signed it.
    :param message: What it tells.
    :param sealed: Its body, as `Store.seal` returned it.
    :param digest: SHA-256 of the body, in hex.
    :param ref: The ``ref`` in the URL that was called, if there was one.
    :param sent_at: When it was signed, in Unix seconds, where the signature says so.
    """

    conn_id: str
    message: Message
    sealed: bytes
    digest: str
    ref: str | None = None
    sent_at: float | None = None

    @property
    def has_run(self) -> bool:
        """Whether it can be told which run it is about."""
        return self.message.run_id is not None or self.run_ref is not None

    @property
    def run_ref(self) -> str | None:
        """The ``ref``, where it means something."""
        return self.ref if self.message.of_run else None


@dataclass(frozen=True)
class Change:
    """A state that somebody may be waiting for."""

    seq: int
    conn_id: str
    run_id: str | None
    ref: str | None


Row = dict[str, Any]
_DECISIVE = ("id", "conn_id", "run_id", "kind", "ref", "status", "word", "digest", "seq", "deliveries")
_IDENTITY = ("run_id", "kind", "seq", "deliveries")
_STATE = ("event", "status", "word", "payload", "digest", "kept", "received_at", "sent_at")


class Rows:
    """
    The rows that a batch of deliveries is about. Read once, changed here, written once.

    :param connection: Holds the writers' lock: nobody else changes the rows meanwhile.
    :param deliveries: The deliveries.
    """

    def __init__(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        self._connection = connection
        self._by_id: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
        self._by_ref: dict[tuple[str, str], Row] = {}
        self._by_digest: dict[tuple[str, str], Row] = {}
        self._new: list[Row] = []
        self._changed: dict[int, Row] = {}
        for conn_id in {delivery.conn_id for delivery in deliveries}:
            of_connection = [delivery for delivery in deliveries if delivery.conn_id == conn_id]
            named = [
                column.in_(list(values))
                for column, values in (
                    (runs.c.run_id, {each.message.run_id for each in of_connection} - {None}),
                    (runs.c.ref, {each.run_ref for each in of_connection} - {None}),
                    (runs.c.digest, {each.digest for each in of_connection if not each.has_run}),
                )
                if values
            ]
            # Payloads are large, and never needed to decide.
            query = select(*(runs.c[name] for name in _DECISIVE)).where(runs.c.conn_id == conn_id, or_(*named))
            for row in connection.execute(query).mappings():
                self._index(dict(row))

    def take(self, delivery: Delivery, seq: int, now: float) -> bool:
        """Apply one delivery; return whether it told something new."""
        message, ref = delivery.message, delivery.run_ref
        row = self._known(delivery)
        if row is None:
            # A ref leads to the first run that came with it, and no other may take it over.
            free = ref if ref is not None and (delivery.conn_id, ref) not in self._by_ref else None
            names = {"conn_id": delivery.conn_id, "run_id": message.run_id, "kind": message.kind or "", "ref": free}
            row = {"id": seq, **names, "status": "", "word": "", "digest": delivery.digest}
            row |= {"deliveries": 0, "first_at": now}
            self._new.append(row)
            self._index(row)
        else:
            self._changed[row["id"]] = row
        row["deliveries"] += 1
        word = message.word
        is_news = not row["status"] or bool(word and word != row["word"] and not RunStatus(row["status"]).is_end)
        is_named = row["run_id"] is None and message.run_id is not None and self._name(row, message)
        if is_news:
            state = {"event": message.event, "status": message.status.value, "word": word, "digest": delivery.digest}
            row.update(state, payload=delivery.sealed, kept=1, received_at=now, sent_at=delivery.sent_at)
        if is_news or is_named:
            row["seq"] = seq
        return is_news

    def write(self) -> None:
        """Insert and update what has changed."""
        if self._new:
            self._connection.execute(insert(runs), self._new)
        new = {row["id"] for row in self._new}
        old = [row for number, row in self._changed.items() if number not in new]
        self._update([row for row in old if "payload" in row], (*_IDENTITY, *_STATE))
        self._update([row for row in old if "payload" not in row], _IDENTITY)

    def _known(self, delivery: Delivery) -> Row | None:
        """Find the row of the run or event that a delivery is about."""
        conn_id, message, ref = delivery.conn_id, delivery.message, delivery.run_ref
        if message.run_id is None:
            if ref is not None:
                return self._by_ref.get((conn_id, ref))
            return self._by_digest.get((conn_id, delivery.digest))
        kind = message.kind or ""
        for row in self._by_id[conn_id, message.run_id]:
            # Another kind may have the same id. But what is told of a run in other words, or word for word again, is
            # about the same.
            same_ref = ref is not None and row["ref"] == ref and "" in (row["kind"], kind)
            if row["kind"] == kind or same_ref or row["digest"] == delivery.digest:
                return row
        of_ref = self._by_ref.get((conn_id, ref)) if ref is not None else None
        return of_ref if of_ref is not None and of_ref["run_id"] is None else None

    def _name(self, row: Row, message: Message) -> bool:
        """Take the id of a run that was known by its ``ref`` only; False if another run has it."""
        kind, others = row["kind"] or message.kind or "", self._by_id[row["conn_id"], message.run_id or ""]
        if any(other["kind"] == kind for other in others):
            return False
        row.update(run_id=message.run_id, kind=kind)
        others.append(row)
        return True

    def _index(self, row: Row) -> None:
        conn_id = row["conn_id"]
        if row["run_id"] is not None:
            self._by_id[conn_id, row["run_id"]].append(row)
        if row["ref"] is not None:
            self._by_ref[conn_id, row["ref"]] = row
        if row["run_id"] is None and row["ref"] is None:
            self._by_digest[conn_id, row["digest"]] = row

    def _update(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        if not rows:
            return
        self._connection.execute(
            update(runs)
            .where(runs.c.id == bindparam("row"))
            .values({column: bindparam(f"new_{column}") for column in columns}),
            [{"row": row["id"], **{f"new_{column}": row[column] for column in columns}} for row in rows],
        )
