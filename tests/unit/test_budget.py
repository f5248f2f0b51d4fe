from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_nenoa.emulator.limits import FixedWindow, Limiter, SlidingWindow
from airflow_provider_nenoa.pacing.budget import CLOCKS_APART, DAY, HOUR, MINUTE, MOST_PER_END, Budget
from airflow_provider_nenoa.pacing.window import SHARE_OF_STARTS


class FakeClock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def spend_as_told(budget: Budget, clock: FakeClock, pauses: list[float]) -> list[float]:
    """Send whenever the budget allows it, after pauses of one's own; return when that was."""
    sent = []
    for pause in pauses:
        clock.now += pause
        while (delay := budget.delay()) > 0:
            clock.now += delay
        budget.spend()
        sent.append(clock.now)
    return sent


def most_in(window: float, times: list[float]) -> int:
    """The largest number of times within any half-open window of this length."""
    most, first = 0, 0
    for last, time in enumerate(times):
        # A hair less: a thousandth of a second is not what a limit is about.
        while times[first] <= time - window + 1e-3:
            first += 1
        most = max(most, last - first + 1)
    return most


PAUSES = st.lists(
    st.one_of(st.just(0.0), st.floats(0, 1), st.floats(0, 120), st.floats(0, DAY)), min_size=1, max_size=400
)


@settings(max_examples=60)
@given(per_minute=st.integers(1, 200), pauses=PAUSES)
def test_no_minute_has_more_than_its_limit(per_minute: int, pauses: list[float]) -> None:
    clock = FakeClock()
    sent = spend_as_told(Budget(per_minute, None, clock), clock, pauses)
    assert most_in(MINUTE, sent) <= per_minute - int(per_minute * SHARE_OF_STARTS)


@settings(max_examples=60)
@given(per_minute=st.none() | st.integers(1, 100), per_day=st.integers(1, 300), pauses=PAUSES)
def test_no_day_has_more_than_its_limit(per_minute: int | None, per_day: int, pauses: list[float]) -> None:
    clock = FakeClock()
    sent = spend_as_told(Budget(per_minute, per_day, clock), clock, pauses)
    assert most_in(DAY, sent) <= per_day


@pytest.mark.parametrize(("per_minute", "per_day"), [(30, 500), (120, 5_000), (None, 1_000), (3, 10_000)])
def test_the_whole_budget_can_be_used(per_minute: int | None, per_day: int) -> None:
    clock = FakeClock()
    start = clock.now
    sent = spend_as_told(Budget(per_minute, per_day, clock), clock, [0.0] * (3 * min(per_day, 3_000)))
    # Over the long run: a day's whole limit per day, or as much as the minutes allow.
    rate = (len(sent) - 1) / (sent[-1] - start)
    minutes = math.inf if per_minute is None else int(per_minute * (1 - SHARE_OF_STARTS)) / MINUTE
    # What a day's limit grants at once comes on top at the beginning; after that it comes back evenly.
    assert rate > 0.8 * min(per_day / DAY, minutes)
    assert most_in(DAY, sent) <= per_day


def test_the_whole_of_a_minute_can_be_used() -> None:
    clock = FakeClock()
    start = clock.now
    sent = spend_as_told(Budget(30, None, clock), clock, [0.0] * 270)
    assert sent[-1] - start == pytest.approx(10 * MINUTE, rel=0.05)


def test_a_limit_of_one() -> None:
    clock = FakeClock()
    budget = Budget(1, 1, clock)
    assert budget.delay() == 0
    budget.spend()
    assert budget.delay() >= DAY


def test_a_small_limit_comes_back() -> None:
    clock = FakeClock()
    start = clock.now
    sent = spend_as_told(Budget(None, 1, clock), clock, [0.0] * 6)
    assert sent[-1] - start <= 6 * DAY


def test_no_limit() -> None:
    clock = FakeClock()
    budget = Budget(None, None, clock)
    for _ in range(10_000):
        assert budget.delay() == 0
        budget.spend()


def test_the_vendor_overrules_the_plan() -> None:
    clock = FakeClock()
    budget = Budget(1_000, None, clock)
    budget.pause(42)
    assert budget.delay() == 42
    budget.pause(7)
    assert budget.delay() == 42, "a shorter pause does not end a longer one"
    clock.now += 42
    assert budget.delay() == 0
    budget.pause(1e12)
    assert budget.delay() == DAY, "no limit is of more than a day"


def headers(limit: Any, remaining: Any, reset: Any) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(limit),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": str(reset),
    }


def test_the_rest_of_a_window_is_left_to_starts() -> None:
    clock = FakeClock()
    budget = Budget(None, None, clock)
    budget.observe(headers(100, 11, clock.now + 30))
    assert budget.delay() == 0
    budget.observe(headers(100, 10, clock.now + 30))
    assert budget.delay() == 30
    clock.now += 30
    assert budget.delay() == 0


def sent_within(seconds: float, budget: Budget, clock: FakeClock) -> int:
    """Send whenever the budget allows it, for so many seconds; return how often."""
    until, sent = clock.now + seconds, 0
    while (delay := budget.delay()) + clock.now < until:
        clock.now += delay
        budget.spend()
        sent += 1
    return sent


@pytest.mark.parametrize("used", [0, 300, 800])
def test_what_others_have_spent_of_the_day_is_spent(used: int) -> None:
    clock = FakeClock()
    budget = Budget(None, 1_000, clock)
    budget.observe(headers(1_000, 1_000 - used, clock.now + DAY - 1))
    assert 0.85 * (900 - used) <= sent_within(DAY - 10, budget, clock) <= 900 - used


def test_who_spends_of_a_minute_spends_of_the_day() -> None:
    clock = FakeClock()
    budget = Budget(600, 1_000, clock)
    for _ in range(5):
        budget.observe(headers(600, 500, clock.now + 50))
        clock.now += MINUTE
    assert sent_within(DAY / 2, budget, clock) <= 900 - 500


def test_the_own_requests_are_not_those_of_others() -> None:
    clock = FakeClock()
    budget = Budget(600, None, clock)
    reset_at = math.ceil(clock.now + MINUTE)
    for used in range(1, 301):
        budget.spend()
        budget.observe(headers(600, 600 - used, reset_at))
    # Three hundred more would fit in if the three hundred had been counted twice; there is room for 240 in a minute.
    assert sent_within(30, budget, clock) == 240


def test_a_start_that_the_vendor_has_told_of_is_not_counted_again() -> None:
    clock = FakeClock()
    budget = Budget(100, None, clock)
    budget.observe(headers(100, 60, clock.now + 50))
    for _ in range(40):
        budget.spend_elsewhere(seconds_ago=1)
    assert sent_within(MINUTE - 1, budget, clock) == 100 - 40 - 10


def test_something_is_left_for_who_starts_later() -> None:
    """A run a minute ends, and no other waits: that is no reason to spend the day within an hour."""
    clock = FakeClock()
    budget = Budget(None, 10_000, clock)
    sent_within(1, budget, clock)  # what may be sent ahead
    budget.saw(seconds=MINUTE, ended=True, waiting=1)
    sent = sent_within(HOUR, budget, clock)
    assert sent == pytest.approx(MOST_PER_END * HOUR / MINUTE, rel=0.05)


def sent_in_company(others: int) -> int:
    """Polls of half a day, while others send so many requests with each of ours."""
    clock = FakeClock()
    start, budget = clock.now, Budget(None, 10_000, clock)
    used = sent = 0
    while clock.now < start + DAY / 2:
        clock.now += budget.delay()
        budget.spend()
        sent += 1
        used += 1 + others
        budget.observe(headers(10_000, 10_000 - used, start + DAY))
    return sent


def test_who_shares_the_limit_plans_with_his_part_of_it() -> None:
    ahead = 500
    assert sent_in_company(1) - ahead == pytest.approx((sent_in_company(0) - ahead) / 2, rel=0.15)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"X-RateLimit-Remaining": "0"},
        headers("many", 0, 1_700_000_030),
        headers(100, 0, "soon"),
        headers(100, "nan", "nan"),
        headers(100, 0, "inf"),
        headers(100, 0, 1_700_000_030_000),  # milliseconds
        headers(100, 0, 1_600_000_000),  # long past
    ],
)
def test_headers_that_say_nothing(said: dict[str, str]) -> None:
    budget = Budget(None, None, FakeClock())
    budget.observe(said)
    assert budget.delay() == 0


@pytest.mark.parametrize(
    ("limit", "until_reset", "adopted"),
    [
        (20, 50, (20, 500)),  # less than the plan says, of a minute
        (60, 50, (30, 500)),  # more of a minute: not yet
        (1_000, 30_000, (30, 1_000)),  # more of a day
        (1_000, 50, (30, 500)),  # no limit of a minute is larger than that of a day; but perhaps the day ends
        (400, 7_200, (30, 400)),
        (400, 70, (30, 400)),
        (30, 50, (30, 500)),
        (500, 50, (30, 500)),
        (0, 50, (30, 500)),
        (-5, 50, (30, 500)),
        (20, 0, (30, 500)),
        (20, -50, (30, 500)),
        (20, 10 * DAY, (30, 500)),
        (math.inf, 50, (30, 500)),
        (math.nan, 50, (30, 500)),
    ],
)
def test_the_vendor_names_another_limit(
    limit: float, until_reset: float, adopted: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    budget = Budget(30, 500, clock)
    for _ in range(3):
        budget.observe(headers(limit, limit, clock.now + until_reset))
    assert (budget._minute.limit, budget._day.limit) == adopted  # type: ignore[union-attr]
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (adopted != (30, 500)), "it is said once"
    if lines:
        assert f"name a limit of {limit} requests a {'minute' if adopted[1] == 500 else 'day'}" in lines[0]


def test_more_in_a_minute_is_believed_once_a_second_minute_has_it() -> None:
    clock = FakeClock()
    budget = Budget(30, None, clock)
    for _ in range(3):
        budget.observe(headers(60, 60, clock.now + 50))
    assert sent_within(MINUTE - 1, budget, clock) <= 27
    clock.now += MINUTE
    budget.observe(headers(60, 60, clock.now + 50))
    assert sent_within(MINUTE - 1, budget, clock) == 54


def test_the_last_minute_of_a_day_is_no_minute() -> None:
    clock = FakeClock()
    budget = Budget(30, 500, clock)
    budget.observe(headers(400, 100, clock.now + 40))
    clock.now += 100
    budget.observe(headers(400, 400, clock.now + DAY - 60))
    assert (budget._minute.limit, budget._day.limit) == (30, 400)  # type: ignore[union-attr]
    clock.now += DAY - 100
    budget.observe(headers(400, 100, clock.now + 40))
    assert budget._minute.limit == 30  # type: ignore[union-attr]


def test_a_limit_of_the_connections_own_is_lowered_and_not_raised() -> None:
    clock = FakeClock()
    budget = Budget(10, 100, clock, at_most=(10, 100))
    for _ in range(3):
        budget.observe(headers(60, 60, clock.now + 50))
        budget.observe(headers(1_000, 1_000, clock.now + 30_000))
        clock.now += MINUTE
    assert (budget._minute.limit, budget._day.limit) == (10, 100)  # type: ignore[union-attr]
    budget.observe(headers(5, 5, clock.now + 50))
    budget.observe(headers(50, 50, clock.now + 30_000))
    assert (budget._minute.limit, budget._day.limit) == (5, 50)  # type: ignore[union-attr]
    clock.now += MINUTE
    for _ in range(3):  # back to what the connection allows, and no further
        budget.observe(headers(40, 40, clock.now + 50))
        clock.now += MINUTE
    assert budget._minute.limit == 10  # type: ignore[union-attr]


def test_a_day_that_was_raised_is_used() -> None:
    clock = FakeClock()
    budget = Budget(None, 500, clock)
    budget.observe(headers(1_000, 1_000, clock.now + DAY))
    assert 850 <= sent_within(DAY, budget, clock) <= 900


def test_the_reset_may_be_absent() -> None:
    clock = FakeClock()
    budget = Budget(30, 500, clock)
    said = headers(30, 5, 0)
    del said["X-RateLimit-Reset"]
    budget.observe(said)
    assert budget.delay() == 0
    budget.observe({**said, "X-RateLimit-Remaining": "0"})
    assert budget.delay() == MINUTE


class Crowd:
    """Processes that poll the same vendor, each with a budget of its own: they share nothing but its headers."""

    def __init__(self, workers: int, interval: float, window: Any, starts: list[float] = []) -> None:  # noqa: B006
        self.clock = FakeClock()
        self.began = self.clock.now
        self.limiter = Limiter(120, None, window)
        self.polls: list[float] = []
        self.refused: list[float] = []
        self.refused_starts = 0
        chance = random.Random(1)
        todo: list[tuple[float, int, Budget | None]] = [(self.began + at, -1, None) for at in starts]
        for number in range(workers):
            todo.append((self.began + chance.uniform(0, interval), number, Budget(120, None, self.clock)))
        heapq.heapify(todo)
        while todo[0][0] < self.began + 10 * MINUTE:
            self.clock.now, number, budget = heapq.heappop(todo)
            if budget is None:
                self.refused_starts += self.limiter.admit(self.clock.now) is not None
                continue
            if (delay := budget.delay()) > 0:
                heapq.heappush(todo, (self.clock.now + delay, number, budget))
                continue
            budget.spend()
            refused = self.limiter.admit(self.clock.now)
            self.polls.append(self.clock.now)
            if refused is not None:
                self.refused.append(self.clock.now)
                budget.refused(refused * chance.uniform(1, 1.5))
            budget.observe(self.limiter.headers(self.clock.now))
            heapq.heappush(todo, (self.clock.now + interval, number, budget))


@pytest.mark.parametrize("window", [FixedWindow, SlidingWindow])
@pytest.mark.parametrize("workers", [2, 10, 50, 200])
def test_many_processes_keep_the_share_of_starts(workers: int, window: Any) -> None:
    """Two triggerers or two hundred workers, who would all ask more often than they may."""
    crowd = Crowd(workers, 0.5 if workers == 2 else 15.0, window, starts=[30 + 60.0 * minute for minute in range(10)])
    by_minute = Counter(int((at - crowd.began) // MINUTE) for at in crowd.polls)
    assert crowd.refused_starts == (2 if workers == 200 else 0)
    if workers <= 10:
        assert crowd.refused == []
        assert max(by_minute.values()) <= 120 - 12 + workers
        return
    # Each learns from the headers, and from what is refused, what its part is.
    late = [at for at in crowd.refused if at - crowd.began >= 5 * MINUTE]
    assert len(late) <= len(crowd.refused) / 2
    assert sum(by_minute[minute] for minute in (8, 9)) / 2 <= 140 < by_minute[0]
    assert sum(by_minute[minute] for minute in (8, 9)) / 2 >= 80


SAID = st.text(max_size=5) | st.floats().map(str) | st.integers().map(str)
LIMITS = st.sampled_from(["30", "500"])
RESETS = st.floats(-2 * DAY, 2 * DAY).map(lambda seconds: str(FakeClock().now + seconds))


@given(st.none() | st.just(30), st.none() | st.just(500), SAID | LIMITS, SAID, SAID | RESETS)
def test_no_headers_stop_the_polling_for_more_than_a_day(
    per_minute: int | None, per_day: int | None, limit: str, remaining: str, reset_at: str
) -> None:
    clock = FakeClock()
    budget = Budget(per_minute, per_day, clock)
    budget.observe(headers(limit, remaining, reset_at))
    assert 0 <= budget.delay() <= DAY + 5 * MINUTE
    clock.now += DAY + 5 * MINUTE
    assert budget.delay() == 0


@pytest.mark.parametrize("ahead", [-7_200, -5, -2, 0, 2, 5, 7_200])
def test_a_reset_is_by_the_vendors_own_clock(ahead: float) -> None:
    """Five minutes from now, whatever time it is at the vendor's; a few seconds are nobody's business."""
    clock = FakeClock()
    budget = Budget(None, None, clock)
    there = clock.now + ahead
    budget.observe({**headers("500", "0", there + 300), "Date": formatdate(there, usegmt=True)})
    assert budget.delay() == pytest.approx(300, abs=CLOCKS_APART)


@pytest.mark.parametrize("date", ["", "now", "Fri, 99 Foo 2026 00:00:00 GMT"])
def test_without_a_date_both_clocks_are_trusted(date: str) -> None:
    clock = FakeClock()
    budget = Budget(None, None, clock)
    budget.observe({**headers("500", "0", clock.now + 300), "Date": date})
    assert budget.delay() == pytest.approx(300)


@given(back=st.floats(0, 1e6), spent=st.integers(0, 30))
def test_a_clock_that_is_set_back_takes_nothing_away(back: float, spent: int) -> None:
    clock = FakeClock()
    budget = Budget(30, 500, clock)
    spend_as_told(budget, clock, [0.0] * spent)
    before = budget.delay()
    clock.now -= back
    assert budget.delay() <= before + back + MINUTE
    clock.now += back + 2 * DAY
    assert budget.delay() == 0


@settings(max_examples=60)
@given(pauses=PAUSES)
def test_a_delay_is_as_long_as_it_has_to_be(pauses: list[float]) -> None:
    clock = FakeClock()
    budget = Budget(30, 500, clock)
    for pause in pauses:
        clock.now += pause
        delay = budget.delay()
        assert delay >= 0
        # The rate is planned anew every minute, from what has left the windows meanwhile.
        slack = max(0.005, 0.001 * delay)
        if delay > 2 * slack:
            clock.now += delay - slack
            assert budget.delay() > 0, "it would have been allowed sooner"
            clock.now += 2 * slack
        assert budget.delay() == 0
        budget.spend()
