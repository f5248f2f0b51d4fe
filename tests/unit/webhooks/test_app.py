from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.vendors import VENDORS, signatures
from airflow_provider_nenoa.vendors.json_text import read_json
from airflow_provider_nenoa.webhooks import age, inbound, refusals, tokens
from airflow_provider_nenoa.webhooks.app import create_app, mounted_app
from airflow_provider_nenoa.webhooks.app import open_store as open_the_configured_store
from airflow_provider_nenoa.webhooks.bodies import MAX_BODY
from airflow_provider_nenoa.webhooks.connections import Sender
from airflow_provider_nenoa.webhooks.polls import Polls
from airflow_provider_nenoa.webhooks.read_api import MAX_IDS
from airflow_provider_nenoa.webhooks.store import Store
from tests.support.receiver import SENDERS, body_of, open_store, signed

GOOD = body_of("nenai", "m-1", "success", result="a secret result")


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "REFUSAL_TIMES", (0.0,))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path}/events.db")


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    with TestClient(create_app(store, SENDERS.__getitem__), base_url="http://test/nenoa") as client:
        yield client


def bearer(conn_id: str, secret: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.issue(conn_id, secret or SENDERS[conn_id].secret)}"}


class Metrics:
    """Stands in for Airflow's metrics client."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, dict[str, str]]] = []
        self.ages: list[tuple[str, float]] = []

    def incr(self, name: str, tags: dict[str, str]) -> None:
        self.counts.append((name, tags))

    def gauge(self, name: str, value: float, tags: dict[str, str] | None = None) -> None:
        if tags is not None:
            assert name == "nenoa.webhook.newest_age"
            self.ages.append((tags["conn_id"], value))


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Metrics:
    metrics = Metrics()
    monkeypatch.setattr(airflow_internals, "server_stats", lambda: metrics)
    return metrics


def read(client: TestClient, path: str, conn_id: str = "nen") -> Any:
    answer = client.get(f"/api/v1/connections/{conn_id}{path}", headers=bearer(conn_id))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_webhook_is_stored_and_read_back(client: TestClient) -> None:
    body = body_of("nenai", "m-1", "failed", error="no desk", expires_at=1800000000, workflow_id="w")
    answer = client.post("/webhooks/nen?ref=r-1", content=body, headers=signed("nen", body))
    assert (answer.status_code, answer.json()) == (200, {"status": "stored"})

    run = read(client, "/runs/m-1")
    assert run.pop("received_at") == pytest.approx(time.time(), abs=60)
    assert run == {
        "run_id": "m-1",
        "ref": "r-1",
        "status": "failed",
        "word": "failed",
        "error": "no desk",
        "payload": json.loads(body),
        "expires_at": 1800000000,
        "seq": 1,
        "deliveries": 1,
        "id": 1,
        "kind": "workflow",
        "event": None,
    }
    assert read(client, "/refs/r-1")["run_id"] == "m-1"
    summary = {key: run[key] for key in run.keys() - {"error", "payload", "expires_at"}}
    (listed,) = read(client, "/runs?id=m-1&id=m-2")["runs"]
    del listed["received_at"]
    assert listed == summary
    events = read(client, "/events?after=0")
    del events["events"][0]["received_at"]
    assert events == {"cursor": 1, "events": [summary], "more": False}
    assert read(client, "/events") == {"cursor": 1, "events": [], "more": False}
    assert read(client, "/events?after=1") == {"cursor": 1, "events": [], "more": False}


def test_runs_of_another_connection_are_not_seen(client: TestClient) -> None:
    client.post("/webhooks/nen?ref=r", content=GOOD, headers=signed("nen", GOOD))
    for path in ("/runs/m-1", "/refs/r"):
        answer = client.get(f"/api/v1/connections/oa{path}", headers=bearer("oa"))
        assert (answer.status_code, answer.json()["error"]) == (404, "unknown_run")
    assert read(client, "/runs?id=m-1", "oa") == {"runs": []}
    assert read(client, "/events?after=0", "oa")["events"] == []


def test_health_says_no_more_than_that(client: TestClient) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("ref", ["", "a/b", "\x00", "ü", "x" * 201])
def test_a_ref_that_cannot_be_ours_is_ignored_and_the_event_kept(client: TestClient, ref: str) -> None:
    answer = client.post("/webhooks/nen", params={"ref": ref}, content=GOOD, headers=signed("nen", GOOD))
    assert answer.status_code == 200
    assert read(client, "/runs/m-1")["ref"] is None


def wrong_deliveries() -> dict[str, tuple[str, dict[str, str]]]:
    name, value = next(iter(signed("nen", GOOD).items()))
    return {
        "no signature": ("nen", {}),
        "wrong secret": ("nen", {name: next(iter(signed("oa", GOOD).values()))}),
        "truncated": ("nen", {name: value[:-1]}),
        "empty": ("nen", {name: ""}),
        "malformed": ("nen", {name: "sha256="}),
        "no prefix": ("nen", {name: value.removeprefix("sha256=")}),
        "signed for another body": ("nen", signed("nen", GOOD + b" ")),
        "the other vendor's header": ("nen", {"X-OpenAnalyst-Signature": value}),
        "of another connection": ("oa", {"X-OpenAnalyst-Signature": value}),
        "unknown connection": ("nobody", {name: value}),
        "unknown connection, no signature": ("nobody", {}),
        "impossible connection": ("a b", {name: value}),
    }


@pytest.mark.parametrize("case", wrong_deliveries())
def test_who_is_not_the_vendor_gets_the_same_401(client: TestClient, store: Store, case: str) -> None:
    conn_id, headers = wrong_deliveries()[case]
    answer = client.post(f"/webhooks/{conn_id}", content=GOOD, headers=headers)
    assert answer.status_code == 401
    reference = client.post("/webhooks/surely-not-there", content=GOOD)
    assert answer.content == reference.content
    assert dict(answer.headers) == dict(reference.headers)
    assert store.cursor() == 0


def wrong_tokens() -> dict[str, dict[str, str]]:
    secret, soon = SENDERS["nen"].secret, time.time() + 60
    good = jwt.encode({"aud": "nen", "exp": soon}, secret)
    head, claims, _ = good.split(".")
    return {
        "none": {},
        "empty": {"Authorization": ""},
        "no token": {"Authorization": "Bearer"},
        "basic": {"Authorization": f"Basic {good}"},
        "bare": {"Authorization": good},
        "other key": bearer("nen", "another secret"),
        "other audience": {"Authorization": f"Bearer {jwt.encode({'aud': 'oa', 'exp': soon}, secret)}"},
        "lives too long": {"Authorization": f"Bearer {jwt.encode({'aud': 'nen', 'exp': soon + 3600}, secret)}"},
        "expired": {"Authorization": f"Bearer {jwt.encode({'aud': 'nen', 'exp': time.time() - 1}, secret)}"},
        "alg none": {"Authorization": f"Bearer {jwt.encode({'aud': 'nen', 'exp': soon}, '', algorithm='none')}"},
        "signature cut off": {"Authorization": f"Bearer {head}.{claims}."},
        "not a token": {"Authorization": "Bearer x.y.z"},
    }


@pytest.mark.parametrize("case", wrong_tokens())
@pytest.mark.parametrize("path", ["/runs/m-1", "/refs/r", "/runs?id=m-1", "/events", "/events?after=0&wait=30"])
def test_who_is_not_one_of_ours_gets_the_same_401(client: TestClient, case: str, path: str) -> None:
    client.post("/webhooks/nen?ref=r", content=GOOD, headers=signed("nen", GOOD))
    answer = client.get(f"/api/v1/connections/nen{path}", headers=wrong_tokens()[case])
    reference = client.get(f"/api/v1/connections/nobody{path}", headers=bearer("nen"))
    assert answer.status_code == reference.status_code == 401
    assert answer.content == reference.content
    assert dict(answer.headers) == dict(reference.headers)


def test_an_unknown_connection_takes_as_long_as_a_known_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "REFUSAL_TIMES", (0.2, 1.0, 4.0))

    def look_up(conn_id: str) -> Sender:
        if conn_id not in SENDERS:
            time.sleep(0.05)  # what only the lookup of an unknown connection takes: all backends are asked
        return SENDERS[conn_id]

    with TestClient(create_app(store, look_up), base_url="http://test/nenoa") as client:
        for conn_id in ("nen", "nobody"):
            for ask in (
                lambda c=conn_id: client.post(f"/webhooks/{c}", headers=signed("nen", b"another body")),
                lambda c=conn_id: client.get(f"/api/v1/connections/{c}/events", headers=bearer("nen", "another")),
            ):
                started = time.monotonic()
                assert ask().status_code == 401
                # 0.01: the event loop's clock and this one are read at different moments.
                assert time.monotonic() - started > 0.2 - 0.01


@pytest.mark.parametrize("body", [b"", b"{", b"nan", b"\xff\xfe{}", b'{"message_id": "m", "status": "success"} x'])
def test_what_is_no_json_is_refused_and_not_stored(
    client: TestClient, store: Store, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/webhooks/nen", content=body, headers=signed("nen", body))
    assert (answer.status_code, answer.json()["error"]) == (400, "bad_payload")
    assert store.cursor() == 0
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize("body", [b"[]", b"{}", b"null", b"7", b'"text"', b'{"status": "success", "secret": "s3cret"}'])
def test_what_is_about_no_run_is_stored_counted_and_logged_by_its_fields(
    client: TestClient, metrics: Metrics, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            assert client.post("/webhooks/nen", content=body, headers=signed("nen", body)).status_code == 200
    counted = [name.rpartition(".")[2] for name, _ in metrics.counts]
    assert counted == ["accepted", "without_run", "duplicate"]
    (event,) = read(client, "/events?after=0")["events"]
    assert (event["run_id"], event["ref"], event["deliveries"]) == (None, None, 2)
    assert read(client, f"/events/{event['id']}")["payload"] == json.loads(body)
    assert caplog.text.count("is about no run") == 1
    assert ("fields secret, status" in caplog.text) == (b"secret" in body)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (
            {"success": True, "result": {"url": "https://shop.test"}, "assets": "https://f.test/a.zip"},
            "success",
            "success",
        ),
        ({"success": False, "error": "no desk"}, "failed", "failed"),
        ({"messageId": "m-9", "success": True}, "success", "success"),
        ({"status": "Archived", "success": True}, "running", "Archived"),
    ],
)
def test_a_run_is_found_by_the_url_that_was_called(
    client: TestClient, body: dict[str, Any], status: str, word: str
) -> None:
    begun = body_of("nenai", "m-9", "processing")
    client.post("/webhooks/nen?ref=r-9", content=begun, headers=signed("nen", begun))
    content = json.dumps(body).encode()
    assert client.post("/webhooks/nen?ref=r-9", content=content, headers=signed("nen", content)).status_code == 200
    for path in ("/runs/m-9", "/refs/r-9", "/runs/other?ref=r-9", "/runs/m-9?ref=r-9&kind=workflow"):
        run = read(client, path)
        assert (run["run_id"], run["status"], run["word"], run["payload"]) == ("m-9", status, word, body)


def test_a_querys_webhook_that_names_another_id_is_found_by_its_ref(client: TestClient) -> None:
    body = body_of("openanalyst", "run_1", "completed")
    client.post("/webhooks/oa?ref=r&kind=query", content=body, headers=signed("oa", body))
    run = read(client, "/runs/qry_1?ref=r&kind=query", "oa")
    assert (run["run_id"], run["kind"], run["status"]) == ("run_1", "query", "success")
    (summary,) = read(client, "/runs?id=qry_1&ref=r", "oa")["runs"]
    assert summary["run_id"] == "run_1"
    # An agent's run of the same id is another one, and the same body is no news under another kind.
    answer = client.get("/api/v1/connections/oa/runs/run_1?kind=agent", headers=bearer("oa"))
    assert answer.status_code == 404
    client.post("/webhooks/oa?ref=r2&kind=agent", content=body, headers=signed("oa", body))
    assert len(read(client, "/events?after=0", "oa")["events"]) == 1


def test_a_replay_changes_nothing(client: TestClient, store: Store) -> None:
    body = body_of("nenai", "m-1", "success", result=1)
    client.post("/webhooks/nen?ref=mine", content=body, headers=signed("nen", body))
    before = read(client, "/runs/m-1")
    for query in ("", "?ref=other", "?ref=mine", "?ref=other&kind=agent", "?ref=x&ref=y"):
        assert client.post(f"/webhooks/nen{query}", content=body, headers=signed("nen", body)).status_code == 200
    assert read(client, "/runs/m-1") == {**before, "deliveries": 6}
    assert client.get("/api/v1/connections/nen/refs/other", headers=bearer("nen")).status_code == 404
    assert read(client, "/events?after=1")["events"] == []


def test_digits_and_words_come_back_as_they_were(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"message_id": "m", "status": "success", "n": 12345678901234567.890, "x": NaN, "deep": %s}' % (
        b"[" * 500 + b"]" * 500
    )
    assert client.post("/webhooks/nen", content=body, headers=signed("nen", body)).status_code == 200
    answer = client.get("/api/v1/connections/nen/runs/m", headers=bearer("nen"))
    assert b'"n": 12345678901234567.890, "x": null' in answer.content
    assert caplog.text.count("Null stands for") == 1
    assert "at x, deep[0]" in caplog.text


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)
NAMES = st.sampled_from(
    [
        *("run_id", "message_id", "messageId", "query_id", "session_id", "id", "status", "success"),
        *("event", "type", "data", "result", "run", "error", "expires_at"),
    ]
)
VALUES = st.sampled_from(
    ["m", "success", "running", "agent.session.completed", "alert_triggered", "\ud800", "a\0", True]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["nen", "oa"]),
    ANY_JSON | st.dictionaries(NAMES, VALUES | ANY_JSON | st.dictionaries(NAMES, VALUES | ANY_JSON)),
    st.sampled_from(["", "?ref=r{}", "?ref=q{}&kind=query", "?ref=%00", "?kind=workflow&ref=w{}", "?ref=always"]),
)
def test_whatever_json_a_vendor_signs_is_stored_and_read_back(
    client: TestClient, store: Store, conn_id: str, value: Any, query: str
) -> None:
    before = store.cursor()
    body = json.dumps(value).encode()
    answer = client.post(f"/webhooks/{conn_id}{query.format(before)}", content=body, headers=signed(conn_id, body))
    assert (answer.status_code, answer.json()) == (200, {"status": "stored"})
    assert store.cursor() == before + 1
    for event in read(client, f"/events?after={before}", conn_id)["events"]:
        raw = client.get(f"/api/v1/connections/{conn_id}/events/{event['id']}", headers=bearer(conn_id))
        read_back = json.loads(raw.content, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
        # Else it may have told nothing but the name of a run that has ended.
        assert read_back["payload"] == read_json(body).value or event["deliveries"] > 1


def test_the_signature_is_checked_before_the_body_is_read(client: TestClient) -> None:
    for body in (b"{", b"{}", b"[]"):
        assert client.post("/webhooks/nen", content=body).status_code == 401


@pytest.mark.parametrize("path", ["webhooks/nen", "api/v1/connections/nen/waiting"])
async def test_a_body_that_nobody_can_have_signed_is_not_read(store: Store, path: str) -> None:
    answers = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("The body was read.")

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": f"/nenoa/{path}", "query_string": b"", "headers": []}
    await create_app(store, SENDERS.__getitem__)(scope, receive, send)
    assert answers[0]["status"] == 401


def test_too_large_is_refused(client: TestClient, store: Store) -> None:
    body = GOOD + b" " * (MAX_BODY + 1 - len(GOOD))
    assert client.post("/webhooks/nen", content=body, headers=signed("nen", body)).status_code == 413
    assert store.cursor() == 0


@pytest.mark.parametrize("length", [None, "0", "-1", "", "x", "1e3", "9" * 5000, str(MAX_BODY), str(MAX_BODY + 1)])
async def test_no_more_is_read_than_is_allowed_whatever_is_promised(store: Store, length: str | None) -> None:
    received, answers = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal received
        received += 65536
        return {"type": "http.request", "body": b" " * 65536, "more_body": True}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    headers = [(b"x-hmac-signature", b"sha256=" + b"0" * 64)]
    headers += [] if length is None else [(b"content-length", length.encode())]
    scope = {"type": "http", "method": "POST", "path": "/nenoa/webhooks/nen", "query_string": b"", "headers": headers}
    await create_app(store, SENDERS.__getitem__)(scope, receive, send)
    assert answers[0]["status"] == 413
    assert received == (0 if length == str(MAX_BODY + 1) else MAX_BODY + 65536)


def test_the_largest_body_allowed_is_stored(client: TestClient) -> None:
    body = GOOD + b" " * (MAX_BODY - len(GOOD))
    assert client.post("/webhooks/nen", content=body, headers=signed("nen", body)).status_code == 200


@pytest.mark.parametrize(
    ("query", "status_code"),
    [
        ("/events?after=x", 422),
        ("/events?after=-1", 422),
        ("/events?after=", 422),
        ("/events?after=" + "9" * 19, 422),
        ("/events?after=" + "9" * 18, 200),
        ("/events?after=²", 422),
        ("/events?after=0&wait=x", 422),
        ("/events?after=0&wait=nan", 422),
        ("/events?after=0&wait=-inf", 200),
        ("/runs/m?wait=nan", 422),
        ("/runs/m?wait=-1", 404),
        ("/runs/%00", 404),
        ("/runs/%00?wait=1", 404),
        ("/runs/m?ref=%00&kind=%00", 404),
        ("/refs/%00", 404),
        ("/refs/%00?wait=1", 404),
        ("/runs?id=%00&ref=%00", 200),
        ("/events/%00", 422),
        ("/events/1", 404),
        ("/events/" + "9" * 18, 404),
        ("/runs/%F0%9F%A6%86", 404),
        ("/runs/" + "x" * 5000, 404),
        ("/runs?" + "&".join(f"id={n}" for n in range(MAX_IDS)), 200),
        ("/runs?" + "&".join(f"id={n}" for n in range(MAX_IDS + 1)), 422),
        ("/runs", 200),
    ],
)
def test_odd_questions(client: TestClient, query: str, status_code: int) -> None:
    answer = client.get(f"/api/v1/connections/nen{query}", headers=bearer("nen"))
    assert answer.status_code == status_code, answer.text


@pytest.mark.parametrize("question", ["/runs/m", "/refs/r", "/events?after=0"])
@pytest.mark.parametrize("wait", ["0.2", "0.3", "1e9", "inf"])
def test_no_wait_is_longer_than_the_longest(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, question: str, wait: str
) -> None:
    waits: list[float] = []
    first = Polls.first

    async def no_time_passes(self: Polls, *arguments: Any) -> Any:
        waits.append(arguments[-1])
        return await first(self, *arguments[:-1], 0.0)

    monkeypatch.setattr(Polls, "first", no_time_passes)
    sign = "&" if "?" in question else "?"
    client.get(f"/api/v1/connections/nen{question}{sign}wait={wait}", headers=bearer("nen"))
    assert waits == [min(float(wait), 30.0)]


@pytest.mark.parametrize("path", ["/nenoa/health/", "/nenoa", "/nenoa/webhooks/nen/", "//evil.test/"])
def test_nobody_is_sent_where_the_host_header_says(client: TestClient, path: str) -> None:
    answer = client.get(f"http://evil.test{path}", follow_redirects=False)
    assert answer.status_code == 404
    assert "evil" not in str(answer.headers) + answer.text


def test_a_secret_that_is_being_changed(store: Store) -> None:
    sender = Sender("nenai", "new", "old")
    with TestClient(create_app(store, {"nen": sender}.__getitem__), base_url="http://test/nenoa") as client:
        for number, secret in enumerate(["new", "old", "older"]):
            body = body_of("nenai", f"m-{number}", "success")
            headers = dict([signatures.sign(VENDORS["nenai"].SIGNATURE, secret, body)])
            expected = 401 if secret == "older" else 200
            assert client.post("/webhooks/nen", content=body, headers=headers).status_code == expected
            answer = client.get("/api/v1/connections/nen/events", headers=bearer("nen", secret))
            assert answer.status_code == expected
    assert store.cursor() == 2


def test_wrong_methods_and_paths_are_refused(client: TestClient) -> None:
    assert client.get("/webhooks/nen").status_code == 405
    assert client.post("/api/v1/connections/nen/events").status_code == 405
    assert client.get("/").status_code == 404
    assert client.post("/webhooks/nen/more").status_code == 404


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([*SENDERS, "nobody"]),
    st.binary()
    | st.dictionaries(
        st.sampled_from(["run_id", "message_id", "status", "id"]),
        st.none() | st.integers() | st.sampled_from(["m", "success", "running"]) | st.text(),
    ).map(lambda value: json.dumps(value).encode()),
    st.booleans(),
    st.binary().filter(lambda raw: not set(raw) & {0, 10, 13}),
)
def test_whatever_is_posted_gets_a_fitting_answer(
    client: TestClient, store: Store, conn_id: str, body: bytes, honest: bool, forged: bytes
) -> None:
    honest = honest and conn_id in SENDERS
    headers = signed(conn_id, body) if honest else {"X-Hmac-Signature": forged, "X-OpenAnalyst-Signature": forged}
    before = store.cursor()
    answer = client.post(f"/webhooks/{conn_id}", content=body, headers=headers)
    assert answer.status_code in ((200, 400) if honest else (401,))
    assert (store.cursor() > before) == (answer.status_code == 200)


def test_nothing_is_said_to_be_stored_that_is_not(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(deliveries: Any) -> None:
        raise OperationalError("INSERT ... a secret result", {"payload": "a secret result"}, OSError("disk full"))

    monkeypatch.setattr(store, "record", fail)
    with caplog.at_level(logging.DEBUG):
        answer = client.post("/webhooks/nen", content=GOOD, headers=signed("nen", GOOD))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert "disk full" in caplog.text
    assert "a secret result" not in caplog.text + answer.text
    monkeypatch.undo()
    assert store.cursor() == 0


def test_a_database_that_hangs_is_not_waited_for_longer_than_the_vendor_waits(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inbound.COMMIT_TIMEOUT < 5
    monkeypatch.setattr(inbound, "COMMIT_TIMEOUT", 0.05)
    real = store.record

    def slowly(deliveries: Any) -> list[bool]:
        time.sleep(0.3)
        return real(deliveries)

    monkeypatch.setattr(store, "record", slowly)
    assert client.post("/webhooks/nen", content=GOOD, headers=signed("nen", GOOD)).status_code == 503


def test_a_store_that_cannot_be_read_is_a_503(
    client: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise OperationalError("SELECT", {}, OSError("gone"))

    for name in ("find", "event", "summaries", "events", "cursor"):
        monkeypatch.setattr(store, name, fail)
    for path in ("/runs/m", "/refs/r", "/runs?id=m", "/events", "/events?after=0", "/events/1"):
        answer = client.get(f"/api/v1/connections/nen{path}", headers=bearer("nen"))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


def test_alone_it_says_which_setting_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__NENOA__EVENT_STORE_URL", raising=False)
    with pytest.raises(NenoaError, match="event_store_url"):
        create_app()


def test_only_the_api_server_is_left_to_configure_metrics_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []
    monkeypatch.setenv("AIRFLOW__NENOA__EVENT_STORE_URL", f"sqlite:///{tmp_path}/events.db")
    monkeypatch.setattr(
        airflow_internals, "initialize_server_stats", lambda *, in_api_server: told.append(in_api_server)
    )
    create_app()
    mounted_app()
    assert told == [False, True]


def test_a_database_of_its_own_keeps_payloads_out_of_its_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__EVENT_STORE_URL", f"sqlite:///{tmp_path}/events.db")
    with open_the_configured_store().engine.connect() as connection, pytest.raises(OperationalError) as caught:
        connection.execute(text("SELECT :payload FROM nowhere"), {"payload": "what nobody may read"})
    assert "what nobody may read" not in str(caught.value)


def test_a_connection_that_the_database_has_dropped_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__EVENT_STORE_URL", f"sqlite:///{tmp_path}/events.db")
    engine = open_the_configured_store().engine
    for _ in range(2):
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
            kept = connection.connection.dbapi_connection
        assert kept is not None
        kept.close()  # in the pool, as a server does that was restarted


@pytest.mark.parametrize("days", ["0", "-1", "nan"])
def test_a_retention_that_would_delete_everything_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: str
) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__EVENT_STORE_URL", f"sqlite:///{tmp_path}/events.db")
    create_app()
    monkeypatch.setenv("AIRFLOW__NENOA__EVENT_RETENTION_DAYS", days)
    with pytest.raises(NenoaError, match="event_retention_days"):
        create_app()


# Metrics


def test_webhooks_are_counted(client: TestClient, metrics: Metrics) -> None:
    for conn_id, body in [("nen", GOOD), ("nen", GOOD), ("nen", b"{"), ("nobody", GOOD)]:
        client.post(f"/webhooks/{conn_id}", content=body, headers=signed("nen", body))
    assert metrics.counts == [
        ("nenoa.webhook.accepted", {"conn_id": "nen"}),
        ("nenoa.webhook.duplicate", {"conn_id": "nen"}),
        ("nenoa.webhook.refused", {"reason": "bad_payload", "conn_id": "nen"}),
        ("nenoa.webhook.refused", {"reason": "unauthorized"}),
    ]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(age, "time", clock)
    return clock


def open_client(store: Store) -> TestClient:
    return TestClient(create_app(store, SENDERS.__getitem__), base_url="http://test/nenoa")


def tell(client: TestClient, conn_id: str, run_id: str) -> None:
    body = body_of(SENDERS[conn_id].conn_type, run_id, "success")
    assert client.post(f"/webhooks/{conn_id}", content=body, headers=signed(conn_id, body)).is_success


WAIT = "/events?after=0&wait=0.01"


def test_the_age_of_the_newest_event_is_true_on_every_server(tmp_path: Path, metrics: Metrics, clock: Clock) -> None:
    store = open_store(f"sqlite:///{tmp_path}/events.db", clock=clock.time)
    with open_client(store) as one, open_client(store) as other:
        tell(one, "nen", "m-1")
        clock.now += 60
        read(other, WAIT)
        tell(one, "nen", "m-2")  # while nobody waits at the other server
        tell(one, "oa", "r-1")
        clock.now += 30
        read(other, WAIT)
    with open_client(store) as restarted:
        clock.now += 100
        read(restarted, WAIT)
    assert metrics.ages == [("nen", 0.0), ("nen", 60.0), ("nen", 0.0), ("oa", 0.0), ("nen", 30.0), ("nen", 130.0)]


def test_where_no_webhook_ever_came_the_age_grows_from_when_somebody_began_to_wait(
    client: TestClient, metrics: Metrics, clock: Clock
) -> None:
    for path in ("/events?after=0", "/runs?id=m-1", "/events"):
        read(client, path)
    assert metrics.ages == [], "nobody waits"
    for _ in range(3):
        read(client, WAIT)
        clock.now += 600
    assert metrics.ages == [("nen", 0.0), ("nen", 600.0), ("nen", 1200.0)]


def test_the_age_is_reported_now_and_then(client: TestClient, metrics: Metrics, clock: Clock) -> None:
    for _ in range(5):
        read(client, WAIT)
        read(client, WAIT, "oa")
        clock.now += age.INTERVAL / 2
    assert [conn_id for conn_id, _ in metrics.ages] == ["nen", "oa"] * 3


def test_no_old_age_is_left_standing_by_the_webhook_that_ends_all_waiting(
    tmp_path: Path, metrics: Metrics, clock: Clock
) -> None:
    with open_client(open_store(f"sqlite:///{tmp_path}/events.db", clock=clock.time)) as client:
        tell(client, "nen", "m-1")
        clock.now += 86_400
        read(client, WAIT)
        clock.now += 1
        tell(client, "nen", "m-1")  # nothing new
        tell(client, "nen", "m-2")
        tell(client, "nen", "m-3")  # too soon to say it again
    assert metrics.ages == [("nen", 0.0), ("nen", 86_400.0), ("nen", 0.0)]
