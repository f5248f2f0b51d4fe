from __future__ import annotations

import contextlib
import email.utils
import json
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import responses
import tenacity
from hypothesis import example, given
from hypothesis import strategies as st
from urllib3.util import parse_url

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AirflowException,
    AirflowFailException,
    AuthenticationError,
    ConnectionFailed,
    InvalidArgument,
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
from airflow_provider_nenoa.http import ApiKeyAuth, HttpApi, check_base_url, is_loopback, retry_after_seconds
from airflow_provider_nenoa.http.repeating import repeat
from tests.unit.conftest import API_KEY, Logged, requests_to

BASE = "https://api.vendor.test/v1"
START = {"agent_id": "a", "task": "t"}

REFUSALS = {
    300: InvalidRequest,
    302: InvalidRequest,
    400: InvalidRequest,
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: InvalidRequest,
    422: InvalidRequest,
}
TROUBLES = {408: ServerError, 425: ServerError, 429: RateLimited, **dict.fromkeys((500, 502, 503, 504), ServerError)}


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as web:
        yield web


def make_api(base_url: str = BASE, **options: Any) -> HttpApi:
    auth = ApiKeyAuth("Authorization", f"Bearer {API_KEY}")
    return HttpApi("Vendor", base_url, auth, **{"conn_id": "mine", "secrets": [API_KEY], **options})


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


def test_what_each_status_means(web: responses.RequestsMock) -> None:
    """
    The error of every status, and its advice by one word of it.

    1xx does not come as an answer, and 304 is one to a question that nobody asks.
    """
    advice = {401: "password", 403: "permission", 404: "workspace of the API key", 429: "rate limit"}
    advice |= {408: "took too long", 425: "came too early"}
    asked = make_api(retry_for=0)
    for status in (*range(300, 304), *range(305, 600)):
        web.upsert(responses.GET, f"{BASE}/x", status=status, json={})
        expected = {**REFUSALS, **TROUBLES}.get(status, ServerError if status >= 500 else InvalidRequest)
        with pytest.raises(
            expected, match=advice.get(status, ["Redirects", "Correct", "vendor's end"][status // 100 - 3])
        ) as caught:
            asked.get("/x")
        assert type(caught.value) is expected, status


def test_the_words_of_an_error_are_printable(web: responses.RequestsMock) -> None:
    web.add(
        responses.GET, f"{BASE}/x", status=400, body=b'{"message": "no\\u0000 \\u001b[31m\\nway \\ud83d\\u2028at all"}'
    )
    with pytest.raises(InvalidRequest, match=r"GET /v1/x: no \[31m way \ufffd at all\.\n"):
        make_api().get("/x")


@pytest.mark.parametrize("body", [b"", b"...", b'{"error": ' + b"[" * 20 + b'"deep"' + b"]" * 20 + b"}"])
def test_an_error_without_words(web: responses.RequestsMock, body: bytes) -> None:
    web.add(responses.GET, f"{BASE}/x", status=400, body=body)
    with pytest.raises(InvalidRequest, match="answered 400 to GET /v1/x: no explanation"):
        make_api().get("/x")


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
    assert make_api(emulator.openanalyst_url, timeout=1).get("/datasets")["data"]
    assert len(sleeps) == 1


def test_where_nobody_listens(nobody: str, sleeps: list[float]) -> None:
    sent: list[None] = []
    api = make_api(nobody)
    with pytest.raises(
        ConnectionFailed, match=rf"^No answer from Vendor to GET /x: Connection refused\.\nCheck .*\n\({nobody}"
    ):
        api.get("/x")
    # Nobody can have acted on it, so even a start is sent again.
    tries = len(sleeps)
    with pytest.raises(ConnectionFailed, match="Connection refused"):
        api.start("/x", START, before_send=lambda: sent.append(None))
    assert len(sleeps) - tries + 1 > 10
    assert sent == []


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
    with pytest.raises(
        StartOutcomeUnknown, match=r"^Vendor may or may not have acted on POST /agents/run: .*\.\nIt was not sent again"
    ):
        api.start("/agents/run", START)
    assert requests_to(emulator) == {"POST /v1/agents/run": 1}
    assert sleeps == []


def test_what_went_wrong_is_told_in_the_vendors_words(emulator: Emulator, emulated: HttpApi) -> None:
    emulator.control.fault(
        "status", status=500, body={"error": {"code": "BOOM", "message": "m"}, "request_id": "req_1"}
    )
    with pytest.raises(StartOutcomeUnknown, match=r"500 to POST /v1/agents/run: BOOM: m\.\n") as caught:
        emulated.start("/agents/run", START)
    assert (caught.value.http_status, caught.value.code, caught.value.request_id) == (500, "BOOM", "req_1")
    emulator.control.fault("drop_after")
    with pytest.raises(StartOutcomeUnknown) as caught:
        emulated.start("/agents/run", START)
    assert "0x" not in str(caught.value), "an address of an object tells nobody anything"


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


def test_a_host_that_cannot_be_reached_is_told_once_a_minute(nobody: str, sleeps: list[float], logged: Logged) -> None:
    with pytest.raises(ConnectionFailed):
        make_api(nobody).get("/x")
    warnings = [line for line in logged.text.splitlines() if "Trying again in" in line]
    assert len(sleeps) > 10
    assert 4 <= len(warnings) <= 6
    assert all("No answer from Vendor to GET /x: Connection refused. Trying again in" in line for line in warnings)
    assert all("Check the host" not in line for line in warnings)


def test_a_failure_that_heals_is_told(web: responses.RequestsMock, api: HttpApi, logged: Logged) -> None:
    web.add(responses.GET, f"{BASE}/x", status=500)
    web.add(responses.GET, f"{BASE}/x", json={})
    api.get("/x")
    assert "Vendor answered 500 to GET /v1/x: no explanation. Trying again in" in logged.text


def test_nothing_goes_out_if_it_cannot_be_announced(emulator: Emulator, emulated: HttpApi) -> None:
    with pytest.raises(ZeroDivisionError):
        emulated.start("/agents/run", START, before_send=lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert requests_to(emulator) == {}


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


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000", ""])
def test_a_date_without_a_zone_is_in_utc(zone: str) -> None:
    assert retry_after_seconds(f"Thu, 05 Nov 2026 12:01:00 {zone}", NOW) == 60
    assert retry_after_seconds("Thu, 05 Nov 2026 14:01:00 +0200", NOW) == 60


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


@pytest.mark.parametrize("minutes_wrong", [-600, 0, 600])
def test_a_date_is_judged_by_the_clock_of_who_wrote_it(
    web: responses.RequestsMock, api: HttpApi, minutes_wrong: int
) -> None:
    theirs = datetime.now(UTC) + timedelta(minutes=minutes_wrong)
    headers = {
        "Date": email.utils.format_datetime(theirs, usegmt=True),
        "Retry-After": email.utils.format_datetime(theirs + timedelta(hours=2), usegmt=True),
    }
    web.add(responses.GET, f"{BASE}/x", status=429, headers=headers)
    with pytest.raises(RateLimited) as caught:
        api.get("/x")
    assert caught.value.retry_after == 7200


@pytest.mark.parametrize("date", ["", "now", "Thu, 99 Nov 2026 12:00:00 GMT", "1", f"1 Jan {10**30} 00:00:00 GMT"])
def test_a_date_that_is_none_does_not_matter(web: responses.RequestsMock, api: HttpApi, date: str) -> None:
    web.add(responses.GET, f"{BASE}/x", status=429, headers={"Date": date, "Retry-After": "3600"})
    with pytest.raises(RateLimited) as caught:
        api.get("/x")
    assert caught.value.retry_after == 3600


# Errors in the vendors' forms


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {
                "error": {"code": "DATASET_NOT_FOUND", "message": "No such dataset", "status": 404},
                "request_id": "req_1",
            },
            ("DATASET_NOT_FOUND", "DATASET_NOT_FOUND: No such dataset", "req_1"),
        ),
        (
            {"error": {"code": "NOT_FOUND", "message": "Gone", "request_id": "req_2"}},
            ("NOT_FOUND", "NOT_FOUND: Gone", "req_2"),
        ),
        (
            {"error": "Invalid request", "message": "Missing required field: workflow_id"},
            ("Invalid request", "Invalid request: Missing required field: workflow_id", None),
        ),
        ({"error": "just this"}, ("just this", "just this", None)),
        ({"message": "just that"}, (None, "just that", None)),
        ({"error": None, "message": None, "request_id": None}, (None, "no explanation", None)),
        ({"error": {"code": 17, "message": ["a", {"b": 1}]}}, ("17", "17: a; b: 1", None)),
        (["a list"], (None, '["a list"]', None)),
        ({"detail": "Not authenticated"}, (None, "Not authenticated", None)),
        (
            {"detail": [{"loc": ["body", "query"], "msg": "field required", "type": "missing"}, {"msg": "no"}]},
            (None, "body.query: field required; no", None),
        ),
        ({"errors": ["no such id", "no such plan"]}, (None, "no such id; no such plan", None)),
        (
            {"errors": {"name": ["is empty", "is short"], "plan": "?"}},
            (None, "name: is empty; is short; plan: ?", None),
        ),
        (
            {"errors": [{"code": "bad", "title": "Bad", "detail": "so bad", "source": {"pointer": "/data"}}, 7]},
            (None, "/data: bad: Bad: so bad; 7", None),
        ),
        (
            {"message": "Invalid.", "errors": [{"field": "sql", "message": "empty"}]},
            (None, "Invalid.: sql: empty", None),
        ),
        (
            {"type": "https://vendor.test/probs/credit", "title": "No credit", "status": 404, "detail": "30 < 50"},
            ("https://vendor.test/probs/credit", "No credit: 30 < 50", None),
        ),
        ({"type": "about:blank", "title": "Gone", "detail": "Gone", "instance": "/x"}, (None, "Gone", None)),
        ({"error": "invalid_grant", "error_description": "old"}, ("invalid_grant", "invalid_grant: old", None)),
        ({"error": {"errors": [{"message": "a"}, {"message": "b"}]}}, (None, "a; b", None)),
        ({"error": {"code": "c", "message": "m"}, "detail": "d"}, ("c", "c: m", None)),
        ({"code": "c", "message": "m", "requestId": "req_4"}, ("c", "c: m", "req_4")),
        ({"errors": []}, (None, "no explanation", None)),
        ({"fault": {"text": "no"}, "code": None}, (None, '{"fault": {"text": "no"}, "code": null}', None)),
        ({"error": "two\nlines\tand  space"}, ("two lines and space", "two lines and space", None)),
    ],
)
def test_error_bodies(
    web: responses.RequestsMock, api: HttpApi, body: Any, expected: tuple[str | None, str, str | None]
) -> None:
    web.add(responses.GET, f"{BASE}/x", status=404, json=body)
    with pytest.raises(NotFound) as caught:
        api.get("/x")
    code, words, request_id = expected
    said, advice, where = str(caught.value).split("\n")
    assert said == f"Vendor answered 404 to GET /v1/x: {words}."
    assert advice == (
        "Check the id in /v1/x, and that it belongs to the workspace of the API key in connection 'mine'. If it does, "
        "check that the host of connection 'mine' is the API's base URL."
    )
    problem = code if code and "://" in code else None
    assert (
        where == f"({', '.join(part for part in (request_id and f'request id {request_id}', problem, BASE) if part)})"
    )
    assert (caught.value.code, caught.value.request_id) == (code, request_id)


def test_an_error_body_that_is_no_json(web: responses.RequestsMock, api: HttpApi) -> None:
    web.add(responses.GET, f"{BASE}/x", status=403, body="<h1>Keep out</h1>", headers={"X-Request-Id": "req_3"})
    with pytest.raises(PermissionDenied, match=r"<h1>Keep out</h1>\.\n.*\n\(request id req_3"):
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
    with pytest.raises(InvalidReply, match=r"something that is not JSON: .*\nCheck .* base URL"):
        api.get("/x")
    with pytest.raises(StartOutcomeUnknown, match="something that is not JSON"):
        api.start("/x", START)


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", "ascii", "no such"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
def test_a_reply_is_utf_8_whatever_a_header_says(
    web: responses.RequestsMock, api: HttpApi, charset: str, start: bytes
) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    for method in (responses.GET, responses.POST):
        web.add(method, f"{BASE}/x", body=start + '{"ü": "日本"}'.encode(), headers=headers)
    assert api.get("/x") == api.start("/x", START) == {"ü": "日本"}


@pytest.mark.parametrize("charset", ["utf-16", "latin-1"])
def test_a_reply_that_is_not_utf_8(web: responses.RequestsMock, api: HttpApi, charset: str) -> None:
    headers = {"Content-Type": f"application/json; charset={charset}"}
    web.add(responses.GET, f"{BASE}/x", body='{"ü": 1}'.encode(charset), headers=headers)
    with pytest.raises(InvalidReply, match="something that is not JSON"):
        api.get("/x")


def test_numbers_that_json_does_not_know_are_null_and_named(
    web: responses.RequestsMock, api: HttpApi, logged: Logged
) -> None:
    web.add(responses.GET, f"{BASE}/x", body='{"rows": [{"a": NaN}, {"a": 1e999}], "b": 1}')
    assert api.get("/x") == {"rows": [{"a": None}, {"a": None}], "b": 1}
    assert "Answer to GET /v1/x" in logged.text
    assert "rows[0].a, rows[1].a" in logged.text


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


@pytest.mark.parametrize(
    "location", ["https://evil.test/", "/v1/datasets", "//evil.test/x", "http://[", "/\xe9\xff", "https://x:port/"]
)
@pytest.mark.parametrize("method", ["get", "start"])
def test_no_redirect_is_followed(web: responses.RequestsMock, api: HttpApi, location: str, method: str) -> None:
    for verb in (responses.GET, responses.POST):
        web.add(verb, f"{BASE}/x", status=307, headers={"Location": location})
    with pytest.raises(InvalidRequest, match=r"answered 307 .*\nRedirects are not followed"):
        api.get("/x") if method == "get" else api.start("/x", START)
    assert len(web.calls) == 1


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
        with connection, contextlib.suppress(OSError):  # headers and body may come apart, and be answered twice
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


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_an_answer_is_handed_over_before_it_is_read(web: responses.RequestsMock, api: HttpApi, verb: str) -> None:
    web.add(verb, f"{BASE}/x", body=b"a,b")

    def read(response: requests.Response) -> bytes:
        return bytes(response.raw.read())

    if verb == "GET":
        assert api.fetch("/x", {"page": 2, "after": None}, read) == b"a,b"
    else:
        assert api.ask("/x", {"a": [1]}, headers={"X-A": "b", "Accept": "text/event-stream"}, read=read) == b"a,b"
    (request,) = (call.request for call in web.calls)
    assert request.headers["Authorization"] == f"Bearer {API_KEY}"
    if verb == "GET":
        assert (request.url, request.headers["Accept"], request.body) == (f"{BASE}/x?page=2", "*/*", None)
    else:
        assert (request.headers["X-A"], request.headers["Accept"]) == ("b", "text/event-stream")
        assert json.loads(request.body) == {"a": [1]}


@pytest.mark.parametrize("verb", ["GET", "POST"])
@pytest.mark.parametrize(
    ("error", "why"),
    [
        (requests.ReadTimeout(), "it did not answer in time"),
        (requests.exceptions.ChunkedEncodingError("It broke off."), "It broke off."),
    ],
)
def test_an_answer_that_breaks_off_while_it_is_read_is_asked_for_again(
    web: responses.RequestsMock, api: HttpApi, sleeps: list[float], verb: str, error: Exception, why: str
) -> None:
    web.add(verb, f"{BASE}/x", body=b"a,b")
    errors = [error]

    def read(response: requests.Response) -> str:
        if errors:
            raise errors.pop()
        return "read"

    def call(api: HttpApi) -> str:
        return api.fetch("/x", None, read) if verb == "GET" else api.ask("/x", {}, headers={}, read=read)

    assert call(api) == "read"
    assert (len(web.calls), len(sleeps)) == (2, 1)
    errors.append(error)
    with pytest.raises(ConnectionFailed, match=rf"^No answer from Vendor to {verb} /x: {why}"):
        call(make_api(retry_for=0))


# Any request


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"a": 1}', {"a": 1}),
        (200, b"[1, 2]", [1, 2]),
        (201, b"\xef\xbb\xbf7", 7),
        (200, b"null", None),
        (204, b"", None),
        (200, "\u00fc".encode().join([b'"', b'"']), "\u00fc"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "post", " Delete "])
def test_any_request(
    web: responses.RequestsMock, api: HttpApi, method: str, status: int, body: bytes, expected: Any
) -> None:
    headers = {"Content-Type": "text/html; charset=latin-1"}
    web.add(method.strip().upper(), f"{BASE}/x", status=status, body=body, headers=headers)
    assert api.request(method, "/x?a=b", params={"page": 2, "after": None}, json={"b": 1}) == expected
    request = web.calls[0].request
    assert request.url == f"{BASE}/x?a=b&page=2"
    assert json.loads(request.body) == {"b": 1}
    assert request.headers["Authorization"] == f"Bearer {API_KEY}"


def test_a_body_that_is_a_file(web: responses.RequestsMock, api: HttpApi) -> None:
    web.add(responses.GET, f"{BASE}/x", body=b"a,b\r\n1,2\r\n", headers={"Content-Type": "text/csv"})
    assert api.request("GET", "/x", raw=True) == b"a,b\r\n1,2\r\n"
    with pytest.raises(InvalidReply, match="not JSON: 'a,b 1,2'"):
        api.request("GET", "/x")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_only_reads_is_repeated(
    web: responses.RequestsMock, api: HttpApi, sleeps: list[float], method: str
) -> None:
    for status in TROUBLES:
        web.add(method, f"{BASE}/x", status=status)
    web.add(method, f"{BASE}/x", status=200)
    assert api.request(method, "/x") is None
    assert len(sleeps) == len(TROUBLES)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_what_may_change_something_is_not(
    web: responses.RequestsMock, api: HttpApi, sleeps: list[float], method: str
) -> None:
    web.add(method, f"{BASE}/x", status=429, headers={"Retry-After": "1"})
    web.add(method, f"{BASE}/x", status=503, headers={"Retry-After": "1"})
    web.add(method, f"{BASE}/x", status=502)
    with pytest.raises(StartOutcomeUnknown, match=f"may or may not have acted on {method} /x: Vendor answered 502"):
        api.request(method, "/x")
    assert (len(web.calls), len(sleeps)) == (3, 2)


@pytest.mark.parametrize("status", REFUSALS)
def test_any_request_may_be_refused(web: responses.RequestsMock, api: HttpApi, status: int) -> None:
    web.add(responses.PUT, f"{BASE}/x", status=status, body=f"not with {API_KEY}")
    with pytest.raises(REFUSALS[status], match=r"PUT /v1/x: not with \*\*\*\.\n"):
        api.request("PUT", "/x")


@pytest.mark.parametrize("path", ["x", "", "@evil.test/x", ".evil.test", "https://evil.test/x", None, 7, b"/x"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_path_that_leads_elsewhere(web: responses.RequestsMock, api: HttpApi, method: str, path: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"'path' is .*Nothing was sent"):
        api.request(method, path)


@pytest.mark.parametrize("method", ["", "GET /x", "G\u00cbT", None, "P\r\nX"])
def test_a_method_that_is_none(web: responses.RequestsMock, api: HttpApi, method: Any) -> None:
    with pytest.raises(InvalidArgument, match="no HTTP method"):
        api.request(method, "/x")


def test_a_404_names_the_id_that_was_sent(web: responses.RequestsMock, api: HttpApi) -> None:
    web.add(responses.POST, f"{BASE}/x", status=404, json={"error": {"code": "NOT_FOUND", "message": "No agent"}})
    with pytest.raises(NotFound) as caught:
        api.start("/x", {"agent_id": "a-1", "task": "t", "context": {"other_id": "no"}})
    assert str(caught.value).split("\n") == [
        "Vendor answered 404 to POST /v1/x: NOT_FOUND: No agent.",
        "Check agent_id 'a-1', and that it belongs to the workspace of the API key in connection 'mine'. If it does, "
        "check that the host of connection 'mine' is the API's base URL.",
        f"({BASE})",
    ]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_names_the_connection(web: responses.RequestsMock, api: HttpApi, status: int) -> None:
    web.add(responses.GET, f"{BASE}/x", status=status, json={})
    with pytest.raises(NenoaError, match="connection 'mine'") as caught:
        api.get("/x")
    assert len(str(caught.value).split("\n")[0]) < 80
    if status == 403:
        assert "scope" in str(caught.value)
        assert "allow-list" in str(caught.value)


def test_what_the_vendors_code_means_goes_before_what_its_status_means(web: responses.RequestsMock) -> None:
    web.add(responses.GET, f"{BASE}/x", status=403, json={"error": "sign_it", "message": "m"})
    with pytest.raises(PermissionDenied) as caught:
        make_api(advice={"sign_it": "Sign it."}).get("/x")
    assert str(caught.value) == f"Vendor answered 403 to GET /v1/x: sign_it: m.\nSign it.\n({BASE})"


def test_an_error_leaks_neither_half_a_key_nor_a_signature(web: responses.RequestsMock, api: HttpApi) -> None:
    for length in range(270, 301):
        body = "x" * length + API_KEY
        web.upsert(responses.GET, f"{BASE}/x", status=403, body=body)
        with pytest.raises(PermissionDenied) as caught:
            api.get("/x")
        assert API_KEY[:8] not in str(caught.value)
    web.upsert(responses.GET, f"{BASE}/x", body='{"assets": "https://bucket.test/a.zip?X-Amz-Signature=hunter22", ')
    with pytest.raises(InvalidReply, match=r"https://bucket.test/a.zip\?\*\*\*") as reply:
        api.get("/x")
    assert "hunter22" not in str(reply.value)


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
        "https://host?",
        "https://host/v1#",
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


@pytest.mark.parametrize(
    ("host", "this_machine"),
    [("localhost", True), ("a.localhost", True), ("127.9.9.9", True), ("::1", True)]
    + [(host, False) for host in ("localhost.test", "alocalhost", "10.0.0.1", "::2", "", None)],
)
def test_what_can_only_mean_this_machine(host: str | None, this_machine: bool) -> None:
    assert is_loopback(host) is this_machine


PIECES = [*"@:/?#\\%;[].a\t ", "//", "1", "%2f", "%40", "。", "ⓛ", "evil.test", "localhost", "127.0.0.1", "0x7f.1"]
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=3).map("".join) | st.text(max_size=10)


@given(st.builds("http://{}{}{}".format, HOSTILE, st.sampled_from(["localhost", "127.0.0.1", "[::1]", ""]), HOSTILE))
@example("http://a.localhost:8090/v1")
@example("http://127.0.0.1.evil.test")
@example("http://localhost.evil.test")
def test_what_is_let_in_without_tls_is_this_machine_to_whoever_connects(url: str) -> None:
    try:
        base = check_base_url(url)
    except InvalidConnection:
        return
    sent_to = requests.Request("GET", f"{base}/runs").prepare().url
    host = parse_url(str(sent_to)).host or ""
    assert re.fullmatch(r"(.+\.)?localhost|127(\.\d+){3}|\[::1\]", host)


def test_all_errors_are_airflows() -> None:
    assert issubclass(NenoaError, AirflowException)


@pytest.mark.parametrize(
    ("pick", "expected"), [(min, [9, 0, 30, 0, 0, 0, 0, 0]), (max, [12, 1, 34, 0.4, 8, 16, 30, 30])]
)
def test_who_is_told_when_waits_so_long_and_up_to_a_third_more(
    monkeypatch: pytest.MonkeyPatch, pick: Callable[[float, float], float], expected: list[float]
) -> None:
    monkeypatch.setattr(random, "uniform", pick)
    errors = [ServerError("busy", retry_after=retry_after) for retry_after in (9, None, 30, 0, *[None] * 4)]
    slept: list[float] = []

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    assert repeat(call, retry_for=1_000, sleep=slept.append, rate_limits=True) == "done"
    assert slept == pytest.approx(expected)


@pytest.mark.parametrize(
    ("retry_for", "each_takes", "tries"), [(0, 0.0, 1), (0.5, 0.0, 5), (0.5, 1.0, 1), (100, 40.0, 3), (120, 40.0, 3)]
)
def test_the_time_of_the_calls_themselves_counts(
    monkeypatch: pytest.MonkeyPatch, retry_for: float, each_takes: float, tries: int
) -> None:
    now, calls = [0.0], 0
    monkeypatch.setattr(random, "uniform", min)  # no waiting
    monkeypatch.setattr(tenacity, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def call() -> int:
        nonlocal calls
        calls += 1
        now[0] += each_takes
        if calls < 5:
            raise ServerError("busy")
        return calls

    with contextlib.suppress(ServerError):
        assert repeat(call, retry_for=retry_for, sleep=lambda seconds: None, rate_limits=True) == 5
    assert calls == tries


def test_a_call_that_is_still_being_tried_is_told_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(random, "uniform", min)
    errors = [ServerError("busy.\nMore.", retry_after=30) for _ in range(5)]

    def call() -> None:
        if errors:
            raise errors.pop()

    repeat(call, retry_for=1_000, sleep=lambda seconds: None, rate_limits=True)
    assert caplog.messages == [f"busy. Trying again in 30.0 s, and for up to {left} s." for left in (970, 910, 850)]


def test_how_long_calls_take_unless_told_otherwise() -> None:
    api = make_api()
    assert (api.timeout, api.retry_for, api.turn) == (60.0, 300.0, None)
