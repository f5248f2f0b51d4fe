from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from airflow_provider_nenoa.webhooks import polls as polls_module
from airflow_provider_nenoa.webhooks.polls import OURSELVES, THREADS, THREADS_OF_ONE, Polls
from airflow_provider_nenoa.webhooks.refusals import Refusal
from airflow_provider_nenoa.webhooks.watcher import Watcher

NEVER = 60.0
"""Seconds after which a test has failed."""


class SlowStore:
    """Answers when it is told to, and counts who is being answered."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self._lock = threading.Lock()
        self.under_way = self.most = 0

    def read(self) -> str:
        with self._lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.go_on.wait(NEVER)
        with self._lock:
            self.under_way -= 1
        return "read"


@pytest.fixture
def store() -> Iterator[SlowStore]:
    store = SlowStore()
    yield store
    store.go_on.set()


@pytest.fixture
def polls() -> Polls:
    return Polls(lambda polls: Watcher(lambda: polls.ask(OURSELVES, int), lambda after: polls.ask(OURSELVES, list)))


async def test_who_asks_without_end_holds_up_nobody_but_himself(polls: Polls, store: SlowStore) -> None:
    flood = [asyncio.create_task(polls.ask("his", store.read)) for _ in range(10 * THREADS)]
    await asyncio.sleep(0)
    for other in ("another", OURSELVES):
        assert await asyncio.wait_for(polls.ask(other, lambda: "answered"), NEVER) == "answered"
    store.go_on.set()
    assert await asyncio.gather(*flood) == ["read"] * len(flood)
    assert store.most == THREADS_OF_ONE < THREADS


async def test_too_many_reads_of_a_connection_are_refused_until_some_are_done(
    polls: Polls, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls_module, "MAX_READS", 5)
    reads = [asyncio.create_task(polls.ask("his", store.read)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refusal:
        await polls.ask("his", store.read)
    assert (refusal.value.response.status_code, refusal.value.response.headers["Retry-After"]) == (429, "5")
    assert await polls.ask("another", lambda: "answered") == "answered"
    store.go_on.set()
    await asyncio.gather(*reads)
    assert await polls.ask("his", lambda: "answered") == "answered"
    assert not polls._turns


async def test_a_read_that_fails_makes_room_for_the_next(polls: Polls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polls_module, "MAX_READS", 1)

    def broken() -> None:
        raise OSError("gone")

    for _ in range(3 * THREADS_OF_ONE):
        with pytest.raises(Refusal) as refusal:
            await polls.ask("his", broken)
        assert refusal.value.response.status_code == 503
