"""OpenAnalyst's endpoints against what its documentation says."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_nenoa.emulator import Control, Emulator

from .conftest import LIVE_KEY, Api, eventually


def assert_error(reply: Any, status: int, code: str) -> str:
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/json"
    body = reply.json()
    assert set(body) == {"error", "request_id"}
    assert set(body["error"]) == {"code", "message", "status"}
    assert (body["error"]["code"], body["error"]["status"]) == (code, status)
    assert body["request_id"].startswith("req_")
    return str(body["error"]["message"])


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer ", "Bearer oa_live_", "Bearer sk_live_x", f"Basic {LIVE_KEY}", LIVE_KEY],
)
def test_a_key_that_is_none(openanalyst: Api, authorization: str | None) -> None:
    assert_error(openanalyst.get("/datasets", headers={"Authorization": authorization}), 401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/datasets"),
        ("GET", "/datasets/ds_abc123"),
        ("POST", "/queries"),
        ("GET", "/queries/qry_1/results"),
        ("GET", "/reports"),
        ("GET", "/reports/rep_000001"),
        ("POST", "/agents/run"),
        ("GET", "/agents/runs/run_1"),
        ("GET", "/dashboards"),
    ],
)
def test_every_endpoint_asks_for_the_key(openanalyst: Api, method: str, path: str) -> None:
    reply = openanalyst.session.request(method, openanalyst.url + path, headers={"Authorization": None}, timeout=10)
    assert_error(reply, 401, "UNAUTHORIZED")


def test_one_configured_key_is_the_only_one(openanalyst: Api, control: Control) -> None:
    control.settings(openanalyst_key="oa_your_api_key_here")
    assert_error(openanalyst.get("/datasets"), 401, "UNAUTHORIZED")
    assert openanalyst.get("/datasets", headers={"Authorization": "Bearer oa_your_api_key_here"}).status_code == 200


def test_an_unknown_path_and_a_wrong_method(openanalyst: Api) -> None:
    assert_error(openanalyst.get("/nothing"), 404, "NOT_FOUND")
    assert_error(openanalyst.post("/datasets"), 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("path", ["/datasets", "/reports", "/dashboards"])
def test_pages(openanalyst: Api, control: Control, path: str) -> None:
    control.settings(datasets=143, reports=143, dashboards=143)
    assert openanalyst.get(path).json()["meta"] == {"page": 1, "per_page": 25, "total": 143, "total_pages": 6}

    pages = [openanalyst.get(path, params={"page": page, "per_page": 30}).json() for page in range(1, 7)]
    assert [len(page["data"]) for page in pages] == [30, 30, 30, 30, 23, 0]
    assert pages[1]["meta"] == {"page": 2, "per_page": 30, "total": 143, "total_pages": 5}
    assert len({item["id"] for page in pages for item in page["data"]}) == 143


@pytest.mark.parametrize("path", ["/datasets", "/reports", "/dashboards"])
def test_cursors_when_they_are_asked_for(openanalyst: Api, control: Control, path: str) -> None:
    control.settings(datasets=12, reports=12, dashboards=12)
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 5}
    for expected in (5, 5, 2):
        body = openanalyst.get(path, params=params).json()
        assert set(body) == {"data", "pagination"}
        assert len(body["data"]) == expected
        assert body["pagination"]["total"] == 12
        seen += [item["id"] for item in body["data"]]
        assert body["pagination"]["has_more"] == (len(seen) < 12)
        params["after"] = body["pagination"]["cursor"]
    assert params["after"] is None
    assert len(set(seen)) == 12


def test_cursors_by_setting_whatever_is_asked(openanalyst: Api, control: Control) -> None:
    control.settings(pagination="cursor", datasets=3)
    first = openanalyst.get("/datasets", params={"page": 2, "per_page": 2}).json()
    assert [item["id"] for item in first["data"]] == ["ds_abc123", "ds_000002"]
    rest = openanalyst.get("/datasets", params={"after": first["pagination"]["cursor"]}).json()
    assert [item["id"] for item in rest["data"]] == ["ds_000003"]
    assert rest["pagination"] == {"cursor": None, "has_more": False, "total": 3}


def test_a_server_that_repeats_a_page_for_ever(openanalyst: Api, control: Control) -> None:
    control.settings(pagination="repeat")
    pages = [openanalyst.get("/datasets", params={"page": page, "per_page": 2}).json() for page in (1, 2, 999)]
    assert pages[0] == pages[1] == pages[2]
    assert pages[0]["meta"]["total_pages"] > 999


@pytest.mark.parametrize(
    "params",
    [
        {"page": "0"},
        {"page": "-1"},
        {"page": "two"},
        {"page": "9" * 5000},
        {"per_page": "101"},
        {"per_page": "²"},
        {"limit": "0"},
        {"after": "nowhere"},
    ],
)
def test_pages_that_do_not_exist(openanalyst: Api, params: dict[str, str]) -> None:
    assert next(iter(params)) in assert_error(openanalyst.get("/datasets", params=params), 422, "VALIDATION_ERROR")


def test_a_dataset_has_a_schema(openanalyst: Api) -> None:
    dataset = openanalyst.get("/datasets/ds_abc123").json()
    assert dataset["id"] == "ds_abc123"
    (table,) = dataset["schema"]["tables"]
    assert table["name"] == "sales"
    assert [column["name"] for column in table["columns"]] == ["region", "product", "date", "quantity", "revenue"]


def test_a_report_has_data(openanalyst: Api) -> None:
    report = openanalyst.get("/reports/rep_000001").json()
    assert report["id"] == "rep_000001"
    assert report["data"]["row_count"] == 12
    assert set(report["data"]["rows"][0]) == {"month", "revenue"}


def test_what_is_not_there(openanalyst: Api) -> None:
    assert_error(openanalyst.get("/datasets/ds_none"), 404, "DATASET_NOT_FOUND")
    assert_error(openanalyst.get("/reports/rep_none"), 404, "NOT_FOUND")
    assert_error(openanalyst.get("/agents/runs/run_none"), 404, "NOT_FOUND")
    assert_error(openanalyst.get("/queries/qry_none/results"), 404, "NOT_FOUND")


def query(api: Api, sql: str, **more: Any) -> Any:
    return api.post("/queries", json={"dataset_id": "ds_abc123", "query": sql, **more})


def test_a_query_really_runs(openanalyst: Api) -> None:
    reply = query(
        openanalyst, "SELECT date, revenue FROM sales WHERE date >= '2024-01-01' ORDER BY date DESC LIMIT 100"
    ).json()
    assert reply["status"] == "completed"
    assert reply["columns"] == ["date", "revenue"]
    assert reply["row_count"] == len(reply["rows"]) == 100
    assert reply["rows"][0]["date"] == "2024-12-31"
    assert reply["execution_time_ms"] >= 0
    again = openanalyst.get(f"/queries/{reply['id']}/results").json()
    assert again == reply


def test_the_sample_data_are_always_the_same(openanalyst: Api) -> None:
    sql = "SELECT count(*) AS n, sum(quantity) AS quantity, count(DISTINCT date) AS days FROM sales"
    assert query(openanalyst, sql).json()["rows"] == [{"n": 5856, "quantity": 76970, "days": 366}]


def test_values_that_json_does_not_have(openanalyst: Api) -> None:
    rows = query(openanalyst, "SELECT 9e999 AS infinite, x'00ff' AS bytes, NULL AS absent").json()["rows"]
    assert rows == [{"infinite": None, "bytes": "00ff", "absent": None}]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELEC 1", 'near "SELEC": syntax error'),
        ("SELECT * FROM missing", "no such table: missing"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("DROP TABLE sales", "not authorized"),
        ("DELETE FROM sales", "not authorized"),
        ("INSERT INTO sales VALUES (1, 2, 3, 4, 5)", "not authorized"),
        ("ATTACH DATABASE '/tmp/x' AS x", "not authorized"),
        ("PRAGMA writable_schema = 1", "not authorized"),
        ("CREATE TABLE t (a)", "not authorized"),
    ],
)
def test_sql_that_does_not_run(openanalyst: Api, sql: str, words: str) -> None:
    assert words in assert_error(query(openanalyst, sql), 422, "VALIDATION_ERROR")
    assert query(openanalyst, "SELECT count(*) AS n FROM sales").json()["rows"] == [{"n": 5856}]


@pytest.mark.parametrize(
    "body",
    [
        {"query": "SELECT 1"},
        {"dataset_id": "ds_abc123"},
        {"dataset_id": "ds_abc123", "query": " "},
        {"dataset_id": 1, "query": "SELECT 1"},
        ["SELECT 1"],
        None,
    ],
)
def test_a_query_that_is_none(openanalyst: Api, body: Any) -> None:
    assert_error(openanalyst.post("/queries", json=body), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b'{"dataset_id": NaN}'])
def test_a_body_that_is_not_json(openanalyst: Api, raw: bytes) -> None:
    assert_error(openanalyst.post("/queries", data=raw), 422, "VALIDATION_ERROR")


def test_a_query_on_a_dataset_that_is_not_there(openanalyst: Api) -> None:
    reply = openanalyst.post("/queries", json={"dataset_id": "ds_none", "query": "SELECT 1"})
    assert_error(reply, 404, "DATASET_NOT_FOUND")


def test_a_slow_query_is_awaited(openanalyst: Api, control: Control) -> None:
    started = query(openanalyst, "/* slow: null */ SELECT 1 AS one").json()
    assert started == {"id": started["id"], "status": "running"}
    path = f"/queries/{started['id']}/results"
    assert openanalyst.get(path).json() == started
    control.finish(started["id"])
    done = openanalyst.get(path).json()
    assert (done["status"], done["rows"], done["row_count"]) == ("completed", [{"one": 1}], 1)


def test_a_slow_query_takes_its_time(openanalyst: Api) -> None:
    started = query(openanalyst, "SELECT 1 AS one /* slow: 0.05 */").json()
    assert started["status"] == "running"
    path = f"/queries/{started['id']}/results"
    eventually(lambda: openanalyst.get(path).json()["status"] != "running")
    assert openanalyst.get(path).json()["rows"] == [{"one": 1}]


def test_all_queries_can_be_slow_and_then_fail_in_sqlites_words(openanalyst: Api, control: Control) -> None:
    control.settings(query={"seconds": None})
    started = query(openanalyst, "SELECT * FROM missing").json()
    assert started["status"] == "running"
    control.finish(started["id"])
    done = openanalyst.get(f"/queries/{started['id']}/results").json()
    assert done == {"id": started["id"], "status": "failed", "error": "no such table: missing"}


def test_a_query_can_be_told_to_fail(openanalyst: Api) -> None:
    sql = '/* emulate: {"outcome": "failed", "error": "warehouse suspended"} */ SELECT 1'
    reply = query(openanalyst, sql).json()
    assert (reply["status"], reply["error"]) == ("failed", "warehouse suspended")


@pytest.mark.parametrize("comment", ["/* slow: soon */", "/* slow: -1 */", '/* emulate: {"speed": 1} */'])
def test_a_comment_that_makes_no_sense(openanalyst: Api, comment: str) -> None:
    assert_error(query(openanalyst, f"SELECT 1 {comment}"), 422, "VALIDATION_ERROR")


def test_a_run_of_an_agent(openanalyst: Api, control: Control) -> None:
    reply = openanalyst.post(
        "/agents/run",
        json={
            "agent_id": "agent_xyz789",
            "task": "Summarize weekly sales performance and flag any anomalies.",
            "context": {"dataset_id": "ds_abc123", "date_range": {"start": "2024-03-11", "end": "2024-03-17"}},
        },
    )
    assert reply.status_code == 202
    run_id = reply.json()["run_id"]
    running = openanalyst.get(f"/agents/runs/{run_id}").json()
    assert (running["run_id"], running["status"], running["result"]) == (run_id, "running", None)

    control.finish(run_id)
    done = openanalyst.get(f"/agents/runs/{run_id}").json()
    assert done["status"] == "completed"
    answer = done["result"]["answer"]
    assert "Summarize weekly sales performance" in answer
    assert "2024-03-11" in answer
    assert "South is last." in answer
    assert "dataset_id" in answer


def test_a_run_of_an_agent_can_be_told_how_to_end(openanalyst: Api, control: Control) -> None:
    def run(emulate: dict[str, Any]) -> dict[str, Any]:
        body = {"agent_id": "a", "task": "t", "context": {"emulate": {"seconds": 0, **emulate}}}
        run_id = openanalyst.post("/agents/run", json=body).json()["run_id"]
        return openanalyst.get(f"/agents/runs/{run_id}").json()

    assert run({"result": {"score": 7}})["result"]["score"] == 7
    failed = run({"outcome": "failed", "error": "the model gave up"})
    assert (failed["status"], failed["error"], failed["result"]) == ("failed", "the model gave up", None)
    assert run({"outcome": "simmering"})["status"] == "simmering"


def test_defaults_of_agent_runs_are_settable(openanalyst: Api, control: Control) -> None:
    control.settings(agent={"seconds": 0, "outcome": "failed"})
    run_id = openanalyst.post("/agents/run", json={"agent_id": "a", "task": "t"}).json()["run_id"]
    assert openanalyst.get(f"/agents/runs/{run_id}").json()["status"] == "failed"


@pytest.mark.parametrize(
    "body",
    [
        {"task": "t"},
        {"agent_id": "a"},
        {"agent_id": "", "task": "t"},
        {"agent_id": "a", "task": 1},
        {"agent_id": "a", "task": "t", "context": [1]},
        {"agent_id": "a", "task": "t", "context": {"emulate": {"seconds": "soon"}}},
        {"agent_id": "a", "task": "t", "webhook_url": "http://example.com/hook"},
        {"agent_id": "a", "task": "t", "webhook_url": "ftp://example.com/hook"},
        {"agent_id": "a", "task": "t", "webhook_url": "https://[broken"},
        {"agent_id": "a", "task": "t", "webhook_url": 1},
    ],
)
def test_a_run_that_cannot_start(openanalyst: Api, control: Control, body: dict[str, Any]) -> None:
    assert_error(openanalyst.post("/agents/run", json=body), 422, "VALIDATION_ERROR")
    assert control.counts()["runs_started"]["agent"] == 0


@pytest.mark.parametrize(
    "url", ["https://example.invalid/hook", "http://localhost:1/h", "http://127.8.8.8:1/h", "http://[::1]:1/h"]
)
def test_webhook_urls_that_are_taken(openanalyst: Api, url: str) -> None:
    reply = openanalyst.post("/agents/run", json={"agent_id": "a", "task": "t", "webhook_url": url})
    assert reply.status_code == 202


def test_runs_belong_to_a_workspace_and_to_a_kind(openanalyst: Api) -> None:
    run_id = openanalyst.post("/agents/run", json={"agent_id": "a", "task": "t"}).json()["run_id"]
    same = {"Authorization": "Bearer oa_live_acme_2"}
    other = {"Authorization": "Bearer oa_live_other_1"}
    assert openanalyst.get(f"/agents/runs/{run_id}", headers=same).status_code == 200
    assert_error(openanalyst.get(f"/agents/runs/{run_id}", headers=other), 404, "NOT_FOUND")
    assert_error(openanalyst.get(f"/queries/{run_id}/results"), 404, "NOT_FOUND")


def test_a_thousand_runs_at_once(nenoa_emulator: Emulator, openanalyst: Api, control: Control) -> None:
    body = {"agent_id": "a", "task": "t", "context": {"emulate": {"seconds": 0.5}}}
    run_ids = [openanalyst.post("/agents/run", json=body).json()["run_id"] for _ in range(1000)]
    eventually(lambda: all(run["ended"] for run in control.runs()))
    assert len(set(run_ids)) == len(control.runs()) == control.counts()["runs_started"]["agent"] == 1000
