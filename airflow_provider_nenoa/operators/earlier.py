"""Whether the run that an earlier attempt of a task left is the one to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import TRANSIENT, NotFound
from airflow_provider_nenoa.operators.asked import changed, fingerprints
from airflow_provider_nenoa.operators.memory import cleared_since
from airflow_provider_nenoa.waiting import asking
from airflow_provider_nenoa.waiting.kinds import RunKey

if TYPE_CHECKING:
    from airflow_provider_nenoa.operators.memory import Note
    from airflow_provider_nenoa.operators.starter import Starter

MOST_NAMES = 10
"""Names of arguments that a message lists."""


def fingerprints_of(operator: Starter, ref: str) -> dict[str, str]:
    """Return what the note of a start keeps of what is asked for."""
    return fingerprints(operator.asked(), key=operator.hook.settings.api_key, ref=ref)


def goes_on(note: Note, operator: Starter, ti: Any) -> bool:
    """
    Decide about the run that an earlier attempt left, or may have left; the log tells what is not as usual.

    :param note: What is known of it.
    :param operator: The task.
    :param ti: Its task instance.
    :return: Whether this attempt goes on with it; if not, it starts anew, whether or not that run goes on.
    """
    if note.closed_in is not None:
        cleared = cleared_since(note, try_number=ti.try_number, max_tries=ti.max_tries, retries=operator.retries or 0)
        return not (_has_ended(note, operator) if cleared is None else cleared)
    the_run = operator.the_run(note.run_id) if note.run_id else "The run that an earlier attempt may have started"
    if note.conn_id not in (None, operator.conn_id):
        operator.log.warning("%s is on connection '%s'. Starting anew on this one.", the_run, note.conn_id)
        return False
    names = changed(note.asked, fingerprints_of(operator, note.ref))
    if not names:
        return True
    what = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
    if operator.on_changed_arguments == "restart":
        operator.log.warning(
            "%s was asked for something else (%s). It goes on, because %s's API cannot cancel it; starting another "
            "one, since on_changed_arguments='restart'.",
            the_run,
            what,
            operator.kind.vendor,
        )
        return False
    operator.log.warning(
        "%s was asked for something else than this attempt would ask for (%s). It is gone on with all the same, and "
        "the result will be that of the earlier arguments. To start another one when they have changed, set "
        "on_changed_arguments='restart'.",
        the_run,
        what,
    )
    return True


def _has_ended(note: Note, operator: Starter) -> bool:
    """Whether the run of a closed note is over, as far as can be learnt."""
    if operator.wait_for_completion:
        return True  # its result was there
    try:
        key = RunKey(operator.conn_id, operator.kind_name, note.run_id, note.ref or None)
        return asking.ask(operator.hook, key, told=note.told, started_at=note.started_at) is not None
    except NotFound:
        return True
    except TRANSIENT as error:
        operator.log.warning("%s The run of the earlier attempt is taken to be running.", error)
        return False
