"""What of all this needs a person, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_nenoa.webhooks.page import reads
from airflow_provider_nenoa.webhooks.tally import REFUSED

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

SILENCE = 1800.0
"""Seconds without a webhook after which a connection on which somebody waits as long is called silent."""
RECENT = 3600.0
"""Seconds for which a refusal is told here."""
SETTLED = 600.0
"""Seconds after its newest webhook at which a run is called one that nobody waits for."""
ENOUGH = 5
"""Runs that must have been timed before another is called overdue."""


def attention(connection: Connection, conn_id: str, last_at: float | None, now: float) -> list[str]:
    """
    Return what a person should look at on a connection.

    :param last_at: When the last webhook told something new, in Unix seconds; None: never.
    :param now: The present time in Unix seconds.
    """
    needs: list[str] = []
    for lost in reads.lost_starts(connection, conn_id):
        task = f" by {lost.dag_id}.{lost.task_id}" if lost.dag_id else ""
        needs.append(
            f"A start{task} got no reply ({lost.kind} run). Look in the vendor's list of runs whether it was started, "
            "before you start it again."
        )
    since = reads.longest_wait(connection, conn_id, now)
    if since is not None:
        for each in reads.durations(connection, conn_id):
            if each["number"] >= ENOUGH and each["kind"]:
                late = reads.overdue(connection, conn_id, each["kind"], now - 2 * max(each["p95"], 60.0), now)
                if late:
                    needs.append(
                        f"Waited for twice as long as 95 % of {each['kind']} runs take: {late}. See how they stand at "
                        "the vendor."
                    )
        if min(now - since, now - (last_at or since)) > SILENCE:
            needs.append(
                f"Silent: runs are waited for, and no webhook has come for {SILENCE / 60:.0f} minutes. Run the "
                "self-test; if it passes, ask the vendor whether it delivers."
            )
        nobody = reads.unawaited(connection, conn_id, now - SETTLED, now)
        if nobody:
            needs.append(
                f"Runs under way for which no task waits: {nobody}. Their tasks may have been cleared, or given up."
            )
    for refusal in reads.refusals(connection, conn_id):
        if refusal["last_at"] > now - RECENT:
            needs.append(f"Webhooks were refused: {REFUSED[refusal['reason']]}.")
    return needs
