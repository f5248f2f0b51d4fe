"""Who waits is told to the receiver: once, again while it goes on, and when it is over; never at the wait's expense."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.exceptions import ReceiverUnavailable
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.pacing.budget import Budget
from airflow_provider_nenoa.waiting import asking, report
from airflow_provider_nenoa.waiting.channel import Watched
from airflow_provider_nenoa.waiting.kinds import KINDS, RunKey
from airflow_provider_nenoa.webhooks import tokens
from airflow_provider_nenoa.webhooks.client import ReceiverClient
from airflow_provider_nenoa.webhooks.spent import Spent
from airflow_provider_nenoa.webhooks.store import Store
from airflow_provider_nenoa.webhooks.tables import spent as spent_table
from airflow_provider_nenoa.webhooks.tables import waits
from airflow_provider_nenoa.webhooks.wait import BATCH, Wait
from tests.support.receiver import SENDERS, ReceiverThread, open_store

TASK = {"dag_id": "d", "dag_run_id": "r", "task_id": "t", "map_index": -1}


class Client:
    """Stands in for the receiver's client."""

    def __init__(self) -> None:
        self.told: list[tuple[list[str], list[str]]] = []
        self.spent: list[list[Spent]] = []
        self.down = False

    def tell_waiting(self, waiting: Sequence[Wait], over: Sequence[str] = (), spent: Sequence[Spent] = ()) -> None:
        assert len(waiting) + len(over) <= BATCH
        if self.down:
            raise ReceiverUnavailable("down")
        if spent:
            self.spent.append(list(spent))
        else:
            self.told.append(([wait.name for wait in waiting], list(over)))


class Channel:
    """Stands in for a channel: what is watched."""

    conn_id = "nen"

    def __init__(self) -> None:
        self.watched: dict[RunKey, Watched] = {}

    def add(self, run_id: str) -> None:
        key = RunKey("nen", "workflow", run_id, None)
        self.watched[key] = Watched(key, 15.0, 5.0, True, TASK)

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(report, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


async def test_what_is_new_is_told_once_and_again_after_a_while_and_its_end(now: list[float]) -> None:
    channel, client = Channel(), Client()
    told: Any = report.WaitReport(channel)  # type: ignore[arg-type]
    await told.tell(client)
    assert client.told == []  # nothing to tell costs nothing
    channel.add("m-1")
    await told.tell(client)
    now[0] += 150
    channel.add("m-2")
    await told.tell(client)
    now[0] += 149.5
    await told.tell(client)
    now[0] += 0.5
    await told.tell(client)
    channel.watched.clear()
    await told.tell(client)
    await told.tell(client)
    one, two = "workflow:m-1", "workflow:m-2"
    assert client.told == [([one], []), ([two], []), ([one], []), ([], [one, two])]


async def test_what_could_not_be_told_is_told_later(now: list[float]) -> None:
    channel, client = Channel(), Client()
    told: Any = report.WaitReport(channel)  # type: ignore[arg-type]
    channel.add("m-1")
    client.down = True
    with pytest.raises(ReceiverUnavailable):
        await told.tell(client)
    client.down = False
    await told.tell(client)
    assert client.told == [(["workflow:m-1"], [])]


async def test_ten_thousand_are_told_in_bounded_requests(now: list[float]) -> None:
    channel, client = Channel(), Client()
    told: Any = report.WaitReport(channel)  # type: ignore[arg-type]
    for number in range(10_000):
        channel.add(f"m-{number}")
    await told.tell(client)
    channel.watched.clear()
    await told.tell(client)
    assert len(client.told) == 2 * 10_000 // BATCH


async def test_what_is_spent_is_told_when_it_has_changed(now: list[float]) -> None:
    channel, client = Channel(), Client()
    budget = Budget(60, 1000, lambda: now[0])
    told: Any = report.WaitReport(channel, budget)  # type: ignore[arg-type]
    await told.tell(client)
    budget.spend()
    budget.spend_elsewhere()
    client.down = True
    with pytest.raises(ReceiverUnavailable):
        await told.tell(client)
    client.down = False
    await told.tell(client)
    await told.tell(client)
    now[0] += 100
    await told.tell(client)
    assert client.spent == [
        [Spent(60, minute, 60), Spent(86_400, day, 1000)] for minute, day in ((0, 0), (2, 2), (0, 2))
    ]


def test_the_receiver_keeps_what_is_spent(store: Store, url: str) -> None:
    client = ReceiverClient("nen", SENDERS["nen"].secret, url)
    for number in (3, 4):
        client.tell_waiting([], [], [Spent(60, number, 60), Spent(86_400, number * 10, 1000)])
    client.tell_waiting([], [])
    with store.engine.connect() as connection:
        found = connection.execute(spent_table.select().order_by(spent_table.c.seconds)).all()
    assert [row[:4] for row in found] == [("nen", 60, 4, 60), ("nen", 86_400, 40, 1000)]


def test_a_worker_tells_of_its_wait_only_if_it_is_long() -> None:
    client: Any = Client()
    now = [0.0]
    one = report.OneWait(client, Wait("query", "q-1"), lambda: now[0])
    one.goes_on()
    one.is_over()
    assert client.told == []
    for now[0] in (14.5, 15.0, 15.5, 314.5, 315.0):
        one.goes_on()
    client.down = True  # nobody's trouble
    now[0] = 615.0
    one.goes_on()
    client.down = False
    now[0] = 914.5  # it was told, for all that is known
    one.goes_on()
    one.is_over()
    assert client.told == [(["query:q-1"], []), (["query:q-1"], []), ([], ["query:q-1"])]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = open_store(f"sqlite:///{tmp_path}/events.db")
    with store.engine.connect():  # its tables are there: making them may take longer than a waiter would wait
        return store


@pytest.fixture
def url(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    extra = {"webhook_secret": SENDERS["nen"].secret}
    monkeypatch.setenv("AIRFLOW_CONN_NEN", json.dumps({"conn_type": "nenai", "password": "key", "extra": extra}))
    with ReceiverThread(store) as receiver:
        monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", receiver.url)
        yield receiver.url


def rows(store: Store) -> list[tuple[Any, ...]]:
    columns = (waits.c.name, waits.c.dag_id, waits.c.lost)
    with store.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(waits.select().with_only_columns(*columns))]


def test_the_receiver_keeps_what_it_is_told_by_who_knows_the_secret(store: Store, url: str) -> None:
    client = ReceiverClient("nen", SENDERS["nen"].secret, url)
    client.tell_waiting([Wait("workflow", "m-1", "ref-1", 5.0, **TASK), Wait("workflow", None, "ref-2")])
    client.tell_waiting([], ["ref:ref-2"])
    assert rows(store) == [("workflow:m-1", "d", 0)]
    with pytest.raises(ReceiverUnavailable):
        ReceiverClient("nen", "another secret", url).tell_waiting([Wait("workflow", "m-2")])
    assert len(rows(store)) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"waiting": [], "over": 5}',
        b'{"waiting": [{}], "over": []}',
        b'{"waiting": [{"kind": "workflow"}], "over": []}',
        b'{"waiting": [{"kind": "workflow", "run_id": "<b>"}], "over": []}',
        b'{"waiting": [{"kind": "workflow", "run_id": "m", "started_at": NaN}], "over": []}',
        b'{"waiting": [{"kind": "workflow", "run_id": "m", "dag_id": 7}], "over": []}',
        b'{"waiting": [{"kind": "workflow", "run_id": "m", "map_index": true}], "over": []}',
        json.dumps({"waiting": [], "over": ["x"] * (BATCH + 1)}).encode(),
        *(
            json.dumps({"waiting": [], "over": [], "spent": spent}).encode()
            for spent in (
                5,
                [5],
                [{"seconds": 60}],
                [{"seconds": 61, "requests": 1, "limit": 1}],
                [{"seconds": 60, "requests": -1, "limit": 1}],
                [{"seconds": 60, "requests": True, "limit": 1}],
                [{"seconds": 60, "requests": 1, "limit": 2**63}],
                [{"seconds": [], "requests": 1, "limit": 1}],
                [{"seconds": 60, "requests": 1, "limit": 1}] * 3,
            )
        ),
    ],
)
def test_nonsense_is_refused(store: Store, url: str, body: bytes) -> None:
    headers = {"Authorization": f"Bearer {tokens.issue('nen', SENDERS['nen'].secret)}"}
    answer = requests.post(f"{url}/api/v1/connections/nen/waiting", data=body, headers=headers, timeout=10)
    assert answer.status_code == 422
    assert rows(store) == []


LONGEST: dict[str, tuple[Any, Any]] = {
    "kind": ("k" * 16, "k" * 17),
    "run_id": ("m" * 200, "m" * 201),
    "ref": ("r" * 200, "r" * 201),
    "dag_id": ("d" * 250, "d" * 251),
    "dag_run_id": ("d" * 250, "d" * 251),
    "task_id": ("t" * 250, "t" * 251),
    "map_index": (2**31 - 1, 2**31),
    "started_at": (99_999_999_999, 100_000_000_000),
}
LEAST: dict[str, tuple[Any, Any]] = {"map_index": (-1, -2), "started_at": (0, -0.1), "lost": (False, 0)}


@pytest.mark.parametrize(("name", "edge"), [(name, edge) for edges in (LONGEST, LEAST) for name, edge in edges.items()])
def test_what_the_table_can_take_and_no_more(name: str, edge: tuple[Any, Any]) -> None:
    body = Wait("workflow", "m-1", "ref-1", 5.0, **TASK).to_json()
    good = Wait.from_json({**body, name: edge[0]})
    assert good.to_json() == {**body, name: edge[0]}
    with pytest.raises(ValueError, match="a field of a wait is none"):
        Wait.from_json({**body, name: edge[1]})


def test_as_many_waits_at_once_as_are_sent_at_once(store: Store, url: str) -> None:
    client = ReceiverClient("nen", SENDERS["nen"].secret, url)
    client.tell_waiting([Wait("workflow", f"m-{number}") for number in range(BATCH - 1)], ["ref:gone"])
    assert len(rows(store)) == BATCH - 1
    with pytest.raises(ReceiverUnavailable, match="status 422"):
        client.tell_waiting([], ["ref:gone"] * (BATCH + 1))
    minute, day = Spent(60, 1, 30), Spent(86_400, 1, 500)
    client.tell_waiting([], ["n" * 250], [minute, day])
    for over, spent in ((["n" * 251], []), ([], [minute, day, day])):
        with pytest.raises(ReceiverUnavailable, match="status 422"):
            client.tell_waiting([], over, spent)


def test_a_lost_start_is_told_until_it_is_found(store: Store, url: str) -> None:
    hook = NenAIHook("nen")
    asking.tell_lost(hook, KINDS["workflow"], "ref-1", time.time())
    assert rows(store) == [("ref:ref-1", None, 1)]
    asking.tell_found(hook, "ref-1")
    assert rows(store) == []
    asking.tell_lost(hook, KINDS["workflow"], "ref-2", time.time())
    ReceiverClient("nen", SENDERS["nen"].secret, url).tell_waiting([Wait("workflow", "m-2", "ref-2", 5.0)])
    assert rows(store) == [("workflow:m-2", None, 0)]


def test_a_receiver_that_is_down_is_no_trouble(monkeypatch: pytest.MonkeyPatch, store: Store, url: str) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", "http://127.0.0.1:9/nenoa")
    asking.tell_lost(NenAIHook("nen"), KINDS["workflow"], "ref-1", 5.0)
    assert rows(store) == []
