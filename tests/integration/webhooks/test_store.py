from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import CreateTable

from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.vendors.messages import Message
from airflow_provider_nenoa.webhooks import store as store_module
from airflow_provider_nenoa.webhooks import tables
from airflow_provider_nenoa.webhooks.records import RunSummary
from airflow_provider_nenoa.webhooks.rows import Delivery
from airflow_provider_nenoa.webhooks.store import PAGE, Store
from tests.support.receiver import FERNET, open_store


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = open_store(database_url)
    yield store
    store._engine.dispose()


def delivery(
    run_id: str, word: str = "processing", ref: str | None = None, conn_id: str = "c", **more: Any
) -> Delivery:
    body = json.dumps({"status": word, **more}).encode()
    return sealed(conn_id, Message(run_id, word), body, ref)


def sealed(conn_id: str, message: Message, body: bytes, ref: str | None = None) -> Delivery:
    seal = open_store("sqlite://").seal
    return Delivery(conn_id, message, seal(body), hashlib.sha256(body).hexdigest(), ref)


def rows(store: Store, table: str = "nenoa_run") -> list[Any]:
    with store._engine.connect() as connection:
        return list(connection.execute(text(f"SELECT * FROM {table}")).mappings())


def test_a_run_goes_from_state_to_state(store: Store) -> None:
    assert store.run("c", "r") is None
    assert store.record([delivery("r", "processing", "ref", part=1)]) == [True]
    assert store.record([delivery("r", "processing", part=2)]) == [False]
    assert store.record([delivery("r", "failed", error="no")]) == [True]
    assert store.record([delivery("r", "success", "other ref"), delivery("r", "processing")]) == [False, False]
    run = store.run("c", "r")
    assert run is not None
    assert (run.status, run.word, run.error, run.ref, run.deliveries) == (RunStatus.FAILED, "failed", "no", "ref", 5)
    assert run.payload == {"status": "failed", "error": "no"}
    assert store.by_ref("c", "ref") == run
    assert store.by_ref("c", "other ref") is None
    assert store.by_ref("d", "ref") is None


def test_a_ref_is_never_taken_over(store: Store) -> None:
    store.record([delivery("without", "success"), delivery("a", "success", "ref"), delivery("b", "processing", "ref")])
    cursor = store.cursor()
    # Played again, with the ref of another task.
    again = [delivery("without", "success", "new ref"), delivery("without", "success", "ref")]
    assert store.record([*again, delivery("a", "success", "new ref")]) == [False, False, False]
    assert store.events("c", cursor).events == []
    assert store.by_ref("c", "new ref") is None
    assert (store.by_ref("c", "ref").run_id, store.run("c", "without").ref, store.run("c", "b").ref) == (
        "a",
        None,
        None,
    )


def test_a_run_that_is_known_by_its_ref_only_gets_its_name_later(store: Store) -> None:
    nameless = Message(None, "success", "workflow")
    assert store.record([sealed("c", nameless, b'{"success": true}', "ref")]) == [True]
    run = store.by_ref("c", "ref")
    assert (run.run_id, run.word, run.payload) == (None, "success", {"success": True})
    named = Message("m", "processing", "workflow")
    assert store.record([sealed("c", named, b"{}", "ref")]) == [False]
    (event,) = store.events("c", run.seq).events
    assert (event.run_id, event.ref, event.word, event.deliveries) == ("m", "ref", "success", 2)
    assert store.run("c", "m").payload == {"success": True}
    # Another run cannot take the ref, nor this one another id.
    assert store.record([sealed("c", Message("n", "failed", "workflow"), b"[]", "ref")]) == [True]
    assert (store.by_ref("c", "ref").run_id, store.run("c", "n").ref) == ("m", None)


def test_a_body_without_an_id_ends_the_run_of_the_url_that_was_called(store: Store) -> None:
    store.record([sealed("c", Message("m", "processing", "workflow"), b"{}", "ref")])
    assert store.record([sealed("c", Message(None, "failed", "workflow"), b'{"success": false}', "ref")]) == [True]
    run = store.run("c", "m")
    assert (run.word, run.ref, run.payload) == ("failed", "ref", {"success": False})
    assert store.record([sealed("c", Message(None, "success", "workflow"), b'{"success": true}', "ref")]) == [False]
    assert store.run("c", "m").word == "failed"


def test_a_body_without_any_word_changes_no_state(store: Store) -> None:
    store.record([delivery("r", "processing", "ref")])
    assert store.record([sealed("c", Message("r"), b"{}"), sealed("c", Message(), b"{}", "ref")]) == [False, False]
    assert (store.run("c", "r").word, store.run("c", "r").deliveries) == ("processing", 3)


def test_which_of_several_is_meant(store: Store) -> None:
    """An end before what goes on, then the same ``ref``, then the same kind, then the newest change."""

    def tell(run_id: str, ref: str | None, kind: str | None, word: str = "processing") -> None:
        body = json.dumps([run_id, ref, kind, word]).encode()
        assert store.record([sealed("c", Message(run_id, word, kind), body, ref)]) == [True]

    def found(*key: str | None) -> list[Any]:
        return store.find("c", *key)[0].payload

    tell("by ref", "ref", None)
    tell("m", None, "agent")
    tell("m", None, None)
    assert found("m", "ref", "agent")[0] == "by ref"
    assert found("m", None, "agent")[2] == "agent"
    assert found("m")[2] is None
    tell("m", None, "agent", "failed")
    assert found("m", "ref", "agent")[3] == found("m")[3] == "failed"
    assert found("m", "ref", "query")[0] == "by ref"
    tell("m", None, None, "success")
    assert found("m")[3] == "success"
    assert found("m", None, "agent")[3] == "failed"


def test_kinds_with_the_same_id_are_kept_apart(store: Store) -> None:
    bodies = {"agent": b'{"a": 1}', "query": b'{"q": 1}', "": b'{"x": 1}'}
    for kind, body in bodies.items():
        assert store.record([sealed("c", Message("7", "completed", kind or None), body, f"ref-{kind}")]) == [True]
    assert store.find("c", "7", kind="agent")[0].payload == {"a": 1}
    assert store.find("c", "7", kind="query")[0].payload == {"q": 1}
    assert store.find("c", "7", "ref-query", "query")[0].payload == {"q": 1}
    assert store.find("c", "7", "ref-", "export")[0].payload == {"x": 1}
    # One without a kind, of another task: not the export that is asked for.
    assert store.find("c", "7", "ref-other", "export") is None
    # Word for word again, as another kind: it is known.
    assert store.record([sealed("c", Message("7", "completed", "export"), bodies["agent"], "r")]) == [False]
    assert {event.kind for event in store.events("c", 0).events} == {"agent", "query", None}


def test_events_without_a_run_are_kept_and_repetitions_counted(store: Store) -> None:
    alert = Message(None, "", None, "alert_triggered", of_run=False)
    bodies = [b'{"event": "alert_triggered", "n": %d}' % number for number in (1, 1, 2)]
    assert store.record([sealed("c", alert, body, "ref") for body in bodies]) == [True, False, True]
    assert store.record([sealed("c", alert, bodies[0])]) == [False]
    events = store.events("c", 0).events
    assert [(each.event, each.run_id, each.ref, each.deliveries) for each in events] == [
        ("alert_triggered", None, None, 3),
        ("alert_triggered", None, None, 1),
    ]
    assert store.event("c", events[1].id)[0].payload["n"] == 2
    assert store.event("other", events[1].id) is None
    assert store.by_ref("c", "ref") is None


def test_the_body_is_kept_as_it_came(store: Store) -> None:
    body = b'\xef\xbb\xbf{"n": 12345678901234567.890, "x": [NaN, 1e999], "big": 123456789012345678901234567890}'
    store.record([sealed("c", Message("r", "success"), body)])
    run, text = store.find("c", "r")
    assert text == '{"n": 12345678901234567.890, "x": [null, null], "big": 123456789012345678901234567890}'
    assert run.payload == {"n": 12345678901234567.890, "x": [None, None], "big": 123456789012345678901234567890}
    (row,) = rows(store)
    assert zlib.decompress(FERNET.decrypt(bytes(row["payload"]))) == body


def test_a_body_that_would_grow_takes_little_room(store: Store) -> None:
    body = b"[" + b"9E15," * 200_000 + b"1]"
    assert len(store.seal(body)) < 20_000


def test_ids_differ_by_case(store: Store) -> None:
    store.record([delivery("Run"), delivery("run", "success"), delivery("run", conn_id="C")])
    assert [len(rows(store)), store.run("c", "Run").word, store.run("c", "run").word] == [3, "processing", "success"]


# One example is a schedule: batches of deliveries as the writer commits them, with a reader that looks in between.
RUN_IDS, WORDS, REFS = (
    "abc",
    ["queued", "processing", "paused", "success", "failed", "cancelled"],
    [None, "ref1", "ref2"],
)
BATCHES = st.lists(
    st.lists(
        st.tuples(st.sampled_from("xy"), st.sampled_from(RUN_IDS), st.sampled_from(WORDS), st.sampled_from(REFS)),
        min_size=1,
        max_size=6,
    ),
    max_size=8,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=BATCHES, reads=st.lists(st.booleans(), min_size=8, max_size=8))
def test_any_schedule_of_deliveries_ends_in_the_right_state(
    store: Store, batches: list[list[tuple[str, str, str, str | None]]], reads: list[bool]
) -> None:
    example = uuid.uuid4().hex  # connections of its own: the database is shared by all examples
    conn_ids = {name: f"{example}-{name}" for name in "xy"}
    cursors = dict.fromkeys("xy", store.cursor())
    seen: dict[tuple[str, str], RunSummary] = {}
    expected: dict[tuple[str, str], dict[str, Any]] = {}
    refs: set[tuple[str, str]] = set()
    number = 0

    def read(name: str) -> None:
        page = store.events(conn_ids[name], cursors[name])
        assert [event.seq for event in page.events] == sorted({event.seq for event in page.events})
        assert all(event.seq > cursors[name] for event in page.events)
        cursors[name] = page.cursor
        for event in page.events:
            before = seen.get((name, event.run_id))
            assert before is None or not before.status.is_end or before.status == event.status
            seen[name, event.run_id] = event

    for batch, read_after in zip(batches, reads, strict=False):
        deliveries, news = [], []
        for name, run_id, word, ref in batch:
            number += 1
            deliveries.append(delivery(run_id, word, ref, conn_ids[name], number=number))
            if (name, run_id) not in expected:
                free = ref if ref and (name, ref) not in refs else None
                refs.add((name, free or ""))
                expected[name, run_id] = {"word": "", "ref": free, "deliveries": 0, "ended": False}
            state = expected[name, run_id]
            is_news = not state["ended"] and state["word"] != word
            news.append(is_news)
            if is_news:
                state.update(word=word, number=number, ended=word in ("success", "failed", "cancelled"))
            state["deliveries"] += 1
        assert store.record(deliveries) == news
        if read_after:
            for name in "xy":
                read(name)

    for name in "xy":
        read(name)
    assert seen.keys() == expected.keys()
    for (name, run_id), state in expected.items():
        run = store.run(conn_ids[name], run_id)
        assert run is not None
        assert (run.word, run.ref, run.deliveries) == (state["word"], state["ref"], state["deliveries"])
        assert run.payload == {"status": state["word"], "number": state["number"]}
        latest = seen[name, run_id]
        assert (latest.word, latest.ref, latest.seq) == (run.word, run.ref, run.seq)
    for name in "xy":
        known = {run.run_id: run for run in store.summaries(conn_ids[name], [*RUN_IDS, "never seen"])}
        assert known.keys() == {run_id for other, run_id in expected if other == name}


def test_pages_follow_each_other_without_a_gap(store: Store) -> None:
    run_ids = [f"r{number:04}" for number in range(PAGE + 5)]
    store.record([delivery(run_id) for run_id in run_ids])
    first = store.events("c", 0)
    assert (len(first.events), first.more) == (PAGE, True)
    second = store.events("c", first.cursor)
    assert (len(second.events), second.more) == (5, False)
    assert [event.run_id for event in first.events + second.events] == run_ids
    assert store.events("c", second.cursor).events == []
    assert store.events("c", second.cursor).cursor == second.cursor == store.cursor()
    assert len(store.changes(0)) == PAGE


def test_a_cursor_of_another_database_starts_over(store: Store) -> None:
    store.record([delivery("r1"), delivery("r2")])
    page = store.events("c", 1000)
    assert ([event.run_id for event in page.events], page.cursor) == (["r1", "r2"], 2)
    empty = store.events("nobody", 1000)
    assert (empty.events, empty.cursor) == ([], 2)


def test_payloads_are_encrypted(store: Store) -> None:
    store.record([delivery("r", "success", url="https://files.test/?signature=presigned")])
    (row,) = rows(store)
    assert b"presigned" not in bytes(row["payload"])
    assert bytes(row["payload"]).startswith(b"gAAAA")
    assert store.run("c", "r").payload["url"].endswith("presigned")


class NullFernet:
    """What Airflow has when there is no key."""

    is_encrypted = False
    encrypt = staticmethod(lambda message: message)
    decrypt = staticmethod(lambda message, ttl=None: message)


def test_without_a_key_it_works_and_such_rows_stay_readable_with_one(database_url: str) -> None:
    with_key, engine = open_store(database_url), create_engine(database_url)
    without_key = Store(engine, NullFernet())  # type: ignore[arg-type]
    body = json.dumps({"status": "success", "x": "ü"}).encode()
    without_key.record([Delivery("c", Message("r1", "success"), without_key.seal(body), "digest")])
    assert without_key.run("c", "r1").payload == with_key.run("c", "r1").payload == {"status": "success", "x": "ü"}
    with_key.record([delivery("r2", "success")])
    assert with_key.run("c", "r2").payload == {"status": "success"}


def test_a_rotated_key_still_reads_and_a_lost_one_says_so(database_url: str) -> None:
    open_store(database_url).record([delivery("r", "success")])
    engine, new = create_engine(database_url), Fernet(Fernet.generate_key())
    rotated = Store(engine, MultiFernet([new, FERNET]))  # type: ignore[arg-type]
    assert rotated.run("c", "r").payload == {"status": "success"}
    lost = Store(engine, new)  # type: ignore[arg-type]
    with pytest.raises(InvalidToken):
        lost.run("c", "r")
    assert [run.word for run in lost.summaries("c", ["r"])] == ["success"]


def test_large_payloads_are_kept_whole(store: Store) -> None:
    payload = random.Random(1).randbytes(512 * 1024).hex()  # hardly smaller when compressed
    store.record([delivery("r", "success", x=payload)])
    assert store.run("c", "r").payload["x"] == payload


def test_what_is_too_old_is_deleted_a_batch_at_a_time(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "PRUNE_BATCH", 3)
    now = 1_000_000.0
    store = open_store(database_url, retention_days=2, clock=lambda: now)
    store.record([delivery(f"old{number}") for number in range(7)])
    now += 86400
    store.record([delivery("newer"), delivery("old0", "success")])
    now += 86400 + 1
    assert [store.prune() for _ in range(3)] == [3, 3, 0]
    kept = {run.run_id for run in store.summaries("c", ["newer", *(f"old{number}" for number in range(7))])}
    assert kept == {event.run_id for event in store.events("c", 0).events} == {"old0", "newer"}
    assert {len(row["payload"]) for row in rows(store) if row["run_id"] not in kept} == {0}
    now += 30
    store._retention = 0.0
    assert store.prune() == 0  # not yet time to look again
    now += 31
    assert store.prune() == 2
    assert store.events("c", 0).events == []
    now += store_module.TOMBSTONE_DAYS * 86400 + 1
    assert [store.prune() for _ in range(4)] == [3, 3, 2, 0]  # the first look found three, so it stays time
    assert rows(store) == []
    assert store.newest("c") is None
    assert store.cursor() == 9  # numbers are not used again


def test_a_tombstone_outlives_the_payload(database_url: str) -> None:
    now = 1_000_000.0
    store = open_store(database_url, retention_days=1, clock=lambda: now)
    alert = sealed("c", Message(None, "", None, "alert_triggered", of_run=False), b"{}")
    first = [delivery("ended", "success", "ref"), delivery("open", "processing"), alert]
    store.record(first)
    now += 2 * 86400
    assert store.prune() == 3
    cursor = store.cursor()
    for _ in range(2):
        assert store.record(first) == [False, False, False], "played again, it is no news"
    assert (store.run("c", "ended"), store.by_ref("c", "ref"), store.events("c", cursor).events) == (None, None, [])
    assert store.record([delivery("other", "success", "ref")]) == [True]
    assert store.by_ref("c", "ref") is None, "the ref is taken for ever"
    assert store.record([delivery("open", "success")]) == [True], "a run of two days ends"
    assert store.run("c", "open").payload == {"status": "success"}


def test_the_newest_event_of_each_connection(database_url: str) -> None:
    now = 1_000_000.0
    store = open_store(database_url, clock=lambda: now)
    assert store.newest("c") is None
    store.record([delivery("r1"), delivery("r", conn_id="other")])
    now += 12.5
    store.record([delivery("r2"), delivery("r", conn_id="other")])  # the other one tells nothing new
    assert (store.newest("c"), store.newest("other")) == (1_000_012.5, 1_000_000.0)


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    store.record([delivery("r1")])
    with pytest.raises(IntegrityError):
        store.record([delivery("r2"), Delivery("c", Message("r3", None), b"", "")])  # type: ignore[arg-type]
    assert [row["run_id"] for row in rows(store)] == ["r1"]
    assert store.record([delivery("r2")]) == [True]


def test_servers_that_start_together_make_one_set_of_tables(database_url: str) -> None:
    servers = 6
    barrier = threading.Barrier(servers)
    errors: list[Exception] = []

    def serve(number: int) -> None:
        store = open_store(database_url)
        barrier.wait()
        try:
            store.record([delivery(f"r{number}")])
        except Exception as error:
            errors.append(error)
        store._engine.dispose()

    in_threads([lambda number=number: serve(number) for number in range(servers)])
    assert errors == []
    store = open_store(database_url)
    assert {row["run_id"] for row in rows(store)} == {f"r{number}" for number in range(servers)}
    assert [row["seq"] for row in rows(store, "nenoa_counter")] == [servers]


def in_threads(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


PROCESSES, EACH = 2, 150


def write(url: str, process: int, ready: Any) -> None:
    """Run by each writer process: as many transactions as it can, of one delivery each."""
    store = open_store(url)
    store.cursor()
    ready.wait()
    for count in range(EACH):
        store.record([delivery(f"{process}-{count}")])
    store._engine.dispose()


def test_a_reader_misses_nothing_that_other_processes_commit(database_url: str) -> None:
    store = open_store(database_url)
    cursor = store.cursor()
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(PROCESSES + 1)
    with ExitStack() as stack:
        writers = [spawn.Process(target=write, args=(database_url, number, ready)) for number in range(PROCESSES)]
        for writer in writers:
            writer.start()
            stack.callback(writer.kill)
        ready.wait(60)
        seen: list[str] = []
        while True:
            over = all(writer.exitcode is not None for writer in writers)
            page = store.events("c", cursor)
            cursor = page.cursor
            seen += [event.run_id for event in page.events]
            if over and not page.events:
                break
            time.sleep(0.002)  # SQLite's readers and writers keep each other out
        assert [writer.exitcode for writer in writers] == [0] * PROCESSES
    assert len(seen) == len(set(seen)) == PROCESSES * EACH
    store._engine.dispose()


def test_mysql_gets_columns_that_are_long_and_case_sensitive_enough() -> None:
    statement = str(CreateTable(tables.runs).compile(dialect=mysql.dialect()))
    assert "payload LONGBLOB NOT NULL" in statement
    assert "run_id VARCHAR(250) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin," in statement
    assert "word VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL" in statement
