"""What the operators do with results, against both emulated vendors."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import (
    AirflowFailException,
    DownloadFailed,
    FilesMissing,
    InvalidArgument,
    InvalidReply,
    ResultRefused,
    ResultsExpired,
    RunFailed,
)
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.operators.nenai import NenAIDownloadResultsOperator, NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystGetDatasetOperator,
    OpenAnalystGetReportOperator,
    OpenAnalystListDashboardsOperator,
    OpenAnalystListDatasetsOperator,
    OpenAnalystListReportsOperator,
)
from airflow_provider_nenoa.runs import Run
from tests.unit.conftest import API_KEY, requests_to
from tests.unit.results.conftest import content_of, names_in

WORKFLOW_ID = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"
FILES = [{"name": "report.pdf", "size": 100_000}, {"name": "rows.csv", "content": "a,b\n1,2\n"}]
FINISHED = {"seconds": 0, "files": FILES, "links": 0}
BY_REGION = "SELECT region, sum(quantity) AS quantity FROM sales GROUP BY region ORDER BY region"


class Store(dict):  # type: ignore[type-arg]
    """Airflow's task state store."""

    set = dict.__setitem__

    def delete(self, key: str) -> None:
        self.pop(key, None)


class TaskInstance:
    try_number, max_tries = 1, 0

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": TaskInstance(), "task_state_store": Store()}


@pytest.fixture
def out(tmp_path: Path) -> str:
    return f"file://{tmp_path}/out"


def run_id_of(emulator: Emulator, nenai: str, **behaviour: Any) -> str:
    """Start a workflow run that ends at once, and wait for its end."""
    run = NenAIHook(nenai).start_run(WORKFLOW_ID, {"emulate": {**FINISHED, **behaviour}})
    while not NenAIHook(nenai).get_run(run.run_id).status.is_end:
        time.sleep(0.01)
    return run.run_id


def workflow(nenai: str, **kwargs: Any) -> NenAIRunWorkflowOperator:
    return NenAIRunWorkflowOperator(
        task_id="workflow",
        workflow_id=WORKFLOW_ID,
        nenai_conn_id=nenai,
        poll_interval=0.05,
        **{"workflow_params": {"emulate": FINISHED}, **kwargs},
    )


# --- files of a NenAI run


def test_a_workflow_stores_its_files(nenai: str, directory: str, context: Any) -> None:
    result = workflow(nenai, output_path=directory).execute(context)
    pdf, csv = result["files"]
    assert (pdf["name"], pdf["path"], pdf["size"]) == ("report.pdf", f"{directory}/report.pdf", 100_000)
    assert pdf["sha256"] == hashlib.sha256(content_of(pdf["path"])).hexdigest()
    assert content_of(csv["path"]) == b"a,b\n1,2\n"
    assert result["result"]["assets"] == "fetched: see 'files'"
    assert result["result"]["message_id"] == result["message_id"], "the rest of the payload is there as it was"
    assert "X-Amz-Signature" not in json.dumps(result)


def test_without_output_path_nothing_is_fetched(nenai: str, emulator: Emulator, context: Any) -> None:
    result = workflow(nenai).execute(context)
    assert result["files"] == []
    assert result["result"]["assets"].startswith("http"), "the payload stays as it was"
    assert not [route for route in requests_to(emulator) if "/files/" in route or "/assets/" in route]


def test_no_api_key_travels_with_a_download(nenai: str, emulator: Emulator, out: str, context: Any) -> None:
    workflow(nenai, output_path=out).execute(context)
    downloads = [request for request in emulator.control.requests() if request["path"].startswith("/assets/")]
    assert downloads
    assert API_KEY not in json.dumps(downloads)


def test_a_place_that_cannot_be_is_said_before_anything_is_spent(nenai: str, emulator: Emulator, context: Any) -> None:
    for output_path in ("nowhere://bucket/x", __file__, f"file://{__file__}/x"):
        with pytest.raises(InvalidArgument, match="output_path"):
            workflow(nenai, output_path=output_path).execute(context)
    assert requests_to(emulator) == {}


def test_a_download_that_failed_is_taken_up_by_the_next_attempt(
    nenai: str, emulator: Emulator, out: str, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise DownloadFailed("The store is down.")

    with monkeypatch.context() as broken:
        broken.setattr(NenAIHook, "download_results", fail)
        with pytest.raises(DownloadFailed):
            workflow(nenai, output_path=out).execute(context)
    result = workflow(nenai, output_path=out).execute(context)
    assert names_in(out) == ["report.pdf", "rows.csv"]
    assert result["message_id"] == context["ti"].xcoms["message_id"]
    assert requests_to(emulator)["POST /runs"] == 1


@pytest.mark.parametrize("files_as", ["urls", "zip"])
@pytest.mark.parametrize("status", [403, 404, 410])
def test_files_that_are_not_to_be_had_start_no_other_run(
    nenai: str, emulator: Emulator, out: str, context: Any, status: int, files_as: str
) -> None:
    params = {"emulate": {**FINISHED, "files": FILES[:1], "files_as": files_as}}
    path = "/files/*" if files_as == "urls" else "/assets/*"
    emulator.control.fault("status", path=path, status=status, times=2)  # the second time with a fresh URL
    with pytest.raises(
        FilesMissing, match=r"has succeeded\. Clear the task to try its files again; no other"
    ) as caught:
        workflow(nenai, output_path=out, workflow_params=params).execute(context)
    assert isinstance(caught.value, AirflowFailException), "another attempt by itself would see the same"
    result = workflow(nenai, output_path=out, workflow_params=params).execute(context)
    assert [file["path"] for file in result["files"]] == [f"{out}/report.pdf"]
    assert requests_to(emulator)["POST /runs"] == 1


def test_expired_urls_without_a_way_to_fresh_ones_are_said(
    emulator: Emulator, connect: Callable[..., str], out: str, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nenai = connect("nenai", emulator.nenai_url, extra={"run_status_path": "/runs/{message_id}"})
    emulator.control.settings(run_status_path=True, url_seconds=-60)
    operator = workflow(nenai, output_path=out)
    run = NenAIHook(nenai).get_run(run_id_of(emulator, nenai))
    monkeypatch.setattr(NenAIHook, "run_status_path", None)
    context["task_state_store"]["nenoa_run"] = "what an attempt left"
    with pytest.raises(ResultsExpired, match=r"has expired: .*\n.*valid until .* before this answer.*Clear the task"):
        operator.finish(run, context)
    assert context["task_state_store"] == {"nenoa_run": "what an attempt left"}


def test_without_durable_nothing_is_promised(nenai: str, emulator: Emulator, out: str, context: Any) -> None:
    emulator.control.fault("status", path="/assets/*", status=404, times=4)
    with pytest.raises(FilesMissing) as caught:
        workflow(nenai, output_path=out, durable=False).execute(context)
    assert "no other run" not in str(caught.value)


def test_a_name_that_is_not_there_starts_no_other_run(nenai: str, emulator: Emulator, out: str, context: Any) -> None:
    with pytest.raises(FilesMissing, match=r"'result\.nope'.*\n.*has succeeded"):
        workflow(nenai, output_path=out, files="result.nope").execute(context)
    workflow(nenai, output_path=out, files="assets").execute(context)
    assert requests_to(emulator)["POST /runs"] == 1


@pytest.mark.parametrize("operator", [NenAIRunWorkflowOperator, NenAIDownloadResultsOperator])
@pytest.mark.parametrize("files", ["", "a..b", ["a", 1], 7, [None]])
def test_names_are_checked_when_the_dag_is_parsed(operator: type[Any], files: object) -> None:
    what = {"workflow_id": "w"} if operator is NenAIRunWorkflowOperator else {"message_id": "m"}
    with pytest.raises(InvalidArgument, match="'files'"):
        operator(task_id="t", output_path="o", files=files, **what)


@pytest.mark.parametrize("unpack", [True, False])
def test_the_zip_of_a_run_is_unpacked(
    nenai: str, directory: str, emulator: Emulator, context: Any, unpack: bool
) -> None:
    params = {"emulate": FINISHED}
    result = workflow(nenai, output_path=directory, workflow_params=params, unpack=unpack).execute(context)
    if unpack:
        assert [(file["name"], file["size"]) for file in result["files"]] == [("report.pdf", 100_000), ("rows.csv", 8)]
        assert content_of(f"{directory}/rows.csv") == b"a,b\n1,2\n"
    else:
        assert [file["name"] for file in result["files"]] == ["assets"]
        assert content_of(result["files"][0]["path"]).startswith(b"PK")
    alone = NenAIDownloadResultsOperator(
        task_id="download",
        message_id=result["message_id"],
        output_path=directory,
        nenai_conn_id=nenai,
        unpack=unpack,
    )
    assert alone.execute(context) == result["files"]


def test_links_in_a_result_are_not_requested(nenai: str, emulator: Emulator, out: str, context: Any) -> None:
    params = {"emulate": {**FINISHED, "links": 3}}
    result = workflow(nenai, output_path=out, workflow_params=params).execute(context)
    assert "http" in json.dumps(result["result"]["result"]), "there are some"
    counts = requests_to(emulator)
    assert not [route for route in counts if "/links/" in route]
    assert [route for route in counts if "/assets/" in route]


def test_where_runs_can_be_polled_fresh_urls_are_fetched(nenai: str, emulator: Emulator, out: str) -> None:
    hook = NenAIHook(nenai)
    payload = hook.get_run(run_id_of(emulator, nenai)).payload
    old = json.loads(json.dumps(payload).replace("X-Amz-Signature=", "X-Amz-Signature=forged"))
    files = hook.download_results(old, out)
    assert [file["size"] for file in files] == [100_000, 8]

    past = {**payload, "expires_at": 1_000_000_000}
    files = hook.download_results(Run(payload["message_id"], "success", past), out)
    assert [file["size"] for file in files] == [100_000, 8]


def test_a_run_of_a_real_vendor_must_not_lead_to_this_machine(connect: Callable[..., str], out: str) -> None:
    hook = NenAIHook(connect("nenai"))
    for url in ("http://127.0.0.1/x", "https://127.0.0.1/x", "https://localhost/x", "https://169.254.169.254/x"):
        with pytest.raises(ResultRefused):
            hook.download_results({"assets": url}, out)


def test_private_hosts_are_named_on_the_connection(connect: Callable[..., str], out: str) -> None:
    hook = NenAIHook(connect("nenai", extra={"private_file_hosts": "minio.corp, 127.0.0.1"}))
    with pytest.raises(DownloadFailed, match="Connection refused"):  # so it was asked
        hook.download_results({"assets": "https://127.0.0.1:9/x"}, out)


@pytest.mark.parametrize("kwargs", [{"max_files": 1}, {"max_file_size": 99_999}])
def test_limits(nenai: str, out: str, context: Any, kwargs: dict[str, int]) -> None:
    with pytest.raises(ResultRefused, match=next(iter(kwargs))):
        workflow(nenai, output_path=out, **kwargs).execute(context)
    assert context["task_state_store"], "with a higher limit, the same run is gone on with"


def test_downloading_alone(nenai: str, emulator: Emulator, out: str, context: Any) -> None:
    message_id = run_id_of(emulator, nenai)
    files = NenAIDownloadResultsOperator(
        task_id="download", message_id=message_id, output_path=out, nenai_conn_id=nenai
    ).execute(context)
    assert [file["name"] for file in files] == ["report.pdf", "rows.csv"]
    assert names_in(out) == ["report.pdf", "rows.csv"]
    assert context["ti"].xcoms["message_id"] == message_id


def test_downloading_alone_what_is_not_there_yet(nenai: str, out: str, context: Any) -> None:
    run = NenAIHook(nenai).start_run(WORKFLOW_ID)
    operator = NenAIDownloadResultsOperator(
        task_id="download", message_id=run.run_id, output_path=out, nenai_conn_id=nenai
    )
    with pytest.raises(DownloadFailed, match=r"has not ended.*\n.*NenAIWorkflowRunSensor"):
        operator.execute(context)


def test_downloading_alone_of_a_run_that_failed(nenai: str, emulator: Emulator, out: str, context: Any) -> None:
    message_id = run_id_of(emulator, nenai, outcome="failed", error="The login page has changed")
    operator = NenAIDownloadResultsOperator(
        task_id="download", message_id=message_id, output_path=out, nenai_conn_id=nenai
    )
    with pytest.raises(RunFailed, match="The login page has changed"):
        operator.execute(context)


# --- rows of a query


def query(openanalyst: str, sql: str = BY_REGION, **kwargs: Any) -> OpenAnalystExecuteQueryOperator:
    return OpenAnalystExecuteQueryOperator(
        task_id="query",
        dataset_id="ds_abc123",
        query=sql,
        openanalyst_conn_id=openanalyst,
        poll_interval=0.05,
        **kwargs,
    )


def test_rows_are_returned(openanalyst: str, context: Any) -> None:
    result = query(openanalyst).execute(context)
    assert set(result) == {"columns", "row_count", "rows", "result"}
    assert result["result"]["execution_time_ms"] >= 0
    assert "rows" not in result["result"]
    assert result["columns"] == ["region", "quantity"]
    assert [row["region"] for row in result["rows"]] == ["East", "North", "South", "West"]


@pytest.mark.parametrize("slow", ["", "/* slow: 0.2 */ "])
def test_rows_are_stored(openanalyst: str, directory: str, context: Any, slow: str) -> None:
    result = query(openanalyst, slow + BY_REGION, output_path=f"{directory}/r.parquet").execute(context)
    assert set(result) == {"columns", "row_count", "files", "result"}
    assert result["result"]["execution_time_ms"] >= 0
    assert "rows" not in result["result"]
    assert result["row_count"] == 4
    (file,) = result["files"]
    assert file["path"] == f"{directory}/r.parquet"
    assert file["sha256"] == hashlib.sha256(content_of(file["path"])).hexdigest()


def test_parquet_read_back(openanalyst: str, tmp_path: Path, context: Any) -> None:
    sql = "SELECT region, product, date, quantity, revenue, NULL AS note FROM sales"
    query(openanalyst, sql, output_path=f"{tmp_path}/sales.parquet").execute(context)
    table = parquet.read_table(tmp_path / "sales.parquet")
    assert table.num_rows == 366 * 16
    assert [str(field.type) for field in table.schema] == ["string", "string", "string", "int64", "double", "null"]


def test_too_many_rows_for_xcom(openanalyst: str, context: Any) -> None:
    with pytest.raises(ResultRefused, match=r"5,856 rows, more than max_xcom_rows = 1,000.*\nSet output_path"):
        query(openanalyst, "SELECT * FROM sales").execute(context)
    assert context["task_state_store"] == {}, "the next attempt may have another query"
    assert len(query(openanalyst, "SELECT * FROM sales", max_xcom_rows=5_856).execute(context)["rows"]) == 5_856


def test_a_vendor_that_sends_fewer_rows_than_it_says(
    openanalyst: str, context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    partial = Run("q", "completed", {"columns": ["a"], "rows": [{"a": 1}], "row_count": 5_000})
    with pytest.raises(ResultRefused, match="has 5,000 rows, but sent 1"):
        query(openanalyst).finish(partial, context)
    assert query(openanalyst, allow_partial=True).finish(partial, context)["row_count"] == 5_000
    assert "has 5,000 rows, but sent 1" in caplog.text


def test_two_columns_of_one_name(openanalyst: str, context: Any) -> None:
    with pytest.raises(ResultRefused, match=r"with the name 'x'.*\n.*alias"):
        query(openanalyst, "SELECT 1 AS x, 2 AS x").execute(context)


def test_a_format_that_there_is_none_of_is_said_at_parse_time(openanalyst: str) -> None:
    with pytest.raises(InvalidArgument, match=r"'output_format' cannot be 'xlsx'\.\n.*jsonl, csv, parquet"):
        query(openanalyst, output_path="x.csv", output_format="xlsx")


def test_a_query_that_ended_without_rows(openanalyst: str, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Run("q", "completed", {"status": "completed", "data": []})
    monkeypatch.setattr(OpenAnalystHook, "get_query_results", lambda self, query_id, **kwargs: ended)
    with pytest.raises(InvalidReply, match="sent no 'rows'"):
        query(openanalyst).finish(ended, context)


def test_a_webhook_that_brings_the_rows_spares_a_request(openanalyst: str, emulator: Emulator, context: Any) -> None:
    told = Run("q", "completed", {"run_id": "q", "result": {"columns": ["a"], "rows": [{"a": 1}], "row_count": 1}})
    assert query(openanalyst).finish(told, context)["rows"] == [{"a": 1}]
    assert requests_to(emulator) == {}


@pytest.mark.parametrize(
    "kwargs",
    [
        {"output_path": "file:///tmp/x"},
        {"parameters": {"a": 1}, "sql": "SELECT 1"},
        {"output_path": "nowhere://x.csv"},
        {"output_path": f"{__file__}/x.csv"},
        {"parameters": {"a": "back\\slash"}, "sql": "SELECT :a"},
        {"parameters": {}, "sql": "SELECT :a"},
        {"parameters": ["a"], "sql": "SELECT ?"},
    ],
)
def test_what_cannot_work_is_said_before_anything_is_sent(
    openanalyst: str, emulator: Emulator, context: Any, kwargs: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        query(openanalyst, **kwargs).execute(context)
    assert requests_to(emulator) == {}


def test_parameters_are_bound(openanalyst: str, emulator: Emulator, context: Any) -> None:
    sql = "SELECT count(*) AS n, :name AS name FROM sales WHERE region = :region AND quantity > :least -- not :this"
    values = {"region": "South", "least": 10, "name": "O'Brien; DROP TABLE sales"}
    (row,) = query(openanalyst, sql, parameters=values).execute(context)["rows"]
    assert row["n"] > 0
    assert row["name"] == "O'Brien; DROP TABLE sales"
    (request,) = emulator.control.requests()
    assert request["body"]["query"].endswith("-- not :this")


def test_parameters_cannot_leave_their_string(openanalyst: str, context: Any) -> None:
    sql = "SELECT count(*) AS n FROM sales WHERE region = :region"
    (row,) = query(openanalyst, sql, parameters={"region": "x' OR 1=1 OR 'x' = 'x"}).execute(context)["rows"]
    assert row["n"] == 0


def test_templates() -> None:
    assert {"parameters", "output_path", "query"} <= set(OpenAnalystExecuteQueryOperator.template_fields)
    for operator in (
        NenAIRunWorkflowOperator,
        NenAIDownloadResultsOperator,
        OpenAnalystListReportsOperator,
        OpenAnalystGetReportOperator,
    ):
        assert "output_path" in operator.template_fields


# --- datasets, reports, dashboards


@pytest.mark.parametrize(
    ("operator", "name", "count"),
    [
        (OpenAnalystListDatasetsOperator, "datasets", 3),
        (OpenAnalystListReportsOperator, "reports", 4),
        (OpenAnalystListDashboardsOperator, "dashboards", 2),
    ],
)
def test_lists_are_stored(
    openanalyst: str, directory: str, context: Any, operator: type[Any], name: str, count: int
) -> None:
    listed = operator(task_id="list", openanalyst_conn_id=openanalyst).execute(context)
    result = operator(
        task_id="list", openanalyst_conn_id=openanalyst, output_path=f"{directory}/", page_size=1
    ).execute(context)
    (file,) = result["files"]
    assert (result["count"], file["path"]) == (count, f"{directory}/{name}.jsonl")
    assert [json.loads(line) for line in content_of(file["path"]).splitlines()] == listed


def test_a_limit_holds_for_a_file_too(openanalyst: str, tmp_path: Path, context: Any) -> None:
    result = OpenAnalystListReportsOperator(
        task_id="list", openanalyst_conn_id=openanalyst, output_path=f"{tmp_path}/r.json", limit=2, page_size=1
    ).execute(context)
    assert result["count"] == 2
    assert len(json.loads((tmp_path / "r.json").read_text())) == 2


@pytest.mark.parametrize(
    ("operator", "name", "arguments"),
    [
        (OpenAnalystGetDatasetOperator, "dataset", {"dataset_id": "ds_abc123"}),
        (OpenAnalystGetReportOperator, "report", {"report_id": "rep_000001"}),
    ],
)
def test_objects_are_stored(
    openanalyst: str, directory: str, context: Any, operator: type[Any], name: str, arguments: dict[str, str]
) -> None:
    found = operator(task_id="get", openanalyst_conn_id=openanalyst, **arguments).execute(context)
    result = operator(task_id="get", openanalyst_conn_id=openanalyst, output_path=f"{directory}/", **arguments).execute(
        context
    )
    (file,) = result["files"]
    assert file["path"] == f"{directory}/{name}.json"
    stored = json.loads(content_of(file["path"]))
    for measured in (stored, found):
        measured.get("data", {}).pop("execution_time_ms", None)
    assert stored == found
