"""When the log tells that polls are late."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_nenoa.pacing.budget import Budget
from airflow_provider_nenoa.pacing.pace import Durations
from airflow_provider_nenoa.waiting.channel import Watched
from airflow_provider_nenoa.waiting.kinds import RunKey
from airflow_provider_nenoa.waiting.poll_source import PollSource
from tests.support import virtual_time


def told_at(caplog: pytest.LogCaptureFixture, pauses: list[tuple[float, float]], *, due_in: float = 0.0) -> list[float]:
    """
    Wait for one run, and return when the log told that its poll is late.

    :param pauses: When the vendor says that nothing may be sent for a while, and for how long.
    :param due_in: Seconds after which the run is to be asked about.
    """

    async def main() -> None:
        budget = Budget(None, None)
        channel: Any = SimpleNamespace(conn_id="c", watched={})
        source = PollSource(channel, SimpleNamespace(on_response=None), budget, lambda key: Durations())  # type: ignore[arg-type]
        polling = asyncio.create_task(source.run())
        for at, seconds in pauses:
            await asyncio.sleep(max(0.0, virtual_time.EPOCH + at - time.time()))
            budget.pause(seconds)
            watched = Watched(
                RunKey("c", "agent", f"r{at}"), poll_interval=due_in or 1e-9, started_at=time.time(), told=False
            )
            watched.holders = 1
            source.added(watched)
            await asyncio.sleep(1e-6)
        polling.cancel()

    caplog.clear()
    virtual_time.run(main)
    return [
        round(record.created - virtual_time.EPOCH, 1) for record in caplog.records if "are used up" in record.message
    ]


@pytest.mark.parametrize(("seconds", "lines"), [(59.5, []), (60.5, [0.0])])
def test_a_minute_is_late(caplog: pytest.LogCaptureFixture, seconds: float, lines: list[float]) -> None:
    assert told_at(caplog, [(0, seconds)]) == lines


@pytest.mark.parametrize(("seconds", "lines"), [(3_059.5, []), (3_060.5, [0.0])])
def test_only_what_is_due_is_late(caplog: pytest.LogCaptureFixture, seconds: float, lines: list[float]) -> None:
    assert told_at(caplog, [(0, seconds)], due_in=3_000) == lines


def test_it_is_told_again_after_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    looks = [(at, 10_000.0) for at in (0, 1, 3_599.5, 3_600.5, 7_200, 7_201)]
    assert told_at(caplog, looks) == [0.0, 3_600.5, 7_201.0]
