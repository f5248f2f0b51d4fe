"""What operators, sensors and triggers give to Airflow can be carried between its processes and into its databases."""

from __future__ import annotations

import copy
import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from airflow.sdk.bases.xcom import BaseXCom

from airflow_provider_nenoa.operators.openanalyst import (
    OpenAnalystExecuteQueryOperator,
    OpenAnalystGetDatasetOperator,
    OpenAnalystListDatasetsOperator,
    OpenAnalystRunAgentOperator,
)
from airflow_provider_nenoa.results.xcom import fit_for_airflow
from airflow_provider_nenoa.sensors.openanalyst import OpenAnalystAgentRunSensor
from airflow_provider_nenoa.triggers.openanalyst import OpenAnalystAgentRunTrigger
from tests.support.wire_server import WireServer
from tests.unit.conftest import Logged
from tests.unit.results.test_operators import Store, TaskInstance

HOSTILE = {"above": 2**63, "below": -(2**63) - 1, "text": "a\0b", "emoji\ud83d": "\udc00"}
CARRIED = {"above": str(2**63), "below": str(-(2**63) - 1), "text": "a\ufffdb", "emoji\ufffd": "\ufffd"}


def carried(value: Any) -> Any:
    """Send a value on the way that Airflow sends it: from the task's process to its supervisor, and into PostgreSQL."""
    value = BaseXCom.serialize_value(value)
    text = json.dumps(msgspec.msgpack.decode(msgspec.msgpack.encode(value)), allow_nan=False)
    assert "\\u0000" not in text
    return json.loads(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"rows": [HOSTILE, [HOSTILE]]}, {"rows": [CARRIED, [CARRIED]]}),
        ([2**63 - 1, -(2**63), 1.5, True, None, "\U0001f600", []], None),
        (2**64, str(2**64)),
        (
            {"a\0": 2**63, "a\ufffd": 1, "a\ud800x": 2},
            {"a\ufffd": str(2**63), "a\ufffd\ufffd": 1, "a\ufffdx": 2},
        ),
        (
            [{"a": {"__id__": 2**64}}, {"__classname__": "x"}, 2**64],
            [{"a": f'{{"__id__": {2**64}}}'}, '{"__classname__": "x"}', str(2**64)],
        ),
    ],
)
def test_what_airflow_cannot_carry_becomes_text(value: Any, expected: Any, logged: Logged) -> None:
    fit = fit_for_airflow(copy.deepcopy(value), "It")
    assert carried(fit) == fit == (value if expected is None else expected)
    assert ("beyond 64 bits" in logged.text) == (expected is not None)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([2**63, -(2**70), 1], "It has 2 whole numbers beyond 64 bits"),
        (["a\0"], "It has texts with a NUL or half a character"),
        ({"\ud800": 1}, "It has texts with a NUL or half a character"),
        ([{"__id__": 1}], "It has 1 objects with a name that Airflow reserves"),
    ],
)
def test_the_log_tells_what_was_changed_and_nothing_else(value: Any, said: str, logged: Logged) -> None:
    fit_for_airflow(value, "It")
    (line,) = [line for line in logged.text.splitlines() if "It has" in line]
    assert said in line


def test_how_deep_a_value_is_does_not_matter() -> None:
    value: Any = [2**64]
    for _ in range(5_000):
        value = [value]
    value = fit_for_airflow(value, "It")
    while isinstance(value, list):
        (value,) = value
    assert value == str(2**64)


TABLE = {"columns": ["x"], "rows": [{"x": HOSTILE}], "row_count": 1}
ANSWER = {"id": "r", "run_id": "r", "status": "completed", **TABLE, "final_answer": HOSTILE, "data": [HOSTILE]}


class Vendor(WireServer):
    """Gives the same answer to whatever it is asked."""

    status, answer = "200 OK", ANSWER

    def __init__(self) -> None:
        super().__init__(Vendor.give)

    def give(self, connected: socket.socket) -> None:
        self.read_request(connected)
        body = json.dumps(self.answer)
        connected.sendall(f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


@pytest.fixture
def vendor(connect: Callable[..., str]) -> Iterator[Vendor]:
    vendor = Vendor()
    connect("openanalyst", f"http://127.0.0.1:{vendor.port}/v1", "openanalyst_default")
    yield vendor
    vendor.close()


@pytest.mark.parametrize(
    ("task", "found"),
    [
        (lambda: OpenAnalystRunAgentOperator(task_id="t", agent_id="a", task_prompt="p"), lambda r: r["final_answer"]),
        (
            lambda: OpenAnalystExecuteQueryOperator(task_id="t", dataset_id="d", query="SELECT 1"),
            lambda r: r["rows"][0]["x"],
        ),
        (lambda: OpenAnalystListDatasetsOperator(task_id="t", limit=1), lambda r: r[0]),
        (lambda: OpenAnalystGetDatasetOperator(task_id="t", dataset_id="d"), lambda r: r["final_answer"]),
        (lambda: OpenAnalystAgentRunSensor(task_id="t", run_id="r"), lambda r: r["result"]["final_answer"]),
    ],
    ids=["agent", "query", "list", "object", "sensor"],
)
def test_what_a_task_returns(vendor: Vendor, task: Callable[[], Any], found: Callable[[Any], Any]) -> None:
    result = task().execute({"ti": TaskInstance(), "task_state_store": Store()})
    assert found(carried(result)) == CARRIED


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        ("200 OK", {"status": "completed", "n": 2**64}, {"payload": {"status": "completed", "n": str(2**64)}}),
        ("200 OK", {"status": "completed", "text": "a\ud83d"}, {"payload": {"status": "completed", "text": "a\ufffd"}}),
        ("200 OK", {"status": "completed\0"}, {"timeout": "completed?"}),
        ("404 Not Found", {"error": {"message": "no\0run"}}, {"not_found": True}),
    ],
    ids=["number", "text", "word", "error"],
)
async def test_what_a_trigger_tells(vendor: Vendor, status: str, answer: Any, told: dict[str, Any]) -> None:
    """What the triggerer could not send would end it, with all triggers in it, and again when it starts anew."""
    vendor.status, vendor.answer = status, answer
    trigger = OpenAnalystAgentRunTrigger("r", poll_interval=0.01, started_at=1.0, deadline=time.time() + 1)
    (event,) = [event async for event in trigger.run()]
    assert carried(event.payload).items() >= told.items()
