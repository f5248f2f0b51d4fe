"""OpenAnalyst's two references: what is sent in each form, and that answers are read in both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import responses

from airflow_provider_nenoa.exceptions import InvalidArgument, InvalidConnection, InvalidReply, StartOutcomeUnknown
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.vendors import openanalyst
from airflow_provider_nenoa.vendors.openanalyst_forms import FORMS
from tests.unit.conftest import WEBHOOK_SECRET

BASE = "https://api.openanalyst.com/v1"
API, SERVER = FORMS["api"], FORMS["server"]
WEBHOOK = "https://hook.test/x"


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as web:
        yield web


@pytest.fixture
def server(connect: Callable[..., str], sleeps: list[float]) -> OpenAnalystHook:
    return OpenAnalystHook(connect("openanalyst", extra={"api_form": "server"}))


@pytest.fixture
def api(connect: Callable[..., str], sleeps: list[float]) -> OpenAnalystHook:
    return OpenAnalystHook(connect("openanalyst"))


def sent(web: responses.RequestsMock) -> Any:
    return json.loads(web.calls[-1].request.body or "null")


def test_an_agent_in_the_form_server(web: responses.RequestsMock, server: OpenAnalystHook) -> None:
    web.post(f"{BASE}/agents/run", json={"id": "ses_1", "status": "running", "created_at": "2025-11-01T09:00:00Z"})
    run = server.run_agent(
        None, "Why?", dataset_ids=["ds_1"], model="large", max_steps=5, extra_body={"x": 1}, webhook_url=WEBHOOK
    )
    assert (run.run_id, run.status) == ("ses_1", RunStatus.RUNNING)
    assert sent(web) == {"prompt": "Why?", "dataset_ids": ["ds_1"], "model": "large", "max_steps": 5, "x": 1}

    payload = {"id": "ses_1", "status": "completed", "steps": [{"n": 1}], "final_answer": "Because."}
    web.get(f"{BASE}/agents/sessions/ses_1", json=payload)
    ended = server.get_agent_run("ses_1")
    assert (ended.run_id, ended.status, ended.payload) == ("ses_1", RunStatus.SUCCESS, payload)


def test_a_query_in_the_form_server(web: responses.RequestsMock, server: OpenAnalystHook) -> None:
    web.post(f"{BASE}/queries/run", json={"id": "qry_1", "status": "running", "created_at": "2025-11-01T09:00:00Z"})
    assert server.execute_query("ds_1", "SELECT 1", query_timeout=30, webhook_url=WEBHOOK).run_id == "qry_1"
    assert sent(web) == {"dataset_id": "ds_1", "sql": "SELECT 1", "timeout": 30}
    server.execute_query("ds_1", question="How much?")
    assert sent(web) == {"dataset_id": "ds_1", "sql": "How much?"}
    web.get(f"{BASE}/queries/qry_1/results", json={"id": "qry_1", "status": "completed", "columns": ["a"], "rows": []})
    assert server.get_query_results("qry_1").status is RunStatus.SUCCESS


def test_a_list_in_the_form_server(web: responses.RequestsMock, server: OpenAnalystHook) -> None:
    first = responses.matchers.query_param_matcher({"limit": 2})
    web.get(
        f"{BASE}/datasets", match=[first], json={"data": [{"id": 1}], "pagination": {"cursor": "c", "has_more": True}}
    )
    second = responses.matchers.query_param_matcher({"limit": 2, "after": "c"})
    web.get(f"{BASE}/datasets", match=[second], json={"data": [{"id": 2}], "pagination": {"has_more": False}})
    assert [each["id"] for each in server.list_datasets(page_size=2)] == [1, 2]


BAD: dict[str, Callable[[], Any]] = {
    "form 'api' knows no 'dataset_ids'": lambda: API.agent("a", "t", dataset_ids=[]),
    "form 'api' knows no 'model'": lambda: API.agent("a", "t", model="m"),
    "form 'api' knows no 'max_steps'": lambda: API.agent("a", "t", max_steps=1),
    "form 'api' knows no 'question'": lambda: API.query("d", None, question="q"),
    "form 'api' knows no 'query_timeout'": lambda: API.query("d", "q", query_timeout=1),
    "form 'api' knows no exports": lambda: API.export("d", "csv"),
    "form 'api' knows no reports as files": lambda: API.report_file("r", "csv"),
    "form 'server' knows no 'context'": lambda: SERVER.agent(None, "t", context={}),
    "'agent_id' must be a non-empty string, not None": lambda: API.agent(None, "t"),
    "'task' must be a non-empty string": lambda: SERVER.agent(None, " "),
    "'dataset_ids' must be a list of ids, not 'ds_1'": lambda: SERVER.agent(None, "t", dataset_ids="ds_1"),
    "'dataset_ids' must be a non-empty string": lambda: SERVER.agent(None, "t", dataset_ids=["ds_1", ""]),
    "'max_steps' must be a whole number of at least 1, not 0": lambda: SERVER.agent(None, "t", max_steps=0),
    "'max_steps' must be a whole number of at least 1, not True": lambda: SERVER.agent(None, "t", max_steps=True),
    "'query_timeout' must be more than 0 seconds, not inf": lambda: SERVER.query("d", "q", query_timeout=float("inf")),
    "'question' must be a non-empty string": lambda: SERVER.query("d", None, question=" "),
    "'export_format' must be one of csv, parquet, not 'xlsx'": lambda: SERVER.export("d", "xlsx"),
    "'date_range' must be a dict with 'start' and 'end'": lambda: SERVER.export("d", "csv", date_range={"start": "x"}),
    "date_range['end'] is not a time": lambda: SERVER.export(
        "d", "csv", date_range={"start": "2024-01-01", "end": pd.NaT}
    ),
    "date_range['end']' must be a non-empty string": lambda: SERVER.export(
        "d", "csv", date_range={"start": "2024-01-01", "end": None}
    ),
    "'extra_body' cannot have 'agent_id', 'task'": lambda: API.agent("a", "t", extra_body={"task": 1, "agent_id": 2}),
    "'extra_body' cannot have 'webhook_url'": lambda: API.query(
        "d", "q", webhook_url=WEBHOOK, extra_body={"webhook_url": "other"}
    ),
    "'extra_body' cannot have 'sql'": lambda: SERVER.query("d", "q", extra_body={"sql": "other"}),
    "'extra_body' must be a dict that can be sent as JSON": lambda: SERVER.query("d", "q", extra_body=[1]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_refused_before_anything_is_sent(message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        BAD[message]()
    text = str(caught.value)
    assert message in text
    assert "Nothing was sent" in text
    if "knows no" in text:
        assert f"'api_form' to '{'api' if 'server' in message else 'server'}'" in text


@pytest.mark.parametrize(("given", "sent"), [(30, "30"), (30.0, "30"), (1.5, "1.5"), (timedelta(minutes=2), "120")])
def test_whole_seconds_are_sent_as_a_whole_number(given: Any, sent: str) -> None:
    assert json.dumps(SERVER.query("d", "q", query_timeout=given)[1]["timeout"]) == sent


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "30"])
def test_a_time_that_is_none(seconds: Any) -> None:
    with pytest.raises(InvalidArgument, match="'query_timeout' must be more than 0 seconds, not "):
        SERVER.query("d", "q", query_timeout=seconds)


@pytest.mark.parametrize("arguments", [{}, {"query": "SELECT 1", "question": "How?"}])
def test_a_query_is_sql_or_a_question(server: OpenAnalystHook, arguments: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match=r"(either 'query' or|unless) 'question'"):
        server.execute_query("ds_1", **arguments)


def test_the_dates_of_an_export() -> None:
    for start, end in [("2024-01-01", "2024-01-31"), (date(2024, 1, 1), date(2024, 1, 31))]:
        _, body = SERVER.export("d", "parquet", date_range={"start": start, "end": end}, extra_body={"x": None})
        assert body == {
            "dataset_id": "d",
            "format": "parquet",
            "filter": {"date_range": {"start": "2024-01-01", "end": "2024-01-31"}},
            "x": None,
        }
    _, body = SERVER.export("d", "csv", date_range={"start": datetime(2024, 1, 1, tzinfo=UTC), "end": "now"})
    assert body["filter"]["date_range"]["start"] == "2024-01-01T00:00:00+00:00"


AGENTS = [
    {"run_id": "r", "status": "running"},
    {"id": "r", "status": "started"},
    {"session_id": "r"},
    {"data": {"id": "r", "status": "in_progress"}},
    {"session": {"id": "r"}},
    {"run": {"run_id": "r", "status": "queued"}},
    {"run_id": None, "id": "r"},
    {"status": "success", "data": {"run_id": "r", "status": "running"}},
    {"status": "success", "data": {"run_id": "r"}},
    {"run_id": "r", "status": "success", "message": "The agent was started."},
    {"id": "of the request", "data": {"run_id": "r"}},
    {"id": "of the request", "data": {"id": " r ", "status": "running"}},
    {"id": "r", "session_id": "of several runs"},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reply", AGENTS)
def test_a_start_is_read_in_both_forms(
    web: responses.RequestsMock, connect: Callable[..., str], form: str, reply: dict[str, Any]
) -> None:
    web.post(f"{BASE}/agents/run", json=reply)
    run = OpenAnalystHook(connect("openanalyst", extra={"api_form": form})).run_agent("a", "t")
    assert (run.run_id, run.status, run.payload) == ("r", RunStatus.RUNNING, reply)


@pytest.mark.parametrize(
    "reply", [{}, {"id": True}, {"id": {}}, {"data": []}, {"result": {"id": "of something"}}, {"data": {"status": "x"}}]
)
def test_a_start_that_names_nothing(web: responses.RequestsMock, server: OpenAnalystHook, reply: Any) -> None:
    web.post(f"{BASE}/agents/run", json=reply)
    with pytest.raises(StartOutcomeUnknown, match="accepted POST /agents/run"):
        server.run_agent(None, "t")
    if "result" not in reply:
        web.post(f"{BASE}/queries/run", json=reply)
        with pytest.raises(StartOutcomeUnknown, match="accepted POST /queries/run"):
            server.execute_query("d", "q")


@pytest.mark.parametrize("word", ["completed", "ready", "Succeeded"])
def test_a_state_is_read_in_both_forms(web: responses.RequestsMock, api: OpenAnalystHook, word: str) -> None:
    for reply in ({"id": "r", "status": word}, {"data": {"id": "r", "status": word}}):
        assert openanalyst.read_agent_run(reply, "r", "/p").status is RunStatus.SUCCESS
    web.get(f"{BASE}/agents/runs/r", json={"session_id": "r", "status": word, "final_answer": "A."})
    assert openanalyst.final_answer(api.get_agent_run("r").payload) == "A."


@pytest.mark.parametrize(
    ("reply", "word"),
    [
        ({"status": "success", "data": {"run_id": "r", "status": "running"}}, "running"),
        ({"status": "success", "data": {"status": "running"}}, "running"),
        ({"status": "success", "data": {"id": "r", "status": "pondering"}}, "pondering"),
        ({"status": "completed", "data": {"run_id": "r", "final_answer": "A"}}, "completed"),
        ({"run_id": "r", "status": "completed", "data": {"status": "pending"}}, "completed"),
        ({"status": "completed", "data": {"status": "on its way"}}, "completed"),
        ({"run_id": "r", "status": "failed", "session": {"id": "s", "status": "running"}}, "failed"),
    ],
)
def test_an_envelopes_status_is_that_of_the_call(reply: dict[str, Any], word: str) -> None:
    assert openanalyst.read_agent_run(reply, "r", "/p").word == word


def test_an_agents_end_at_once_is_believed_with_its_result() -> None:
    for reply in ({"run_id": "r", "status": "completed", "result": {}}, {"id": "r", "status": "failed"}):
        assert openanalyst.read_agent_start(reply, "/p").status.is_end


def test_rows_that_are_null_are_no_end() -> None:
    reply: dict[str, Any] = {"id": "q", "rows": None}
    assert openanalyst.read_query_start(reply, "/p").status is RunStatus.RUNNING
    with pytest.raises(InvalidReply, match="without a 'status'"):
        openanalyst.read_query_results(reply, "q", "/p")
    envelope = {"status": "success", "data": {"id": "q", "status": "running", "rows": []}}
    assert openanalyst.read_query_start(envelope, "/p").status is RunStatus.RUNNING
    assert openanalyst.read_query_results(envelope, "q", "/p").status is RunStatus.RUNNING
    assert openanalyst.read_query_start({**reply, "status": "completed"}, "/p").status is RunStatus.SUCCESS


def test_a_results_own_status_is_not_the_runs() -> None:
    with pytest.raises(InvalidReply, match="without a 'status'"):
        openanalyst.read_agent_run({"run_id": "r", "result": {"status": "completed"}}, "r", "/p")


@pytest.mark.parametrize(
    ("payload", "answer"),
    [
        ({"final_answer": "A"}, "A"),
        ({"result": {"final_answer": {"a": 1}}}, {"a": 1}),
        ({"data": {"final_answer": None}}, None),
        ({"result": "final_answer"}, None),
        ({}, None),
    ],
)
def test_the_final_answer(payload: dict[str, Any], answer: Any) -> None:
    assert openanalyst.final_answer(payload) == answer


@pytest.mark.parametrize(("value", "form"), [(None, "api"), ("", "api"), ("api", "api"), (" Server ", "server")])
def test_the_connection_names_the_form(connect: Callable[..., str], value: Any, form: str) -> None:
    hook = OpenAnalystHook(connect("openanalyst", extra={"api_form": value}))
    assert (hook.form.name, hook.takes_callbacks) == (form, form == "api")


@pytest.mark.parametrize(("value", "advice"), [("rest", "api, server"), (2, "api, server"), (["api"], "be a text")])
def test_a_form_that_is_none(connect: Callable[..., str], value: Any, advice: str) -> None:
    with pytest.raises(InvalidConnection, match=rf"'my_openanalyst': the extra field 'api_form' is .* {advice}"):
        _ = OpenAnalystHook(connect("openanalyst", extra={"api_form": value})).settings


@pytest.mark.parametrize(("key", "secret"), [("oa_test_k", None), ("oa_live_k", 1), ("oa_sk_k", 1), ("anything", 1)])
def test_a_test_key_is_told_of_nothing(connect: Callable[..., str], key: str, secret: int | None) -> None:
    hook = OpenAnalystHook(connect("openanalyst", password=key, extra={"webhook_secret": WEBHOOK_SECRET}))
    assert hook.settings.webhook_secret == (secret and WEBHOOK_SECRET)
