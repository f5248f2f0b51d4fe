from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
import responses
from responses import matchers

from airflow_provider_nenoa.exceptions import InvalidArgument, ReceiverUnavailable
from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.webhooks.client import BATCH, ReceiverClient, callback_url, receiver_url

SECRET = "the secret that the vendor and we share"
BASE = "http://airflow.test/nenoa"
API = f"{BASE}/api/v1/connections/my_conn"
RUN = {
    "run_id": "m-1",
    "ref": "r",
    "status": "success",
    "word": "completed",
    "seq": 5,
    "deliveries": 2,
    "received_at": 1700000000.5,
    "error": None,
    "payload": {"answer": 42},
    "expires_at": None,
    "new field": "of a newer receiver",
}
EVENTS = {"cursor": 5, "events": [RUN], "more": False}


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as web:
        yield web


@pytest.fixture
def client() -> ReceiverClient:
    return ReceiverClient("my_conn", SECRET, BASE, retry_for=0)


def test_a_run_is_read(web: responses.RequestsMock, client: ReceiverClient) -> None:
    web.get(f"{API}/runs/m-1", json=RUN)
    run = client.run("m-1")
    assert run is not None
    assert (run.run_id, run.status, run.word, run.payload) == ("m-1", RunStatus.SUCCESS, "completed", {"answer": 42})
    assert (run.run.run_id, run.run.status, run.run.payload) == ("m-1", RunStatus.SUCCESS, {"answer": 42})


def test_a_run_that_is_not_known_is_none(web: responses.RequestsMock, client: ReceiverClient) -> None:
    for path in ("runs/m-1", "refs/m-1"):
        web.get(f"{API}/{path}", json={"error": "unknown_run"}, status=404)
    assert client.run("m-1") is None
    assert client.by_ref("m-1") is None


def test_the_wait_is_asked_for_and_allowed_for(
    web: responses.RequestsMock, client: ReceiverClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    timeouts = []
    monkeypatch.setattr(
        requests.Session, "get", lambda self, url, **kw: timeouts.append((kw["params"], kw["timeout"])) or _reply(RUN)
    )
    client.run("m-1", wait=20)
    client.run("m-1", wait=0.5)
    client.run("m-1")
    assert timeouts == [({"wait": "20"}, (5.0, 30.0)), ({"wait": "0.5"}, (5.0, 10.5)), ({}, (5.0, 10.0))]


def _reply(body: Any) -> requests.Response:
    reply = requests.Response()
    reply.status_code = 200
    reply._content = json.dumps(body).encode()
    return reply


def test_many_runs_are_asked_for_in_batches(web: responses.RequestsMock, client: ReceiverClient) -> None:
    ids = [f"m-{number}" for number in range(BATCH * 2 + 2)]
    for start in range(0, len(ids), BATCH):
        web.get(
            f"{API}/runs",
            json={"runs": [{**RUN, "run_id": ids[start]}, {**RUN, "run_id": "x", "status": "running"}]},
            match=[matchers.query_param_matcher({"id": ids[start : start + BATCH]})],
        )
    assert len(client.runs(ids)) == 6
    assert [run.run_id for run in client.ended(ids)] == [ids[0], ids[BATCH], ids[2 * BATCH]]
    assert client.runs([]) == []


def test_events_are_read(web: responses.RequestsMock, client: ReceiverClient) -> None:
    web.get(f"{API}/events", json={"cursor": 9, "events": [], "more": False}, match=[matchers.query_param_matcher({})])
    web.get(f"{API}/events", json=EVENTS, match=[matchers.query_param_matcher({"after": "4", "wait": "2.5"})])
    assert client.events().cursor == 9
    events = client.events(after=4, wait=2.5)
    assert (events.cursor, events.more, events.events[0].run_id) == (5, False, "m-1")


def test_each_request_is_signed_anew_and_for_its_connection_only(
    web: responses.RequestsMock, client: ReceiverClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine airflow.test login user password hunter22")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert requests.utils.get_netrc_auth(BASE) == ("user", "hunter22")
    web.get(f"{API}/events", json=EVENTS)
    client.check()
    kind, token = web.calls[0].request.headers["Authorization"].split(" ")
    assert kind == "Bearer"
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience="my_conn")
    assert 0 < claims["exp"] - time.time() <= 60


@pytest.mark.parametrize(
    ("reply", "names"),
    [
        ({"body": requests.ConnectionError("refused")}, "receiver_url"),
        ({"body": requests.ReadTimeout("slow")}, "receiver_url"),
        ({"status": 401, "json": {"error": "unauthorized"}}, "webhook_secret"),
        ({"status": 503, "json": {"error": "unavailable"}}, "log of the API server"),
        ({"status": 502, "body": "<html>"}, "not available"),
        ({"status": 200, "body": "<html>Airflow"}, "is installed"),
        ({"status": 404, "json": {"detail": "Not Found"}}, "is installed"),
        ({"status": 404, "json": {"error": "unknown_run"}}, "is not the webhook receiver"),
        ({"status": 302, "headers": {"Location": "https://login.test"}}, "is not the webhook receiver"),
        ({"status": 200, "json": ["a list"]}, "is not the webhook receiver"),
        ({"status": 500, "body": "oops"}, "is not the webhook receiver"),
    ],
)
def test_what_goes_wrong_is_told_with_the_setting_to_change(
    web: responses.RequestsMock, client: ReceiverClient, reply: dict[str, Any], names: str
) -> None:
    web.get(f"{API}/events", **reply)
    with pytest.raises(ReceiverUnavailable, match=names) as caught:
        client.check()
    assert SECRET not in str(caught.value)
    assert BASE in str(caught.value)


def test_what_each_status_means(web: responses.RequestsMock, client: ReceiverClient) -> None:
    says = {401: "refused the webhook_secret", **dict.fromkeys((429, 502, 503, 504), "is not available: status ")}
    for status in (201, 202, 203, 206, *range(300, 304), *range(305, 600)):
        web.upsert(responses.GET, f"{API}/events", status=status, json=EVENTS)
        with pytest.raises(
            ReceiverUnavailable, match=says.get(status, rf"not the webhook receiver \(status {status}, ")
        ):
            client.check()


@pytest.mark.parametrize(
    "first", [{"body": requests.ConnectionError()}, {"status": 503}, {"status": 502}, {"status": 504}, {"status": 429}]
)
def test_a_short_outage_is_not_seen(
    web: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, first: dict[str, Any]
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    web.get(f"{API}/events", **first)
    web.get(f"{API}/events", json=EVENTS)
    ReceiverClient("my_conn", SECRET, BASE).check()


def test_a_refused_secret_is_not_tried_again(web: responses.RequestsMock) -> None:
    refusal = web.get(f"{API}/events", status=401, json={})
    with pytest.raises(ReceiverUnavailable):
        ReceiverClient("my_conn", SECRET, BASE).check()
    assert refusal.call_count == 1


@pytest.mark.parametrize("run_id", ["", "a/b", "a b", "ü", "x" * 201, "../x"])
def test_what_cannot_be_an_id_is_an_error_at_once(client: ReceiverClient, run_id: str) -> None:
    for ask in (client.run, client.by_ref):
        with pytest.raises(InvalidArgument):
            ask(run_id)


def test_ids_are_quoted(web: responses.RequestsMock) -> None:
    path = web.get(f"{BASE}/api/v1/connections/c%23%21%28%29/runs/a%2Bb~%3D%40", json=RUN)
    assert ReceiverClient("c#!()", SECRET, BASE).run("a+b~=@")
    assert path.call_count == 1


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("NENOA__WEBHOOK_BASE_URL", "NENOA__RECEIVER_URL", "API__BASE_URL", "CORE__EXECUTION_API_SERVER_URL"):
        monkeypatch.delenv(f"AIRFLOW__{name}", raising=False)

    def configure(**options: str) -> None:
        for name, value in options.items():
            monkeypatch.setenv(f"AIRFLOW__{name}", value)

    return configure


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"NENOA__RECEIVER_URL": "http://internal:1/x/"}, "http://internal:1/x"),
        ({"CORE__EXECUTION_API_SERVER_URL": "http://api:8080/execution/"}, "http://api:8080/nenoa"),
        ({"CORE__EXECUTION_API_SERVER_URL": "http://api:8080/af/execution"}, "http://api:8080/af/nenoa"),
        ({"CORE__EXECUTION_API_SERVER_URL": "http://a/execution", "API__BASE_URL": "https://b"}, "http://a/nenoa"),
        ({"API__BASE_URL": "https://airflow.example.com/"}, "https://airflow.example.com/nenoa"),
        ({"API__BASE_URL": "https://example.com/airflow"}, "https://example.com/airflow/nenoa"),
        ({"API__BASE_URL": ""}, "http://localhost:8080/nenoa"),
        ({"API__BASE_URL": "/"}, "http://localhost:8080/nenoa"),
        ({"API__BASE_URL": "/airflow"}, "http://localhost:8080/airflow/nenoa"),
        ({}, "http://localhost:8080/nenoa"),
    ],
)
def test_where_our_components_find_the_receiver(configured: Any, options: dict[str, str], url: str) -> None:
    configured(**options)
    assert receiver_url() == url
    assert ReceiverClient("c", SECRET).base_url == url


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({"NENOA__WEBHOOK_BASE_URL": "https://hooks.example.com/nenoa/"}, "https://hooks.example.com/nenoa"),
        ({"API__BASE_URL": "https://example.com/airflow/"}, "https://example.com/airflow/nenoa"),
        ({"NENOA__WEBHOOK_BASE_URL": "https://a", "API__BASE_URL": "https://b"}, "https://a"),
    ],
)
def test_where_vendors_find_the_receiver(configured: Any, options: dict[str, str], url: str) -> None:
    configured(**options)
    assert callback_url("my conn#".replace(" ", "_"), "ref-1") == f"{url}/webhooks/my_conn%23?ref=ref-1"


@pytest.mark.parametrize("base_url", ["", "/", "/airflow"])
def test_without_a_public_address_the_setting_is_named(configured: Any, base_url: str) -> None:
    configured(API__BASE_URL=base_url, CORE__EXECUTION_API_SERVER_URL="http://api/execution/")
    with pytest.raises(ReceiverUnavailable, match="webhook_base_url"):
        callback_url("c", "ref")


@pytest.mark.parametrize("address", ["airflow.example.com", "ftp://x", "https://", "/nenoa"])
def test_half_an_address_is_an_error(configured: Any, address: str) -> None:
    configured(NENOA__WEBHOOK_BASE_URL=address, NENOA__RECEIVER_URL=address)
    with pytest.raises(ReceiverUnavailable, match="webhook_base_url"):
        callback_url("c", "ref")
    with pytest.raises(ReceiverUnavailable, match="receiver_url"):
        receiver_url()


@pytest.mark.parametrize("conn_id", ["", "a/b", "a b"])
def test_a_connection_that_a_url_cannot_name_is_an_error(configured: Any, conn_id: str) -> None:
    configured(API__BASE_URL="https://b")
    with pytest.raises(InvalidArgument):
        callback_url(conn_id, "ref")
    with pytest.raises(InvalidArgument):
        ReceiverClient(conn_id, SECRET)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"cursor": 1},
        {"cursor": 1, "events": None, "more": False, "runs": 7},
        {"cursor": 1, "events": [1], "more": False, "runs": [None]},
        {"cursor": 1, "events": [{**RUN, "status": "odd"}], "more": False, "runs": [{**RUN, "status": 1}]},
    ],
)
def test_an_answer_with_other_fields_is_not_the_receivers(
    web: responses.RequestsMock, client: ReceiverClient, body: dict[str, Any]
) -> None:
    for path in ("events", "runs", "runs/m-1", "refs/m-1"):
        web.get(f"{API}/{path}", json=body)
    for ask in (client.events, lambda: client.runs(["m-1"]), lambda: client.run("m-1"), lambda: client.by_ref("m-1")):
        with pytest.raises(ReceiverUnavailable, match="is not the webhook receiver"):
            ask()
