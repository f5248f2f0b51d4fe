from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from airflow_provider_nenoa.vendors.messages import Message
from airflow_provider_nenoa.webhooks.rows import Delivery
from airflow_provider_nenoa.webhooks.writer import BATCH, BATCH_BYTES, QUEUE, QUEUE_BYTES, QueueFull, Writer


class GatedStore:
    """A store whose first transaction takes until `go_on`, and that fails on demand."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.started, self.go_on = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.prune: Callable[[], Any] = lambda: 0

    def record(self, deliveries: Sequence[Delivery]) -> list[bool]:
        self.started.set()
        assert self.go_on.wait(10)
        if self.error is not None:
            raise self.error
        self.batches.append([str(delivery.message.run_id) for delivery in deliveries])
        return [delivery.message.run_id != "known" for delivery in deliveries]


def delivery(run_id: object, conn_id: str = "c", size: int = 1) -> Delivery:
    return Delivery(conn_id, Message(str(run_id), "success"), bytes(size), "digest")


@pytest.fixture
def store() -> GatedStore:
    return GatedStore()


def test_what_comes_during_a_commit_shares_the_next_one(store: GatedStore) -> None:
    commits = []
    writer = Writer(store, lambda: commits.append(len(store.batches)))  # type: ignore[arg-type]
    futures = [writer.submit(delivery(0))]
    assert store.started.wait(10)
    futures += [writer.submit(delivery(number)) for number in range(1, BATCH + 11)]
    assert not any(future.done() for future in futures)
    store.go_on.set()
    assert all(future.result(10) for future in futures)
    assert [len(batch) for batch in store.batches] == [1, BATCH, 10]
    assert [run_id for batch in store.batches for run_id in batch] == [str(n) for n in range(BATCH + 11)]
    writer._thread.shutdown()
    assert commits == [1, 2, 3]


def test_each_hears_its_own_outcome(store: GatedStore) -> None:
    store.go_on.set()
    writer = Writer(store, lambda: None)  # type: ignore[arg-type]
    assert writer.submit(delivery("new")).result(10) is True
    assert writer.submit(delivery("known")).result(10) is False


def test_a_failed_commit_fails_all_of_its_deliveries_and_none_after_it(store: GatedStore) -> None:
    commits = []
    writer = Writer(store, lambda: commits.append(1))  # type: ignore[arg-type]
    store.error = OSError("disk full")
    futures = [writer.submit(delivery(number)) for number in range(5)]
    store.go_on.set()
    assert all(isinstance(future.exception(10), OSError) for future in futures)
    assert commits == []
    store.error = None
    assert writer.submit(delivery("next")).result(10) is True


def test_who_has_gone_is_not_stored_after_having_been_refused(store: GatedStore) -> None:
    writer = Writer(store, lambda: None)  # type: ignore[arg-type]
    first = writer.submit(delivery(0))
    assert store.started.wait(10)
    gone, stays = writer.submit(delivery("gone")), writer.submit(delivery("stays"))
    assert gone.cancel()
    store.go_on.set()
    assert first.result(10)
    assert stays.result(10)
    assert store.batches == [["0"], ["stays"]]


def test_the_queue_has_an_end(store: GatedStore) -> None:
    writer = Writer(store, lambda: None)  # type: ignore[arg-type]
    writer.submit(delivery("in the transaction"))
    assert store.started.wait(10)
    futures = [writer.submit(delivery(number)) for number in range(QUEUE)]
    with pytest.raises(QueueFull):
        writer.submit(delivery("one too many"))
    store.go_on.set()
    assert all(future.result(10) for future in futures)
    assert writer.submit(delivery("room again")).result(10)


def test_one_connection_cannot_hold_up_the_others(store: GatedStore) -> None:
    writer = Writer(store, lambda: None)  # type: ignore[arg-type]
    futures = [writer.submit(delivery("in the transaction"))]
    assert store.started.wait(10)
    half = QUEUE_BYTES // 2
    futures += [writer.submit(delivery(f"flood{number}", "flood", half)) for number in range(2)]
    with pytest.raises(QueueFull):
        writer.submit(delivery("one too many", "flood"))
    futures += [writer.submit(delivery(f"c{number}")) for number in range(3)]
    futures += [writer.submit(delivery("large", "other", QUEUE_BYTES + 1))]
    store.go_on.set()
    assert all(future.result(10) for future in futures)
    assert half >= BATCH_BYTES
    order = [run_id for batch in store.batches for run_id in batch]
    assert order.index("c0") < order.index("flood1"), "each in turn"
    assert [run_id for run_id in order if run_id[0] == "c"] == ["c0", "c1", "c2"]
    assert writer.submit(delivery("room again", "flood", QUEUE_BYTES)).result(10)


def test_pruning_that_fails_does_no_harm(store: GatedStore) -> None:
    def fail() -> int:
        raise OSError("locked")

    store.prune = fail
    store.go_on.set()
    writer = Writer(store, lambda: None)  # type: ignore[arg-type]
    assert writer.submit(delivery(1)).result(10)
    assert writer.submit(delivery(2)).result(10)
