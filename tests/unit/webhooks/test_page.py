"""The page's JSON API: who sees what, how much it reads, and what it never says."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from fastapi import HTTPException, Request
from sqlalchemy import Table, create_engine, insert
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.testclient import TestClient

from airflow_provider_nenoa.exceptions import ReceiverUnavailable
from airflow_provider_nenoa.vendors.messages import Message
from airflow_provider_nenoa.webhooks.app import Receiver, create_app
from airflow_provider_nenoa.webhooks.connections import Senders
from airflow_provider_nenoa.webhooks.page import reads
from airflow_provider_nenoa.webhooks.page.access import Known
from airflow_provider_nenoa.webhooks.page.routes import page_routes
from airflow_provider_nenoa.webhooks.rows import Delivery
from airflow_provider_nenoa.webhooks.spent import Spent
from airflow_provider_nenoa.webhooks.store import Store
from airflow_provider_nenoa.webhooks.tables import runs, spent, tallies, waits
from airflow_provider_nenoa.webhooks.tally import Tally, why_not
from airflow_provider_nenoa.webhooks.wait import Wait
from airflow_provider_nenoa.webhooks.waits import Waits
from tests.support.receiver import SENDERS, body_of, open_store, signed

HOSTILE = "<img src=x onerror=alert(1)>"
OURS = {"X-Nenoa-Page": "1", "Sec-Fetch-Site": "same-origin"}


class FakeAccess:
    """Stands in for Airflow: ada may see and test all, bob may see 'nen', eve is logged in and may see nothing."""

    rights = {"ada": {"nen", "oa", None}, "bob": {"nen"}, "eve": set()}

    @staticmethod
    async def user(request: Request) -> str:
        name = request.cookies.get("_token")
        if name is None:
            raise HTTPException(401, "Not authenticated")
        return name

    def may(self, user: str, method: str, conn_id: str | None) -> bool:
        return conn_id in self.rights[user] and (method == "GET" or user == "ada")

    def known(self, seen: Iterable[str]) -> list[Known]:
        return [Known("nen", "nenai", True), Known("oa", "openanalyst", True)]


class SelfTests:
    """Stands in for the self-test, which has tests of its own."""

    def __init__(self) -> None:
        self.tested: list[str] = []
        self.error: str | None = None

    def __call__(self, conn_id: str, say: Any) -> None:
        self.tested.append(conn_id)
        say("step one")
        if self.error:
            raise ReceiverUnavailable(self.error)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"sqlite:///{tmp_path}/events.db")


@pytest.fixture
def self_tests() -> SelfTests:
    return SelfTests()


@pytest.fixture
def receiver(store: Store) -> Receiver:
    return Receiver(store, Senders(SENDERS.__getitem__))


@pytest.fixture
def client(store: Store, receiver: Receiver, self_tests: SelfTests) -> Iterator[TestClient]:
    app = receiver.app(*page_routes(store, FakeAccess(), self_tests))
    with TestClient(app, base_url="http://test", cookies={"_token": "ada"}) as client:
        yield client


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", "https://airflow.example.com/nenoa")


def asked(client: TestClient, path: str, user: str = "ada", **params: Any) -> Any:
    client.cookies.set("_token", user)
    answer = client.get(f"/page/api/{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def deliver(client: TestClient, conn_id: str, run_id: str, word: str, **more: Any) -> None:
    body = body_of(SENDERS[conn_id].conn_type, run_id, word, **more)
    assert client.post(f"/webhooks/{conn_id}", content=body, headers=signed(conn_id, body)).status_code == 200


@pytest.mark.parametrize(
    "path", ["connections", "connections/nen", "connections/nen/events", "connections/nen/waiting"]
)
def test_nobody_sees_anything_without_airflows_login(client: TestClient, path: str) -> None:
    client.cookies.clear()
    answer = client.get(f"/page/api/{path}")
    assert answer.status_code == 401
    assert "nen" not in answer.text


def test_the_self_test_needs_a_login(client: TestClient, self_tests: SelfTests) -> None:
    client.cookies.clear()
    assert client.post("/page/api/connections/nen/self-test", headers=OURS).status_code == 401
    assert self_tests.tested == []


def test_each_user_sees_the_connections_that_airflow_lets_him_see(client: TestClient) -> None:
    def names(user: str) -> list[str]:
        return [each["conn_id"] for each in asked(client, "connections", user)["connections"]]

    assert [names(user) for user in ("ada", "bob", "eve")] == [["nen", "oa"], ["nen"], []]


@pytest.mark.parametrize("rest", ["", "/events", "/waiting"])
def test_what_may_not_be_seen_is_answered_like_what_does_not_exist(client: TestClient, rest: str) -> None:
    client.cookies.set("_token", "bob")
    forbidden, missing = (client.get(f"/page/api/connections/{name}{rest}") for name in ("oa", "nonsense"))
    assert forbidden.status_code == missing.status_code == 404
    assert forbidden.content == missing.content


def test_who_may_see_but_not_test_is_told_so(client: TestClient, self_tests: SelfTests) -> None:
    client.cookies.set("_token", "bob")
    assert client.post("/page/api/connections/nen/self-test", headers=OURS).status_code == 403
    assert client.post("/page/api/connections/oa/self-test", headers=OURS).status_code == 404
    assert self_tests.tested == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin"},
        {"X-Nenoa-Page": "1"},
        {"X-Nenoa-Page": "1", "Sec-Fetch-Site": "cross-site", "Origin": "http://test"},
        {"X-Nenoa-Page": "1", "Sec-Fetch-Site": "same-site"},
        {"X-Nenoa-Page": "1", "Origin": "https://evil.example"},
        {"X-Nenoa-Page": "1", "Origin": "null"},
    ],
)
def test_another_sites_page_cannot_start_a_self_test(
    client: TestClient, self_tests: SelfTests, headers: dict[str, str]
) -> None:
    assert client.post("/page/api/connections/nen/self-test", headers=headers).status_code == 403
    assert self_tests.tested == []


@pytest.mark.parametrize("headers", [OURS, {"X-Nenoa-Page": "1", "Origin": "http://test"}])
def test_the_self_test_tells_its_steps_and_its_verdict(
    client: TestClient, self_tests: SelfTests, headers: dict[str, str]
) -> None:
    path = "/page/api/connections/nen/self-test"
    passed = client.post(path, headers=headers).json()
    assert passed == {"passed": True, "steps": ["step one"], "error": None}
    self_tests.error = "Set [nenoa] webhook_base_url."
    failed = client.post(path, headers=headers).json()
    assert failed == {"passed": False, "steps": ["step one"], "error": "Set [nenoa] webhook_base_url."}
    assert self_tests.tested == ["nen", "nen"]


@pytest.mark.parametrize("path", ["/page/", "/page/page.js", "/page/page.css", "/page/api/connections", "/page/api/x"])
def test_only_our_own_files_run_and_only_airflow_frames_them(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_the_files_obey_their_own_policy(client: TestClient) -> None:
    page = client.get("/page/").text
    assert client.get("/page", follow_redirects=False).headers["location"] == "page/"
    assert "<script src=" in page
    assert "//" not in page.replace("<!doctype", "")  # nothing from a network
    for inline in ("<style", "style=", "onclick", "onload", "javascript:"):
        assert inline not in page
    script = client.get("/page/page.js").text
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", ".style"):
        assert dangerous not in script


def test_a_file_is_whole_each_time_behind_airflows_compression(store: Store) -> None:
    outer = Starlette(routes=page_routes(store, FakeAccess()), middleware=[Middleware(GZipMiddleware, minimum_size=10)])
    with TestClient(outer) as client:
        first, second = (client.get("/page/") for _ in range(2))
    assert first.headers["Content-Encoding"] == second.headers["Content-Encoding"] == "gzip"
    assert first.text == second.text
    assert first.text.startswith("<!doctype html>")


def test_the_receiver_alone_has_no_page(store: Store) -> None:
    with TestClient(create_app(store, SENDERS.__getitem__), base_url="http://test/nenoa") as alone:
        for path in ("/page", "/page/", "/page/page.js", "/page/api/connections"):
            assert alone.get(path).status_code == 404


def test_an_event_shows_up_without_its_payload_ref_or_urls(client: TestClient) -> None:
    url = "https://files.example.com/a?X-Amz-Signature=hush"
    body = body_of("openanalyst", "r-1", "completed", result={"hush": url})
    path = "/webhooks/oa?ref=the-ref-is-hush"
    assert client.post(path, content=body, headers=signed("oa", body)).status_code == 200
    assert client.post(path, content=body, headers=signed("oa", body)).status_code == 200
    (event,) = asked(client, "connections/oa/events")["events"]
    assert abs(event.pop("received_at") - time.time()) < 60
    assert (event["run_id"], event["status"], event["word"], event["webhooks"]) == ("r-1", "success", "completed", 2)
    for each in ("connections", "connections/oa", "connections/oa/events", "connections/oa/waiting"):
        assert "hush" not in json.dumps(asked(client, each))


def test_hostile_names_are_data(client: TestClient) -> None:
    body = json.dumps({"event": HOSTILE, "run_id": HOSTILE, "status": HOSTILE}).encode()
    assert client.post("/webhooks/oa", content=body, headers=signed("oa", body)).status_code == 200
    client.cookies.set("_token", "ada")
    answer = client.get("/page/api/connections/oa/events")
    assert answer.headers["Content-Type"] == "application/json"
    (event,) = answer.json()["events"]
    assert event["word"] == HOSTILE  # as text; the script makes no HTML of it
    assert event["run_id"] is None


def test_a_run_leads_to_its_vendor(client: TestClient) -> None:
    deliver(client, "nen", "m-1", "processing")
    (event,) = asked(client, "connections/nen/events")["events"]
    assert event["run_url"] == "https://app.getnen.ai/runs/m-1"


@pytest.mark.parametrize(
    "params", [{"before": "x"}, {"before": "-1"}, {"before": "9" * 30}, {"status": "odd"}, {"before": "٣"}]
)
def test_nonsense_is_refused(client: TestClient, params: dict[str, str]) -> None:
    client.cookies.set("_token", "ada")
    assert client.get("/page/api/connections/nen/events", params=params).status_code == 422


def test_an_id_that_no_run_can_have_is_not_looked_for(client: TestClient) -> None:
    assert asked(client, "connections/nen/events", run="' OR 1=1 --") == {"events": [], "next": None}


MANY = 100_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A table with 100,000 runs, every thousandth of which failed; only the oldest has the event 'rare'."""
    path = tmp_path_factory.mktemp("many") / "events.db"
    store = Store(create_engine(f"sqlite:///{path}"), Fernet(Fernet.generate_key()))  # type: ignore[arg-type]
    rows = [
        {
            "id": n,
            "conn_id": "nen",
            "run_id": f"m-{n}",
            "kind": "workflow",
            "event": "rare" if n == 1 else None,
            "status": "failed" if n % 1000 == 0 else "success",
            "word": "failed" if n % 1000 == 0 else "success",
            "payload": b"x",
            "digest": "d",
            "kept": 1,
            "seq": n,
            "deliveries": 1,
            "received_at": 1000.0 + n,
            "first_at": 990.0 + n,
        }
        for n in range(1, MANY + 1)
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(runs), rows)
    return store


class Counted:
    """A database connection that counts the rows that are read through it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.rows = 0

    def execute(self, query: Any) -> Any:
        result = self._connection.execute(query)
        frozen = result.freeze()
        self.rows += len(frozen().all())
        return frozen()


def test_a_page_of_many_reads_as_many_rows_as_it_shows(many: Store) -> None:
    with many.engine.connect() as connection:
        counted: Any = Counted(connection)
        first, after = reads.events(counted, "nen", None, reads.Filters())
        second, _ = reads.events(counted, "nen", after, reads.Filters())
    assert [event["run_id"] for event in first] == [f"m-{n}" for n in range(MANY, MANY - reads.PAGE, -1)]
    assert second[0]["run_id"] == f"m-{MANY - reads.PAGE}"
    assert counted.rows <= 2 * (reads.PAGE + 1)


def test_no_request_looks_through_more_rows_than_its_bound_and_the_next_goes_on(many: Store) -> None:
    before, found, requests = None, [], 0
    with many.engine.connect() as connection:
        while True:
            counted: Any = Counted(connection)
            page, before = reads.events(counted, "nen", before, reads.Filters(event="RAR"))
            assert counted.rows <= reads.SCAN
            found += page
            requests += 1
            if before is None:
                break
    assert [event["run_id"] for event in found] == ["m-1"]
    assert requests <= MANY // reads.SCAN + 1


def test_paging_with_a_filter_finds_each_once(many: Store) -> None:
    before, found = None, []
    with many.engine.connect() as connection:
        while True:
            page, before = reads.events(connection, "nen", before, reads.Filters(status="failed"))
            found += [event["run_id"] for event in page]
            if before is None:
                break
    assert found == [f"m-{n}" for n in range(MANY, 0, -1000)]


def test_a_run_is_found_by_its_id_through_an_index(many: Store) -> None:
    with many.engine.connect() as connection:
        counted: Any = Counted(connection)
        (event,), after = reads.events(counted, "nen", None, reads.Filters(run="m-7"))
    assert (event["run_id"], after, counted.rows) == ("m-7", None, 1)


def test_the_rest_of_the_page_is_bounded_too(many: Store) -> None:
    with many.engine.connect() as connection:
        counted: Any = Counted(connection)
        (times,) = reads.durations(counted, "nen")
        assert reads.seen_connections(counted) == ["nen"]
    assert times == {"kind": "workflow", "number": reads.TIMED, "median": 10.0, "p95": 10.0}
    assert counted.rows <= reads.TIMED + 2


def test_the_95th_percentile_is_that(store: Store) -> None:
    rows = [
        {"id": n, "conn_id": "nen", "run_id": f"m-{n}", "kind": "workflow", "status": "success", "word": "success"}
        | {
            "payload": b"",
            "digest": "d",
            "kept": 1,
            "seq": n,
            "deliveries": 2,
            "first_at": 0.0,
            "received_at": float(n),
        }
        for n in range(1, 101)
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(runs), rows)
        (times,) = reads.durations(connection, "nen")
    assert (times["median"], times["p95"]) == (50.0, 95.0)


def test_refusals_are_counted_by_a_reason_to_act_on(client: TestClient, receiver: Receiver, store: Store) -> None:
    body = body_of("nenai", "m-1", "success")
    senders_digest = "sha256=" + "0" * 64
    reasons = {
        "other_secret": {"X-Hmac-Signature": senders_digest},
        "unsigned": {},
        "malformed": {"X-Hmac-Signature": "sha256=odd"},
    }
    for headers in reasons.values():
        assert client.post("/webhooks/nen", content=body, headers=headers).status_code == 401
    assert client.post("/webhooks/nen", content=b"{", headers=signed("nen", b"{")).status_code == 400
    deliver(client, "nen", "m-1", "success")
    deliver(client, "nen", "m-1", "success")
    receiver.tally.flush()
    answer = asked(client, "connections/nen")
    assert {each["reason"]: each["number"] for each in answer["refusals"]} == {
        **dict.fromkeys(reasons, 1),
        "bad_payload": 1,
    }
    assert all(each["means"] for each in answer["refusals"])
    for bars in (answer["chart"]["hour"], answer["chart"]["day"]):
        sums = {what: sum(bar[what] for bar in bars) for what in ("accepted", "repeated", "refused")}
        assert sums == {"accepted": 1, "repeated": 1, "refused": 4}
    (nen, _) = asked(client, "connections")["connections"]
    assert (nen["accepted"], nen["repeated"], nen["refused"]) == (1, 1, 4)


def test_names_that_strangers_think_of_are_not_kept(store: Store) -> None:
    reasons = {"bare": "no_secret", "fs": "not_ours", "nen": None}
    tally = Tally(store, why=lambda conn_id: reasons.get(conn_id, "no_connection"), clock=lambda: 6000.0)
    for name in ("bare", "fs", "x1", "x2", "bad/name", "a" * 999):
        tally.count(name, "nobody")
    for name in ("x3", "nen"):
        tally.count(name, "too_large")
    for n in range(1000):
        tally.count(f"many-{n}", "nobody")
    tally.flush()
    with store.engine.connect() as connection:
        rows = {(row.conn_id, row.what): row.number for row in connection.execute(tallies.select())}
    assert rows == {
        ("bare", "no_secret"): 1,
        ("fs", "not_ours"): 1,
        ("nen", "too_large"): 1,
        ("", "too_large"): 1,
        ("", "no_connection"): 1004,
    }


def test_two_servers_count_into_the_same_rows_and_old_ones_go(store: Store) -> None:
    now = [6000.0]
    first, second = (Tally(store, clock=lambda: now[0]) for _ in range(2))
    for tally in (first, second, first):
        tally.count("nen", "accepted")
        tally.flush()
    with store.engine.connect() as connection:
        assert [row.number for row in connection.execute(tallies.select())] == [3]
    now[0] += 9 * 86400
    second.count("nen", "repeated")
    second.flush()
    with store.engine.connect() as connection:
        assert [row.what for row in connection.execute(tallies.select())] == ["repeated"]


def test_strangers_requests_are_told_to_those_who_may_see_any_connection(
    client: TestClient, receiver: Receiver
) -> None:
    client.post("/webhooks/nonsense", content=b"{}")
    receiver.tally._why = lambda conn_id: "no_connection"
    receiver.tally.flush()
    told = {user: asked(client, "connections", user)["attention"] for user in ("ada", "bob")}
    assert len(told["ada"]) == 1
    assert "a connection that Airflow does not have" in told["ada"][0]
    assert told["bob"] == []


def test_who_waits_is_shown_with_links_until_he_waits_no_more(client: TestClient, store: Store) -> None:
    waits = Waits(store)
    task = {"dag_id": "a dag/&", "dag_run_id": "manual__1+2", "task_id": "t", "map_index": 3}
    waits.tell(
        "nen", [Wait("workflow", "m-1", "ref-1", time.time() - 90, **task), Wait("workflow", "m-2", None, 5.0)], []
    )
    deliver(client, "nen", "m-1", "processing")
    second, first = asked(client, "connections/nen/waiting")["waiting"]
    assert second["run_id"] == "m-2"
    assert first["task"] == "a dag/&.t [3]"
    assert first["task_url"].endswith("/dags/a%20dag%2F%26/runs/manual__1%2B2/tasks/t/mapped/3")
    assert (first["run_url"], first["note"]) == ("https://app.getnen.ai/runs/m-1", "processing")
    assert "ref-1" not in json.dumps(first)
    assert [each["waiting"] for each in asked(client, "connections")["connections"]] == [2, 0]
    waits.tell("nen", [], ["workflow:m-1"])
    assert [each["run_id"] for each in asked(client, "connections/nen/waiting")["waiting"]] == ["m-2"]


def test_a_wait_that_nobody_says_again_is_over(client: TestClient, store: Store) -> None:
    Waits(store, clock=lambda: time.time() - 1000).tell("nen", [Wait("workflow", "m-1", None, 5.0)], [])
    assert asked(client, "connections/nen/waiting") == {"waiting": [], "next": None}


def test_what_of_the_plan_is_left_is_shown_as_long_as_it_is_true(client: TestClient, store: Store) -> None:
    def plan() -> list[tuple[str, int, int]]:
        return [(each["period"], each["spent"], each["limit"]) for each in asked(client, "connections/oa")["plan"]]

    assert plan() == []
    told = [Spent(86_400, 230, 10_000), Spent(60, 12, 60)]
    for ago, left in ((30, [("minute", 12, 60), ("day", 230, 10_000)]), (90, [("day", 230, 10_000)]), (86_500, [])):
        Waits(store, clock=lambda ago=ago: time.time() - ago).tell("oa", [], [], told)  # type: ignore[misc]
        assert plan() == left
    assert asked(client, "connections/nen")["plan"] == []


def test_waits_are_paged(client: TestClient, store: Store) -> None:
    waits = Waits(store)
    for start in range(0, 120, 60):
        waits.tell("nen", [Wait("workflow", f"m-{n}", None, 1000.0 + n // 7) for n in range(start, start + 60)], [])
    after, found = None, []
    while True:
        answer = asked(client, "connections/nen/waiting", **({"after": after} if after else {}))
        found += [each["run_id"] for each in answer["waiting"]]
        if (after := answer["next"]) is None:
            break
    assert sorted(found) == sorted(f"m-{n}" for n in range(120))
    assert client.get("/page/api/connections/nen/waiting", params={"after": "odd"}).status_code == 422


def needs(client: TestClient) -> str:
    return "\n".join(asked(client, "connections")["attention"])


def test_a_start_without_a_reply_needs_a_person_until_a_webhook_tells_of_it(client: TestClient, store: Store) -> None:
    lost = Wait("workflow", None, "ref-9", 5.0, "dag", "run", "task", -1, lost=True)
    Waits(store, clock=lambda: time.time() - 86400).tell("nen", [lost], [])
    assert "nen: A start by dag.task got no reply" in needs(client)
    body = body_of("nenai", "m-9", "processing")
    client.post("/webhooks/nen?ref=ref-9", content=body, headers=signed("nen", body))
    assert "no reply" not in needs(client)


def test_silence_is_told_while_somebody_waits(client: TestClient, store: Store) -> None:
    waits = Waits(store)
    waits.tell("nen", [Wait("workflow", "m-1", None, time.time() - 60)], [])
    assert needs(client) == ""
    waits.tell("nen", [Wait("workflow", "m-2", None, time.time() - 3600)], [])
    assert "nen: Silent" in needs(client)
    deliver(client, "nen", "m-1", "processing")
    assert "Silent" not in needs(client)


def test_a_run_is_overdue_by_what_its_kind_takes(client: TestClient, store: Store) -> None:
    now = time.time()
    rows = [
        {"id": n, "conn_id": "nen", "run_id": f"m-{n}", "kind": "workflow", "status": "success", "word": "success"}
        | {
            "payload": b"",
            "digest": "d",
            "kept": 1,
            "seq": n,
            "deliveries": 2,
            "first_at": now - 100,
            "received_at": now,
        }
        for n in range(1, 11)
    ]
    with store.engine.begin() as connection:
        connection.execute(insert(runs), rows)
    waits = Waits(store)
    waits.tell("nen", [Wait("workflow", "w-1", None, now - 150)], [])
    assert "twice as long" not in needs(client)
    waits.tell("nen", [Wait("workflow", "w-2", None, now - 250), Wait("workflow", "w-3", None, now - 900)], [])
    assert "nen: Waited for twice as long as 95 % of workflow runs take: 2" in needs(client)


def test_runs_under_way_for_which_nobody_waits_are_told(client: TestClient, store: Store) -> None:
    store._clock = lambda: time.time() - 700
    for n in range(3):
        deliver(client, "nen", f"m-{n}", "processing")
    deliver(client, "nen", "selftest-1", "processing")
    deliver(client, "nen", "m-ended", "success")
    assert "no task waits" not in needs(client)  # nobody says that he waits at all: that tells nothing
    Waits(store).tell("nen", [Wait("workflow", "m-1", None, time.time() - 60)], [])
    assert "nen: Runs under way for which no task waits: 2" in needs(client)


@pytest.mark.parametrize(("map_index", "shown"), [(None, "a.t"), (-1, "a.t"), (0, "a.t [0]"), (1, "a.t [1]")])
def test_a_task_is_shown_with_its_map_index_where_it_has_one(
    client: TestClient, store: Store, map_index: int | None, shown: str
) -> None:
    task: dict[str, Any] = {"dag_id": "a", "dag_run_id": "r", "task_id": "t", "map_index": map_index}
    Waits(store).tell("nen", [Wait("workflow", "m-1", None, time.time(), **task)], [])
    (wait,) = asked(client, "connections/nen/waiting")["waiting"]
    assert wait["task"] == shown


@pytest.mark.parametrize(("table", "keep"), [(waits, 900), (waits, 7 * 86_400), (spent, 86_400)])
def test_what_is_told_is_deleted_when_nobody_has_said_it_again_for_so_long(
    store: Store, table: Table, keep: int
) -> None:
    now = 1_000_000.0
    told = Waits(store, clock=lambda: now)
    told.tell("nen", [Wait("workflow", None, "ref", lost=keep > 900)], [], [Spent(60, 1, 2)])
    kept = []
    for later in (keep, 1):
        now += later
        told.tell("another", [], [])
        with store.engine.connect() as connection:
            kept.append([row.conn_id for row in connection.execute(table.select())])
    assert kept == [["nen"], []]


def test_so_many_connections_are_looked_for(store: Store) -> None:
    for conn_id in ("c", "a", "b"):
        store.record([Delivery(conn_id, Message("m", "success"), store.seal(b"{}"), "digest")])
    with store.engine.connect() as connection:
        assert [reads.seen_connections(connection, limit) for limit in (2, 3, 4)] == [["a", "b"], [*"abc"], [*"abc"]]


def test_why_a_connection_can_send_no_webhooks(monkeypatch: pytest.MonkeyPatch) -> None:
    for conn_id, connection in {
        "nen": {"conn_type": "nenai", "extra": {"webhook_secret": "s3cret"}},
        "oa": {"conn_type": "openanalyst", "extra": {"webhook_secret": "s3cret"}},
        "bare": {"conn_type": "nenai"},
        "files": {"conn_type": "fs", "extra": {"webhook_secret": "s3cret"}},
    }.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    reasons = {conn_id: why_not(conn_id) for conn_id in ("nen", "oa", "bare", "files", "missing")}
    assert reasons == {"nen": None, "oa": None, "bare": "no_secret", "files": "not_ours", "missing": "no_connection"}


def test_a_run_that_nobody_has_named_is_one(client: TestClient) -> None:
    for conn_id, body in (
        ("nen", {"success": True, "result": {}}),
        ("nen", []),
        ("oa", {"event": "report.completed", "data": {"id": "rpt_1"}}),
    ):
        content = json.dumps(body).encode()
        assert client.post(f"/webhooks/{conn_id}", content=content, headers=signed(conn_id, content)).status_code == 200
    found = {
        conn_id: [(each["is_run"], each["kind"]) for each in asked(client, f"connections/{conn_id}/events")["events"]]
        for conn_id in ("nen", "oa")
    }
    assert found == {"nen": [(False, None), (True, "workflow")], "oa": [(False, None)]}
