"""NenAI without a public address: a vendor that is not the emulator is asked through its MCP server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_nenoa.exceptions import (
    AirflowFailException,
    DownloadFailed,
    InvalidArgument,
    InvalidConnection,
    NotFound,
    PermanentError,
    RunFailed,
    RunTimeout,
    ServerError,
    StartOutcomeUnknown,
)
from airflow_provider_nenoa.hooks.nenai import NenAIHook
from airflow_provider_nenoa.operators import lost_start
from airflow_provider_nenoa.operators.nenai import (
    NenAIDownloadResultsOperator,
    NenAIListRunsOperator,
    NenAIListWorkflowsOperator,
    NenAIRunWorkflowOperator,
)
from airflow_provider_nenoa.sensors.nenai import NenAIWorkflowRunSensor
from airflow_provider_nenoa.waiting import asking
from tests.support.fake_nenai import KEY, WORKFLOW_ID, FakeNenAI
from tests.support.receiver import SENDERS, ReceiverThread, deliver
from tests.support.task import Died, StateStore, Task

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(params=[False, True, "held"], ids=["json", "events", "held"])
def each_form(request: pytest.FixtureRequest) -> bool | str:
    form: bool | str = request.param
    return form


@pytest.fixture(params=[False, True], ids=["blocking", "deferrable"])
def deferrable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def connect(vendor: FakeNenAI, **extra: Any) -> None:
        monkeypatch.setenv("AIRFLOW_CONN_NEN", vendor.connection(**extra))

    return connect


@pytest.fixture
def vendor(connect: Callable[..., None]) -> Iterator[FakeNenAI]:
    with FakeNenAI() as vendor:
        connect(vendor)
        yield vendor


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost run is looked for two seconds."""
    monkeypatch.setattr(lost_start, "FIRST_LOOK", 0.05)
    monkeypatch.setattr(lost_start, "settled_after", lambda timeout: 2.0)
    monkeypatch.setattr(lost_start, "next_look", lambda age: 0.1)


def make(**options: Any) -> NenAIRunWorkflowOperator:
    arguments = {"workflow_id": WORKFLOW_ID, "workflow_params": {"a": 1}, "poll_interval": 0.05, "timeout": 20.0}
    if "workflow_name" in options:
        del arguments["workflow_id"]
    return NenAIRunWorkflowOperator(task_id="task", nenai_conn_id="nen", **{**arguments, **options})


def task_of(**options: Any) -> Task:
    store = options.pop("store", None)
    return Task(lambda: make(**options), StateStore() if store is None else store)


def ends_after(vendor: FakeNenAI, seconds: float, status: str = "completed", **more: Any) -> None:
    """Let each run end so many seconds after it was started."""

    def status_of(run: dict[str, Any]) -> dict[str, Any]:
        made = run.setdefault("made", time.time())
        return {"status": status, **more} if time.time() - made >= seconds else {"status": "queued"}

    vendor.status_of = status_of


# A run


def test_a_run(vendor: FakeNenAI, deferrable: bool, each_form: bool | str) -> None:
    vendor.sse = each_form
    ends_after(vendor, 0.1)
    task = task_of(deferrable=deferrable)
    result = task.attempt()
    (run,) = vendor.runs
    assert result["message_id"] == run["messageId"]
    assert (result["workflow_id"], result["status"], result["files"]) == (WORKFLOW_ID, "completed", [])
    assert result["result"]["success"] is True
    assert result["result"]["messageId"] == run["messageId"], "what is known is there, as it came"
    assert len(task.deferrals) == deferrable
    assert vendor.starts == [{"workflow_id": WORKFLOW_ID, "workflow_params": {"a": 1}}], "no callback to nobody"
    assert task.ti.xcoms["message_id"] == run["messageId"]


def test_a_run_that_fails(vendor: FakeNenAI, deferrable: bool) -> None:
    data = {"error_message": "no such window", "updated_at": "2026-01-01T00:00:00Z", "error_artifacts": {}}
    ends_after(vendor, 0.1, "failed", errorData=data)
    with pytest.raises(RunFailed, match=r"ended in 'failed': no such window"):
        task_of(deferrable=deferrable).attempt()


def test_the_last_lines_of_its_log_are_in_the_tasks_log(
    vendor: FakeNenAI, deferrable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    vendor.logs = "first\n" * 100 + '{"message": "see https://files.test/shot.png?sig=secret"}\n'
    ends_after(vendor, 0.1, "failed")
    with pytest.raises(RunFailed):
        task_of(deferrable=deferrable).attempt()
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("NenAI: ")]
    assert lines[-1] == 'NenAI: {"message": "see https://files.test/shot.png?***"}'
    assert len(lines) == 50
    assert KEY not in caplog.text


def test_a_log_that_cannot_be_read_changes_nothing(vendor: FakeNenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "LOG_RETRY_FOR", 0.0)

    def fail(run: dict[str, Any]) -> dict[str, Any]:
        vendor.answers = [(500, {}, "")] * 3
        return {"status": "timeout"}

    vendor.status_of = fail
    with pytest.raises(RunFailed, match="ended in 'timeout'"):
        task_of().attempt()


@pytest.mark.parametrize("deferred", [False, True])
def test_the_tasks_secrets_are_masked_wherever_it_goes_on(
    vendor: FakeNenAI, monkeypatch: pytest.MonkeyPatch, deferred: bool
) -> None:
    masked: list[str] = []
    monkeypatch.setattr("airflow_provider_nenoa.compat.mask_secret", masked.append)
    ends_after(vendor, 0.1, "failed")
    task = task_of(deferrable=deferred, secure_workflow_params={"password": "hunter2-{{ 1 + 1 }}"})
    with pytest.raises(RunFailed):
        task.attempt()
    assert masked.count("hunter2-2") == 1 + deferred
    assert vendor.starts[0]["secure_workflow_params"] == {"password": "hunter2-2"}


def test_a_word_that_nobody_knows_is_no_end(vendor: FakeNenAI, deferrable: bool) -> None:
    ends_after(vendor, 0.0, "on_holiday")
    with pytest.raises(RunTimeout, match="'on_holiday', which is no word we know"):
        task_of(deferrable=deferrable, timeout=0.5).attempt()


@pytest.mark.parametrize("die_after", [1, 2])
def test_a_worker_that_dies_starts_once(vendor: FakeNenAI, deferrable: bool, die_after: int) -> None:
    ends_after(vendor, 0.1)
    task = task_of(deferrable=deferrable, store=StateStore(die_after=die_after))
    if die_after == 1:  # with the note, before the start is sent: then nobody can tell
        vendor.add_run(age=0.0)  # as if it had been sent
    with pytest.raises(Died):
        task.attempt()
    result = task.retry()
    assert result["message_id"] == vendor.runs[0]["messageId"]
    assert len(vendor.runs) == 1


def test_the_server_is_tried_before_anything_is_spent(
    vendor: FakeNenAI, connect: Callable[..., None], deferrable: bool
) -> None:
    connect(vendor, mcp_url=vendor.url + "/elsewhere")
    with pytest.raises(InvalidConnection, match="no MCP server at the 'mcp_url' of connection 'nen'"):
        task_of(deferrable=deferrable).attempt()
    assert vendor.starts == []


@pytest.mark.parametrize("url", ["http://mcp.getnen.ai/v1", "ftp://mcp.getnen.ai", "https://me:pw@mcp.getnen.ai", 7])
def test_an_address_that_makes_no_sense(vendor: FakeNenAI, connect: Callable[..., None], url: Any) -> None:
    connect(vendor, mcp_url=url)
    with pytest.raises(InvalidConnection, match="'mcp_url'"):
        task_of().attempt()
    assert vendor.starts == []


@pytest.mark.parametrize("url", ["", "  ", None])
def test_an_empty_address_is_off(vendor: FakeNenAI, connect: Callable[..., None], url: Any) -> None:
    connect(vendor, mcp_url=url)
    hook = NenAIHook("nen")
    assert hook.mcp_url is None
    assert not hook.can_ask
    with pytest.raises(InvalidConnection, match=r"has no 'mcp_url'.*\nSet it to https://mcp\.getnen\.ai/v1"):
        hook.list_workflows()
    with pytest.raises(InvalidConnection, match="neither a 'webhook_secret' nor an 'mcp_url'"):
        task_of().attempt()
    assert vendor.starts == []


# Files


def test_files_that_cannot_come_are_refused_before_the_start(
    vendor: FakeNenAI, deferrable: bool, tmp_path: Any
) -> None:
    with pytest.raises(InvalidConnection, match=r"'output_path' is set.*Nothing was started") as caught:
        task_of(deferrable=deferrable, output_path=tmp_path.as_uri()).attempt()
    assert isinstance(caught.value, AirflowFailException)
    assert vendor.starts == []


def test_files_of_a_run_that_only_the_mcp_server_has_told_of(vendor: FakeNenAI, tmp_path: Any) -> None:
    message_id = vendor.add_run(status="completed")
    operator = NenAIDownloadResultsOperator(
        task_id="files", message_id=message_id, output_path=tmp_path.as_uri(), nenai_conn_id="nen"
    )
    with pytest.raises(DownloadFailed, match="only NenAI's MCP server has told so"):
        Task(lambda: operator).attempt()


def test_with_webhooks_the_mcp_server_is_asked_in_the_end_and_the_run_is_kept_for_its_files(
    vendor: FakeNenAI,
    connect: Callable[..., None],
    webhook_receiver: ReceiverThread,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    monkeypatch.setattr(asking, "RESULT_WAIT", 0.1)
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", webhook_receiver.url)
    monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", webhook_receiver.url)
    connect(vendor, webhook_secret=SENDERS["nen"].secret)
    ends_after(vendor, 0.0)
    task = task_of(output_path=tmp_path.as_uri(), timeout=0.5)
    for attempt in (task.attempt, task.retry):
        with pytest.raises(DownloadFailed, match="the run is not started anew"):
            attempt()
    assert len(vendor.starts) == 1
    assert vendor.starts[0]["webhook_callback"].startswith(webhook_receiver.url)


# A start whose reply is lost


@pytest.mark.usefixtures("hasty")
def test_a_lost_run_is_found_in_the_list(vendor: FakeNenAI, deferrable: bool, each_form: bool | str) -> None:
    vendor.sse = each_form
    for age in (20.0, 3600.0):
        vendor.add_run(age=age, status="completed")
    vendor.on_start = lambda vendor: "lose"
    ends_after(vendor, 0.2)
    result = task_of(deferrable=deferrable).attempt()
    assert result["message_id"] == vendor.runs[0]["messageId"]
    assert len(vendor.starts) == 1


@pytest.mark.usefixtures("hasty")
def test_a_run_that_is_listed_late_is_waited_for(vendor: FakeNenAI, deferrable: bool) -> None:
    vendor.listed = lambda run: len(vendor.asked("nen_list_runs")) > 2
    vendor.on_start = lambda vendor: "lose"
    ends_after(vendor, 0.0)
    result = task_of(deferrable=deferrable).attempt()
    assert result["message_id"] == vendor.runs[0]["messageId"]
    assert len(vendor.starts) == 1


@pytest.mark.usefixtures("hasty")
def test_a_start_that_never_arrived_is_sent_by_the_next_attempt(vendor: FakeNenAI, deferrable: bool) -> None:
    vendor.add_run(age=600.0, status="completed")
    vendor.on_start = lambda vendor: "ignore" if len(vendor.starts) == 1 else "reply"
    ends_after(vendor, 0.0)
    task = task_of(deferrable=deferrable)
    with pytest.raises(StartOutcomeUnknown, match=r"has no such run\. The next attempt starts anew") as caught:
        task.attempt()
    assert not isinstance(caught.value, AirflowFailException)
    assert len(vendor.asked("nen_list_runs")) >= 3, "silence proves nothing at first"
    assert task.retry()["status"] == "completed"
    assert len(vendor.starts) == 2


def test_too_early_to_tell(vendor: FakeNenAI, deferrable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that may not wait long enough leaves the question to the next one, and starts nothing."""
    monkeypatch.setattr(lost_start, "FIRST_LOOK", 0.05)
    monkeypatch.setattr(lost_start, "next_look", lambda age: 0.1)
    vendor.on_start = lambda vendor: "ignore"
    task = task_of(deferrable=False, timeout=0.3)
    for attempt in (task.attempt, task.retry):
        with pytest.raises(StartOutcomeUnknown, match=r"has no such run yet.*each attempt looks again"):
            attempt()
    assert len(vendor.starts) == 1
    monkeypatch.setattr(lost_start, "settled_after", lambda timeout: 0.1)
    vendor.on_start = lambda vendor: "reply"
    ends_after(vendor, 0.0)
    assert task.retry()["status"] == "completed"
    assert len(vendor.starts) == 2


@pytest.mark.usefixtures("hasty")
def test_one_of_several_is_a_persons_business(vendor: FakeNenAI, deferrable: bool) -> None:
    def two(vendor: FakeNenAI) -> str:
        vendor.add_run()
        return "lose"

    vendor.on_start = two
    task = task_of(deferrable=deferrable)
    with pytest.raises(PermanentError, match="has what may be it") as caught:
        task.attempt()
    for run in vendor.runs:
        assert run["messageId"] in str(caught.value)
    assert len(vendor.starts) == 1
    # Somebody has looked: none of them is.
    vendor.on_start = lambda vendor: "reply"
    ends_after(vendor, 0.0)
    assert task.clear()["status"] == "completed"
    assert len(vendor.starts) == 2


@pytest.mark.usefixtures("hasty")
def test_what_others_are_known_to_have_started_is_not_taken(
    vendor: FakeNenAI, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(vendor: FakeNenAI) -> str:
        theirs.add(vendor.add_run())
        return "lose"

    theirs: set[str] = set()
    monkeypatch.setattr(lost_start, "ids_in_the_dag_run", lambda context, kind_name, id_key: set(theirs))
    vendor.on_start = two
    ends_after(vendor, 0.0)
    result = task_of(deferrable=deferrable).attempt()
    assert result["message_id"] not in theirs
    assert len(vendor.starts) == 1


@pytest.mark.usefixtures("hasty")
def test_what_the_receiver_knows_to_be_of_another_start_is_not_taken(
    vendor: FakeNenAI,
    connect: Callable[..., None],
    webhook_receiver: ReceiverThread,
    monkeypatch: pytest.MonkeyPatch,
    deferrable: bool,
) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", webhook_receiver.url)
    monkeypatch.setenv("AIRFLOW__NENOA__RECEIVER_URL", webhook_receiver.url)
    connect(vendor, webhook_secret=SENDERS["nen"].secret)
    theirs = vendor.add_run()
    another = f"another-start-of-{theirs}"  # the receiver lives as long as the session: a ref is of one run
    assert deliver(webhook_receiver.url, "nen", theirs, "processing", ref=another) == 200
    vendor.on_start = lambda vendor: "ignore"
    task = task_of(deferrable=deferrable)
    with pytest.raises(StartOutcomeUnknown, match="has no such run"):
        task.attempt()


@pytest.mark.usefixtures("hasty")
def test_a_list_that_cannot_be_read(vendor: FakeNenAI, deferrable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.on_start = lambda vendor: "lose"
    task = task_of(deferrable=deferrable)
    monkeypatch.setattr(NenAIHook, "run_listing", _not_found)
    with pytest.raises(PermanentError, match="NenAI's list of runs could not be read") as caught:
        task.attempt()
    assert not isinstance(caught.value, NotFound)
    monkeypatch.undo()
    assert len(vendor.starts) == 1


def _not_found(*args: Any) -> Any:
    raise NotFound("No such workflow.")


@pytest.mark.usefixtures("hasty")
def test_who_wants_a_lost_start_restarted_gets_it(vendor: FakeNenAI) -> None:
    def two(vendor: FakeNenAI) -> str:
        vendor.add_run()
        return "lose"

    vendor.on_start = two
    task = task_of(on_lost_start="restart")
    with pytest.raises(StartOutcomeUnknown, match="The next attempt starts anew"):
        task.attempt()


# Names, lists, sensors


def test_a_workflow_by_its_name(vendor: FakeNenAI, deferrable: bool) -> None:
    ends_after(vendor, 0.0)
    result = task_of(deferrable=deferrable, workflow_name="Invoices").attempt()
    assert vendor.starts[0]["workflow_id"] == result["workflow_id"] == WORKFLOW_ID


def test_a_name_that_nobody_knows(vendor: FakeNenAI) -> None:
    with pytest.raises(InvalidArgument, match=r"no workflow that is named 'Orders'\.\n.*'Invoices'"):
        task_of(workflow_name="Orders").attempt()
    assert vendor.starts == []


@pytest.mark.usefixtures("hasty")
def test_a_lost_start_of_a_workflow_by_its_name(vendor: FakeNenAI, deferrable: bool) -> None:
    vendor.on_start = lambda vendor: "lose"
    ends_after(vendor, 0.0)
    assert task_of(deferrable=deferrable, workflow_name="Invoices").attempt()["status"] == "completed"
    assert len(vendor.starts) == 1


@pytest.mark.parametrize("operator", [NenAIRunWorkflowOperator, NenAIListRunsOperator])
@pytest.mark.parametrize("given", [{}, {"workflow_id": WORKFLOW_ID, "workflow_name": "Invoices"}])
def test_a_workflow_is_given_in_one_way(operator: type[Any], given: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="either 'workflow_id' or 'workflow_name'"):
        operator(task_id="task", **given)


def test_lists(vendor: FakeNenAI) -> None:
    ids = [vendor.add_run(age=age) for age in (1.0, 2.0, 3.0)]
    listed = Task(lambda: NenAIListWorkflowsOperator(task_id="task", nenai_conn_id="nen", deployment_id="d")).attempt()
    assert listed == vendor.workflows
    assert vendor.asked("nen_list_workflows") == [{"deploymentId": "d"}]
    for given in ({"workflow_id": WORKFLOW_ID}, {"workflow_name": "Invoices"}):
        operator = NenAIListRunsOperator(task_id="task", nenai_conn_id="nen", limit=2, **given)
        runs = Task(lambda operator=operator: operator).attempt()
        assert [run["messageId"] for run in runs] == ids[:2]
        assert set(runs[0]) == {"messageId", "status", "createdAt", "updatedAt"}


def test_a_long_list_is_asked_for_until_it_reaches_back(vendor: FakeNenAI) -> None:
    for age in range(150):
        vendor.add_run(age=age)
    listing = NenAIHook("nen").run_listing(WORKFLOW_ID, time.time() - 60)
    assert len(listing.runs) == 100
    assert [call["limit"] for call in vendor.asked("nen_list_runs")] == [10, 100]


@pytest.mark.parametrize("mode", [{"mode": "poke"}, {"deferrable": True}], ids=str)
@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_sensor(vendor: FakeNenAI, mode: dict[str, Any], status: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    message_id = vendor.add_run(status=status)
    sensor = {"task_id": "task", "message_id": message_id, "nenai_conn_id": "nen", "poke_interval": 0.1}
    task = Task(lambda: NenAIWorkflowRunSensor(**sensor, timeout=5, **mode))
    if status == "failed":
        with pytest.raises(RunFailed):
            task.attempt()
        assert "no such window" in caplog.text
    else:
        assert task.attempt()["status"] == status


def test_a_run_that_nenai_does_not_know(vendor: FakeNenAI) -> None:
    with pytest.raises(NotFound, match=r"nen_status failed: Run not found[^\n]*\nCheck the id, .* in connection 'nen'"):
        NenAIHook("nen").get_run("nobody")


def test_a_run_status_path_tells_more_and_comes_first(vendor: FakeNenAI, connect: Callable[..., None]) -> None:
    connect(vendor, run_status_path="/runs/{message_id}")
    with pytest.raises(ServerError, match="501 to GET /runs/m"):
        NenAIHook("nen", retry_for=0).get_run("m")
    assert vendor.calls == []


def test_the_test_button_tries_both(vendor: FakeNenAI, connect: Callable[..., None]) -> None:
    assert NenAIHook("nen").test_connection() == (
        True,
        f"NenAI accepted the API key at {vendor.url}. Its MCP server answers at {vendor.mcp_url}.",
    )
    connect(vendor, mcp_url=vendor.url + "/elsewhere")
    good, message = NenAIHook("nen").test_connection()
    assert not good
    assert "accepted the API key" in message
    assert "'mcp_url'" in message
