from __future__ import annotations

import email.utils
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st
from urllib3.exceptions import MaxRetryError, SSLError

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AirflowException,
    AirflowFailException,
    AuthenticationError,
    ConnectionFailed,
    InvalidConnection,
    InvalidReply,
    InvalidRequest,
    NenoaError,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    StartOutcomeUnknown,
)
from airflow_provider_nenoa.http import ApiKeyAuth, HttpApi, check_base_url, retry_after_seconds
from tests.unit.conftest import API_KEY, Logged, requests_to

BASE = "https://api.vendor.test/v1"
START = {"agent_id": "a", "task": "t"}

REFUSALS = {
    302: InvalidRequest,
    400: InvalidRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: InvalidRequest,
    422: InvalidRequest,
}
TROUBLES = {429: RateLimited, 500: ServerError, 502: ServerError, 503: ServerError, 504: ServerError}


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as web:
        yield web


def make_api(base_url: str = BASE, **options: Any) -> HttpApi:
    return HttpApi("Vendor", base_url, ApiKeyAuth("Authorization", f"Bearer {API_KEY}"), secrets=[API_KEY], **options)


@pytest.fixture
def api(sleeps: list[float]) -> HttpApi:
    return make_api()


@pytest.fixture
def emulated(emulator: Emulator, sleeps: list[float]) -> HttpApi:
    return make_api(emulator.openanalyst_url)


@pytest.fixture
def nobody() -> str:
    """A base URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"


# What is repeated, and what is not


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("method", ["get", "start"])
def test_a_refusal_is_final(
    web: responses.RequestsMock, api: HttpApi, sleeps: list[float], method: str, status: int
) -> None:
    web.add(responses.GET, f"{BASE}/x", status=status, json={})
    web.add(responses.POST, f"{BASE}/x", status=status, json={})
    with pytest.raises(REFUSALS[status]) as caught:
        api.get("/x") if method == "get" else api.start("/x", START)
    assert isinstance(caught.value, AirflowFailException), "Airflow would retry it"
    assert caught.value.http_status == status
    assert len(web.calls) == 1
    assert sleeps == []


@pytest.mark.parametrize("status", TROUBLES)
def test_a_get_is_repeated(web: responses.RequestsMock, api: HttpApi, sleeps: list[float], status: int) -> None:
    for _ in range(3):
        web.add(responses.GET, f"{BASE}/x", status=status)
    web.add(responses.GET, f"{BASE}/x", json={"it": "works"})
    assert api.get("/x") == {"it": "works"}
    assert len(sleeps) == 3


@pytest.mark.parametrize("status", TROUBLES)
def test_a_get_is_given_up_in_the_end(
    web: responses.RequestsMock, api: HttpApi, sleeps: list[float], status: int
) -> None:
    web.add(responses.GET, f"{BASE}/x", status=status)
    with pytest.raises(TROUBLES[status]) as caught:
        api.get("/x")
    assert not isinstance(caught.value, AirflowFailException), "Airflow's own retries come after"
    assert 10 < len(web.calls) < 200
    assert 200 < sum(sleeps) <= 300


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "drop_body"])
def test_a_get_whose_connection_breaks_is_repeated(
    emulator: Emulator, emulated: HttpApi, sleeps: list[float], fault: str
) -> None:
    emulator.control.fault(fault, times=2)
    assert len(emulated.get("/datasets")["data"]) == 3
    assert len(sleeps) == 2
    assert requests_to(emulator) == {"GET /v1/datasets": 3}


def test_a_get_that_is_not_answered_in_time_is_repeated(emulator: Emulator, sleeps: list[float]) -> None:
    emulator.control.fault("slow", seconds=5)
    assert make_api(emulator.openanalyst_url, timeout=0.1).get("/datasets")["data"]
    assert len(sleeps) == 1


def test_where_nobody_listens(nobody: str, sleeps: list[float]) -> None:
    sent: list[None] = []
    api = make_api(nobody)
    with pytest.raises(ConnectionFailed, match=rf"at {nobody}: .*Connection refused\. Check the connection's host"):
        api.get("/x")
    # Nobody can have acted on it, so even a start is sent again.
    tries = len(sleeps)
    with pytest.raises(ConnectionFailed, match="Connection refused"):
        api.start("/x", START, before_send=lambda: sent.append(None))
    assert len(sent) == len(sleeps) - tries + 1 > 10


@pytest.mark.parametrize(("status", "headers"), [(429, {}), (429, {"Retry-After": "7"}), (503, {"Retry-After": "7"})])
def test_a_start_is_repeated_if_the_vendor_did_not_act(
    emulator: Emulator, emulated: HttpApi, sleeps: list[float], status: int, headers: dict[str, str]
) -> None:
    emulator.control.fault("status", status=status, headers=headers, times=2)
    sent: list[None] = []
    assert emulated.start("/agents/run", START, before_send=lambda: sent.append(None))["run_id"]
    assert emulator.control.counts() == {
        "POST /v1/agents/run": 3,
        "runs_started": {"agent": 1, "query": 0, "workflow": 0},
    }
    assert len(sent) == 3
    if headers:
        assert all(7 <= seconds <= 10 for seconds in sleeps)


UNCLEAR: dict[str, dict[str, Any]] = {
    "dropped before": {"kind": "drop_before"},
    "dropped after": {"kind": "drop_after"},
    "half a body": {"kind": "drop_body"},
    "truncated JSON": {"kind": "truncate"},
    "not JSON": {"kind": "not_json"},
    "500": {"kind": "status", "status": 500},
    "500 although acted on": {"kind": "status", "status": 500, "acted": True},
    "502": {"kind": "status", "status": 502},
    "503 without Retry-After": {"kind": "status", "status": 503},
    "504": {"kind": "status", "status": 504},
    "a list": {"kind": "status", "status": 200, "body": [1]},
    "too late": {"kind": "slow", "seconds": 5},
}


@pytest.mark.parametrize("fault", UNCLEAR.values(), ids=UNCLEAR)
def test_a_start_without_a_clear_answer_is_never_repeated(
    emulator: Emulator, sleeps: list[float], fault: dict[str, Any]
) -> None:
    emulator.control.fault(**fault)
    api = make_api(emulator.openanalyst_url, timeout=0.1 if fault["kind"] == "slow" else 60)
    with pytest.raises(StartOutcomeUnknown, match=r"may or may not have acted on POST /agents/run.*not sent again"):
        api.start("/agents/run", START)
    assert requests_to(emulator) == {"POST /v1/agents/run": 1}
    assert sleeps == []


def test_what_went_wrong_is_told_in_the_vendors_words(emulator: Emulator, emulated: HttpApi) -> None:
    emulator.control.fault(
        "status", status=500, body={"error": {"code": "BOOM", "message": "m"}, "request_id": "req_1"}
    )
    with pytest.raises(StartOutcomeUnknown, match=r"500 to POST /v1/agents/run: BOOM: m .request id req_1.") as caught:
        emulated.start("/agents/run", START)
    assert (caught.value.http_status, caught.value.code, caught.value.request_id) == (500, "BOOM", "req_1")
    emulator.control.fault("drop_after")
    with pytest.raises(StartOutcomeUnknown) as caught:
        emulated.start("/agents/run", START)
    assert "0x" not in str(caught.value), "an address of an object tells nobody anything"


def test_a_certificate_that_is_not_believed_means_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch, sleeps: list[float]
) -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")
    for reason, expected in [(SSLError(cause), ConnectionFailed), (SSLError("bad record"), StartOutcomeUnknown)]:
        error = requests.exceptions.SSLError(MaxRetryError(None, "/", reason))  # type: ignore[arg-type]
        monkeypatch.setattr(requests.Session, "send", lambda *args, error=error, **kwargs: _throw(error))
        with pytest.raises(expected):
            make_api(retry_for=0).start("/x", START)


def test_a_proxy_that_fails_means_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch, nobody: str, sleeps: list[float]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", nobody)
    with pytest.raises(ConnectionFailed):
        make_api(retry_for=0).start("/x", START)


def _throw(error: Exception) -> Any:
    raise error


def test_one_try_where_no_time_is_given(web: responses.RequestsMock, sleeps: list[float]) -> None:
    web.add(responses.GET, f"{BASE}/x", status=500)
    with pytest.raises(ServerError):
        make_api(retry_for=0).get("/x")
    assert len(web.calls) == 1


def test_a_wait_that_would_be_in_vain_is_not_begun(
    web: responses.RequestsMock, api: HttpApi, sleeps: list[float]
) -> None:
    web.add(responses.GET, f"{BASE}/x", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(RateLimited, match=r"listen again in 3600 s") as caught:
        api.get("/x")
    assert caught.value.retry_after == 3600
    assert sleeps == []


def test_each_repetition_is_announced(web: responses.RequestsMock, api: HttpApi, logged: Logged) -> None:
    web.add(responses.GET, f"{BASE}/x", status=500)
    web.add(responses.GET, f"{BASE}/x", json={})
    api.get("/x")
    assert "Vendor answered 500 to GET /v1/x" in logged.text
    assert "Trying again in" in logged.text


def test_nothing_goes_out_if_it_cannot_be_announced(emulator: Emulator, emulated: HttpApi) -> None:
    with pytest.raises(ZeroDivisionError):
        emulated.start("/agents/run", START, before_send=lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert requests_to(emulator) == {}


@pytest.mark.parametrize("base_url", ["https://API.Vendor.test", "https://bücher.test/v1", "https://vendor.test:443"])
def test_a_start_is_announced_however_the_host_is_written(web: responses.RequestsMock, base_url: str) -> None:
    web.add(responses.POST, responses.matchers.re.compile(".*/x"), json={})
    sent: list[None] = []
    make_api(base_url).start("/x", START, before_send=lambda: sent.append(None))
    assert len(sent) == 1


# Retry-After


NOW = datetime(2026, 11, 5, 12, 0, tzinfo=UTC)


@given(st.floats(min_value=0, max_value=1e9))
def test_retry_after_in_seconds(seconds: float) -> None:
    assert retry_after_seconds(str(seconds)) == seconds
    assert retry_after_seconds(str(int(seconds))) == int(seconds)


@given(st.integers(-(10**8), 10**8))
def test_retry_after_as_a_date(seconds: int) -> None:
    date = email.utils.format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_seconds(date, NOW) == max(0, seconds)


@given(st.text())
def test_any_retry_after_is_seconds_or_nothing(text: str) -> None:
    seconds = retry_after_seconds(text)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize("text", [None, "", "soon", "nan", "inf", "-inf", "1e999", "Thu, 99 Nov 2026 12:00:00 GMT"])
def test_a_retry_after_that_says_nothing(text: str | None) -> None:
    assert retry_after_seconds(text) is None


def test_a_date_in_retry_after_is_waited_for(web: responses.RequestsMock, api: HttpApi, sleeps: list[float]) -> None:
    date = email.utils.format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    web.add(responses.GET, f"{BASE}/x", status=503, headers={"Retry-After": date})
    web.add(responses.GET, f"{BASE}/x", json={})
    api.get("/x")
    assert 50 < sleeps[0] < 65


@given(
    statuses=st.lists(st.sampled_from(sorted(TROUBLES)), max_size=200),
    retry_after=st.one_of(st.none(), st.integers(0, 400)),
    bound=st.floats(0, 1000),
)
def test_the_waiting_has_a_bound(statuses: list[int], retry_after: int | None, bound: float) -> None:
    slept: list[float] = []
    api = make_api(retry_for=bound, sleep=slept.append)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    with responses.RequestsMock(assert_all_requests_are_fired=False) as web:
        for status in statuses:
            web.add(responses.GET, f"{BASE}/x", status=status, headers=headers)
        web.add(responses.GET, f"{BASE}/x", json={"done": True})
        try:
            assert api.get("/x") == {"done": True}
            assert len(web.calls) == len(statuses) + 1
        except (RateLimited, ServerError):
            pass
        assert len(web.calls) == len(slept) + 1
    assert sum(slept) <= bound
    assert all(seconds >= (retry_after or 0) for seconds in slept)


# Errors in the vendors' forms


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {
                "error": {"code": "DATASET_NOT_FOUND", "message": "No such dataset", "status": 404},
                "request_id": "req_1",
            },
            ("DATASET_NOT_FOUND", "DATASET_NOT_FOUND: No such dataset (request id req_1)", "req_1"),
        ),
        (
            {"error": {"code": "NOT_FOUND", "message": "Gone", "request_id": "req_2"}},
            ("NOT_FOUND", "NOT_FOUND: Gone (request id req_2)", "req_2"),
        ),
        (
            {"error": "Invalid request", "message": "Missing required field: workflow_id"},
            ("Invalid request", "Invalid request: Missing required field: workflow_id", None),
        ),
        ({"error": "just this"}, ("just this", "just this", None)),
        ({"message": "just that"}, (None, "just that", None)),
        ({"error": None, "message": None, "request_id": None}, (None, "no explanation", None)),
        ({"error": {"code": 17, "message": ["a", {"b": 1}]}}, ("17", "17: ['a', {'b': 1}]", None)),
        (["a list"], (None, '["a list"]', None)),
    ],
)
def test_error_bodies(
    web: responses.RequestsMock, api: HttpApi, body: Any, expected: tuple[str | None, str, str | None]
) -> None:
    web.add(responses.GET, f"{BASE}/x", status=404, json=body)
    with pytest.raises(NotFound) as caught:
        api.get("/x")
    code, words, request_id = expected
    assert f"Vendor answered 404 to GET /v1/x: {words}. " in str(caught.value)
    assert (caught.value.code, caught.value.request_id) == (code, request_id)


def test_an_error_body_that_is_no_json(web: responses.RequestsMock, api: HttpApi) -> None:
    web.add(responses.GET, f"{BASE}/x", status=403, body="<h1>Keep out</h1>", headers={"X-Request-Id": "req_3"})
    with pytest.raises(PermissionDenied, match=r"<h1>Keep out</h1> \(request id req_3\)"):
        api.get("/x")


@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.text() | st.floats(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(st.sampled_from(["error", "message", "code", "request_id"]) | st.text(), inner)
            ),
        ).map(lambda body: json.dumps(body).encode()),
    )
)
def test_no_error_body_is_too_odd(body: bytes) -> None:
    with responses.RequestsMock() as web:
        web.add(responses.GET, f"{BASE}/x", status=422, body=body)
        with pytest.raises(InvalidRequest, match="Vendor answered 422 to GET /v1/x: "):
            make_api().get("/x")


def test_a_long_error_is_cut(web: responses.RequestsMock, api: HttpApi) -> None:
    for body in ("x" * 100_000, json.dumps({"error": {"code": "c" * 100_000, "message": "m" * 100_000}})):
        web.add(responses.GET, f"{BASE}/x", status=422, body=body)
        with pytest.raises(InvalidRequest) as caught:
            api.get("/x")
        assert len(str(caught.value)) < 1500


NESTED = "[" * 100_000


@pytest.mark.parametrize("body", ["", "{", "<html>", "NaN!", NESTED, "\ud7ff", b"\xff\xfe\x00"])
def test_a_reply_that_is_no_json(web: responses.RequestsMock, api: HttpApi, body: Any) -> None:
    web.add(responses.GET, f"{BASE}/x", body=body)
    web.add(responses.POST, f"{BASE}/x", body=body)
    with pytest.raises(InvalidReply, match=r"something that is not JSON: .* base URL"):
        api.get("/x")
    with pytest.raises(StartOutcomeUnknown, match="something that is not JSON"):
        api.start("/x", START)


@pytest.mark.parametrize("body", ["null", "[]", "1", '"text"', "true"])
def test_a_reply_that_is_no_object(web: responses.RequestsMock, api: HttpApi, body: str) -> None:
    web.add(responses.GET, f"{BASE}/x", body=body)
    with pytest.raises(InvalidReply, match=r"with a JSON \w+ instead of an object"):
        api.get("/x")


# The key


def test_a_key_that_the_vendor_echoes_is_taken_out(web: responses.RequestsMock, api: HttpApi) -> None:
    said: list[str] = []
    for body in (f"no such key: {API_KEY}", json.dumps({"error": {"code": API_KEY, "message": f"bad {API_KEY}"}})):
        for status in (401, 500):
            web.add(responses.POST, f"{BASE}/x", status=status, body=body)
            with pytest.raises(NenoaError) as caught:
                api.start("/x", START)
            said += [str(caught.value), repr(caught.value), str(caught.value.__context__ or "")]
    web.add(responses.GET, f"{BASE}/y", body=f"not JSON {API_KEY}")
    with pytest.raises(InvalidReply) as caught:
        api.get("/y")
    said.append(str(caught.value))
    assert not any(API_KEY in text for text in said)
    assert any("***" in text for text in said)


def test_no_secret_in_the_log(emulator: Emulator, emulated: HttpApi, logged: Logged) -> None:
    emulator.control.fault("status", status=500, body=f"what is {API_KEY}?")
    emulator.control.fault("drop_before", method="GET")
    emulated.get("/datasets")
    with pytest.raises(NotFound):
        emulated.get("/datasets/none")
    assert logged.text.count("DEBUG") > 3
    assert API_KEY not in logged.text
    assert API_KEY not in repr(emulated) + repr(emulated.auth) + repr(vars(emulated)["_session"])


@pytest.mark.parametrize("location", ["https://evil.test/", "/v1/datasets", "//evil.test/x"])
@pytest.mark.parametrize("method", ["get", "start"])
def test_no_redirect_is_followed(web: responses.RequestsMock, api: HttpApi, location: str, method: str) -> None:
    for verb in (responses.GET, responses.POST):
        web.add(verb, f"{BASE}/x", status=307, headers={"Location": location})
    with pytest.raises(InvalidRequest, match=r"answered 307 .*Redirects are not followed"):
        api.get("/x") if method == "get" else api.start("/x", START)
    assert len(web.calls) == 1


def test_a_netrc_does_not_replace_the_key(
    web: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, api: HttpApi
) -> None:
    (tmp_path / "netrc").write_text("machine api.vendor.test login you password them")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    web.add(responses.GET, f"{BASE}/x", json={})
    api.get("/x")
    assert web.calls[0].request.headers["Authorization"] == f"Bearer {API_KEY}"


def test_certificates_of_the_machine_are_used(
    monkeypatch: pytest.MonkeyPatch, web: responses.RequestsMock, api: HttpApi
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    web.add(responses.GET, f"{BASE}/x", json={})
    api.get("/x")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ours.pem")
    api.get("/x")
    assert [call.request.req_kwargs["verify"] for call in web.calls] == [True, "/etc/ours.pem"]  # type: ignore[attr-defined]


class CountingServer:
    """Answers every request with ``{}`` and counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65536):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def test_a_start_never_goes_over_a_pooled_connection() -> None:
    server = CountingServer()
    api = make_api(server.url)
    for _ in range(3):
        api.get("/x")
    assert server.connections == 1
    for expected in (2, 3, 4):
        api.start("/x", {})
        assert server.connections == expected
    api.get("/x")
    assert server.connections == 4
    api.close()
    server.close()


# What a request looks like


def test_a_request(web: responses.RequestsMock, api: HttpApi) -> None:
    web.add(responses.GET, f"{BASE}/x", json={})
    web.add(responses.POST, f"{BASE}/x", json={})
    api.get("/x", {"page": 2, "after": None})
    api.start("/x", {"ü": [1]}, auth=ApiKeyAuth("X-Signature", "s"))
    get, post = (call.request for call in web.calls)
    assert get.url == f"{BASE}/x?page=2"
    assert get.headers["User-Agent"].startswith("airflow-provider-nenoa/")
    assert "X-Signature" not in get.headers
    assert json.loads(post.body) == {"ü": [1]}
    assert post.headers["Content-Type"] == "application/json"
    assert post.headers["X-Signature"] == "s"
    assert get.headers["Authorization"] == post.headers["Authorization"] == f"Bearer {API_KEY}"


def test_a_signature_is_made_over_the_finished_request(web: responses.RequestsMock, api: HttpApi) -> None:
    seen: list[tuple[Any, Any]] = []

    class Sign(requests.auth.AuthBase):
        def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
            seen.append((request.body, request.headers.get("Authorization")))
            return request

    web.add(responses.POST, f"{BASE}/x", json={})
    api.start("/x", {"a": 1}, auth=Sign())
    assert seen == [(web.calls[0].request.body, f"Bearer {API_KEY}")]


def test_every_response_is_shown(web: responses.RequestsMock, sleeps: list[float]) -> None:
    seen: list[int] = []
    web.add(responses.GET, f"{BASE}/x", status=429)
    web.add(responses.GET, f"{BASE}/x", status=500)
    web.add(responses.GET, f"{BASE}/x", json={})
    make_api(on_response=lambda response: seen.append(response.status_code)).get("/x")
    assert seen == [429, 500, 200]


def test_a_probe_returns_whatever_comes(web: responses.RequestsMock, nobody: str, api: HttpApi) -> None:
    web.add(responses.POST, f"{BASE}/x", status=500)
    assert api.probe("POST", "/x", json={}).status_code == 500
    with pytest.raises(ConnectionFailed):
        make_api("https://nobody.test").probe("GET", "/x")


# The base URL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openanalyst.com/v1", "https://api.openanalyst.com/v1"),
        ("https://api.openanalyst.com/v1//", "https://api.openanalyst.com/v1"),
        ("HTTPS://host:8443", "HTTPS://host:8443"),
        ("http://localhost:8090/v1/", "http://localhost:8090/v1"),
        ("http://vendor.localhost", "http://vendor.localhost"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1"),
        ("http://127.8.9.1", "http://127.8.9.1"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_a_base_url(url: str, expected: str) -> None:
    assert check_base_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://api.openanalyst.com/v1",
        "http://localhost.evil.test",
        "http://127.0.0.1.evil.test",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://[::]",
    ],
)
def test_the_key_does_not_travel_in_the_clear(url: str) -> None:
    with pytest.raises(InvalidConnection, match="the API key would travel in the clear"):
        check_base_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "api.openanalyst.com",
        "ftp://host",
        "file:///etc/passwd",
        "https://user:password@host",
        "https://@host",
        "https://host?key=1",
        "https://host#x",
        "https://host:port",
        "https://host:99999999",
        "https://[::1",
        "https://two words",
        "https://.host",
        "https://host\n.test",
    ],
)
def test_no_base_url(url: str) -> None:
    with pytest.raises(InvalidConnection, match="not a usable base URL") as caught:
        check_base_url(url)
    assert "password" not in str(caught.value)


@given(st.text(alphabet=st.characters(), max_size=30).map(lambda text: f"http://{text}"))
def test_any_text_is_a_base_url_or_an_error(url: str) -> None:
    try:
        check_base_url(url)
    except InvalidConnection:
        return
    host = requests.utils.urlparse(url).hostname
    assert host is not None
    assert host == "localhost" or host.endswith(".localhost") or host.startswith("127.") or host == "::1"


def test_all_errors_are_airflows() -> None:
    assert issubclass(NenoaError, AirflowException)
