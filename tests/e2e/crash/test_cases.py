"""
Whatever befalls a task that has a run started: the vendor starts one run, and its result arrives.

In a real Airflow, with processes that are killed for real. What is counted is what the vendor saw.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.e2e.crash.situations import SITUATIONS, Case, Situation
from tests.e2e.crash.stage import Outcome
from tests.support.local_airflow import LocalAirflow


def of_one_task() -> list[object]:
    cases = [case for situation in SITUATIONS if not situation.disaster for case in situation.cases()]
    return [pytest.param(case, id=str(case), marks=() if case.quick else pytest.mark.crash) for case in cases]


def of_all() -> list[object]:
    found = []
    for situation in (each for each in SITUATIONS if each.disaster):
        for quick in (True, False):
            cases = [case for case in situation.cases() if case.quick == quick]
            marks = () if quick else pytest.mark.crash
            if cases:
                found.append(pytest.param(situation, cases, id=f"{situation}: {len(cases)} cases", marks=marks))
    return found


@pytest.mark.parametrize("case", of_one_task())
def test_case(case: Case, played: dict[Case, Future[Outcome]], document: Callable[[Case, Outcome], None]) -> None:
    document(case, played[case].result())


# The cases above are over when this begins: each of them was waited for.
@pytest.mark.parametrize(("situation", "cases"), of_all())
def test_disaster(
    situation: Situation, cases: list[Case], airflow: LocalAirflow, document: Callable[[Case, Outcome], None]
) -> None:
    with ExitStack() as stages, ThreadPoolExecutor(len(cases)) as pool:
        played = [(case, stages.enter_context(case.stage(airflow))) for case in cases]
        for _, stage in played:
            stage.trigger()
        for _, stage in played:
            stage.until_waiting()
        assert situation.disaster is not None
        situation.disaster(airflow, [stage for _, stage in played])
        list(pool.map(lambda each: situation.after(each[1]), played))
        for case, stage in played:
            document(case, case.outcome(stage))
