"""Starts that OpenAnalyst's two references have in common, under different names."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from fastapi.responses import JSONResponse

from airflow_provider_nenoa.emulator import data
from airflow_provider_nenoa.emulator.openanalyst_access import Caller, text
from airflow_provider_nenoa.emulator.openanalyst_errors import OpenAnalystError
from airflow_provider_nenoa.emulator.openanalyst_runs import AnalystRuns, behaviour_in_sql, behaviour_of, word_of
from airflow_provider_nenoa.emulator.state import Run, State
from airflow_provider_nenoa.emulator.wire import iso


def found(items: Callable[[int], list[dict[str, Any]]], count: int, item_id: str, what: str) -> dict[str, Any]:
    """The one of that id.

    :raises OpenAnalystError: if the workspace has none.
    """
    for candidate in items(count):
        if candidate["id"] == item_id:
            return candidate
    code = "DATASET_NOT_FOUND" if what == "dataset" else None
    raise OpenAnalystError(404, f"No {what} with the given ID exists in this workspace.", code)


async def start_query(
    state: State, runs: AnalystRuns, database: data.Database, caller: Caller, body: dict[str, Any], field: str
) -> Run:
    """Start a query; it has ended if it takes no time.

    :param field: of the body, in which the SQL is. It may be a question, which is answered with revenue by region.
    :raises OpenAnalystError: if the body makes no sense, or a query that takes no time is refused by SQLite.
    """
    dataset_id, sql = text(body, "dataset_id"), text(body, field)
    found(data.datasets, state.settings.datasets, dataset_id, "dataset")
    behaviour = behaviour_in_sql(behaviour_of(state.settings.query, body.get("emulate")), sql)
    at_once = behaviour.seconds == 0
    if field == "sql" and sql.strip().endswith("?"):
        sql = "SELECT region, round(sum(revenue), 2) AS revenue FROM sales GROUP BY region ORDER BY revenue DESC"
    result = None
    try:
        result = await database.query(sql)
    except (sqlite3.Error, sqlite3.Warning) as error:
        if at_once:
            raise OpenAnalystError(422, f"{field}: {error}") from None
        behaviour = behaviour.model_copy(update={"outcome": "failed", "error": str(error)})
    run = runs.new("query", caller, body, behaviour, result)
    await runs.start(run, at_once=at_once)
    return run


async def run_session(
    state: State, runs: AnalystRuns, database: data.Database, caller: Caller, body: dict[str, Any]
) -> JSONResponse:
    """``POST /agents/run`` in the form ``server``."""
    prompt = text(body, "prompt")
    datasets = body.get("dataset_ids", [])
    if not isinstance(datasets, list):
        raise OpenAnalystError(422, "dataset_ids: must be a list.")
    for dataset_id in datasets:
        found(data.datasets, state.settings.datasets, dataset_id, "dataset")
    behaviour = behaviour_of(state.settings.agent, body.get("emulate"))
    result = {"answer": await data.answer(database, str(body.get("model", "agent")), prompt, {})}
    run = runs.new("agent", caller, body, behaviour, result)
    await runs.start(run)
    return JSONResponse({"id": run.id, "status": word_of(run), "created_at": iso(run.created_at)}, 202)
