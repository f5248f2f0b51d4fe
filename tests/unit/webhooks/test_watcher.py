from __future__ import annotations

import asyncio

import pytest

from airflow_provider_nenoa.webhooks import watcher as watcher_module
from airflow_provider_nenoa.webhooks.store import Change
from airflow_provider_nenoa.webhooks.watcher import Watcher


class Feed:
    """A stream of changes in memory, which counts the looks at it."""

    def __init__(self) -> None:
        self.all: list[Change] = []
        self.looks = 0
        self.fail = False
        self.watcher = Watcher(self.cursor, self.changes)

    def add(self, conn_id: str, run_id: str, ref: str | None = None) -> None:
        self.all.append(Change(len(self.all) + 1, conn_id, run_id, ref))

    async def cursor(self) -> int:
        self.looks += 1
        return len(self.all)

    async def changes(self, after: int) -> list[Change]:
        self.looks += 1
        if self.fail:
            raise OSError("gone")
        return self.all[after : after + 2]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    # Nothing but `poke` makes it look, unless a test says so.
    monkeypatch.setattr(watcher_module, "INTERVAL", 60.0)
    return Feed()


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


async def test_only_who_is_concerned_is_woken(feed: Feed) -> None:
    with (
        feed.watcher.watch(("events", "c")) as events,
        feed.watcher.watch(("run", "c", "r1")) as run,
        feed.watcher.watch(("run", "c", "r2")) as other_run,
        feed.watcher.watch(("run", "d", "r1")) as other_connection,
        feed.watcher.watch(("ref", "c", "ref")) as ref,
    ):
        await settle()
        for event in (events, run, other_run, other_connection, ref):
            event.clear()
        feed.add("c", "r1")
        feed.watcher.poke()
        await settle()
        assert [e.is_set() for e in (events, run, other_run, other_connection, ref)] == [
            True,
            True,
            False,
            False,
            False,
        ]
        feed.add("c", "r3", "ref")
        feed.watcher.poke()
        await settle()
        assert ref.is_set()


async def test_who_reads_before_the_first_look_reads_once_more(feed: Feed) -> None:
    with feed.watcher.watch(("run", "c", "r")) as event:
        # The waiter reads the store here, finds nothing, and then this is committed, before the watcher has begun:
        feed.add("c", "r")
        await asyncio.wait_for(event.wait(), 5)


async def test_more_than_a_page_of_changes_wakes_all(feed: Feed) -> None:
    with feed.watcher.watch(("run", "c", "r7")) as event:
        await settle()
        event.clear()
        for number in range(10):
            feed.add("c", f"r{number}")
        feed.watcher.poke()
        await settle()
        assert event.is_set()


async def test_many_wait_at_the_price_of_one(feed: Feed) -> None:
    contexts = [feed.watcher.watch(("run", "c", f"r{number}")) for number in range(1000)]
    for context in contexts:
        context.__enter__()
    await settle()
    assert feed.looks == 1
    feed.watcher.poke()
    await settle()
    assert feed.looks == 2
    for context in contexts:
        context.__exit__(None, None, None)
    feed.watcher.poke()
    await settle()
    looks = feed.looks
    feed.watcher.poke()
    await settle()
    assert (feed.looks, feed.watcher._task) == (looks, None)  # nobody waits, nobody looks


async def test_it_begins_anew_with_the_next_waiter(feed: Feed) -> None:
    for _ in range(3):
        with feed.watcher.watch(("events", "c")) as event:
            await settle()
            event.clear()
            feed.add("c", "r")
            feed.watcher.poke()
            await asyncio.wait_for(event.wait(), 5)
        feed.watcher.poke()
        await settle()
        assert feed.watcher._task is None
        feed.add("c", "unseen")


async def test_without_a_poke_it_looks_by_itself(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_module, "INTERVAL", 0.001)
    with feed.watcher.watch(("events", "c")) as event:
        await settle()
        event.clear()
        feed.add("c", "r")
        await asyncio.wait_for(event.wait(), 5)


async def test_it_survives_errors_and_forgets_nothing(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_module, "INTERVAL", 0.001)
    monkeypatch.setattr(watcher_module, "PAUSE_AFTER_ERROR", 0.0)
    with feed.watcher.watch(("events", "c")) as event:
        await settle()
        event.clear()
        feed.fail = True
        feed.add("c", "r")
        await asyncio.sleep(0.02)
        assert not event.is_set()
        feed.fail = False
        await asyncio.wait_for(event.wait(), 5)


def test_a_poke_from_another_thread_or_after_the_end_is_harmless(feed: Feed) -> None:
    feed.watcher.poke()

    async def wait_once() -> None:
        with feed.watcher.watch(("events", "c")) as event:
            await settle()
            event.clear()
            feed.add("c", "r")
            await asyncio.to_thread(feed.watcher.poke)
            await asyncio.wait_for(event.wait(), 5)

    asyncio.run(wait_once())
    feed.watcher.poke()
