from __future__ import annotations

import asyncio
import threading

import pytest

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.webhooks import connections
from airflow_provider_nenoa.webhooks.connections import LIMIT, NOBODY, REMEMBER, REMEMBER_UNKNOWN, Sender, Senders


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


async def test_a_connection_is_remembered_for_a_while(source: Source) -> None:
    source.known["c"] = old = Sender("nenai", "old")
    assert await source.senders.get("c") == old
    source.known["c"] = new = Sender("nenai", "new")
    source.now += REMEMBER - 1
    assert await source.senders.get("c") == old
    source.now += 1
    assert await source.senders.get("c") == new
    assert source.reads == ["c", "c"]


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


async def test_strangers_cannot_fill_the_memory(source: Source) -> None:
    for number in range(LIMIT + 50):
        await source.senders.get(f"c{number}")
    assert len(source.senders._remembered) == LIMIT


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
        ('{"conn_type": "nenai", "extra": {"webhook_secret": 7}}', NOBODY),
        ('{"conn_type": "nenai"}', NOBODY),
    ],
)
def test_only_connections_of_our_types_with_a_secret_are_senders(
    monkeypatch: pytest.MonkeyPatch, uri: str, sender: Sender
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SOME", uri)
    assert connections.read_sender("some") == sender


def test_reading_an_unknown_connection_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(conn_id: str) -> None:
        raise LookupError(conn_id)

    monkeypatch.setattr(airflow_internals, "server_connection", missing)
    with pytest.raises(LookupError):
        connections.read_sender("some")
