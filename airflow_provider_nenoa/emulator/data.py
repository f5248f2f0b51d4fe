"""The sample workspace: data sets, reports, dashboards, and the SQLite database behind them. Always the same."""

from __future__ import annotations

import asyncio
import datetime
import math
import random
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

REGIONS = {"North": 1.0, "South": 1.3, "East": 0.8, "West": 1.1}
PRODUCTS = {"Desk": 249.0, "Chair": 129.0, "Lamp": 39.0, "Monitor": 319.0}
FIRST_DAY = datetime.date(2024, 1, 1)
DAYS = 366

#: Not a week of good business: something for an agent, or a query, to find.
ANOMALY = ("South", datetime.date(2024, 3, 11), datetime.date(2024, 3, 17))

_SALES_COLUMNS = {"region": "string", "product": "string", "date": "date", "quantity": "integer", "revenue": "number"}
_QUERY_SECONDS = 10.0
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


def sales_rows() -> list[tuple[str, str, str, int, float]]:
    """Every day of 2024, every region, every product: region, product, date (ISO), quantity, revenue."""
    dice = random.Random(2024)
    region_of_anomaly, first, last = ANOMALY
    rows = []
    for day in range(DAYS):
        date = FIRST_DAY + datetime.timedelta(days=day)
        season = 1 + 0.25 * math.sin(2 * math.pi * day / DAYS)
        for region, weight in REGIONS.items():
            for product, price in PRODUCTS.items():
                quantity = round((5 + 15 * dice.random()) * weight * season)
                if region == region_of_anomaly and first <= date <= last:
                    quantity //= 5
                rows.append((region, product, date.isoformat(), quantity, round(quantity * price, 2)))
    return rows


class Database:
    """The sample tables in memory, for reading only.

    SQLite runs in one thread of its own, so that a slow query does not hold up the server.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="emulator-sqlite")
        self._connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._connection.execute(
            "CREATE TABLE sales (region TEXT, product TEXT, date TEXT, quantity INTEGER, revenue REAL)"
        )
        self._connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?, ?)", sales_rows())
        # The sums that agents report are asked for again and again: the data never change.
        self._sums = lru_cache(maxsize=1_000)(self._sum_up)
        self._connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY
        )

    async def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> dict[str, Any]:
        """Execute one SELECT.

        :return: ``columns`` (names), ``rows`` (objects), ``row_count``, ``execution_time_ms``.
        :raises sqlite3.Error: with SQLite's words.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._query, sql, parameters)

    def _query(self, sql: str, parameters: tuple[Any, ...]) -> dict[str, Any]:
        started = time.monotonic()
        # An endless query (a recursive one, say) must not take the emulator with it.
        self._connection.set_progress_handler(lambda: time.monotonic() - started > _QUERY_SECONDS, 100_000)
        cursor = self._connection.execute(sql, parameters)
        columns = [column[0] for column in cursor.description or ()]
        rows = [{name: _jsonable(value) for name, value in zip(columns, row, strict=True)} for row in cursor]
        elapsed = round((time.monotonic() - started) * 1000, 3)
        return {"columns": columns, "rows": rows, "row_count": len(rows), "execution_time_ms": elapsed}

    async def revenue_by_region(self, start: str, end: str) -> list[dict[str, Any]]:
        """``region`` and ``revenue`` from ``start`` to ``end`` (ISO dates, both included), the largest first."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._sums, start, end)

    def _sum_up(self, start: str, end: str) -> list[dict[str, Any]]:
        sql = """
            SELECT region, round(sum(revenue), 2) AS revenue FROM sales
            WHERE date BETWEEN ? AND ? GROUP BY region ORDER BY revenue DESC
        """
        return list(self._query(sql, (start, end))["rows"])

    def close(self) -> None:
        """Wait for the query that runs, and end the thread."""
        self._thread.shutdown()
        self._connection.close()


def _jsonable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def datasets(count: int) -> list[dict[str, Any]]:
    """``ds_abc123``, the one of the vendor's examples, and as many more as asked for, all over the same tables."""
    return [
        {
            "id": "ds_abc123" if number == 1 else f"ds_{number:06d}",
            "name": "Sales 2024" if number == 1 else f"Sales 2024, copy {number}",
            "description": "Sales by region, product and day.",
            "row_count": DAYS * len(REGIONS) * len(PRODUCTS),
            "created_at": "2025-01-01T00:00:00Z",
        }
        for number in range(1, count + 1)
    ]


def dataset_schema() -> dict[str, Any]:
    """What ``GET /datasets/{id}`` adds: the tables and their columns."""
    columns = [{"name": name, "type": kind} for name, kind in _SALES_COLUMNS.items()]
    return {"tables": [{"name": "sales", "columns": columns}]}


def reports(count: int) -> list[dict[str, Any]]:
    """Reports, one per region in turn."""
    regions = list(REGIONS)
    return [
        {
            "id": f"rep_{number:06d}",
            "name": f"Revenue by month: {regions[(number - 1) % len(regions)]}",
            "dataset_id": "ds_abc123",
            "created_at": "2025-01-02T00:00:00Z",
        }
        for number in range(1, count + 1)
    ]


async def report_data(database: Database, report: dict[str, Any]) -> dict[str, Any]:
    """What ``GET /reports/{id}`` adds: the report's rows."""
    return await database.query(
        "SELECT substr(date, 1, 7) AS month, round(sum(revenue), 2) AS revenue FROM sales WHERE region = ?"
        " GROUP BY month ORDER BY month",
        (report["name"].rpartition(": ")[2],),
    )


def dashboards(count: int) -> list[dict[str, Any]]:
    """Dashboards."""
    return [
        {"id": f"dash_{number:06d}", "name": f"Sales overview {number}", "created_at": "2025-01-03T00:00:00Z"}
        for number in range(1, count + 1)
    ]


async def answer(database: Database, agent_id: str, task: str, context: dict[str, Any]) -> str:
    """An agent's answer: the task, the context and the true figures of the period that the context names."""
    period = context.get("date_range")
    start, end = (period.get("start"), period.get("end")) if isinstance(period, dict) else (None, None)
    start, end = str(start or "2024-01-01"), str(end or "2024-12-31")
    rows = await database.revenue_by_region(start, end)
    lines = [f"{agent_id} on the task: {task}", f"From {start} to {end}:"]
    lines += [f"- {row['region']}: {row['revenue']:,.2f}" for row in rows] or ["- no sales"]
    if rows:
        lines.append(f"{rows[0]['region']} leads, {rows[-1]['region']} is last.")
    if context:
        lines.append("Context given: " + ", ".join(sorted(context)) + ".")
    return "\n".join(lines)
