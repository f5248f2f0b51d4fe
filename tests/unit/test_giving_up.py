"""What a task says of a start whose reply was lost, and what follows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_nenoa.operators import giving_up
from airflow_provider_nenoa.operators.giving_up import not_found
from airflow_provider_nenoa.operators.lost_start import Finding
from airflow_provider_nenoa.operators.memory import Note
from airflow_provider_nenoa.waiting.kinds import KINDS

SENT = 1_700_000_000.0
LOST = "A start was sent to NenAI, its reply was lost (it hung up), and "
LOOK = (
    " A run may or may not have been started; it was not started again, because that could pay for the same work twice."
    "\nLook at the vendor's own list of runs, then clear this task: {}. To have it started anew without asking, set "
    "on_lost_start='restart'."
)
NONE = Finding(None, (), True)
SOME = Finding(None, ("a", "b"), True)
SHORT = Finding(None, (), False)


def given_up(
    monkeypatch: pytest.MonkeyPatch,
    finding: Finding | None = None,
    *,
    age: float = 90.0,
    on_lost_start: str = "fail",
    has_list: bool = True,
    **note: Any,
) -> tuple[str, str]:
    """What is said so many seconds after the start, whose reply was waited for for a minute."""
    operator: Any = SimpleNamespace(
        kind=KINDS["workflow"],
        on_lost_start=on_lost_start,
        has_list=lambda: has_list,
        hook=SimpleNamespace(settings=SimpleNamespace(timeout=60.0)),
    )
    monkeypatch.setattr(giving_up, "time", SimpleNamespace(time=lambda: SENT + age))
    return not_found(
        Note(**{"ref": "r", "started_at": SENT, "told": True, "lost": "it hung up", **note}), operator, finding
    )


BY_WEBHOOK = "it goes on with the run if a webhook has told of it by then, and starts anew if not"
BY_LIST = "it goes on with the run if by then it can be told which it is, and starts anew if not"


@pytest.mark.parametrize(
    ("known", "what", "then"),
    [
        ({"has_list": False}, "no webhook told of a run.", BY_WEBHOOK),
        ({}, "no webhook told of a run, and NenAI's list of runs could not be read.", BY_WEBHOOK),
        (
            {"has_list": False, "told": False},
            "that start named no URL to call, so no webhook can tell of a run.",
            "it starts anew",
        ),
        ({"finding": SOME}, "NenAI's list of runs has what may be it: a, b.", BY_LIST),
        ({"finding": SOME, "age": 1.0, "told": False}, "NenAI's list of runs has what may be it: a, b.", BY_LIST),
        ({"finding": SHORT, "age": 1.0}, "NenAI's list of runs does not reach back to that time.", BY_LIST),
        ({"finding": NONE}, "NenAI's list of runs has no such run.", None),
    ],
)
def test_a_start_that_nobody_knows_of(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, Any], what: str, then: str | None
) -> None:
    anew = (f"{LOST}{what}", "start anew")
    asked = anew if then is None else (f"{LOST}{what}{LOOK.format(then)}", "ask a person")
    assert given_up(monkeypatch, **known) == asked
    assert given_up(monkeypatch, **known, given_up=True) == anew, "a person has been asked"
    assert given_up(monkeypatch, **known, on_lost_start="restart") == anew


def test_an_empty_list_proves_something_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    early = (
        f"{LOST}NenAI's list of runs has no such run yet, 89 s after it was sent. That proves something after 90 s; "
        "until then, each attempt looks again.",
        "look again",
    )
    assert given_up(monkeypatch, NONE, age=89.0) == early
    assert given_up(monkeypatch, NONE, age=89.0, given_up=True) == early
    assert given_up(monkeypatch, NONE, age=90.0)[1] == "start anew"
    assert given_up(monkeypatch, NONE, age=89.0, on_lost_start="restart")[1] == "start anew"


def test_why_a_reply_was_lost_may_not_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_up(monkeypatch, NONE, lost="")[0] == (
        "A start was sent to NenAI, its reply was lost (the attempt that sent it ended before the reply was there), "
        "and NenAI's list of runs has no such run."
    )
