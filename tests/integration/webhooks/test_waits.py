"""Waits that come and go, on the real receiver and its store: each ends once, with the end that is stored."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_nenoa.runs import status_of
from airflow_provider_nenoa.waiting import webhook_source
from airflow_provider_nenoa.waiting.hub import Hub
from airflow_provider_nenoa.waiting.kinds import Ended, RunKey
from airflow_provider_nenoa.webhooks.store import Store
from tests.support.receiver import SENDERS, ReceiverThread, deliver, open_store

PATIENCE = 10.0
"""Seconds in which every wait has to end whose run has ended."""

numbers = itertools.count()


@pytest.fixture
def store(database_url: str) -> Store:
    return open_store(database_url)


@pytest.fixture
def receiver(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReceiverThread]:
    monkeypatch.setattr(webhook_source, "LONG_POLL", 1.0)  # for so long a thread stays behind each example
    for conn_id in ("oa", "nen"):
        connection = {"conn_type": SENDERS[conn_id].conn_type, "host": "https://vendor.test", "password": "key"}
        extra = {"webhook_secret": SENDERS[conn_id].secret}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({**connection, "extra": extra}))
    with ReceiverThread(store) as receiver:
        monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", receiver.url)
        yield receiver


async def read(function: Callable[[], Any]) -> Any:
    return function()


class Wait:
    """Somebody who waits, and how often he was told of what."""

    def __init__(self, hub: Hub, conn_id: str, run_id: str, by_ref: bool) -> None:
        kind = {"oa": "agent", "nen": "workflow"}[conn_id]
        self.run_id, self.by_ref, self.words = run_id, by_ref, list[str]()
        key = RunKey(conn_id, kind, None if by_ref else run_id, f"ref-{run_id}" if by_ref else None)
        self.task: asyncio.Task[Ended] = asyncio.ensure_future(
            hub.wait(
                key,
                deadline=time.time() + 600,
                poll_interval=600.0,
                started_at=time.time(),
                told=True,
                on_change=self.words.append,
            )
        )


RUNS = st.integers(0, 3)
STEPS = st.one_of(
    st.tuples(st.just("deliver"), RUNS, st.sampled_from(["processing", "success", "failed"]), st.integers(1, 3)),
    st.tuples(
        st.just("at once"),
        st.lists(st.tuples(RUNS, st.sampled_from(["processing", "success", "failed"])), min_size=2, max_size=6),
    ),
    st.tuples(st.just("wait"), RUNS, st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 10)),
    st.tuples(st.just("let things happen"), st.sampled_from([0.0, 0.01, 0.05])),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=1, max_size=20), conn_id=st.sampled_from(["oa", "nen"]))
def test_any_order_of_deliveries_and_waits(
    receiver: ReceiverThread, store: Store, steps: list[Any], conn_id: str
) -> None:
    example = next(numbers)

    def name(number: int) -> str:
        return f"run-{example}-{number}"

    async def send(number: int, word: str) -> None:
        answered = await asyncio.to_thread(deliver, receiver.url, conn_id, name(number), word, f"ref-{name(number)}")
        assert answered == 200

    async def main() -> None:
        hub = Hub(read)
        waits: list[Wait] = []
        for step, *arguments in steps:
            if step == "deliver":
                number, word, times = arguments
                for _ in range(times):
                    await send(number, word)
            elif step == "at once":
                await asyncio.gather(*(send(*each) for each in arguments[0]))
            elif step == "wait":
                waits.append(Wait(hub, conn_id, name(arguments[0]), arguments[1]))
            elif step == "cancel" and waits:
                waits[arguments[0] % len(waits)].task.cancel()
            else:
                await asyncio.sleep(arguments[0] if step == "let things happen" else 0)
        await asyncio.gather(*(check(wait) for wait in waits))
        assert hub._channels == {}

    async def check(wait: Wait) -> None:
        stored = store.run(conn_id, wait.run_id)
        will_end = stored is not None and (wait.by_ref or stored.status.is_end)
        if not will_end:
            wait.task.cancel()
        try:
            async with asyncio.timeout(PATIENCE):
                ended = await wait.task
        except asyncio.CancelledError:
            return
        assert stored is not None
        assert will_end, "there is no such end"
        assert (ended.run_id, ended.by_webhook) == (wait.run_id, True)
        ends = [word for word in wait.words if (status := status_of(word)) is not None and status.is_end]
        assert wait.words[-1] == ended.word
        assert len(ends) <= 1, "it ended twice"
        if not wait.by_ref:
            assert [stored.word] == ends == wait.words[-1:], "the end that is stored, and no way back from it"

    asyncio.run(main())


def test_many_waits_at_once(receiver: ReceiverThread) -> None:
    """Some runs end before anybody waits, some while the waits begin, some after."""

    async def main() -> None:
        hub = Hub(read)
        names = [f"many-{number}" for number in range(90)]

        async def send(run_ids: list[str]) -> None:
            for run_id in run_ids:
                assert await asyncio.to_thread(deliver, receiver.url, "oa", run_id, "completed") == 200

        await send(names[:30])
        waits = [Wait(hub, "oa", run_id, by_ref=False) for run_id in names]
        await send(names[30:60])
        await asyncio.sleep(0.2)
        await send(names[60:])
        async with asyncio.timeout(PATIENCE):
            ended = await asyncio.gather(*(wait.task for wait in waits))
        assert [end.run_id for end in ended] == names
        assert {end.word for end in ended} == {"completed"}
        assert hub._channels == {}

    asyncio.run(main())
