"""What a task says when it gives up: its run did not end in time, or a start whose reply was lost shows no run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from airflow_provider_nenoa.exceptions import RunTimeout
from airflow_provider_nenoa.operators import lost_start
from airflow_provider_nenoa.runs import status_of
from airflow_provider_nenoa.waiting import asking

if TYPE_CHECKING:
    from airflow_provider_nenoa.operators.lost_start import Finding
    from airflow_provider_nenoa.operators.memory import Note
    from airflow_provider_nenoa.operators.starter import Starter

NOT_SEEN = "the attempt that sent it ended before the reply was there"
"""Why a reply was lost of which no attempt could say so."""


def not_found(
    note: Note, operator: Starter, finding: Finding | None
) -> tuple[str, Literal["start anew", "look again", "ask a person"]]:
    """
    Say what is known of a start that no webhook has told of.

    :param note: What is known of the start.
    :param operator: The task.
    :param finding: What the vendor's list of runs tells; None: there is none, or it could not be read.
    :return: That in words, one or more sentences, and what follows: to start anew; to let the next attempt look again,
        because it is too early for the list to prove anything; or to let a person decide.
    """
    vendor, restart = operator.kind.vendor, operator.on_lost_start == "restart"
    lost = f"its reply was lost ({note.lost or NOT_SEEN})"
    if note.told:
        what = "no webhook told of a run"
        then = "it goes on with the run if a webhook has told of it by then, and starts anew if not"
    else:
        what = "that start named no URL to call, so no webhook can tell of a run"
        then = "it starts anew"
    if finding is not None:
        what = f"{vendor}'s list of runs {finding}"
        then = "it goes on with the run if by then it can be told which it is, and starts anew if not"
        age, settled = time.time() - note.started_at, lost_start.settled_after(operator.hook.settings.timeout)
        if finding.is_empty and age < settled and not restart:
            return (
                f"A start was sent to {vendor}, {lost}, and {what} yet, {age:.0f} s after it was sent. That proves "
                f"something after {settled:.0f} s; until then, each attempt looks again.",
                "look again",
            )
    elif operator.has_list():
        what += f", and {vendor}'s list of runs could not be read"
    if restart or note.given_up or (finding is not None and finding.is_empty):
        return f"A start was sent to {vendor}, {lost}, and {what}.", "start anew"
    return (
        f"A start was sent to {vendor}, {lost}, and {what}. A run may or may not have been started; it was not started "
        "again, because that could pay for the same work twice.\nLook at the vendor's own list of runs, then clear "
        f"this task: {then}. To have it started anew without asking, set on_lost_start='restart'.",
        "ask a person",
    )


def timed_out(note: Note, operator: Starter, word: str) -> RunTimeout:
    """
    Return the error for a run that did not end in time.

    :param note: What is known of the run.
    :param operator: The task.
    :param word: Its last status word; empty: none is known.
    """
    last = f"its last known status is '{word}'" if word else "nothing was heard of its status"
    if word and status_of(word) is None:
        last += ", which is no word we know"
    waited = time.time() - note.started_at
    silence = "" if word or not note.told else f"{asking.see_whether_webhooks_arrive(operator.hook)} "
    return RunTimeout(
        f"{operator.the_run(note.run_id)} did not end in time: {waited:.0f} s after its start {last}.\nIt goes "
        f"on, because {operator.kind.vendor}'s API cannot cancel it{operator.next_attempt()}. {silence}Raise 'timeout' "
        f"(now {operator.timeout:.0f} s) or 'execution_timeout' if such runs take longer."
    )
