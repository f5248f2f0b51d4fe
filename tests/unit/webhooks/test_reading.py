"""What the vendors' webhooks tell, in each form that a page shows and in others that are likely."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.runs import RunStatus, same_run
from airflow_provider_nenoa.vendors import VENDORS
from airflow_provider_nenoa.webhooks import reading
from airflow_provider_nenoa.webhooks.reading import AT_ONCE, SMALL, Busy, NotJson, Readers, read

RUNNING, SUCCESS, FAILED = RunStatus.RUNNING, RunStatus.SUCCESS, RunStatus.FAILED


@pytest.mark.parametrize(
    ("body", "run_id", "word", "status"),
    [
        ({"message_id": "m", "status": "processing", "expires_at": 1}, "m", "processing", RUNNING),
        ({"message_id": "m", "status": "SUCCESS"}, "m", "SUCCESS", SUCCESS),
        ({"message_id": "m", "status": " timeout "}, "m", "timeout", FAILED),
        ({"message_id": "m", "status": "failed", "success": False, "error": "no"}, "m", "failed", FAILED),
        ({"messageId": "m", "status": "success", "assets": "https://f.test/a.zip"}, "m", "success", SUCCESS),
        ({"success": True, "result": {"status": "failed", "message_id": "x"}}, None, "success", SUCCESS),
        ({"success": False, "error": "no"}, None, "failed", FAILED),
        ({"message_id": "m", "success": True}, "m", "success", SUCCESS),
        ({"message_id": "m", "status": "processing", "success": True}, "m", "processing", RUNNING),
        ({"message_id": "m", "status": "paused"}, "m", "paused", RUNNING),
        ({"message_id": "m", "status": "archived", "success": True}, "m", "archived", RUNNING),
        ({"message_id": "m", "status": None, "success": True}, "m", "success", SUCCESS),
        ({"message_id": "m", "status": {}, "success": "yes"}, "m", "", RUNNING),
        ({"message_id": "m", "status": "  "}, "m", "", RUNNING),
        ({"message_id": "a/b", "messageId": "m", "status": "success"}, "m", "success", SUCCESS),
        ({"message_id": "x" * 201, "status": "success"}, None, "success", SUCCESS),
        ({"message_id": 17, "status": "success"}, "17", "success", SUCCESS),
        ({"message_id": True, "status": "success"}, None, "success", SUCCESS),
        ({"run_id": "m", "status": "success"}, None, "success", SUCCESS),
        ({"message_id": "m", "success": "False "}, "m", "failed", FAILED),
        ({"message_id": "m", "success": None}, "m", "", RUNNING),
        ({"event": "run", "data": {"messageId": "m", "success": True}}, "m", "success", SUCCESS),
        ({"success": True, "data": {"message_id": "m", "status": "failed"}}, None, "success", SUCCESS),
        ({"message_id": "m", "status": "failed", "run": {"status": "success"}}, "m", "failed", FAILED),
        ({"message_id": "m", "status": "a\nb\x00\ud800" + "x" * 100}, "m", "a?b??" + "x" * 58 + "…", RUNNING),
        ({"message_id": "m", "status": "x" * 64}, "m", "x" * 64, RUNNING),
        ({"message_id": "m", "status": "x" * 65}, "m", "x" * 63 + "…", RUNNING),
        ({"message_id": "x" * 200, "status": "success"}, "x" * 200, "success", SUCCESS),
    ],
)
def test_nenai(body: dict[str, Any], run_id: str | None, word: str, status: RunStatus) -> None:
    message = VENDORS["nenai"].read_webhook(body)
    assert (message.run_id, message.word, message.status, message.kind) == (run_id, word, status, "workflow")


@pytest.mark.parametrize(
    ("body", "run_id", "word", "kind"),
    [
        ({"run_id": "r", "status": "completed", "result": {"id": "other", "status": "x"}}, "r", "completed", None),
        ({"query_id": "q", "status": "failed"}, "q", "failed", "query"),
        ({"id": "q", "status": "canceled"}, "q", "canceled", None),
        ({"session_id": "s", "status": "completed"}, "s", "completed", "agent"),
        ({"run_id": "r", "agent_id": "a", "status": "completed"}, "r", "completed", "agent"),
        ({"id": "evt", "query_id": "q", "run_id": "r", "status": "running"}, "q", "running", "query"),
        ({"id": "q", "run_id": "r", "status": "running"}, "r", "running", None),
        ({"id": 17, "status": "running"}, "17", "running", None),
        ({"data": {"run_id": "r", "status": "completed"}}, "r", "completed", None),
        ({"run": {"id": "r", "status": "failed"}}, "r", "failed", None),
        ({"result": {"query_id": "q"}, "status": "completed"}, "q", "completed", "query"),
        ({"status": "delivered", "data": {"id": "r", "status": "completed"}}, "r", "completed", None),
        ({"event": "agent.session.completed", "data": {"id": "ses", "final_answer": "x"}}, "ses", "completed", "agent"),
        ({"id": "evt", "type": "export.ready", "data": {"id": "exp"}}, "exp", "ready", "export"),
        ({"event": "query.failed", "run_id": "r"}, "r", "failed", "query"),
        ({"event": "agentSessionCompleted", "id": "ses"}, "ses", "completed", "agent"),
        ({"event": "run.failed", "run_id": "r"}, "r", "failed", None),
        ({"event": "sync.failed", "id": "s"}, "s", "", None),
        ({"event": "agent.step.completed", "run_id": "r", "status": "completed"}, "r", "", "agent"),
        ({"event": "dataset.query.completed", "query_id": "q"}, "q", "completed", "query"),
        ({"event": "report.export.ready", "export_id": "e"}, "e", "ready", "export"),
        # What the run found has ids and states of its own.
        ({"id": "r", "status": "completed", "result": {"query_id": "q"}}, "r", "completed", None),
        ({"id": "r", "status": "completed", "data": {"id": "d", "status": "x"}}, "r", "completed", None),
        ({"type": "query", "id": "q", "status": "completed", "result": {"id": 7}}, "q", "completed", "query"),
        ({"event": "agent.run.completed", "id": "evt", "result": {"id": "r"}}, "r", "completed", "agent"),
        ({"event": "done", "id": "evt", "status": "ok", "data": {"id": "r", "status": "failed"}}, "r", "failed", None),
        ({"status": "success", "data": {"run_id": "r", "status": "running"}}, "r", "running", None),
        ({"status": "success", "data": {"status": "failed"}}, None, "failed", None),
        ({"status": "completed", "result": {"status": "failed"}}, None, "completed", None),
        ({"status": "completed", "session": {"status": "warm"}}, None, "completed", None),
        ({"status": "completed", "run": {"run_id": "r"}}, "r", "completed", None),
        ({"event": "done", "run_id": "r", "status": "completed"}, "r", "completed", None),
        ({"status": "completed"}, None, "completed", None),
        ({"run_id": "r", "status": "simmering"}, "r", "simmering", None),
        ({"run_id": "r", "success": True}, "r", "", None),
    ],
)
def test_openanalyst(body: dict[str, Any], run_id: str | None, word: str, kind: str | None) -> None:
    message = VENDORS["openanalyst"].read_webhook(body)
    assert (message.run_id, message.word, message.kind, message.of_run) == (run_id, word, kind, True)


@pytest.mark.parametrize(
    ("kind", "run_id", "told"),
    [(None, "q", "query"), ("agent", "r", None), ("query", "q", None), ("export", "r", None)],
)
def test_the_called_url_says_which_of_several_ids_is_meant(kind: str | None, run_id: str, told: str | None) -> None:
    message = VENDORS["openanalyst"].read_webhook({"run_id": "r", "query_id": "q", "status": "completed"}, kind)
    assert (message.run_id, message.kind) == (run_id, told)


@pytest.mark.parametrize(
    ("body", "event"),
    [
        ({"event": "agent.report.completed", "run_id": "r"}, "agent.report.completed"),
        ({"event": "query.alert.failed", "query_id": "q"}, "query.alert.failed"),
        ({"event": "alert_triggered", "rule_name": "x", "run_id": "r", "status": "completed"}, "alert_triggered"),
        ({"type": "report.completed", "data": {"id": "rep"}, "status": "completed"}, "report.completed"),
        ([], None),
        ("text", None),
        (None, None),
        (7.5, None),
    ],
)
def test_events_that_are_about_no_run(body: Any, event: str | None) -> None:
    message = VENDORS["openanalyst"].read_webhook(body)
    assert (message.run_id, message.event, message.of_run) == (None, event, False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["id", "data", "status"]), inner),
    max_leaves=20,
)


@given(st.sampled_from(sorted(VENDORS)), JSON)
def test_no_json_is_refused_and_what_is_read_can_be_stored(vendor: str, value: Any) -> None:
    body = json.dumps(value).encode()
    read_body = read(vendor, body, lambda raw: raw)
    message = read_body.message
    assert read_body.sealed == body
    for text in (message.word, message.event or "", message.run_id or "", message.kind or "", read_body.fields):
        text.encode()
        assert "\x00" not in text
    assert len(message.word) <= 64
    assert len(message.event or "") <= 64


@given(st.binary())
def test_what_is_no_json_is_refused(body: bytes) -> None:
    try:
        json.loads(body.decode("utf-8-sig"))
    except ValueError:
        with pytest.raises(NotJson):
            read("nenai", body, lambda raw: raw)
    else:
        read("nenai", body, lambda raw: raw)


async def test_large_bodies_of_one_connection_do_not_stand_before_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, threads = threading.Event(), set()
    real = reading.read

    def slowly(conn_type: str, body: bytes, seal: Any, kind: Any) -> Any:
        threads.add(threading.current_thread())
        if len(body) > SMALL:
            assert go_on.wait(10)
        return real(conn_type, body, seal, kind)

    monkeypatch.setattr(reading, "read", slowly)
    readers = Readers(lambda raw: raw)
    large = b'{"message_id": "m", "x": "%s"}' % (b"x" * SMALL)
    flood = [asyncio.ensure_future(readers.read("flood", "nenai", large)) for _ in range(AT_ONCE)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await readers.read("flood", "nenai", large)
    assert (await readers.read("flood", "nenai", b'{"message_id": "s"}')).message.run_id == "s"
    other = asyncio.ensure_future(readers.read("other", "nenai", large))
    go_on.set()
    assert {each.message.run_id for each in await asyncio.gather(*flood, other)} == {"m"}
    assert (await readers.read("flood", "nenai", large)).message.run_id == "m", "room again"
    assert len(threads - {threading.current_thread()}) <= reading.THREADS


@pytest.mark.parametrize(
    ("key", "told", "same"),
    [
        (("r", None, "agent"), ("r", None, "agent"), True),
        (("r", None, "agent"), ("r", "x", None), True),
        (("r", "x", "agent"), ("r", None, None), True),
        (("r", "x", "agent"), ("r", "y", None), False),
        (("r", "x", "agent"), ("r", "y", "agent"), True),
        (("r", None, "agent"), ("r", None, "query"), False),
        (("q", "x", "query"), ("r", "x", None), True),
        (("q", "x", "query"), (None, "x", None), True),
        ((None, "x", "query"), ("r", "x", None), True),
        ((None, "x", "query"), (None, None, None), False),
        ((None, None, "query"), (None, None, "query"), False),
    ],
)
def test_whether_a_webhook_is_about_the_run_that_is_asked_for(key: Any, told: Any, same: bool) -> None:
    assert same_run(key, told) is same
