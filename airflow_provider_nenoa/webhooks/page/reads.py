"""What the page reads from the receiver's tables. Every read has a bound, however many events there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, or_, select

from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.webhooks.records import is_of_run
from airflow_provider_nenoa.webhooks.spent import PERIODS
from airflow_provider_nenoa.webhooks.tables import runs, spent, tallies, waits
from airflow_provider_nenoa.webhooks.tally import ACCEPTED, REFUSED, REPEATED
from airflow_provider_nenoa.webhooks.waits import KEEP

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

PAGE = 50
"""Events on one page."""
CHUNK = 500
"""Rows that are read at once where a filter leaves some out."""
SCAN = 5_000
"""Rows that one request looks through at most; the next goes on where it stopped."""
SELF_TEST = "selftest-"
"""What the ids of the self-test's runs begin with."""
TIMED = 2_000
"""Rows, newest first, among which the ended runs are timed."""

_SHOWN = [
    runs.c[name]
    for name in (
        *("seq", "run_id", "ref", "kind", "event", "status", "word"),
        *("deliveries", "received_at", "first_at", "sent_at"),
    )
]


@dataclass(frozen=True)
class Filters:
    """
    Which events are asked for.

    :param run: An id or a ``ref``, exactly; empty: any.
    :param status: A `RunStatus`; empty: any.
    :param event: A part of the event's name, whatever its case; empty: any.
    """

    run: str = ""
    status: str = ""
    event: str = ""

    def leave(self, row: Any) -> bool:
        """Whether a row is asked for, as far as no index can tell."""
        return self.status in ("", row.status) and self.event.lower() in (row.event or "").lower()


def seen_connections(connection: Connection, limit: int = 500) -> list[str]:
    """Return the connections for which webhooks came: one step in an index for each."""
    seen: list[str] = []
    name = ""
    while len(seen) < limit:
        following = select(func.min(runs.c.conn_id)).where(runs.c.conn_id > name)
        found = connection.execute(following).scalar()
        if found is None:
            break
        name = str(found)
        seen.append(name)
    return seen


def events(
    connection: Connection, conn_id: str, before: int | None, filters: Filters
) -> tuple[list[dict[str, Any]], int | None]:
    """
    Return a page of a connection's runs and events, newest change first.

    :param before: What an earlier call returned, for the next page; None: the first.
    :return: The page, and what to ask for next; None if there is no more. A page may be empty where a filter leaves
        out all that one request may look through.
    """
    query = select(*_SHOWN).where(runs.c.conn_id == conn_id, runs.c.kept == 1).order_by(runs.c.seq.desc())
    if filters.run:
        query = query.where(or_(runs.c.run_id == filters.run, runs.c.ref == filters.run))
    chunk = CHUNK if filters.status or filters.event else PAGE + 1
    found: list[dict[str, Any]] = []
    for _ in range(ceil(SCAN / chunk) if chunk == CHUNK else 1):
        rows = connection.execute((query if before is None else query.where(runs.c.seq < before)).limit(chunk)).all()
        for row in rows:
            if len(found) == PAGE:
                return found, before
            before = row.seq
            if filters.leave(row):
                found.append(_event(row))
        if len(rows) < chunk:
            return found, None
    return found, before


def chart(connection: Connection, conn_id: str, now: float) -> dict[str, list[dict[str, int]]]:
    """Return how many webhooks came in each minute of the last hour, and in each hour of the last day."""
    this_minute = int(now // 60)
    hour = [dict.fromkeys((ACCEPTED, REPEATED, "refused"), 0) for _ in range(60)]
    day = [dict.fromkeys((ACCEPTED, REPEATED, "refused"), 0) for _ in range(24)]
    for row in connection.execute(_tallied([conn_id], this_minute - 24 * 60)):
        what = row.what if row.what in (ACCEPTED, REPEATED) else "refused"
        age = max(0, this_minute - row.minute)
        if age < 60:
            hour[59 - age][what] += row.number
        day[23 - age // 60][what] += row.number
    return {"hour": hour, "day": day}


def counts(connection: Connection, conn_ids: Sequence[str], now: float) -> dict[str, dict[str, int]]:
    """Return for several connections how many webhooks of the last day were stored, repeated, and refused."""
    found = {conn_id: dict.fromkeys((ACCEPTED, REPEATED, "refused"), 0) for conn_id in conn_ids}
    total = func.sum(tallies.c.number).label("number")
    query = select(tallies.c.conn_id, tallies.c.what, total).group_by(tallies.c.conn_id, tallies.c.what)
    since = int(now // 60) - 24 * 60
    for row in connection.execute(query.where(tallies.c.conn_id.in_(conn_ids), tallies.c.minute > since)):
        found[row.conn_id][row.what if row.what in (ACCEPTED, REPEATED) else "refused"] += int(row.number)
    return found


def refusals(connection: Connection, conn_id: str) -> list[dict[str, Any]]:
    """Return why webhooks of a connection were refused, as long as it is kept: the newest reason first."""
    number, last = func.sum(tallies.c.number).label("number"), func.max(tallies.c.minute).label("last")
    query = select(tallies.c.what, number, last).where(tallies.c.conn_id == conn_id, tallies.c.what.in_(REFUSED))
    return [
        {"reason": row.what, "means": REFUSED[row.what], "number": int(row.number), "last_at": row.last * 60}
        for row in connection.execute(query.group_by(tallies.c.what).order_by(last.desc()))
    ]


def waiting(connection: Connection, conn_id: str, after: str | None, now: float) -> tuple[list[Any], str | None]:
    """
    Return a page of who waits on a connection, the longest wait first.

    :param after: What an earlier call returned, for the next page; None: the first.
    :return: Rows of the table of waits, and what to ask for next; None if there is no more.
    """
    query = select(waits).where(waits.c.conn_id == conn_id, _goes_on(now))
    if after is not None:
        text, _, name = after.partition(" ")
        since = float(text)
        behind = and_(waits.c.started_at == since, waits.c.name > name)
        query = query.where(or_(waits.c.started_at > since, behind))
    rows = connection.execute(query.order_by(waits.c.started_at, waits.c.name).limit(PAGE + 1)).all()
    page = list(rows[:PAGE])
    return page, f"{page[-1].started_at!r} {page[-1].name}" if len(rows) > PAGE else None


def words(connection: Connection, conn_id: str, rows: Sequence[Any]) -> dict[str, str]:
    """Return the newest status words of runs that are waited for, by the names of the waits."""
    ids, refs = {row.run_id: row.name for row in rows if row.run_id}, {row.ref: row.name for row in rows if row.ref}
    of_rows = or_(runs.c.run_id.in_(list(ids)), runs.c.ref.in_(list(refs)))
    query = select(runs.c.run_id, runs.c.ref, runs.c.status, runs.c.word)
    found: dict[str, str] = {}
    for row in connection.execute(query.where(runs.c.conn_id == conn_id, runs.c.kept == 1, of_rows)):
        name = refs.get(row.ref) or ids.get(row.run_id)
        if name is not None:
            found[name] = row.word or row.status
    return found


def how_many_wait(connection: Connection, conn_ids: Sequence[str], now: float) -> dict[str, int]:
    """Return how many runs are waited for on several connections."""
    query = select(waits.c.conn_id, func.count()).where(waits.c.conn_id.in_(conn_ids), _goes_on(now))
    return {row[0]: row[1] for row in connection.execute(query.group_by(waits.c.conn_id))}


def longest_wait(connection: Connection, conn_id: str, now: float) -> float | None:
    """Return when the run was started that is waited for the longest, in Unix seconds; None: nobody waits."""
    query = select(func.min(waits.c.started_at)).where(waits.c.conn_id == conn_id, _goes_on(now))
    return connection.execute(query).scalar()


def overdue(connection: Connection, conn_id: str, kind: str, before: float, now: float) -> int:
    """Return how many runs of a kind are waited for that were started before a time."""
    of_kind = (waits.c.conn_id == conn_id, waits.c.kind == kind, waits.c.started_at < before)
    return connection.execute(select(func.count()).select_from(waits).where(*of_kind, _goes_on(now))).scalar_one()


def lost_starts(connection: Connection, conn_id: str) -> list[Any]:
    """Return starts whose reply never came, and of which no webhook has told since; `PAGE` at most."""
    query = select(waits).where(waits.c.conn_id == conn_id, waits.c.lost == 1).order_by(waits.c.started_at)
    rows = connection.execute(query.limit(PAGE)).all()
    told = words(connection, conn_id, rows)
    return [row for row in rows if row.name not in told]


def unawaited(connection: Connection, conn_id: str, before: float, now: float) -> int:
    """
    Return how many runs are under way, by their webhooks, for which nobody waits, among the newest `TIMED`.

    :param before: Runs of which a webhook has told since are left out: who waits for them may not have said so yet.
    """
    columns = (runs.c.run_id, runs.c.ref, runs.c.status, runs.c.received_at)
    newest = select(*columns).where(runs.c.conn_id == conn_id, runs.c.kept == 1).order_by(runs.c.seq.desc())
    rows = [
        row
        for row in connection.execute(newest.limit(TIMED))
        if row.status == RunStatus.RUNNING and row.received_at < before and not (row.run_id or "").startswith(SELF_TEST)
    ]
    if not rows:
        return 0
    names = set()
    for column in (waits.c.run_id, waits.c.ref):
        asked = [value for row in rows if (value := getattr(row, column.name))]
        query = select(column).where(
            waits.c.conn_id == conn_id, column.in_(asked), or_(waits.c.lost == 1, _goes_on(now))
        )
        names |= {(column.name, value) for value in connection.execute(query).scalars()}
    return sum(
        1
        for row in rows
        if (row.run_id or row.ref) and ("run_id", row.run_id) not in names and ("ref", row.ref) not in names
    )


def _goes_on(now: float) -> Any:
    return and_(waits.c.lost == 0, waits.c.seen_at > now - KEEP)


def durations(connection: Connection, conn_id: str) -> list[dict[str, Any]]:
    """Return the median and the 95th percentile of the seconds from a run's first webhook to its end, by kind."""
    times: dict[str, list[float]] = {}
    columns = (runs.c.kind, runs.c.status, runs.c.first_at, runs.c.received_at)
    query = select(*columns).where(runs.c.conn_id == conn_id, runs.c.kept == 1).order_by(runs.c.seq.desc())
    for row in connection.execute(query.limit(TIMED)):
        # A run of which only the end was told took we do not know how long.
        if row.status != RunStatus.RUNNING and row.first_at is not None and row.first_at < row.received_at:
            times.setdefault(row.kind, []).append(row.received_at - row.first_at)
    return [
        {"kind": kind, "number": len(of_kind), "median": _part(of_kind, 0.5), "p95": _part(of_kind, 0.95)}
        for kind, of_kind in sorted(times.items())
    ]


def plan(connection: Connection, conn_id: str, now: float) -> list[dict[str, Any]]:
    """Return what is known of a connection's plan: the requests of the last minute and day, and the limits."""
    query = select(spent).where(spent.c.conn_id == conn_id, spent.c.seen_at > now - spent.c.seconds)
    return [
        {"period": PERIODS[row.seconds], "spent": row.requests, "limit": row.most, "at": row.seen_at}
        for row in connection.execute(query.order_by(spent.c.seconds))
    ]


def _part(values: Iterable[float], part: float) -> float:
    """Return the smallest value that is not below a part of the values."""
    ordered = sorted(values)
    return round(ordered[max(0, ceil(part * len(ordered)) - 1)], 1)


def _tallied(conn_ids: Sequence[str], after: int) -> Any:
    columns = (tallies.c.conn_id, tallies.c.what, tallies.c.minute, tallies.c.number)
    return select(*columns).where(tallies.c.conn_id.in_(conn_ids), tallies.c.minute > after)


def _event(row: Any) -> dict[str, Any]:
    delay = None if row.sent_at is None else round(max(0.0, row.received_at - row.sent_at), 1)
    return {
        "run_id": row.run_id,
        "kind": row.kind or None,
        "event": row.event,
        "status": row.status,
        "word": row.word,
        "received_at": row.received_at,
        "delay": delay,
        "webhooks": row.deliveries,
        "is_run": is_of_run(row),
    }
