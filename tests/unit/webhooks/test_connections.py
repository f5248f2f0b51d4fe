from __future__ import annotations

import asyncio
import threading

import pytest
from airflow.models.connection import Connection

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.webhooks import connections
from airflow_provider_nenoa.webhooks.client import ReceiverClient
from airflow_provider_nenoa.webhooks.connections import (
    CROWD,
    KEEP,
    LIMIT,
    NOBODY,
    REMEMBER,
    REMEMBER_UNKNOWN,
    Sender,
    Senders,
)


class Source:
    """Connections that can be changed, and that count how often they are read."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.known: dict[str, Sender] = {}
        self.reads: list[str] = []
        self.senders = Senders(self.read, lambda: self.now)

    def read(self, conn_id: str) -> Sender:
        self.reads.append(conn_id)
        return self.known[conn_id]


@pytest.fixture
def source() -> Source:
    return Source()


async def test_a_known_one_is_served_from_memory_while_it_is_read_again(source: Source) -> None:
    source.known["c"] = old = Sender("nenai", "old")
    assert await source.senders.get("c") == old
    source.known["c"] = new = Sender("nenai", "new")
    source.now += REMEMBER - 1
    assert await source.senders.newest("c") == old
    source.now += 1
    assert source.senders.remembered("c") == old
    assert await source.senders.newest("c") == new
    assert await source.senders.get("c") == new
    assert source.reads == ["c", "c"]


async def test_what_cannot_be_read_again_is_good_for_a_while_and_tried_often(source: Source) -> None:
    source.known["c"] = sender = Sender("nenai", "s")
    assert await source.senders.get("c") == sender
    del source.known["c"]
    for seconds in (REMEMBER, REMEMBER_UNKNOWN, REMEMBER_UNKNOWN):
        source.now += seconds
        assert await source.senders.newest("c") == sender
    assert len(source.reads) == 4
    source.now += KEEP
    assert await source.senders.get("c") is NOBODY


async def test_one_that_lost_its_secret_is_nobody_with_the_next_look(source: Source) -> None:
    source.known["c"] = Sender("nenai", "s")
    await source.senders.get("c")
    source.known["c"] = NOBODY
    source.now += REMEMBER
    assert await source.senders.newest("c") is NOBODY
    assert source.senders.remembered("c") is NOBODY


class Stuck:
    """A secrets backend that answers when it may."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.reads: list[str] = []
        self.now = 1000.0
        self.senders = Senders(self.read, lambda: self.now)

    def read(self, conn_id: str) -> Sender:
        if conn_id.startswith("known"):
            return Sender("nenai", "s")
        self.reads.append(conn_id)
        assert self.go_on.wait(10)
        raise KeyError(conn_id)


async def test_strangers_do_not_stand_before_senders_and_nobody_looks_for_who_has_left() -> None:
    stuck = Stuck()
    known = await stuck.senders.get("known")
    strangers = [asyncio.ensure_future(stuck.senders.get(f"c{number}")) for number in range(CROWD * 3)]
    await asyncio.sleep(0.01)
    # As many as may wait; the others are nobody at once.
    assert sum(each.done() for each in strangers) == CROWD * 2
    assert all(each.result() is NOBODY for each in strangers if each.done())
    stuck.now += REMEMBER
    assert await asyncio.wait_for(stuck.senders.newest("known"), 5) == known
    for each in strangers:
        each.cancel()
    await asyncio.gather(*strangers, return_exceptions=True)
    # There is room again, and those who came before are in nobody's way.
    late = asyncio.ensure_future(stuck.senders.get("late"))
    await asyncio.sleep(0.01)
    assert not late.done()
    stuck.go_on.set()
    assert await asyncio.wait_for(late, 5) is NOBODY
    assert len(stuck.reads) == 2 + 1, "two had begun"


async def test_who_comes_when_the_last_has_just_left_gets_an_answer() -> None:
    stuck = Stuck()
    busy = [asyncio.ensure_future(stuck.senders.get(name)) for name in ("a", "b")]
    first = asyncio.ensure_future(stuck.senders.get("c"))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.ensure_future(stuck.senders.get("c"))
    await asyncio.sleep(0)
    stuck.go_on.set()
    assert await asyncio.wait_for(asyncio.gather(*busy, second), 5) == [NOBODY] * 3


async def test_who_is_heard_of_is_kept_and_strangers_push_nobody_out(source: Source) -> None:
    source.known["c"] = sender = Sender("nenai", "s")
    await source.senders.get("c")
    for number in range(LIMIT + 50):
        await source.senders.get(f"c{number}")
    assert source.senders.remembered("c") == sender
    source.known.update({f"k{number}": sender for number in range(LIMIT + 50)})
    for number in range(LIMIT + 50):
        await source.senders.get(f"k{number}")
        await source.senders.get("c")  # a hit keeps it
    assert source.reads.count("c") == 1
    assert len(source.senders._known) == len(source.senders._unknown) == LIMIT


async def test_an_unknown_one_is_remembered_too_but_not_for_long(source: Source) -> None:
    assert await source.senders.get("c") is NOBODY
    source.known["c"] = Sender("nenai", "s")
    source.now += REMEMBER_UNKNOWN - 1
    assert await source.senders.get("c") is NOBODY
    source.now += 1
    assert await source.senders.get("c") == Sender("nenai", "s")


async def test_many_at_once_share_one_lookup_which_survives_a_cancelled_one() -> None:
    reads, go_on = [], threading.Event()

    def slowly(conn_id: str) -> Sender:
        reads.append(conn_id)
        assert go_on.wait(10)
        return Sender("nenai", "s")

    senders = Senders(slowly)
    first, *others = [asyncio.ensure_future(senders.get("c")) for _ in range(50)]
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    assert await asyncio.gather(*others) == [Sender("nenai", "s")] * 49
    assert reads == ["c"]


@pytest.mark.parametrize("conn_id", ["", "a/b", "a b", "a\nb", "x" * 251, "a%b", "'"])
async def test_what_cannot_be_a_connection_is_not_even_looked_up(source: Source, conn_id: str) -> None:
    assert await source.senders.get(conn_id) is NOBODY
    assert source.reads == []


def test_a_secret_is_not_shown() -> None:
    assert "s3cret" not in repr(Sender("nenai", "s3cret"))


@pytest.mark.parametrize(
    ("uri", "sender"),
    [
        ('{"conn_type": "nenai", "extra": {"webhook_secret": "s3cret"}}', Sender("nenai", "s3cret")),
        ('{"conn_type": "openanalyst", "extra": {"webhook_secret": "s3cret"}}', Sender("openanalyst", "s3cret")),
        ('{"conn_type": "postgres", "extra": {"webhook_secret": "s3cret"}}', NOBODY),
        ('{"conn_type": "nenai", "extra": {"webhook_secret": ""}}', NOBODY),
        ('{"conn_type": "nenai", "extra": {"webhook_secret": 7}}', Sender("nenai", "7")),
        ('{"conn_type": "nenai", "extra": {"webhook_secret": " s3cret\\r\\n"}}', Sender("nenai", "s3cret")),
        (
            '{"conn_type": "nenai", "extra": {"webhook_secret": "new", "webhook_secret_previous": "old\\n"}}',
            Sender("nenai", "new", "old"),
        ),
        ('{"conn_type": "nenai", "extra": {"webhook_secret_previous": "old"}}', NOBODY),
        ('{"conn_type": "nenai", "extra": {"webhook_secret": true}}', NOBODY),
        ('{"conn_type": "nenai", "extra": {"webhook_secret": ["s"]}}', NOBODY),
        ('{"conn_type": "nenai"}', NOBODY),
    ],
)
def test_only_connections_of_our_types_with_a_secret_are_senders(
    monkeypatch: pytest.MonkeyPatch, uri: str, sender: Sender
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOME", uri)
    assert connections.read_sender("some") == sender


@pytest.mark.parametrize("conn_id", ["SOME", "Some", "\u017fome"])
def test_another_spelling_than_the_configured_one_is_nobody(monkeypatch: pytest.MonkeyPatch, conn_id: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOME", '{"conn_type": "nenai", "extra": {"webhook_secret": "s3cret"}}')
    assert airflow_internals.server_connection(conn_id).conn_type == "nenai", "Airflow finds it"
    assert connections.read_sender(conn_id) is NOBODY
    with pytest.raises(InvalidArgument, match="Write 'some' instead"):
        ReceiverClient(conn_id, "s3cret", "http://127.0.0.1:1")


def test_a_connection_that_is_kept_under_another_spelling_is_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    # As a database finds it that compares without case.
    kept = Connection("Kept", "nenai", extra='{"webhook_secret": "s3cret"}')
    monkeypatch.setattr(airflow_internals, "server_connection", lambda conn_id: kept)
    assert connections.read_sender("Kept") == Sender("nenai", "s3cret")
    assert connections.read_sender("kept") is NOBODY


def test_reading_an_unknown_connection_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(conn_id: str) -> None:
        raise LookupError(conn_id)

    monkeypatch.setattr(airflow_internals, "server_connection", missing)
    with pytest.raises(LookupError):
        connections.read_sender("some")
