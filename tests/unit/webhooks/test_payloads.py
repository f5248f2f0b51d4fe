from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.runs import RunStatus
from airflow_provider_nenoa.webhooks.payloads import MAX_DEPTH, BadPayload, read_run

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def nested(levels: int) -> bytes:
    return b'{"message_id": "m", "status": "success", "x": %s%s}' % (b"[" * (levels - 1), b"]" * (levels - 1))


@pytest.mark.parametrize(
    ("vendor", "body", "run_id", "word", "status"),
    [
        ("nenai", {"message_id": "m-1", "status": "processing"}, "m-1", "processing", RunStatus.RUNNING),
        ("nenai", {"message_id": "m-1", "status": "SUCCESS"}, "m-1", "SUCCESS", RunStatus.SUCCESS),
        ("nenai", {"message_id": "m-1", "status": " timeout "}, "m-1", "timeout", RunStatus.FAILED),
        ("openanalyst", {"run_id": "r", "status": "completed"}, "r", "completed", RunStatus.SUCCESS),
        ("openanalyst", {"query_id": "q", "status": "failed"}, "q", "failed", RunStatus.FAILED),
        ("openanalyst", {"id": "q", "status": "canceled"}, "q", "canceled", RunStatus.CANCELLED),
        ("openanalyst", {"id": "event", "query_id": "q", "status": "running"}, "q", "running", RunStatus.RUNNING),
        ("openanalyst", {"id": "q", "run_id": "r", "status": "running"}, "r", "running", RunStatus.RUNNING),
        ("openanalyst", {"id": 17, "status": "running"}, "17", "running", RunStatus.RUNNING),
    ],
)
def test_a_run_is_read(vendor: str, body: dict[str, Any], run_id: str, word: str, status: RunStatus) -> None:
    body["more"] = {"as": ["it", "came"]}
    run = read_run(vendor, json.dumps(body).encode())
    assert (run.run_id, run.word, run.status, run.payload) == (run_id, word, status, body)


@pytest.mark.parametrize(
    ("body", "status_code"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe\x00", 400),
        (b'{"message_id": "m", "status": "success"} x', 400),
        (b'{"message_id": "m", "status": "success", "x": NaN}', 400),
        (b'{"message_id": "m", "status": "success", "x": 1e999}', 400),
        (b'{"message_id": "m", "status": "success", "x": ' + b"9" * 5000 + b"}", 400),
        (b"[" * 100_000, 400),
        (b'{"message_id": "m", "status": "success", "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400),
        (nested(MAX_DEPTH + 1), 400),
        (b"null", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b"7", 400),
        (b"{}", 422),
        (b'{"status": "success"}', 422),
        (b'{"run_id": "m", "status": "success"}', 422),
        (b'{"message_id": "", "status": "success"}', 422),
        (b'{"message_id": null, "status": "success"}', 422),
        (b'{"message_id": true, "status": "success"}', 422),
        (b'{"message_id": ["m"], "status": "success"}', 422),
        (b'{"message_id": "a/b", "status": "success"}', 422),
        (b'{"message_id": "a\\u0000b", "status": "success"}', 422),
        (b'{"message_id": "\\ud800", "status": "success"}', 422),
        (b'{"message_id": "m\\n", "status": "success"}', 422),
        (b'{"message_id": "%s", "status": "success"}' % (b"m" * 201), 422),
        (b'{"message_id": "m"}', 422),
        (b'{"message_id": "m", "status": null}', 422),
        (b'{"message_id": "m", "status": {}}', 422),
        (b'{"message_id": "m", "status": "paused"}', 422),
    ],
)
def test_bad_bodies_are_refused_with_the_right_code(body: bytes, status_code: int) -> None:
    with pytest.raises(BadPayload) as caught:
        read_run("nenai", body)
    assert caught.value.status_code == status_code


def test_the_deepest_body_allowed_is_read() -> None:
    assert read_run("nenai", nested(MAX_DEPTH)).run_id == "m"


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_other_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadPayload):
        read_run("openanalyst", body)


@given(st.dictionaries(st.text(), JSON))
def test_whatever_a_body_carries_is_kept(more: dict[str, Any]) -> None:
    body = {**more, "message_id": "m", "status": "success"}
    assert read_run("nenai", json.dumps(body).encode()).payload == body
