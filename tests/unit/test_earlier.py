"""What is said of an open run that an earlier attempt left, and whether this one goes on with it."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_nenoa.exceptions import NotFound, ServerError
from airflow_provider_nenoa.operators.asked import fingerprints
from airflow_provider_nenoa.operators.earlier import goes_on
from airflow_provider_nenoa.operators.memory import Note
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.waiting.kinds import KINDS

NAMES = "abcdefghijk"


def decided(asked: dict[str, Any], now: dict[str, Any], *, on_changed_arguments: str = "adopt", **note: Any) -> bool:
    """Whether an attempt that asks for ``now`` goes on with the run of one that asked for something."""
    operator: Any = SimpleNamespace(
        asked=lambda: now,
        conn_id="c",
        hook=SimpleNamespace(settings=SimpleNamespace(api_key="key")),
        kind=KINDS["agent"],
        log=logging.getLogger("task"),
        on_changed_arguments=on_changed_arguments,
        the_run=lambda run_id: f"Agent run {run_id}",
    )
    known = fingerprints(asked, key="key", ref="ref")
    left = Note(
        **{"ref": "ref", "started_at": 0.0, "told": False, "run_id": "r", "asked": known, "conn_id": "c", **note}
    )
    return goes_on(left, operator, SimpleNamespace())


@pytest.mark.parametrize("run_id", ["r", None])
@pytest.mark.parametrize("changed", [0, 1, 10, 11])
def test_other_arguments(caplog: pytest.LogCaptureFixture, changed: int, run_id: str | None) -> None:
    then, now = dict.fromkeys(NAMES, 1), dict.fromkeys(NAMES, 1) | dict.fromkeys(NAMES[:changed], 2)
    assert decided(then, now, run_id=run_id)
    assert decided(then, now, run_id=run_id, on_changed_arguments="restart") is (changed == 0)
    the_run = "Agent run r" if run_id else "The run that an earlier attempt may have started"
    what = {1: "a", 10: "a, b, c, d, e, f, g, h, i, j", 11: "a, b, c, d, e, f, g, h, i, j, ..."}.get(changed)
    said = [
        f"{the_run} was asked for something else than this attempt would ask for ({what}). It is gone on with all the "
        "same, and the result will be that of the earlier arguments. To start another one when they have changed, set "
        "on_changed_arguments='restart'.",
        f"{the_run} was asked for something else ({what}). It goes on, because OpenAnalyst's API cannot cancel it; "
        "starting another one, since on_changed_arguments='restart'.",
    ]
    assert caplog.messages == (said if changed else [])


@pytest.mark.parametrize(("conn_id", "goes"), [("c", True), (None, True), ("other", False)])
def test_another_connection(caplog: pytest.LogCaptureFixture, conn_id: str | None, goes: bool) -> None:
    """A note of an older version does not name one."""
    assert decided({}, {}, conn_id=conn_id) is goes
    assert caplog.messages == ["Agent run r is on connection 'other'. Starting anew on this one."] * (not goes)


@pytest.mark.parametrize(
    ("answer", "goes"),
    [("running", True), ("completed", False), (NotFound("404"), False), (ServerError("500: down."), True)],
)
@pytest.mark.parametrize("waits", [False, True])
def test_a_finished_task_of_which_it_cannot_be_told_whether_it_was_cleared(
    caplog: pytest.LogCaptureFixture, answer: Any, goes: bool, waits: bool
) -> None:
    """Its run is gone on with only if it goes on, as far as can be told; whoever waited for it has had its result."""
    asked: list[str] = []

    def get_agent_run(run_id: str) -> Run:
        asked.append(run_id)
        if isinstance(answer, Exception):
            raise answer
        return Run(run_id, answer)

    settings = SimpleNamespace(webhook_secret=None)
    operator: Any = SimpleNamespace(
        conn_id="c",
        hook=SimpleNamespace(conn_id="c", settings=settings, get_agent_run=get_agent_run),
        kind_name="agent",
        log=logging.getLogger("task"),
        retries=1,
        wait_for_completion=waits,
    )
    note = Note("ref", 0.0, False, "r", closed_in=2, closed_by=1)
    again = goes_on(note, operator, SimpleNamespace(try_number=2, max_tries=2))
    assert again is (goes and not waits)
    assert asked == ([] if waits else ["r"])
    down = not waits and isinstance(answer, ServerError)
    assert caplog.messages == ["500: down. The run of the earlier attempt is taken to be running."] * down
