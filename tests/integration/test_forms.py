"""Every form of message, in every mixture, from the vendor through receiver, hook and operator; and forms of nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import pytest
import requests

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.exceptions import InvalidReply, NenoaError, NotFound, RunFailed, RunTimeout
from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
from airflow_provider_nenoa.operators.nenai import NenAIRunWorkflowOperator
from airflow_provider_nenoa.operators.openanalyst import OpenAnalystExecuteQueryOperator, OpenAnalystRunAgentOperator
from airflow_provider_nenoa.vendors.nenai import files_in, is_archive
from airflow_provider_nenoa.webhooks.client import ReceiverClient
from tests.integration.conftest import API_KEY, PLENTY
from tests.support.receiver import SENDERS, ReceiverThread, signed
from tests.support.task import StateStore, Task, TaskDeferred

pytestmark = pytest.mark.usefixtures("quick")

WORKFLOW_ID = "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11"


def pairwise(**choices: list[Any]) -> list[Any]:
    """Return a few mixtures in which any two choices of any two fields occur together, as pytest's parameters."""
    names = list(choices)

    def pairs(row: tuple[Any, ...]) -> set[Any]:
        return {(a, row[a], b, row[b]) for a, b in combinations(range(len(names)), 2)}

    rows = list(product(*(range(len(values)) for values in choices.values())))
    chosen_rows = []
    missing = set().union(*map(pairs, rows))
    while missing:
        best = max(rows, key=lambda row: len(pairs(row) & missing))
        missing -= pairs(best)
        row = {name: choices[name][chosen] for name, chosen in zip(names, best, strict=True)}
        chosen_rows.append(pytest.param(row, id="-".join(str(value) for value in row.values())))
    return chosen_rows


def run(make: Callable[[], Any]) -> tuple[Task, Any]:
    task = Task(make, StateStore())
    return task, task.attempt()


@pytest.mark.parametrize(
    "form",
    pairwise(
        webhook_form=[1, 2, "mixed"],
        announce=[True, False],
        spelling=["snake", "camel"],
        odd_numbers=[False, True],
        extra=[{}, {"status_code": 200, "data": {"message_id": "another", "status": "failed"}, "success_rate": 0}],
        progress=[[], ["warming_up", "Almost There"]],
        outcome=["success", "failed"],
        deferrable=[True, False],
    ),
)
def test_nenai(told: None, emulator: Emulator, form: dict[str, Any]) -> None:
    deferrable = form.pop("deferrable")
    emulator.control.settings(workflow={"error": "no such window", **form})
    task = Task(
        lambda: NenAIRunWorkflowOperator(
            task_id="task", workflow_id=WORKFLOW_ID, nenai_conn_id="nen", timeout=20, deferrable=deferrable
        ),
        StateStore(),
    )
    if form["outcome"] == "failed":
        with pytest.raises(RunFailed, match="ended in 'failed': no such window"):
            task.attempt()
    else:
        result = task.attempt()
        (made,) = emulator.control.runs()
        assert (result["message_id"], result["status"], result["workflow_id"]) == (made["id"], "success", WORKFLOW_ID)
        assert len(files_in(result["result"])) == 1
        assert {name: result["result"][name] for name in form["extra"]} == form["extra"], "nothing is left out"
        json.dumps(result, allow_nan=False)
    assert len(task.deferrals) == deferrable
    assert emulator.control.counts()["POST /runs"] == 1
    assert {delivery["outcome"] for delivery in emulator.control.deliveries()} == {"delivered"}


@pytest.mark.parametrize(
    "form",
    pairwise(
        signature=["hex", "prefixed", "upper", "base64", "base64url", "stripe"],
        api_form=["api", "server"],
        webhook_id=["run_id", "query_id", "id", "session_id"],
        webhook_envelope=[None, "data", "result", "run"],
        rows_as=["objects", "lists"],
        other_query_ids=[False, True],
        kind=["agent", "query"],
        deferrable=[True, False],
    ),
)
def test_openanalyst(told: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, form: dict[str, Any]) -> None:
    kind, deferrable = form.pop("kind"), form.pop("deferrable")
    emulator.control.settings(**form)
    connect(emulator, monkeypatch, api_form=form["api_form"])
    options = {"openanalyst_conn_id": "oa", "poll_interval": 0.02, "timeout": 20, "deferrable": deferrable}
    if kind == "agent":
        named = {"agent_id": "agent_1"} if form["api_form"] == "api" else {}
        _, result = run(
            lambda: OpenAnalystRunAgentOperator(task_id="task", task_prompt="Summarise", **named, **options)
        )
        (made,) = emulator.control.runs()
        assert (result["run_id"], result["status"]) == (made["id"], "completed")
        assert result["result"]
    else:
        sql = "SELECT region, quantity FROM sales ORDER BY date, region LIMIT 2"
        _, result = run(
            lambda: OpenAnalystExecuteQueryOperator(task_id="task", dataset_id="ds_abc123", query=sql, **options)
        )
        assert result["columns"] == ["region", "quantity"]
        assert [list(row) for row in result["rows"]] == [["region", "quantity"]] * 2
    counts = emulator.control.counts()
    assert sum(counts.pop("runs_started").values()) == 1
    told_of = {delivery["outcome"] for delivery in emulator.control.deliveries()}
    if form["api_form"] == "api":
        assert told_of == {"delivered"}
        assert not any(route.startswith("GET /v1/agents") for route in counts), "what a webhook tells is not asked for"
    else:
        assert told_of == set(), "a start in this form has no place for a webhook's URL: the run is polled"


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_registered_webhook_ends_the_wait(
    told: None,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    webhook_receiver: ReceiverThread,
    deferrable: bool,
) -> None:
    """It names no ``ref`` of ours, and comes although the start named no URL."""
    emulator.control.settings(api_form="server", agent={"seconds": 1.0})
    connect(emulator, monkeypatch, api_form="server")
    registered = {
        "url": f"{webhook_receiver.url}/webhooks/oa",
        "events": ["agent.session.completed"],
        "secret": SENDERS["oa"].secret,
    }
    OpenAnalystHook("oa").request("POST", "/webhooks", json=registered)
    options = {"openanalyst_conn_id": "oa", "poll_interval": 300.0, "timeout": 20, "deferrable": deferrable}
    _, result = run(lambda: OpenAnalystRunAgentOperator(task_id="task", task_prompt="Summarise", **options))
    (made,) = emulator.control.runs()
    assert (result["run_id"], result["status"]) == (made["id"], "completed")
    assert [delivery["outcome"] for delivery in emulator.control.deliveries()] == ["delivered"]


def connect(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, key: str = API_KEY, **extra: Any) -> None:
    extra = {**PLENTY, "webhook_secret": SENDERS["oa"].secret, **extra}
    connection = {"conn_type": "openanalyst", "host": emulator.openanalyst_url, "password": key, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_OA", json.dumps(connection))


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_key_for_tests_gets_no_webhooks_and_needs_none(
    told: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, deferrable: bool
) -> None:
    connect(emulator, monkeypatch, key="oa_test_acme_2")
    options = {"openanalyst_conn_id": "oa", "poll_interval": 0.02, "timeout": 20, "deferrable": deferrable}
    _, result = run(
        lambda: OpenAnalystRunAgentOperator(task_id="task", agent_id="a", task_prompt="Summarise", **options)
    )
    assert result["status"] == "completed"
    (start,) = (request for request in emulator.control.requests() if request["method"] == "POST")
    assert "webhook_url" not in start["body"]
    assert emulator.control.deliveries() == []


@pytest.mark.parametrize("error_form", ["api", "server", "detail", "errors", "problem"])
@pytest.mark.parametrize("api_form", ["api", "server"])
def test_the_vendors_words_about_an_error(
    told: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, error_form: str, api_form: str
) -> None:
    emulator.control.settings(error_form=error_form, api_form=api_form)
    connect(emulator, monkeypatch, api_form=api_form)
    hook = OpenAnalystHook("oa")
    with pytest.raises(NotFound, match="No dataset with the given ID"):
        hook.get_dataset("nope")
    with pytest.raises(NenoaError, match="no such table") as caught:
        run(
            lambda: OpenAnalystExecuteQueryOperator(
                task_id="task",
                dataset_id="ds_abc123",
                query="SELECT * FROM nowhere",
                openanalyst_conn_id="oa",
                poll_interval=0.02,
            )
        )
    assert API_KEY not in str(caught.value)


@pytest.mark.parametrize("api_form", ["api", "server"])
@pytest.mark.parametrize("pagination", ["page", "cursor", "gaps", "repeat", "endless"])
def test_lists(told: None, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, pagination: str, api_form: str) -> None:
    emulator.control.settings(pagination=pagination, api_form=api_form, datasets=7)
    connect(emulator, monkeypatch, api_form=api_form)
    datasets = OpenAnalystHook("oa").list_datasets(page_size=3)
    if pagination in ("repeat", "endless"):
        with pytest.raises(InvalidReply, match="cannot be read to its end"):
            list(datasets)
    else:
        assert len({dataset["id"] for dataset in datasets}) == 7


# Bodies that are in none of the texts. They are signed, so each is answered 200. Our ref is in the URL. An end is what
# a page shows to be one; everything else is kept, and waited on.

THEIRS = "0b9d0d65-1c9f-4c92-9a4e-6a3f8f1e7b11"

ODD_NENAI: list[tuple[str, Any, str | None]] = [
    ("the end in an envelope that no page shows", {"data": {"message_id": "{id}", "status": "success"}}, "success"),
    (
        "the same in form 2, with assets",
        {"data": {"success": True, "assets": "https://f.test/a.zip", "result": {"u": "https://f.test/?sig=x"}}},
        "success",
    ),
    ("an id that is a number, and not the run's", {"message_id": 17, "status": "success"}, "success"),
    ("the id of another run, to our ref", {"message_id": THEIRS, "status": "failed"}, "failed"),
    ("a status in other letters, with space around it", {"message_id": "{id}", "status": " \tSUCCESS\r\n"}, "success"),
    ("success as a text", {"message_id": "{id}", "success": "true"}, "success"),
    ("success as a number", {"success": 1, "result": {}}, "success"),
    ("both words at odds: the status says how it stands", {"status": "success", "success": False}, "success"),
    ("a status that is none, beside success", {"status": {"word": "failed"}, "success": True}, "success"),
    ("it goes on, whatever success says", {"message_id": "{id}", "status": "In_Progress", "success": True}, None),
    ("assets in a list", {"status": "success", "assets": ["https://f.test/a.zip", "https://f.test/b.zip"]}, "success"),
    ("assets in an object", {"success": True, "assets": {"zip": {"url": "https://f.test/a.zip"}}}, "success"),
    ("no object", [{"message_id": "{id}", "status": "success"}], None),
    ("a text", "success", None),
    ("an end in the result alone: that is the author's", {"message_id": "{id}", "result": {"status": "failed"}}, None),
    ("an error without an end", {"message_id": "{id}", "error": "out of memory"}, None),
    ("nothing", {}, None),
]

ODD_OPENANALYST: list[tuple[str, Any, str | None]] = [
    ("in an envelope, in other letters", {"data": {"run_id": "{id}", "status": "Completed "}}, "completed"),
    ("in another one", {"run": {"id": "{id}", "status": "FAILED"}}, "failed"),
    ("in the result", {"result": {"run_id": "{id}", "status": "completed"}}, "completed"),
    ("an id that is a number, and not the run's", {"run_id": 17, "status": "completed"}, "completed"),
    (
        "the result has another status",
        {"run_id": "{id}", "status": "completed", "result": {"status": "failed"}},
        "completed",
    ),
    ("success as a word of its own", {"run_id": "{id}", "success": True}, None),
    ("the delivery's status around the run's", {"status": "success", "data": {"id": "{id}", "status": "queued"}}, None),
    ("the end of a step", {"event": "agent.step.completed", "run_id": "{id}", "status": "completed"}, None),
    ("the end in the event's name alone", {"event": "run.failed", "run_id": "{id}"}, "failed"),
    ("an envelope in an envelope", {"data": {"data": {"run_id": "{id}", "status": "completed"}}}, None),
    ("a list as envelope", {"data": [{"run_id": "{id}", "status": "completed"}]}, None),
    ("a status in a list", {"run_id": "{id}", "status": ["completed"]}, None),
    ("an alert that names our run", {"event": "alert_triggered", "run_id": "{id}", "status": "completed"}, None),
    ("a report's end", {"event": "report.completed", "data": {"id": "{id}", "status": "completed"}}, None),
    (
        "another kind's end, to our ref: nobody else has that URL",
        {"event": "query.completed", "data": {"id": "another"}},
        "completed",
    ),
]


def cases(bodies: list[tuple[str, Any, str | None]], vendor: str) -> list[Any]:
    return [pytest.param(vendor, body, word, id=f"{vendor}: {name}") for name, body, word in bodies]


@pytest.mark.parametrize(("vendor", "body", "word"), [*cases(ODD_NENAI, "nen"), *cases(ODD_OPENANALYST, "oa")])
def test_bodies_of_no_page(
    told: None, emulator: Emulator, webhook_receiver: ReceiverThread, vendor: str, body: Any, word: str | None
) -> None:
    emulator.control.settings(agent={"seconds": None}, workflow={"seconds": None, "announce": False})
    options = {"task_id": "task", "deferrable": True, "timeout": 20 if word else 0.3, "poll_interval": 5}

    def make() -> Any:
        if vendor == "nen":
            return NenAIRunWorkflowOperator(workflow_id=WORKFLOW_ID, nenai_conn_id="nen", **options)  # type: ignore[arg-type]
        return OpenAnalystRunAgentOperator(agent_id="a", task_prompt="x", openanalyst_conn_id="oa", **options)  # type: ignore[arg-type]

    task = Task(make, StateStore())
    with pytest.raises(TaskDeferred) as deferred:
        make().execute(task.context)
    (made,) = emulator.control.runs()
    (start,) = (request["body"] for request in emulator.control.requests() if request["method"] == "POST")
    url = start.get("webhook_callback") or start["webhook_url"]
    raw = b"\xef\xbb\xbf" + json.dumps(body).replace("{id}", made["id"]).encode()
    assert requests.post(url, data=raw, headers=signed(vendor, raw), timeout=10).status_code == 200
    stored = ReceiverClient(vendor, SENDERS[vendor].secret).by_ref(task.store["nenoa_run"]["ref"])  # type: ignore[index]
    assert (stored is not None and stored.status.is_end) is (word is not None)
    if word is None:
        with pytest.raises(RunTimeout):
            task.resume(deferred.value)
    elif word == "failed":
        with pytest.raises(RunFailed, match=rf"run {made['id']}.* ended in '(failed|FAILED)'"):
            task.resume(deferred.value)
    else:
        result = task.resume(deferred.value)
        assert result["status"].strip().lower() == word
        assert result["message_id" if vendor == "nen" else "run_id"] == made["id"], "whatever id came with our ref"
        if "assets" in str(body):
            assert all(map(is_archive, files_in(result["result"]).values()))
            assert files_in(result["result"])
