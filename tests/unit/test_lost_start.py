"""Which of the vendor's runs a start has made whose reply was lost."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.operators import lost_start
from airflow_provider_nenoa.operators.lost_start import Finding, judge
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystRunAgentOperator
from airflow_provider_nenoa.vendors.nenai_mcp import ListedRun, RunListing
from airflow_provider_nenoa.waiting import asking

SENT = 1_700_000_000.0


def listing(
    *ages: float | None, whole: bool = True, ahead: float | None = 0.0, names: str = "abcdefghijklmnopqrstuvwxyz"
) -> RunListing:
    """Runs that were made so many seconds after the start was sent, by our clock; None: nobody knows when."""
    runs = [
        ListedRun(name, "running", None if age is None else SENT + age + (ahead or 0.0))
        for name, age in zip(names, ages, strict=False)
    ]
    return RunListing(tuple(runs), whole, ahead)


@pytest.mark.parametrize("ahead", [0.0, 3600.0, -3600.0, 0.4], ids="clock {} s ahead".format)
@pytest.mark.parametrize(
    ("ages", "found"),
    [
        ((0.3,), "a"),
        ((-0.9,), "a"),  # the vendor's list has whole seconds
        ((100.0,), "a"),
        ((1.0, -30.0, -7000.0), "a"),
        ((5000.0, 1.0, -30.0), "b"),  # somebody looks the day after
        ((-30.0,), None),
        ((5000.0,), None),
        ((), None),
    ],
)
def test_exactly_one_run_that_was_made_then(ahead: float, ages: tuple[float, ...], found: str | None) -> None:
    finding = judge(listing(*ages, ahead=ahead), SENT)
    assert finding.run_id == found
    assert finding.is_empty == (found is None)


def test_several_are_named_and_none_is_taken() -> None:
    finding = judge(listing(3.0, 1.0, -100.0), SENT)
    assert finding == Finding(None, ("a", "b"), True)
    assert not finding.is_empty
    assert str(finding) == "has what may be it: a, b"


def test_those_of_others_do_not_count() -> None:
    assert judge(listing(3.0, 1.0, 0.5), SENT, {"a", "c"}).run_id == "b"
    assert judge(listing(3.0), SENT, {"a"}).is_empty


@pytest.mark.parametrize("ages", [(1.0,), (), (None,)])
def test_a_list_that_is_not_complete_proves_nothing(ages: tuple[float | None, ...]) -> None:
    finding = judge(listing(*ages, whole=False), SENT)
    assert finding.run_id is None
    assert not finding.is_empty


@pytest.mark.parametrize("ages", [(None,), (None, 1.0), (1.0, None)])
def test_a_run_that_was_made_nobody_knows_when_may_be_it(ages: tuple[float | None, ...]) -> None:
    finding = judge(listing(*ages), SENT)
    assert finding.run_id is None
    assert len(finding.candidates) == len(ages)


def test_clocks_that_are_only_hoped_to_agree() -> None:
    assert judge(listing(-10.0, ahead=None), SENT).run_id == "a"
    assert judge(listing(-10.0, ahead=0.0), SENT).is_empty


def test_a_vendor_may_take_as_long_as_its_reply_was_waited_for() -> None:
    assert judge(listing(300.0), SENT, timeout=60.0).is_empty
    assert judge(listing(300.0), SENT, timeout=600.0).run_id == "a"
    assert lost_start.settled_after(600.0) == 630.0


@pytest.mark.parametrize(
    ("ahead", "timeout", "first", "last"),
    [(0.0, 60.0, -2.0, 122.0), (None, 60.0, -15.0, 135.0), (9.0, 5.0, -2.0, 67.0)],
)
def test_when_a_run_must_have_been_made_to_be_ours(
    ahead: float | None, timeout: float, first: float, last: float
) -> None:
    for age, may_be_it in ((first - 0.5, False), (first, True), (last, True), (last + 0.5, False)):
        finding = judge(listing(age, ahead=ahead), SENT, timeout=timeout)
        assert finding == (Finding("a", ("a",), True) if may_be_it else Finding(None, (), True))
    assert judge(listing(122.5), SENT).is_empty, "a reply is waited for for a minute"


@given(
    st.lists(st.floats(-1e5, 1e5) | st.none(), max_size=8),
    st.sets(st.sampled_from("abcdefgh")),
    st.booleans(),
    st.floats(-1e6, 1e6) | st.none(),
)
def test_only_one_that_may_be_it_is_taken(
    ages: list[float | None], others: set[str], whole: bool, ahead: float | None
) -> None:
    finding = judge(listing(*ages, whole=whole, ahead=ahead), SENT, others)
    if finding.run_id is not None:
        assert finding.candidates == (finding.run_id,)
        assert finding.run_id not in others
        age = ages["abcdefgh".index(finding.run_id)]
        assert age is not None
        assert -16.0 <= age <= 140.0
    for name, age in zip("abcdefgh", ages, strict=False):
        if name not in others and (age is None or 0.0 <= age <= 100.0):
            assert name in finding.candidates, "what may be it is never left out"


def test_many_are_named_in_part() -> None:
    assert str(judge(listing(*[1.0] * 10), SENT)) == "has what may be it: a, b, c, d, e, f, g, h, i, j"
    assert str(judge(listing(*[1.0] * 11), SENT)).endswith("h, i, j and 1 more")


@pytest.mark.parametrize(
    ("ages", "whole", "words"),
    [
        ((), True, "has no such run"),
        ((), False, "does not reach back to that time"),
        ((1.0,), False, "has what may be it: a, and may have more"),
    ],
)
def test_what_the_list_tells(ages: tuple[float, ...], whole: bool, words: str) -> None:
    assert str(judge(listing(*ages, whole=whole), SENT)) == words


def test_looks_come_seldom_in_the_end() -> None:
    age, looks = 0.0, []
    while age < 600:
        age += lost_start.next_look(age)
        looks.append(age)
    assert looks[:8] == [5.0, 10.0, 15.0, 22.5, 33.75, 50.625, 75.9375, 105.9375]
    assert {later - sooner for sooner, later in pairwise(looks[6:])} == {30.0}
    assert [lost_start.next_look(age) for age in (2.0, 4.0, -3.0)] == [5.0, 5.0, 8.0]


# Who else has started runs


class Pulled(SimpleNamespace):
    """A task instance that says what it was asked for."""

    def xcom_pull(self, task_ids: list[str], key: str) -> list[Any]:
        self.asked = (task_ids, key)
        return ["m1", None, "m2", 3]


def test_runs_of_the_same_dag_run() -> None:
    workflow = NenAIRunWorkflowOperator(task_id="w", workflow_id="x")
    agent = OpenAnalystRunAgentOperator(task_id="a", agent_id="x", task_prompt="y")
    mapped = NenAIRunWorkflowOperator.partial(task_id="m").expand(workflow_id=["x", "y"])
    ti = Pulled()
    context: Any = {"ti": ti, "dag": SimpleNamespace(tasks=[workflow, agent, mapped])}
    assert lost_start.ids_in_the_dag_run(context, "workflow", "message_id") == {"m1", "m2"}
    assert ti.asked == (["w", "m"], "message_id")


def test_without_other_tasks_nobody_is_asked() -> None:
    assert lost_start.ids_in_the_dag_run({"ti": None, "dag": SimpleNamespace(tasks=[])}, "workflow", "x") == set()  # type: ignore[typeddict-item]


@pytest.mark.parametrize(("others", "found"), [(set(), "a"), ({"a"}, None)])
def test_how_nenais_list_is_looked_at(
    connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch, others: set[str], found: str | None
) -> None:
    """Ten seconds' trouble with it is waited out; the connection says for how long the start's reply was."""
    asked: list[Any] = []

    def run_listing(hook: Any, *args: Any) -> RunListing:
        asked.append((hook.conn_id, hook.retry_for, *args))
        return listing(600.0)

    monkeypatch.setattr(NenAIHook, "run_listing", run_listing)
    monkeypatch.setattr(asking, "told_of_others", lambda hook, run_ids, ref: others if ref == "ref" else {*run_ids})
    conn_id = connect("nenai", extra={"mcp_url": "https://mcp.test/v1", "timeout": 600})
    operator = NenAIRunWorkflowOperator(task_id="w", workflow_id="x", nenai_conn_id=conn_id)
    assert operator.look_in_list(SENT, "ref", {}).run_id == found  # type: ignore[typeddict-item]
    assert asked == [(conn_id, 10.0, "x", SENT - 15.0)]
