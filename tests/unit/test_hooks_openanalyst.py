from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    InvalidArgument,
    InvalidReply,
    NotFound,
    PermissionDenied,
    RateLimited,
    StartOutcomeUnknown,
)
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.runs import Run, RunStatus
from airflow_provider_nenoa.vendors.openanalyst_forms import FORMS
from airflow_provider_nenoa.vendors.openanalyst_pages import MOST_EMPTY, Listing
from tests.unit.conftest import API_KEY, Logged, requests_to

BASE = "https://api.openanalyst.com/v1"


@pytest.fixture
def hook(openanalyst: str, sleeps: list[float]) -> OpenAnalystHook:
    return OpenAnalystHook(openanalyst)


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as web:
        yield web


@pytest.fixture
def far(connect: Callable[..., str], sleeps: list[float]) -> OpenAnalystHook:
    """For replies that no emulator makes."""
    return OpenAnalystHook(connect("openanalyst"))


# One method per endpoint


def test_datasets(emulator: Emulator, hook: OpenAnalystHook) -> None:
    found = list(hook.list_datasets())
    assert [dataset["id"] for dataset in found] == [dataset["id"] for dataset in hook.list_datasets(page_size=1)]
    assert len(found) == 3
    dataset = hook.get_dataset(found[1]["id"])
    assert dataset["id"] == found[1]["id"]
    assert "schema" in dataset


def test_reports_and_dashboards(emulator: Emulator, hook: OpenAnalystHook) -> None:
    reports = list(hook.list_reports())
    assert len(reports) == 4
    assert "data" in hook.get_report(reports[0]["id"])
    assert len(list(hook.list_dashboards())) == 2
    assert requests_to(emulator) == {"GET /v1/reports": 1, "GET /v1/reports/{report_id}": 1, "GET /v1/dashboards": 1}


def test_a_query_that_is_answered_at_once(emulator: Emulator, hook: OpenAnalystHook) -> None:
    run = hook.execute_query("ds_abc123", "SELECT 1 AS one, 'x' AS two")
    assert run.status is RunStatus.SUCCESS
    assert run.payload["rows"] == [{"one": 1, "two": "x"}]
    assert run.payload["columns"] == ["one", "two"]


def test_a_query_that_takes_its_time(emulator: Emulator, hook: OpenAnalystHook) -> None:
    emulator.control.settings(query={"seconds": None})
    run = hook.execute_query("ds_abc123", "SELECT 1 AS one", webhook_url="https://hook.test/x")
    assert (run.status, run.word) == (RunStatus.RUNNING, "running")
    assert hook.get_query_results(run.run_id).status is RunStatus.RUNNING
    emulator.control.finish(run.run_id)
    ended = hook.get_query_results(run.run_id)
    assert (ended.run_id, ended.status, ended.payload["rows"]) == (run.run_id, RunStatus.SUCCESS, [{"one": 1}])
    (start,) = (request for request in emulator.control.requests() if request["method"] == "POST")
    assert start["body"] == {
        "dataset_id": "ds_abc123",
        "query": "SELECT 1 AS one",
        "webhook_url": "https://hook.test/x",
    }


def test_an_agent_run(emulator: Emulator, hook: OpenAnalystHook) -> None:
    sent: list[None] = []
    run = hook.run_agent(
        "agent_1", "Summarise", {"a": [1]}, webhook_url="https://hook.test/x", before_send=lambda: sent.append(None)
    )
    assert (run.status, len(sent)) == (RunStatus.RUNNING, 1)
    (start,) = emulator.control.requests()
    assert start["body"] == {
        "agent_id": "agent_1",
        "task": "Summarise",
        "context": {"a": [1]},
        "webhook_url": "https://hook.test/x",
    }
    assert hook.get_agent_run(run.run_id).status is RunStatus.RUNNING
    emulator.control.finish(run.run_id, outcome="failed", error="no idea")
    ended = hook.get_agent_run(run.run_id)
    assert (ended.status, ended.error) == (RunStatus.FAILED, "no idea")


def test_what_is_not_given_is_not_sent(emulator: Emulator, hook: OpenAnalystHook) -> None:
    hook.run_agent("agent_1", "Summarise")
    (start,) = emulator.control.requests()
    assert start["body"] == {"agent_id": "agent_1", "task": "Summarise"}


def test_an_id_stays_within_its_place_in_the_path(web: responses.RequestsMock, far: OpenAnalystHook) -> None:
    web.get(f"{BASE}/datasets/a%2F..%2Fb%3Fc%23d%25", json={})
    far.get_dataset(" a/../b?c#d% ")


BAD: dict[str, Callable[[OpenAnalystHook], Any]] = {
    "'agent_id' must be a non-empty string": lambda hook: hook.run_agent("", "t"),
    "'agent_id' must be a non-empty string, not None": lambda hook: hook.run_agent(None, "t"),  # type: ignore[arg-type]
    "'task' must be a non-empty string": lambda hook: hook.run_agent("a", " \n"),
    "'context' must be a dict that can be sent as JSON, or the text of one; it is a list": lambda hook: hook.run_agent(
        "a",
        "t",
        "[]",  # type: ignore[arg-type]
    ),
    "'context' cannot be sent as JSON: context['x'] is of the class set": lambda hook: hook.run_agent(
        "a", "t", {"x": {1}}
    ),
    "'context' cannot be sent as JSON: context['x'] is nan": lambda hook: hook.run_agent("a", "t", {"x": math.nan}),
    "'dataset_id' must be a non-empty string": lambda hook: hook.execute_query("", "SELECT 1"),
    "'query' must be a non-empty string": lambda hook: hook.execute_query("d", ""),
    "'query_id' must be a non-empty string": lambda hook: hook.get_query_results(""),
    "'run_id' must be a non-empty string": lambda hook: hook.get_agent_run(" "),
    "'run_id' cannot be '..'": lambda hook: hook.get_agent_run(".."),
    "'dataset_id' must be a non-empty string, not [7]": lambda hook: hook.get_dataset([7]),  # type: ignore[arg-type]
    "'report_id' cannot be '.'": lambda hook: hook.get_report("."),
    "'page_size' must be a whole number of at least 1, not 0": lambda hook: hook.list_datasets(page_size=0),
    "'page_size' must be a whole number of at least 1, not True": lambda hook: hook.list_datasets(page_size=True),
    "'page_size' must be a whole number of at least 1, not 1.5": lambda hook: hook.list_reports(page_size=1.5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused_before_anything_is_sent(emulator: Emulator, hook: OpenAnalystHook, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        BAD[message](hook)
    assert str(caught.value).startswith(message)
    assert requests_to(emulator) == {}


def test_a_context_that_contains_itself(hook: OpenAnalystHook) -> None:
    context: dict[str, Any] = {}
    context["me"] = context
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"x": deep}
    for bad in (context, deep):
        with pytest.raises(InvalidArgument, match=r"cannot be sent as JSON: .* contains itself, or goes deeper"):
            hook.run_agent("a", "t", bad)


# What the vendor may answer


@pytest.mark.parametrize(
    ("key", "path", "error", "code"),
    [
        ("wrong", "ds_abc123", AuthenticationError, "UNAUTHORIZED"),
        (API_KEY, "none", NotFound, "DATASET_NOT_FOUND"),
    ],
)
def test_errors_carry_the_vendors_words(
    emulator: Emulator, connect: Callable[..., str], key: str, path: str, error: type[Exception], code: str
) -> None:
    hook = OpenAnalystHook(connect("openanalyst", emulator.openanalyst_url, password=key))
    with pytest.raises(
        error, match=rf"OpenAnalyst answered \d+ to GET /v1/datasets/{path}: {code}: .*\n.*\n\(request id"
    ):
        hook.get_dataset(path)
    assert len(emulator.control.requests()) == 1


def test_a_start_whose_reply_lacks_the_id(emulator: Emulator, hook: OpenAnalystHook) -> None:
    emulator.control.settings(query={"seconds": None})
    emulator.control.fault("missing_id", times=2)
    with pytest.raises(
        StartOutcomeUnknown, match=r"accepted POST /agents/run, but its reply has no 'run_id' .*'status'"
    ):
        hook.run_agent("a", "t")
    with pytest.raises(StartOutcomeUnknown, match=r"accepted POST /queries, but its reply has no 'id'"):
        hook.execute_query("ds_abc123", "SELECT 1")
    assert emulator.control.counts()["runs_started"] == {"agent": 1, "query": 1, "workflow": 0}


@pytest.mark.parametrize("run_id", [None, "", [], {}, 1.5])
def test_an_id_that_is_none(web: responses.RequestsMock, far: OpenAnalystHook, run_id: Any) -> None:
    web.post(f"{BASE}/agents/run", json={"run_id": run_id, "status": "running"})
    with pytest.raises(StartOutcomeUnknown):
        far.run_agent("a", "t")


def test_an_id_may_be_a_number(web: responses.RequestsMock, far: OpenAnalystHook) -> None:
    web.post(f"{BASE}/agents/run", json={"run_id": 42})
    assert far.run_agent("a", "t").run_id == "42"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"columns": ["a"], "rows": [{"a": 1}], "row_count": 1}, ("", RunStatus.SUCCESS)),
        ({"id": "q", "status": "completed", "rows": []}, ("q", RunStatus.SUCCESS)),
        ({"id": "q", "status": "running", "rows": []}, ("q", RunStatus.RUNNING)),
        ({"id": "q", "status": "simmering", "rows": []}, ("q", RunStatus.RUNNING)),
        ({"id": "q", "status": "completed"}, ("q", RunStatus.SUCCESS)),
        ({"id": "q", "status": "failed", "rows": None}, ("q", RunStatus.FAILED)),
        ({"id": "q", "status": None, "rows": []}, ("q", RunStatus.SUCCESS)),
        ({"id": "q"}, ("q", RunStatus.RUNNING)),
    ],
)
def test_replies_to_a_query(
    web: responses.RequestsMock, far: OpenAnalystHook, reply: dict[str, Any], expected: tuple[str, RunStatus]
) -> None:
    web.post(f"{BASE}/queries", json=reply)
    run = far.execute_query("d", "SELECT 1")
    assert (run.run_id, run.status, run.payload) == (*expected, reply)


@pytest.mark.parametrize("status", ["running", "simmering"])
def test_rows_do_not_make_an_end(web: responses.RequestsMock, far: OpenAnalystHook, status: str) -> None:
    web.post(f"{BASE}/queries", json={"status": status, "rows": []})
    with pytest.raises(StartOutcomeUnknown):
        far.execute_query("d", "SELECT 1")


def test_an_unknown_word_is_passed_on_and_is_no_end(emulator: Emulator, hook: OpenAnalystHook) -> None:
    run = hook.run_agent("a", "t")
    emulator.control.fault("unknown_status")
    assert hook.get_agent_run(run.run_id) == Run(
        run.run_id, "simmering", hook.get_agent_run(run.run_id).payload | {"status": "simmering"}
    )
    assert Run("r", "simmering").status is RunStatus.RUNNING


@pytest.mark.parametrize("reply", [{}, {"status": None}, {"status": ""}, {"status": 7}, {"state": "completed"}])
def test_a_state_without_a_status(web: responses.RequestsMock, far: OpenAnalystHook, reply: dict[str, Any]) -> None:
    web.get(f"{BASE}/agents/runs/r", json=reply)
    with pytest.raises(InvalidReply, match="answered GET /agents/runs/r without a 'status'"):
        far.get_agent_run("r")
    web.get(f"{BASE}/queries/q/results", json=reply)
    with pytest.raises(InvalidReply, match="answered GET /queries/q/results without a 'status'"):
        far.get_query_results("q")


def test_rows_without_a_status_are_an_end(web: responses.RequestsMock, far: OpenAnalystHook) -> None:
    web.get(f"{BASE}/queries/q/results", json={"rows": [], "columns": []})
    assert far.get_query_results("q").status is RunStatus.SUCCESS


# The Test button


def test_a_good_connection(emulator: Emulator, hook: OpenAnalystHook) -> None:
    assert hook.test_connection() == (True, f"OpenAnalyst accepted the API key at {emulator.openanalyst_url}.")
    assert requests_to(emulator) == {"GET /v1/datasets": 1}


def test_bad_connections(emulator: Emulator, connect: Callable[..., str], sleeps: list[float]) -> None:
    hook = OpenAnalystHook(connect("openanalyst", emulator.openanalyst_url, password="wrong"))
    works, message = hook.test_connection()
    assert not works
    assert "UNAUTHORIZED" in message
    assert "Check the API key" in message
    works, message = OpenAnalystHook(connect("openanalyst", "http://127.0.0.1:1/v1"), retry_for=0).test_connection()
    assert (works, "Connection refused" in message) == (False, True)
    works, message = OpenAnalystHook("nobody").test_connection()
    assert (works, "could not be read" in message) == (False, True)


# Pages


def test_a_page_is_fetched_when_it_is_reached(emulator: Emulator, hook: OpenAnalystHook) -> None:
    emulator.control.settings(datasets=10)
    datasets = hook.list_datasets(page_size=3)
    assert requests_to(emulator) == {}
    assert len(list(islice(datasets, 3))) == 3
    assert requests_to(emulator) == {"GET /v1/datasets": 1}
    next(datasets)
    assert requests_to(emulator) == {"GET /v1/datasets": 2}
    assert len(list(datasets)) == 6
    assert [request["query"] for request in emulator.control.requests()] == [
        f"page={page}&per_page=3" for page in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("form", ["page", "cursor"])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 8])
def test_both_forms_of_pages(emulator: Emulator, hook: OpenAnalystHook, form: str, count: int) -> None:
    emulator.control.settings(pagination=form, reports=count)
    assert len({report["id"] for report in hook.list_reports(page_size=4)}) == count
    assert requests_to(emulator) == {"GET /v1/reports": max(1, math.ceil(count / 4))}


def test_a_server_that_repeats_a_page_for_ever(emulator: Emulator, hook: OpenAnalystHook) -> None:
    emulator.control.settings(pagination="repeat")
    datasets = hook.list_datasets()
    assert len(list(islice(datasets, 3))) == 3
    with pytest.raises(
        InvalidReply, match=r"list GET /datasets cannot be read to its end: it sent the same page twice\.\n3"
    ):
        next(datasets)
    assert requests_to(emulator) == {"GET /v1/datasets": 2}


def test_a_rate_limit_in_the_midst_of_the_pages(emulator: Emulator, hook: OpenAnalystHook, sleeps: list[float]) -> None:
    emulator.control.settings(datasets=4)
    datasets = hook.list_datasets(page_size=2)
    next(datasets)
    emulator.control.fault("status", status=429, headers={"Retry-After": "2"})
    assert len(list(datasets)) == 3
    assert 2 <= sleeps[0] < 3
    emulator.control.fault("status", status=403)
    with pytest.raises(PermissionDenied):
        list(hook.list_datasets())
    emulator.control.fault("status", status=429, headers={"Retry-After": "1000"})
    with pytest.raises(RateLimited):
        list(hook.list_datasets())


class FakeApi:
    """Answers with what a function makes of the number of the request and its parameters."""

    def __init__(self, answer: Callable[[int, dict[str, Any]], dict[str, Any]]) -> None:
        self.requests: list[dict[str, Any]] = []
        self._answer = answer

    def get(self, path: str, params: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(dict(params))
        return self._answer(len(self.requests), params)


def listing(api: FakeApi, page_size: int = 100, api_form: str = "api") -> Iterator[Any]:
    hook = OpenAnalystHook("any")
    hook.__dict__ |= {"api": api, "form": FORMS[api_form]}
    return hook.list_datasets(page_size=page_size)


def read(listed: Iterator[Any]) -> tuple[list[Any], str]:
    """Read a list as far as it goes; return what came, and why it went no further."""
    found = []
    try:
        for each in listed:
            found.append(each)
    except InvalidReply as error:
        return found, str(error)
    return found, ""


def pages(*replies: dict[str, Any]) -> FakeApi:
    return FakeApi(lambda number, params: replies[number - 1])


@given(
    count=st.integers(0, 50),
    page_size=st.integers(1, 60),
    form=st.sampled_from(["page", "cursor", "number", "text", "total", "more", "spelled otherwise"]),
    api_form=st.sampled_from(["api", "server"]),
    own_size=st.none() | st.integers(1, 60),
)
def test_an_honest_server_is_read_to_the_end(
    count: int, page_size: int, form: str, api_form: str, own_size: int | None
) -> None:
    """In each of the ways to tell that there is more, whatever it was asked in, and with pages as large as it likes."""
    objects = [{"id": number} for number in range(count)]

    def answer(number: int, params: dict[str, Any]) -> dict[str, Any]:
        if form == "cursor":
            # The first request may be in the other form: the vendor answers in its own.
            start = int(params.get("after", 0))
            end = start + min(params.get("limit") or params.get("per_page"), own_size or 60)
            more = end < count
            return {
                "data": objects[start:end],
                "pagination": {"cursor": str(end) if more else None, "has_more": more, "total": count},
            }
        size = min(params.get("per_page", 20), own_size or 60)
        page, last = params.get("page", 1), math.ceil(count / size)
        said: Any = {
            "page": {"total_pages": last},
            "number": {"total_pages": float(last), "total": count},
            "text": {"total_pages": str(last), "page": str(page), "per_page": str(size)},
            "total": {"page": page, "per_page": size, "total": str(count)},
            "spelled otherwise": {"page": page, "totalPages": last, "perPage": size},
            "more": {"page": page, "has_more": page < last, "per_page": size},
        }[form]
        return {"data": objects[(page - 1) * size : page * size], "meta": {"per_page": size} | said}

    assert read(listing(FakeApi(answer), page_size, api_form)) == (objects, "")


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@given(data=st.data(), kinds=st.integers(1, 8))
def test_a_hostile_server_does_not_keep_us_for_ever(data: st.DataObject, kinds: int) -> None:
    """Any of a few pages, in any order, promising anything: no page is read twice."""

    def answer(number: int, params: dict[str, Any]) -> dict[str, Any]:
        assert number <= (kinds + 1) * MOST_EMPTY
        return {
            "data": data.draw(st.lists(st.integers(0, kinds - 1), max_size=1)),
            "meta": data.draw(JUNK | st.fixed_dictionaries({"total_pages": st.just(10**9) | JUNK, "total": JUNK})),
            "pagination": data.draw(
                JUNK | st.fixed_dictionaries({"cursor": JUNK | st.just("next"), "has_more": st.just(True) | JUNK})
            ),
        }

    found, _ = read(listing(FakeApi(answer)))
    assert len(found) == len(set(found))


@pytest.mark.parametrize("more", [True, "true", 1, None])
def test_an_empty_page_is_not_the_end_where_the_vendor_says_that_there_is_more(more: Any) -> None:
    api = pages(
        {"data": [1], "pagination": {"cursor": "a", "has_more": more}},
        {"data": [], "pagination": {"cursor": "b", "has_more": more}},
        {"data": [], "pagination": {"cursor": 3, "has_more": more}},
        {"data": [2], "pagination": {"cursor": "c", "has_more": False}},
    )
    assert read(listing(api)) == ([1, 2], "")
    assert [request.get("after") for request in api.requests] == [None, "a", "b", 3]


def test_an_empty_page_is_not_the_end_where_there_are_more_pages() -> None:
    api = pages({"data": [], "meta": {"total_pages": 3}}, {"data": [], "meta": {"total_pages": 3}}, {"data": [1]})
    assert read(listing(api)) == ([1], "")


@pytest.mark.parametrize(
    ("replies", "found", "why"),
    [
        ([{"data": [1], "pagination": {"has_more": True, "total": 3}}], [], "neither a cursor nor a page"),
        ([{"data": [1], "pagination": {"has_more": "true", "cursor": ""}}], [], "neither a cursor nor a page"),
        ([{"data": [1], "pagination": {"hasMore": True, "nextCursor": "c"}}], [], "neither a cursor nor a page"),
        ([{"data": [1], "has_more": True}], [], "neither a cursor nor a page"),
        ([{"data": [1], "has_more": True, "meta": {"page": 1, "total_pages": 1}}], [], "neither a cursor nor a page"),
        ([{"data": [1], "pagination": {"has_more": True, "cursor": {"a": 1}}}], [], "its cursor is a dict"),
        ([{"data": [1], "pagination": {"has_more": True, "cursor": True}}], [], "its cursor is a bool"),
        ([{"data": [1], "pagination": {"has_more": True, "cursor": 1.5}}], [], "its cursor is a float"),
        ([{"data": [1], "pagination": {"has_more": "perhaps", "cursor": "c"}}], [], "its 'has_more' is 'perhaps'"),
        ([{"data": [1], "meta": {"total_pages": "many"}}], [], "its 'total_pages' is 'many'"),
        ([{"data": [1], "meta": {"total_pages": math.inf}}], [], "its 'total_pages' is inf"),
        ([{"data": [], "pagination": {"cursor": "c", "has_more": True}}] * 2, [], "promises more and sends nothing"),
        ([{"data": [1], "pagination": {"cursor": "c", "has_more": True}}] * 2, [1], "the same page twice"),
        ([{"data": [1], "meta": {"total_pages": 2}}] * 2, [1], "the same page twice"),
        ([{"data": [], "meta": {"total_pages": 10**9}}] * MOST_EMPTY, [], "promises more and sends nothing"),
    ],
)
def test_a_promise_that_cannot_be_followed(replies: list[dict[str, Any]], found: list[int], why: str) -> None:
    api = pages(*replies)
    came, error = read(listing(api))
    assert (came, why in error, len(api.requests)) == (found, True, len(replies))


@pytest.mark.parametrize("said", [{"cursor": "c", "has_more": False}, {"cursor": None}, {"cursor": False}, {}, None])
def test_an_end(said: Any) -> None:
    api = pages({"data": [1], "pagination": said})
    assert read(listing(api)) == ([1], "")


def test_one_cursor_may_stand_for_all_pages() -> None:
    api = FakeApi(lambda number, params: {"data": [number], "pagination": {"cursor": "c", "has_more": number < 5}})
    assert read(listing(api)) == ([1, 2, 3, 4, 5], "")


@pytest.mark.parametrize(("total", "warns"), [(3, True), ("3", True), (2, False), (1, False), ("many", False)])
def test_fewer_than_the_vendor_counts(total: Any, warns: bool, logged: Logged) -> None:
    api = pages({"data": [1, 2], "pagination": {"has_more": False, "total": total}})
    assert read(listing(api)) == ([1, 2], "")
    assert ("OpenAnalyst says that there are 3 objects at /datasets, and sent 2" in logged.text) is warns


def test_a_server_that_goes_round() -> None:
    api = FakeApi(lambda number, params: {"data": [number % 3], "pagination": {"cursor": "c", "has_more": True}})
    assert read(listing(api))[0] == [1, 2, 0]


def test_an_endless_server_is_read_as_far_as_one_wants() -> None:
    api = FakeApi(lambda number, params: {"data": [number], "meta": {"total_pages": number + 1}})
    assert list(islice(listing(api), 500)) == list(range(1, 501))


@pytest.mark.parametrize(("size", "asked"), [(7, 7), (100, 100), (1000, 100)])
def test_a_page_in_the_form_server_has_100_objects_at_most(size: int, asked: int) -> None:
    api = pages({"data": [1], "pagination": {"cursor": "c", "has_more": True}}, {"data": []})
    assert read(listing(api, size, "server")) == ([1], "")
    assert api.requests == [{"limit": asked}, {"limit": asked, "after": "c"}]


@pytest.mark.parametrize("reply", [{}, {"data": None}, {"data": {"id": 1}}, {"datasets": []}])
def test_a_list_without_a_list(reply: dict[str, Any]) -> None:
    with pytest.raises(InvalidReply, match="answered GET /datasets without a list in 'data'"):
        list(listing(FakeApi(lambda number, params: reply)))


def test_no_secret_in_the_log(emulator: Emulator, hook: OpenAnalystHook, logged: Logged) -> None:
    list(hook.list_datasets())
    hook.run_agent("a", "t")
    with pytest.raises(NotFound) as caught:
        hook.get_report("none")
    assert API_KEY not in f"{logged.text} {hook!r} {caught.value!r}"


# Any other request


def test_a_request_for_which_there_is_no_method(
    web: responses.RequestsMock, far: OpenAnalystHook, sleeps: list[float]
) -> None:
    web.get(f"{BASE}/alerts/a%20b?state=open", status=503)
    web.get(f"{BASE}/alerts/a%20b?state=open", json=[1, None])
    seen: list[int] = []
    far.on_response = lambda response: seen.append(response.status_code)
    assert far.request("GET", "/alerts/a%20b", params={"state": "open", "after": None}) == [1, None]
    assert {call.request.headers["Authorization"] for call in web.calls} == {f"Bearer {API_KEY}"}
    assert (len(sleeps), seen) == (1, [503, 200]), "tried again, and its rate-limit headers are seen"
    web.put(f"{BASE}/alerts/7", json={"ok": True})
    assert far.request("PUT", "/alerts/7", json={"state": "closed"}) == {"ok": True}
    assert json.loads(web.calls[-1].request.body) == {"state": "closed"}
    web.get(f"{BASE}/alerts.csv", body=b"a,b\r\n")
    assert far.request("GET", "/alerts.csv", raw=True) == b"a,b\r\n"


def test_what_changes_something_is_not_requested_twice(
    web: responses.RequestsMock, far: OpenAnalystHook, sleeps: list[float]
) -> None:
    web.delete(f"{BASE}/alerts/7", status=500, body=f"no {API_KEY}")
    with pytest.raises(StartOutcomeUnknown) as caught:
        far.request("DELETE", "/alerts/7")
    assert (len(web.calls), sleeps) == (1, [])
    assert API_KEY not in str(caught.value) + caught.value.why
    assert "500" in caught.value.why
    web.get(f"{BASE}/none", status=404)
    with pytest.raises(NotFound):
        far.request("GET", "/none")
    with pytest.raises(InvalidArgument, match="must begin with a slash"):
        far.request("GET", "https://elsewhere.test/v1")
    assert len(web.calls) == 2


@pytest.mark.parametrize(
    "reply",
    [
        {"next_cursor": "c2"},
        {"pagination": {"next_page": 2}},
        {"meta": {"next_page_token": "t", "total": 40}},
        {"links": {"self": "/datasets", "next": "/datasets?after=c2"}},
        {"_links": {"next": {"href": "/datasets?page=2"}}},
        {"pagination": {"nextCursor": "c2"}},
        {"nextPageToken": "t"},
    ],
)
def test_a_next_page_in_words_that_no_page_shows_is_told(reply: dict[str, Any]) -> None:
    with pytest.raises(InvalidReply, match=r"cannot be read to its end: it names a next page by '.*next.*'"):
        Listing("/datasets", {"limit": 20}).take({"data": [{"id": "a"}], **reply})


@pytest.mark.parametrize(
    "reply",
    [
        {"next_cursor": None, "links": {"next": None}},
        {"next": "", "_links": {}, "links": []},
        {"has_more": False, "next_cursor": "c2"},
        {"meta": {"page": 1, "total_pages": 1}, "links": {"next": "/datasets?page=2"}},
    ],
)
def test_the_last_page_is_the_last(reply: dict[str, Any]) -> None:
    listing = Listing("/datasets", {"limit": 20})
    listing.take({"data": [{"id": "a"}], **reply})
    assert listing.params is None


def test_a_page_that_is_known_is_asked_for_by_its_number() -> None:
    listing = Listing("/datasets", {"page": 1, "per_page": 1})
    listing.take({"data": [{"id": "a"}], "meta": {"page": 1, "total_pages": 2}, "links": {"next": "/datasets?page=2"}})
    assert listing.params == {"page": 2, "per_page": 1}


def test_a_page_by_its_cursor_has_no_more_than_the_vendor_takes() -> None:
    listing = Listing("/datasets", {"page": 1, "per_page": 500})
    listing.take({"data": [{"id": "a"}], "pagination": {"cursor": "c2", "has_more": True}})
    assert listing.params == {"limit": 100, "after": "c2"}
