from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.pacing.pace import LONGEST_INTERVAL, interval

AGES = st.floats(-1e6, 1e9)
SHORTEST = st.floats(0.001, 1e6)


@given(AGES, SHORTEST)
def test_an_interval_is_never_shorter_than_asked_for(age: float, shortest: float) -> None:
    assert interval(age, shortest) >= shortest


@given(AGES, SHORTEST)
def test_an_interval_is_never_longer_than_the_longest(age: float, shortest: float) -> None:
    assert interval(age, shortest) <= max(shortest, LONGEST_INTERVAL)


@given(AGES, AGES, SHORTEST)
def test_intervals_grow_with_age(one: float, other: float, shortest: float) -> None:
    younger, older = sorted((one, other))
    assert interval(younger, shortest) <= interval(older, shortest)


def polls(length: float, shortest: float = 15.0) -> int:
    """How often a run is asked about until it is seen to have ended."""
    age, count = 0.0, 0
    while age < length:
        age += interval(age, shortest)
        count += 1
    return count


def test_what_a_run_costs() -> None:
    assert polls(10) == 1
    assert polls(60) == 4
    assert polls(3_600) == 30
    assert polls(86_400) < 600
