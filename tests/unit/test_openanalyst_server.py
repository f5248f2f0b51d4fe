"""The operators against a server that speaks the form ``server`` only, strictly: whole tasks, from start to result."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_nenoa.exceptions import (
    DownloadFailed,
    FilesMissing,
    InvalidArgument,
    InvalidReply,
    InvalidRequest,
    NotFound,
    ResultRefused,
    ResultsExpired,
    RunFailed,
)
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystExportOperator,
    OpenAnalystGetReportOperator,
    OpenAnalystRunAgentOperator,
)
from airflow_provider_nenoa.results.transfer import Transfer
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystExportSensor
from tests.support.openanalyst_server import OpenAnalystServer, openanalyst_server
from tests.support.task import StateStore, Task, TaskDeferred
from tests.unit.conftest import WEBHOOK_SECRET, Logged


@pytest.fixture
def server() -> Iterator[OpenAnalystServer]:
    with openanalyst_server() as server:
        yield server


@pytest.fixture
def conn_id(server: OpenAnalystServer, connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("airflow_provider_nenoa.triggers.base.SETTLE", 0.0)
    return connect("openanalyst", f"{server.url}/v1", extra={"api_form": "server"})


def agent(**options: Any) -> OpenAnalystRunAgentOperator:
    defaults = {"task_id": "t", "task_prompt": "Why?", "openanalyst_conn_id": "my_openanalyst", "poll_interval": 0.01}
    return OpenAnalystRunAgentOperator(**defaults | options)


def query(**options: Any) -> OpenAnalystExecuteQueryOperator:
    defaults = {"task_id": "t", "dataset_id": "ds", "openanalyst_conn_id": "my_openanalyst", "poll_interval": 0.01}
    return OpenAnalystExecuteQueryOperator(**defaults | options)


def starts(server: OpenAnalystServer) -> list[Any]:
    return [(path, body) for method, path, body in server.requests if method == "POST"]


@pytest.mark.parametrize("deferrable", [False, True])
def test_an_agent(server: OpenAnalystServer, conn_id: str, deferrable: bool) -> None:
    task = Task(
        lambda: agent(deferrable=deferrable, dataset_ids=("ds_1",), model="large", max_steps=3),
        StateStore(),
    )
    result = task.attempt()
    assert starts(server) == [
        ("/v1/agents/run", {"prompt": "Why?", "dataset_ids": ["ds_1"], "model": "large", "max_steps": 3})
    ]
    assert (result["run_id"], result["status"], result["final_answer"]) == ("ses_1", "completed", "42")
    assert result["result"]["id"] == "ses_1"
    assert task.ti.xcoms["run_id"] == "ses_1"


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({"query": "SELECT :x AS a", "parameters": {"x": 1}}, {"sql": "SELECT 1 AS a"}),
        ({"question": "How much?", "query_timeout": 30}, {"sql": "How much?", "timeout": 30}),
    ],
)
def test_a_query(
    server: OpenAnalystServer, conn_id: str, deferrable: bool, options: dict[str, Any], body: dict[str, Any]
) -> None:
    result = Task(lambda: query(deferrable=deferrable, **options), StateStore()).attempt()
    assert starts(server) == [("/v1/queries/run", {"dataset_id": "ds", **body})]
    besides = {"id": "qry_1", "status": "completed", "columns": ["a"], "row_count": 1}
    assert result == {"columns": ["a"], "row_count": 1, "rows": [{"a": 1}], "result": besides}


def test_an_agent_is_not_named(server: OpenAnalystServer, conn_id: str, logged: Logged) -> None:
    Task(lambda: agent(agent_id="agent_1"), StateStore()).attempt()
    assert starts(server) == [("/v1/agents/run", {"prompt": "Why?"})]
    assert "'agent_id' is not sent" in logged.text


def test_a_context_has_no_place(server: OpenAnalystServer, conn_id: str) -> None:
    with pytest.raises(InvalidArgument, match=r"form 'server' knows no 'context'.*\n.*'api_form' to 'api'"):
        Task(lambda: agent(context={"a": 1}), StateStore()).attempt()
    assert server.requests == []


def test_no_callback_is_sent_and_no_receiver_needed(server: OpenAnalystServer, connect: Callable[..., str]) -> None:
    """A strict server would refuse ``webhook_url``; nobody answers at the receiver's address."""
    connect("openanalyst", f"{server.url}/v1", extra={"api_form": "server", "webhook_secret": WEBHOOK_SECRET})
    Task(lambda: agent(wait_for_completion=False), StateStore()).attempt()
    assert starts(server) == [("/v1/agents/run", {"prompt": "Why?"})]


def test_a_strict_server_refuses_what_it_does_not_know(server: OpenAnalystServer, conn_id: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid_request"):
        Task(lambda: agent(extra_body={"tomorrow": 1}), StateStore()).attempt()


# Exports


def export(**options: Any) -> OpenAnalystExportOperator:
    defaults = {"task_id": "t", "dataset_id": "ds", "openanalyst_conn_id": "my_openanalyst", "poll_interval": 0.01}
    return OpenAnalystExportOperator(**defaults | options)


def links_asked_for(server: OpenAnalystServer) -> int:
    return sum(path.endswith("/download") for _, path, _ in server.requests)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("place", ["sales.csv", "all/"])
def test_an_export(
    server: OpenAnalystServer, conn_id: str, tmp_path: Path, deferrable: bool, place: str, logged: Logged
) -> None:
    server.states = ["running", "ready"]
    days = {"start": date(2024, 1, 1), "end": "2024-01-31"}
    task = Task(
        lambda: export(output_path=f"file://{tmp_path}/{place}", date_range=days, deferrable=deferrable), StateStore()
    )
    result = task.attempt()
    assert starts(server) == [
        (
            "/v1/exports",
            {
                "dataset_id": "ds",
                "format": "csv",
                "filter": {"date_range": {"start": "2024-01-01", "end": "2024-01-31"}},
            },
        )
    ]
    stored = tmp_path / place / "export.csv" if place.endswith("/") else tmp_path / place
    assert stored.read_bytes() == server.file
    (file,) = result.pop("files")
    assert result == {"export_id": "exp_1", "dataset_id": "ds", "status": "ready"}
    assert (file["size"], file["sha256"]) == (len(server.file), hashlib.sha256(server.file).hexdigest())
    # The link is a secret, and asked for once, at the end; the key stays with the vendor.
    assert links_asked_for(server) == 1
    assert "/files/export" not in server.authorized
    assert "verysecret" not in f"{logged.text} {result} {file} {task.events} {task.ti.xcoms} {task.store}"


def test_an_export_in_parquet(server: OpenAnalystServer, conn_id: str, tmp_path: Path) -> None:
    server.states = ["ready"]
    Task(lambda: export(output_path=f"{tmp_path}/", export_format="parquet"), StateStore()).attempt()
    assert starts(server) == [("/v1/exports", {"dataset_id": "ds", "format": "parquet"})]
    assert (tmp_path / "export.parquet").exists()


def test_an_export_of_another_size(server: OpenAnalystServer, conn_id: str, tmp_path: Path) -> None:
    """The next attempt goes on with the same export, and a link of its own."""
    server.states = ["ready"]
    right = server.link
    server.link = lambda link: link.update(size_bytes=len(server.file) + 1)
    task = Task(lambda: export(output_path=f"{tmp_path}/a.csv"), StateStore())
    with pytest.raises(DownloadFailed, match=r"has 8,000 bytes, and the vendor says that it has 8,001"):
        task.attempt()
    assert list(tmp_path.iterdir()) == []
    server.link = right
    task.retry()
    assert (tmp_path / "a.csv").read_bytes() == server.file
    assert len(starts(server)) == 1


def test_an_export_that_is_kept_compressed(server: OpenAnalystServer, conn_id: str, tmp_path: Path) -> None:
    rows = server.file
    server.states, server.encoding, server.file = ["ready"], "gzip", gzip.compress(rows)
    Task(lambda: export(output_path=f"{tmp_path}/a.csv"), StateStore()).attempt()
    assert (tmp_path / "a.csv").read_bytes() == rows, "whichever of the two sizes the vendor says"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda link: link.update(size_bytes=None, expires_at=None), None),
        (lambda link: link.update(size_bytes="8000", expires_at=4102444800), None),
        (lambda link: link.update(download_url=f" {link['download_url']}\n"), None),
        (lambda link: link.pop("download_url"), InvalidReply),
        (lambda link: link.update(download_url=f"\x01{link['download_url']}"), ResultRefused),
        (lambda link: link.update(download_url="http://example.com/a"), ResultRefused),
        (lambda link: link.update(download_url="https://169.254.169.254/a"), ResultRefused),
        (
            lambda link: link.update(download_url=link["download_url"].replace("/files/export", "/files/none")),
            FilesMissing,
        ),
    ],
    ids=["no size", "as a text", "white space", "no link", "no URL", "not by https", "inside the network", "gone"],
)
def test_links(
    server: OpenAnalystServer, conn_id: str, tmp_path: Path, sleeps: list[float], change: Any, error: Any
) -> None:
    server.states = ["ready"]
    server.link = change
    task = Task(lambda: export(output_path=f"{tmp_path}/a.csv"), StateStore())
    if error is None:
        assert task.attempt()["files"][0]["size"] == len(server.file)
        return
    with pytest.raises(error) as caught:
        task.attempt()
    assert "verysecret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert links_asked_for(server) == (2 if error is FilesMissing else 1), "a fresh link is tried where one is refused"


def test_a_broken_download_is_resumed_or_begun_anew(server: OpenAnalystServer, conn_id: str, tmp_path: Path) -> None:
    server.states, server.broken = ["ready"], 1
    Task(lambda: export(output_path=f"{tmp_path}/a.csv"), StateStore()).attempt()
    assert (tmp_path / "a.csv").read_bytes() == server.file


def test_a_large_file_comes_by_as_many_links_as_it_takes(
    server: OpenAnalystServer, conn_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link is valid for minutes: what has come by one is not fetched again by the next."""
    monkeypatch.setattr(Transfer, "_pause", lambda self, seconds: None)
    server.states, server.link_serves = ["ready"], 3_000
    result = Task(lambda: export(output_path=f"{tmp_path}/a.csv"), StateStore()).attempt()
    assert (tmp_path / "a.csv").read_bytes() == server.file
    assert result["files"][0]["sha256"] == hashlib.sha256(server.file).hexdigest()
    assert links_asked_for(server) == 3


def test_links_of_no_use_are_not_asked_for_again_and_again(
    server: OpenAnalystServer, conn_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transfer, "_pause", lambda self, seconds: None)
    server.states, server.link_serves = ["ready"], 0
    with pytest.raises(ResultsExpired, match="Request has expired") as caught:
        Task(lambda: export(output_path=f"{tmp_path}/a.csv"), StateStore()).attempt()
    assert links_asked_for(server) == 2
    assert "run_status_path" not in str(caught.value), "that is a field of NenAI's connections"


@pytest.mark.parametrize(
    ("told", "name"),
    [("parquet", "export.parquet"), ("CSV", "export.csv"), ("../x", "export.csv"), (None, "export.csv")],
)
def test_a_file_is_called_by_the_format_that_the_vendor_tells(
    server: OpenAnalystServer, conn_id: str, tmp_path: Path, told: Any, name: str
) -> None:
    """Who fetches an export need not be who has started it."""
    server.link = lambda link: link.update(format=told)
    OpenAnalystHook(conn_id).download_export("exp_1", f"{tmp_path}/")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("word", ["success", "completed"])
def test_a_start_that_says_that_the_call_worked_is_not_the_end_of_the_export(
    server: OpenAnalystServer, conn_id: str, tmp_path: Path, word: str
) -> None:
    server.started_as, server.states = word, ["processing", "ready"]
    result = Task(lambda: export(output_path=f"{tmp_path}/a.csv"), StateStore()).attempt()
    assert result["status"] == "ready"
    assert server.requests[1:3] == [("GET", "/v1/exports/exp_1", {})] * 2


def test_an_export_that_fails(server: OpenAnalystServer, conn_id: str, tmp_path: Path) -> None:
    server.states = ["failed"]
    task = Task(lambda: export(output_path=f"{tmp_path}/a.csv"), StateStore())
    with pytest.raises(RunFailed, match="export run exp_1 ended in 'failed'"):
        task.attempt()
    assert task.store == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_path": None}, "'output_path' is missing"),
        ({"output_path": f"{__file__}/sales.csv"}, "is no directory"),
        ({"export_format": "xlsx"}, "'export_format' must be one of csv, parquet"),
        ({"dataset_id": ""}, "'dataset_id' must be a non-empty string"),
        ({"date_range": {"from": "x"}}, "'date_range' must be a dict with 'start' and 'end'"),
        ({"date_range": {"start": "a", "end": "b"}, "extra_body": {"filter": {}}}, "'extra_body' cannot have 'filter'"),
    ],
)
def test_exports_that_make_no_sense(
    server: OpenAnalystServer, conn_id: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Task(lambda: export(**{"output_path": "file:///tmp/a.csv", **options}), StateStore()).attempt()
    assert server.requests == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_an_export_that_somebody_else_awaits(server: OpenAnalystServer, conn_id: str, deferrable: bool) -> None:
    export_id = Task(lambda: export(wait_for_completion=False), StateStore()).attempt()
    server.states = ["running", "ready"]
    sensor = Task(
        lambda: OpenAnalystExportSensor(
            task_id="s",
            export_id=export_id,
            openanalyst_conn_id=conn_id,
            poke_interval=0.01,
            deferrable=deferrable,
        )
    )
    assert sensor.attempt() == {"export_id": "exp_1", "status": "ready"}


def test_what_cannot_be_told_is_asked_for(
    server: OpenAnalystServer, connect: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook secret does not mean that the vendor was given our webhook: the form has no place for it."""
    monkeypatch.setattr("airflow_provider_nenoa.triggers.base.SETTLE", 0.0)
    monkeypatch.setattr("airflow_provider_nenoa.waiting.asking.receiver_of", lambda hook: None)
    connect("openanalyst", f"{server.url}/v1", extra={"api_form": "server", "webhook_secret": WEBHOOK_SECRET})
    with pytest.raises(TaskDeferred) as started:
        agent(deferrable=True).execute(Task(agent, StateStore()).context)
    sensor = OpenAnalystExportSensor(
        task_id="s", export_id="exp_1", openanalyst_conn_id="my_openanalyst", deferrable=True
    )
    with pytest.raises(TaskDeferred) as awaited:
        sensor.execute(Task(lambda: sensor).context)
    assert not started.value.trigger.told  # type: ignore[attr-defined]
    assert not awaited.value.trigger.told  # type: ignore[attr-defined]


# Reports as files


def report(**options: Any) -> OpenAnalystGetReportOperator:
    return OpenAnalystGetReportOperator(
        **{"task_id": "t", "report_id": "rpt_1", "openanalyst_conn_id": "my_openanalyst", **options}
    )


@pytest.mark.parametrize(("place", "broken"), [("r.csv", 0), ("all/", 0), ("r.csv", 2)])
def test_a_report_as_a_file(
    server: OpenAnalystServer, conn_id: str, tmp_path: Path, sleeps: list[float], place: str, broken: int
) -> None:
    server.broken = broken
    result = Task(lambda: report(export_format="csv", output_path=f"{tmp_path}/{place}")).attempt()
    stored = tmp_path / place / "report.csv" if place.endswith("/") else tmp_path / place
    assert stored.read_bytes() == server.file
    assert result["files"][0]["sha256"] == hashlib.sha256(server.file).hexdigest()
    assert server.requests == [("GET", "/v1/reports/rpt_1/export", {"format": "csv"})] * (1 + broken)
    assert len(sleeps) == broken


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"report_id": "none", "export_format": "csv"}, NotFound, "not_found"),
        ({"export_format": "a/b"}, InvalidArgument, "'export_format' must be a word"),
        ({"export_format": "csv", "output_path": None}, InvalidArgument, "where shall the file be stored"),
    ],
)
def test_a_report_that_is_none(
    server: OpenAnalystServer,
    conn_id: str,
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        Task(lambda: report(**{"output_path": f"{tmp_path}/r.csv", **options})).attempt()
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_is_too_large(server: OpenAnalystServer, conn_id: str, tmp_path: Path) -> None:
    with pytest.raises(ResultRefused, match="larger than max_file_size = 7,999 bytes"):
        OpenAnalystHook(conn_id).download_report("rpt_1", f"{tmp_path}/r.csv", max_file_size=7_999)
    with pytest.raises(ResultRefused):
        OpenAnalystHook(conn_id).download_export("exp_1", f"{tmp_path}/e.csv", max_file_size=7_999)
    assert list(tmp_path.iterdir()) == []


def test_the_form_api_knows_no_files(server: OpenAnalystServer, connect: Callable[..., str], tmp_path: Path) -> None:
    connect("openanalyst", f"{server.url}/v1")
    for make in (export, lambda **options: report(export_format="csv", **options)):
        with pytest.raises(InvalidArgument, match=r"'api_form' to 'server'"):
            Task(lambda make=make: make(output_path=f"{tmp_path}/a.csv"), StateStore()).attempt()  # type: ignore[misc]
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [202, 204])
def test_a_report_that_is_not_there_yet_is_no_file(
    server: OpenAnalystServer, conn_id: str, tmp_path: Path, sleeps: list[float], status: int
) -> None:
    server.report_status = status
    with pytest.raises(InvalidReply, match=f"answered {status} to GET /v1/reports/rpt_1/export: it has not sent what"):
        Task(lambda: report(export_format="csv", output_path=f"{tmp_path}/r.csv")).attempt()
    assert list(tmp_path.iterdir()) == []
