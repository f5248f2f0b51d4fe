from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import ReceiverUnavailable
from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.webhooks import selftest, tokens
from airflow_provider_nenoa.webhooks.client import ReceiverClient
from airflow_provider_nenoa.webhooks.connections import NOBODY, Sender
from tests.support.receiver import SENDERS, ReceiverProcess, ReceiverThread, deliver, open_store, signed
from tests.support.statsd import StatsdServer


def client_of(receiver: ReceiverThread | ReceiverProcess, conn_id: str = "nen") -> ReceiverClient:
    return ReceiverClient(conn_id, SENDERS[conn_id].secret, receiver.url)


@pytest.fixture
def receiver(database_url: str) -> Iterator[ReceiverThread]:
    with ReceiverThread(open_store(database_url)) as receiver:
        yield receiver


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(20) as pool:
        yield pool


def test_the_client_reads_what_a_vendor_delivers(receiver: ReceiverThread) -> None:
    for conn_id in SENDERS:
        client = client_of(receiver, conn_id)
        client.check()
        assert client.run("r-1") is None
        assert deliver(receiver.url, conn_id, "r-1", "processing", "ref-1") == 200
        assert deliver(receiver.url, conn_id, "r-1", "success", "ref-1", expires_at=5, x=[1]) == 200
        run = client.run("r-1")
        assert run is not None
        assert (run.status, run.word, run.ref, run.deliveries) == (RunStatus.SUCCESS, "success", "ref-1", 2)
        assert (run.payload["x"], run.expires_at, run.error) == ([1], 5, None)
        assert client.by_ref("ref-1") == run
        assert [found.run_id for found in client.runs(["r-1", "r-2"])] == ["r-1"]
        assert [event.seq for event in client.events(after=0).events] == [run.seq]
        assert client.events().cursor == run.seq


def test_a_wrong_secret_and_an_unknown_connection_read_alike(receiver: ReceiverThread) -> None:
    messages = set()
    for conn_id, secret in [("nen", "wrong"), ("nobody", "wrong"), ("nobody", SENDERS["nen"].secret)]:
        with pytest.raises(ReceiverUnavailable, match="webhook_secret") as caught:
            ReceiverClient(conn_id, secret, receiver.url).check()
        messages.add(str(caught.value).replace(f"'{conn_id}'", "X"))
    assert len(messages) == 1


def answers_only_after(pool: ThreadPoolExecutor, ask: Callable[[], object], deliver: Callable[[], int]) -> object:
    """Ask, see that no answer comes, deliver, and return the answer."""
    asked = pool.submit(ask)
    time.sleep(0.3)
    assert not asked.done()
    assert deliver() == 200
    started = time.monotonic()
    answer = asked.result(30)
    assert time.monotonic() - started < 15  # not by its end, which is 30 s away
    return answer


def test_long_polls_are_answered_by_the_event_they_wait_for(receiver: ReceiverThread, pool: ThreadPoolExecutor) -> None:
    client = client_of(receiver)
    cursor = client.events().cursor
    events = answers_only_after(
        pool, lambda: client.events(cursor, 30), lambda: deliver(receiver.url, "nen", "r", "processing")
    )
    assert [event.run_id for event in events.events] == ["r"]  # type: ignore[attr-defined]
    found = answers_only_after(
        pool, lambda: client.by_ref("ref", 30), lambda: deliver(receiver.url, "nen", "r2", "processing", "ref")
    )
    assert found.run_id == "r2"  # type: ignore[attr-defined]
    ended = answers_only_after(pool, lambda: client.run("r", 30), lambda: deliver(receiver.url, "nen", "r", "success"))
    assert ended.status is RunStatus.SUCCESS  # type: ignore[attr-defined]


def test_news_that_are_not_an_end_do_not_answer_a_wait_for_it(
    receiver: ReceiverThread, pool: ThreadPoolExecutor
) -> None:
    client = client_of(receiver)
    asked = pool.submit(client.run, "r", 30)
    for word in ("queued", "processing"):
        time.sleep(0.1)
        assert deliver(receiver.url, "nen", "r", word) == 200
        assert deliver(receiver.url, "nen", "another", "success") == 200
    time.sleep(0.3)
    assert not asked.done()
    assert deliver(receiver.url, "nen", "r", "failed") == 200
    assert asked.result(25).word == "failed"


def test_at_the_end_of_the_wait_the_answer_is_what_is_known(receiver: ReceiverThread) -> None:
    client = client_of(receiver)
    assert client.run("r", wait=0.3) is None
    assert client.by_ref("ref", wait=0.3) is None
    cursor = client.events().cursor
    assert client.events(cursor, wait=0.3).cursor == cursor
    assert deliver(receiver.url, "nen", "r", "processing") == 200
    assert client.run("r", wait=0.3).word == "processing"


def test_an_end_that_came_before_is_told_at_once(receiver: ReceiverThread) -> None:
    assert deliver(receiver.url, "nen", "r", "success", "ref") == 200
    client = client_of(receiver)
    started = time.monotonic()
    assert client.run("r", wait=20).word == client.by_ref("ref", wait=20).word == "success"
    assert [event.run_id for event in client.events(0, wait=20).events] == ["r"]
    assert time.monotonic() - started < 10


def test_a_webhook_that_another_server_takes_ends_the_wait(database_url: str, pool: ThreadPoolExecutor) -> None:
    with ReceiverThread(open_store(database_url)) as one, ReceiverThread(open_store(database_url)) as other:
        ended = answers_only_after(
            pool, lambda: client_of(one).run("r", 30), lambda: deliver(other.url, "nen", "r", "success")
        )
        assert ended.word == "success"  # type: ignore[attr-defined]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["processing", "success", "failed"])),
        min_size=1,
        max_size=12,
    )
)
def test_every_waiter_hears_of_every_end_whatever_the_order(
    receiver: ReceiverThread, pool: ThreadPoolExecutor, schedule: list[tuple[str, str]]
) -> None:
    example = f"{time.monotonic_ns()}"
    client = client_of(receiver)
    cursor = client.events().cursor
    ends: dict[str, str] = {}
    for name, word in schedule:
        if word != "processing":
            ends.setdefault(f"{example}-{name}", word)
    waiters = {run_id: pool.submit(client.run, run_id, 30) for run_id in ends}
    for name, word in schedule:
        assert deliver(receiver.url, "nen", f"{example}-{name}", word) == 200
    assert {run_id: waiter.result(25).word for run_id, waiter in waiters.items()} == ends
    followed = {event.run_id: event.word for event in client.events(cursor).events}
    assert {run_id: followed[run_id] for run_id in ends} == ends
    assert followed.keys() == {f"{example}-{name}" for name, _ in schedule}


def test_what_got_its_200_survives_the_death_of_the_server(postgres_databases: Callable[[], str]) -> None:
    """Two servers on one PostgreSQL take a stream of webhooks; one of them is killed in the middle."""
    url = postgres_databases()
    with ExitStack() as stack:
        # Both start on an empty database, at the same time.
        survivor, victim = ReceiverProcess(url), ReceiverProcess(url)
        stack.enter_context(survivor)
        stack.enter_context(victim)
        accepted: dict[str, list[str]] = {survivor.url: [], victim.url: []}
        lost_connections = []
        over = threading.Event()

        def send(server: ReceiverProcess, sender: int) -> None:
            number = 0
            while not over.is_set():
                number += 1
                run_id = f"{sender}-{number}"
                try:
                    if deliver(server.url, "nen", run_id, "success") == 200:
                        accepted[server.url].append(run_id)
                except requests.RequestException:
                    lost_connections.append(run_id)
                    return

        senders = [threading.Thread(target=send, args=((survivor, victim)[n % 2], n)) for n in range(8)]
        for sender in senders:
            sender.start()
        try:
            wait_until(lambda: len(accepted[victim.url]) > 100)
            victim.process.kill()
            before = len(accepted[survivor.url])
            wait_until(lambda: len(accepted[survivor.url]) > before + 100)
        finally:
            over.set()
            for sender in senders:
                sender.join()

        assert len(lost_connections) == 4  # it was killed under way, not between two requests of nobody
        promised = accepted[survivor.url] + accepted[victim.url]
        stored = {run.run_id for run in client_of(survivor).ended(promised)}
        assert stored == set(promised)
        assert deliver(survivor.url, "nen", "one-more", "success") == 200


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def configured(receiver: ReceiverThread, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", receiver.url)
    monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", receiver.url)
    monkeypatch.setattr(selftest, "read_sender", SENDERS.__getitem__)
    monkeypatch.setattr(selftest, "WAIT", 0.5)
    return monkeypatch


@pytest.mark.parametrize("conn_id", ["nen", "oa"])
def test_the_self_test_succeeds_and_ends_no_run(
    configured: pytest.MonkeyPatch, receiver: ReceiverThread, conn_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert selftest.main([conn_id]) == 0
    said = capsys.readouterr().out
    assert said.count("ok: ") == 4
    assert SENDERS[conn_id].secret not in said
    (event,) = client_of(receiver, conn_id).events(after=0).events
    assert event.run_id.startswith("selftest-")
    assert not event.status.is_end


def test_the_self_test_names_what_is_wrong(
    configured: pytest.MonkeyPatch, tmp_path, capsys: pytest.CaptureFixture[str]
) -> None:
    def failure(conn_id: str = "nen") -> str:
        assert selftest.main([conn_id]) == 1
        return capsys.readouterr().out.partition("FAILED: ")[2]

    assert "could not be read" in failure("nobody")
    assert "cannot have webhooks" in failure("team/nenai")
    with configured.context() as patch:  # Airflow finds it under any spelling, and the receiver under one
        patch.setenv("AIRFLOW_CONN_NEN", "nenai://")
        assert "Write 'nen' instead" in failure("Nen")

    with configured.context() as patch:
        patch.setattr(selftest, "read_sender", lambda conn_id: NOBODY)
        assert "webhook_secret" in failure()
    with configured.context() as patch:
        patch.setattr(selftest, "read_sender", lambda conn_id: Sender("nenai", "another"))
        assert "refused the webhook_secret" in failure()
    for setting in ("RECEIVER_URL", "WEBHOOK_BASE_URL"):
        with configured.context() as patch:
            patch.setenv(f"AIRFLOW__NENOA__{setting}", "http://127.0.0.1:1/nenoa")
            assert setting.lower() in failure()
    with configured.context() as patch:
        patch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", receiver_url_without_prefix())
        assert "answered 404" in failure()
    with ReceiverThread(open_store(f"sqlite:///{tmp_path}/other.db")) as other, configured.context() as patch:
        patch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", other.url)
        assert "different databases" in failure()


def receiver_url_without_prefix() -> str:
    from airflow_provider_nenoa.webhooks.client import receiver_url

    return receiver_url().removesuffix("/nenoa")


def test_alone_it_reports_metrics_as_airflow_is_configured_to(tmp_path: Path) -> None:
    with (
        StatsdServer() as statsd,
        ReceiverProcess(f"sqlite:///{tmp_path}/events.db", statsd.environment) as receiver,
    ):
        assert deliver(receiver.url, "nen", "m-1", "success") == 200
        client_of(receiver).events(after=1, wait=0.01)
        wait_until(lambda: bool(statsd.received("webhook.newest_age")))
        assert statsd.received("webhook.accepted", conn_id="nen") == [1.0]
        assert statsd.received("webhook.newest_age", conn_id="nen") == [pytest.approx(0.0, abs=10)]


HOSTILE_TEXTS = ["\0", "a\0b", "\ud800", "x\udfff", "\U0001f600" * 60, "'; DROP TABLE nenoa_run; --", "%00", "\x1b[2J"]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=ascii)
def test_no_text_is_too_much_for_any_database(receiver: ReceiverThread, text: str) -> None:
    """In a signed webhook it is stored, whatever it is; in a question it is an answer or a refusal, and no 5xx."""
    for conn_id, names in (
        ("nen", ("message_id", "status", "error", "workflow_id")),
        ("oa", ("run_id", "status", "event", "id", "query_id", "error")),
    ):
        bodies = [{name: text} for name in names] + [{"message_id": "m", "run_id": "r", text: {text: [text]}}]
        for body in bodies:
            sent = json.dumps(body).encode()
            url = f"{receiver.url}/webhooks/{conn_id}?ref={quote(text, errors='surrogatepass')}"
            assert requests.post(url, data=sent, headers=signed(conn_id, sent), timeout=60).status_code == 200
        part = quote(text, safe="", errors="surrogatepass")
        headers = {"Authorization": f"Bearer {tokens.issue(conn_id, SENDERS[conn_id].secret)}"}
        api = f"{receiver.url}/api/v1/connections/{conn_id}"
        for path in (f"/runs/{part}?kind={part}&ref={part}", f"/refs/{part}", f"/events/{part}", f"/runs?id={part}"):
            assert requests.get(api + path, headers=headers, timeout=60).status_code < 500
        fields = ("kind", "run_id", "ref", "dag_id", "task_id")
        waits = [{"kind": "agent", "run_id": "r", name: text} for name in fields]
        for told in ({"waiting": [], "over": [text]}, *({"waiting": [wait], "over": []} for wait in waits)):
            answer = requests.post(f"{api}/waiting", json=told, headers=headers, timeout=60)
            assert answer.status_code < 500, told


def test_alone_as_documented_a_head_without_end_is_ended(database_url: str) -> None:
    with ReceiverProcess(database_url) as receiver:
        address = urlsplit(receiver.url)
        with socket.create_connection((address.hostname, address.port), timeout=60) as stranger:
            stranger.sendall(b"GET /nenoa/health HTTP/1.1\r\nX-Long: ")
            with pytest.raises(ConnectionError):
                stranger.sendall(b"x" * 30_000_000)
        assert requests.get(f"{receiver.url}/health", timeout=60).status_code == 200
