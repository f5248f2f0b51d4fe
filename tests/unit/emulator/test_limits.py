"""Requests per minute and per day, by a clock that only moves when told to."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.emulator import Control, Emulator
from airflow_provider_nenoa.emulator.limits import FixedWindow, Limiter, SlidingWindow

from .conftest import Api

NOW = 1_700_000_000.0


def test_fixed_window_gives_all_its_room_back_at_once() -> None:
    limiter = Limiter(2, None)
    assert [limiter.admit(NOW + 50), limiter.admit(NOW + 55), limiter.admit(NOW + 59)] == [None, None, 51.0]
    assert [limiter.admit(NOW + 110), limiter.admit(NOW + 110), limiter.admit(NOW + 110)] == [None, None, 60.0]


def test_sliding_window_gives_room_back_as_requests_grow_old() -> None:
    limiter = Limiter(2, None, SlidingWindow)
    assert [limiter.admit(NOW), limiter.admit(NOW + 59), limiter.admit(NOW + 59.5)] == [None, None, 0.5]
    assert [limiter.admit(NOW + 60), limiter.admit(NOW + 60)] == [None, 59.0]


@given(gaps=st.lists(st.floats(0, 40), max_size=60), limit=st.integers(1, 5))
def test_sliding_window_never_lets_more_than_the_limit_into_any_minute(gaps: list[float], limit: int) -> None:
    window = SlidingWindow(limit, 60)
    now, admitted = NOW, []
    for gap in gaps:
        now += gap
        if window.remaining(now) > 0:
            window.take(now)
            admitted.append(now)
    for start in admitted:
        assert sum(start <= moment < start + 60 for moment in admitted) <= limit


@pytest.mark.parametrize("window", [FixedWindow, SlidingWindow])
@given(gaps=st.lists(st.floats(0, 40), max_size=60), limit=st.integers(1, 5))
def test_who_waits_as_told_is_let_in(window: type, gaps: list[float], limit: int) -> None:
    limiter = Limiter(limit, 3 * limit, window)
    now = NOW
    for gap in gaps:
        now += gap
        wait = limiter.admit(now)
        if wait is not None:
            assert wait > 0
            now += math.ceil(wait)
            assert limiter.admit(now) is None


def test_the_free_plan_over_http(nenoa_emulator: Emulator, openanalyst: Api, control: Control) -> None:
    control.settings(plan="free")
    control.clock(freeze=NOW)
    replies = [openanalyst.get("/dashboards") for _ in range(31)]

    assert [reply.status_code for reply in replies] == [200] * 30 + [429]
    assert [int(reply.headers["X-RateLimit-Remaining"]) for reply in replies] == [*range(29, -1, -1), 0]
    refused = replies[-1]
    assert refused.headers["Retry-After"] == "60"
    assert refused.headers["X-RateLimit-Limit"] == "30"
    assert refused.headers["X-RateLimit-Reset"] == str(int(NOW) + 60)
    assert refused.json()["error"]["code"] == "RATE_LIMITED"
    assert refused.json()["error"]["status"] == 429

    control.clock(advance=59.5)
    assert openanalyst.get("/dashboards").headers["Retry-After"] == "1"
    control.clock(advance=0.5)
    assert openanalyst.get("/dashboards").status_code == 200


def test_the_day_has_a_limit_too(openanalyst: Api, control: Control) -> None:
    control.settings(requests_per_minute=1000, requests_per_day=3)
    control.clock(freeze=NOW)
    assert [openanalyst.get("/reports").status_code for _ in range(4)] == [200, 200, 200, 429]
    control.clock(advance=3600)
    refused = openanalyst.get("/reports")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == str(86_400 - 3_600)
    assert refused.headers["X-RateLimit-Limit"] == "3"
    control.clock(advance=86_400 - 3_600)
    assert openanalyst.get("/reports").status_code == 200


def test_keys_of_one_workspace_share_its_limit_and_others_do_not(
    nenoa_emulator: Emulator, openanalyst: Api, control: Control
) -> None:
    control.settings(requests_per_minute=1)
    control.clock(freeze=NOW)
    assert openanalyst.get("/datasets").status_code == 200

    def asks(key: str) -> int:
        return openanalyst.get("/datasets", headers={"Authorization": f"Bearer {key}"}).status_code

    assert asks("oa_test_acme_2") == 429
    assert asks("oa_live_other_1") == 200


def test_a_refused_key_uses_up_nothing(openanalyst: Api, control: Control) -> None:
    control.settings(requests_per_minute=1)
    assert openanalyst.get("/datasets", headers={"Authorization": "Bearer nobody"}).status_code == 401
    assert openanalyst.get("/datasets").status_code == 200


def test_errors_count_and_carry_rate_headers(openanalyst: Api, control: Control) -> None:
    control.settings(plan="basic")
    reply = openanalyst.get("/datasets/none")
    assert reply.status_code == 404
    assert (reply.headers["X-RateLimit-Limit"], reply.headers["X-RateLimit-Remaining"]) == ("120", "119")


def test_rate_headers_can_be_left_out(openanalyst: Api, control: Control) -> None:
    control.settings(requests_per_minute=1, rate_headers=False)
    replies = [openanalyst.get("/datasets") for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 429]
    assert not any(name.lower().startswith("x-ratelimit") for reply in replies for name in reply.headers)
    assert "Retry-After" in replies[1].headers


def test_no_limit_no_headers(openanalyst: Api) -> None:
    assert "X-RateLimit-Limit" not in openanalyst.get("/datasets").headers


def test_sliding_windows_over_http(openanalyst: Api, control: Control) -> None:
    control.settings(requests_per_minute=2, window="sliding")
    control.clock(freeze=NOW)
    assert openanalyst.get("/datasets").status_code == 200
    control.clock(advance=50)
    assert openanalyst.get("/datasets").status_code == 200
    control.clock(advance=10)
    assert [openanalyst.get("/datasets").status_code for _ in range(2)] == [200, 429]


def test_nenai_has_no_documented_limit(nenai: Api, control: Control) -> None:
    control.settings(requests_per_minute=1)
    assert [nenai.get("/health").status_code for _ in range(5)] == [200] * 5
