"""
What a vendor's list of runs tells about a start whose reply was lost.

The list names no start, only times. So a run counts as ours if it was made when ours must have been, and if it is known
to be nobody else's; and only if there is exactly one such run. Silence proves nothing for a while: a run that waits in
the vendor's queue may be listed late. Nothing here asks or waits: `attempt` does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_nenoa.vendors.nenai_mcp import RunListing

FIRST_LOOK = 5.0
"""
Seconds after the start was sent at which the list is looked at first: before that, a run of somebody else's who started
in the same moment may be listed, and ours not yet.
"""
LISTED_WITHIN = 30.0
"""Seconds within which a run that was made is taken to be listed, be it queued or not."""
MADE_WITHIN = 60.0
"""Seconds after we have ceased to wait for the start's reply within which the vendor has made the run, if it has."""
SLACK = 2.0
"""Seconds by which times may differ where the vendor tells its clock: it does so in whole seconds, as its list may."""
BLIND_SLACK = 15.0
"""The same where it does not, and both clocks are trusted to be about right."""
SHOWN = 10
"""Ids that a message repeats, at most."""


@dataclass(frozen=True)
class Finding:
    """
    What the list tells.

    :param run_id: The run that must be ours; None: it cannot be told, or there is none.
    :param candidates: The runs that may be ours.
    :param complete: Whether all runs are listed that may be ours: without candidates, none was made so far.
    """

    run_id: str | None
    candidates: tuple[str, ...]
    complete: bool

    def __str__(self) -> str:
        if self.candidates:
            shown = ", ".join(self.candidates[:SHOWN])
            more = f" and {len(self.candidates) - SHOWN} more" if len(self.candidates) > SHOWN else ""
            return f"has what may be it: {shown}{more}" + ("" if self.complete else ", and may have more")
        return "has no such run" if self.complete else "does not reach back to that time"

    @property
    def is_empty(self) -> bool:
        """Whether there is surely no such run in the list."""
        return self.complete and not self.candidates


def settled_after(timeout: float) -> float:
    """
    Return after how many seconds a start has made no run if none is listed.

    :param timeout: Seconds for which the start's reply was waited for.
    """
    return timeout + LISTED_WITHIN


def judge(listing: RunListing, started_at: float, others: Collection[str] = (), *, timeout: float = 60.0) -> Finding:
    """
    Say which of the vendor's runs a start has made.

    :param listing: The newest runs of the workflow.
    :param started_at: When the start was sent, in Unix seconds of our clock.
    :param others: Ids of runs that are known to be of other starts.
    :param timeout: Seconds for which the start's reply was waited for. Default 60.
    """
    ahead = listing.clock_ahead or 0.0
    slack = BLIND_SLACK if listing.clock_ahead is None else SLACK
    since, until = started_at + ahead - slack, started_at + ahead + timeout + MADE_WITHIN + slack
    candidates, sure = [], True
    for run in listing.runs:
        if run.message_id in others or (run.created_at is not None and not since <= run.created_at <= until):
            continue
        candidates.append(run.message_id)
        sure = sure and run.created_at is not None
    complete = listing.reaches(since)
    found = candidates[0] if len(candidates) == 1 and sure and complete else None
    return Finding(found, tuple(candidates), complete)


def ids_in_the_dag_run(context: Context, kind_name: str, id_key: str) -> set[str]:
    """
    Return the ids of runs that other tasks of the same DAG run, and mapped instances of the same task, have started.

    :param context: The task's context.
    :param kind_name: The kind of run.
    :param id_key: The XCom in which a run's id is.
    """
    dag = context.get("dag")
    task_ids = [
        task.task_id
        for task in (dag.tasks if dag is not None else ())
        if getattr(getattr(task, "operator_class", task), "kind_name", None) == kind_name
    ]
    if not task_ids:
        return set()
    pulled = context["ti"].xcom_pull(task_ids=task_ids, key=id_key)
    return {value for value in pulled or () if isinstance(value, str)}


def next_look(age: float) -> float:
    """
    Return after how many seconds more to look at the list again: soon at first, and then when more can have come.

    :param age: Seconds since the start was sent.
    """
    return max(FIRST_LOOK - age, min(30.0, max(FIRST_LOOK, age / 2)))
