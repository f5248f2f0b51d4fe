"""The real hub, told by a real receiver with a real store: whatever comes in whatever order, all who wait are woken."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select

from airflow_provider_nenoa.runs import RunStatus, status_of
from airflow_provider_nenoa.waiting import report
from airflow_provider_nenoa.waiting.hub import Hub
from airflow_provider_nenoa.waiting.kinds import Ended, RunKey
from airflow_provider_nenoa.webhooks.tables import waits
from tests.support.airflow_api import wait_until
from tests.support.receiver import SENDERS, ReceiverThread, deliver, open_store

CONN_ID = "nen"
WORDS = st.sampled_from(["processing", "success", "failed"])
MOMENTS = st.floats(0, 0.4)


@pytest.fixture
def receivers(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The URLs of two receivers that share one database; our own components ask the first."""
    monkeypatch.setenv(
        f"AIRFLOW_CONN_{CONN_ID.upper()}",
        json.dumps(
            {"conn_type": "nenai", "password": "key", "extra": {"webhook_secret": SENDERS[CONN_ID].secret}},
        ),
    )
    with ExitStack() as stack:
        urls = [stack.enter_context(ReceiverThread(open_store(database_url))).url for _ in range(2)]
        monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", urls[0])
        yield urls


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deliveries=st.lists(st.tuples(MOMENTS, st.integers(0, 3), WORDS, st.integers(0, 1)), max_size=16),
    waiters=st.lists(st.tuples(MOMENTS, st.integers(0, 3), st.booleans()), min_size=1, max_size=8),
)
def test_any_schedule_of_deliveries_and_waiters(
    receivers: list[str],
    deliveries: list[tuple[float, int, str, int]],
    waiters: list[tuple[float, int, bool]],
) -> None:
    """Early, late, doubled, reordered, for nobody: in the end each run has ended once, and everybody knows how."""
    prefix = uuid.uuid4().hex

    async def main() -> None:
        hub = Hub()
        first_end: dict[int, str] = {}

        async def tell(at: float, number: int, word: str, server: int) -> None:
            await asyncio.sleep(at)
            arguments = (receivers[server], CONN_ID, f"{prefix}-{number}", word, f"{prefix}-ref-{number}")
            assert await asyncio.to_thread(deliver, *arguments) == 200

        async def wait(at: float, number: int, by_ref: bool) -> Ended:
            await asyncio.sleep(at)
            run_id, ref = (None, f"{prefix}-ref-{number}") if by_ref else (f"{prefix}-{number}", None)
            return await hub.wait(
                RunKey(CONN_ID, "workflow", run_id, ref),
                deadline=time.time() + 20,
                poll_interval=15,
                started_at=time.time(),
                told=True,
            )

        async def finish() -> None:
            # What nobody has ended ends now: every wait must come to its end.
            await asyncio.gather(*(tell(*delivery) for delivery in deliveries))
            await asyncio.gather(*(tell(0, number, "success", number % 2) for number in range(4)))

        *ended, _ = await asyncio.gather(*(wait(*waiter) for waiter in waiters), finish())
        for (_, number, by_ref), end in zip(waiters, ended, strict=True):
            assert end.run_id == f"{prefix}-{number}"
            assert end.by_webhook
            status = status_of(end.word)
            if not by_ref:
                assert status in (RunStatus.SUCCESS, RunStatus.FAILED)
                assert first_end.setdefault(number, end.word) == end.word, "two ends of one run"
        # A later look finds the same end: nothing came back from it.
        for number, word in first_end.items():
            assert (await wait(0, number, by_ref=False)).word == word

    asyncio.run(main())


def test_the_last_wait_of_a_connection_is_told_to_be_over(
    receivers: list[str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the page would show for a quarter of an hour that somebody waits for a run that has ended."""
    monkeypatch.setattr(report, "INTERVAL", 0.05)
    task = {"dag_id": "d", "dag_run_id": "r", "task_id": "t", "map_index": -1}
    engine = create_engine(database_url)

    def shown() -> list[str]:
        with engine.connect() as connection:
            return [row.run_id for row in connection.execute(select(waits.c.run_id))]

    async def until(number: int) -> None:
        await asyncio.to_thread(wait_until, lambda: len(shown()) == number, 60, lambda: f"{shown()} are shown")

    assert deliver(receivers[0], CONN_ID, "run-1", "processing") == 200  # the tables are there now

    async def main() -> None:
        key = RunKey(CONN_ID, "workflow", "run-1", None)
        now = time.time()
        waiting = asyncio.create_task(
            Hub().wait(key, deadline=now + 90, poll_interval=15, started_at=now, told=True, task=task)
        )
        await until(1)
        assert await asyncio.to_thread(deliver, receivers[0], CONN_ID, "run-1", "success") == 200
        assert (await waiting).word == "success"
        await until(0)

    asyncio.run(main())
    engine.dispose()
