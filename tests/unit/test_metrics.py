"""What is counted and measured, and that the documentation lists all of it."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_nenoa import airflow_internals, metrics
from airflow_provider_nenoa.exceptions import RateLimited
from airflow_provider_nenoa.waiting.channel import REPORT_INTERVAL
from airflow_provider_nenoa.waiting.kinds import RunKey
from tests.support import virtual_time
from tests.support.fake_vendor import FakeReceiver, FakeVendor, new_hub, vendors

ROOT = Path(__file__).parents[2]


class Recorder:
    """Stands in for Airflow's metrics client."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, dict[str, str]]] = []
        self.gauges: list[tuple[str, float, dict[str, str] | None]] = []
        self.timings: list[tuple[str, timedelta, dict[str, str]]] = []

    def incr(self, name: str, tags: dict[str, str]) -> None:
        self.counts.append((name, tags))

    def gauge(self, name: str, value: float, tags: dict[str, str] | None = None) -> None:
        self.gauges.append((name, value, tags))

    def timing(self, name: str, dt: timedelta, tags: dict[str, str]) -> None:
        self.timings.append((name, dt, tags))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(airflow_internals, "server_stats", lambda: recorder)
    return recorder


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(airflow_internals, "task_stats", lambda: recorder)
    return recorder


def wait_for(vendor: FakeVendor, receiver: FakeReceiver | None = None, *deliveries: tuple[float, str]) -> None:
    async def main() -> None:
        hub = new_hub()
        with vendors(vendor, receiver):
            waiting = asyncio.ensure_future(
                hub.wait(
                    RunKey("c", "agent", "r"),
                    deadline=float("inf"),
                    poll_interval=15.0,
                    started_at=time.time(),
                    told=receiver is not None,
                )
            )
            for pause, word in deliveries:
                await asyncio.sleep(pause)
                assert receiver is not None
                receiver.deliver("r", word)
            await waiting
        await asyncio.gather(*hub._closing)

    virtual_time.run(main)


def test_polls_and_429s_are_counted(server: Recorder) -> None:
    wait_for(FakeVendor({"r": ["running", RateLimited("429", retry_after=7), "completed"]}))

    poll, refusal = ("nenoa.poll", {"conn_id": "c", "kind": "agent"}), ("nenoa.rate_limited", {"conn_id": "c"})
    assert server.counts == [poll, poll, refusal, poll]


def test_who_waits_is_reported_until_nobody_does(server: Recorder) -> None:
    wait_for(FakeVendor(), FakeReceiver(), (2.5 * REPORT_INTERVAL, "completed"))

    tagged = [(value, tags) for name, value, tags in server.gauges if name == "nenoa.waiting"]
    assert tagged == [(1, {"conn_id": "c"})] * 3 + [(0, {"conn_id": "c"})]
    assert [value for name, value, _ in server.gauges if name == "nenoa.waiting.c"] == [1, 1, 1, 0]


def test_the_time_from_event_to_resume_is_measured_once(server: Recorder) -> None:
    wait_for(FakeVendor(), FakeReceiver(), (5, "processing"), (5, "completed"))

    ((name, seconds, tags),) = server.timings
    assert (name, tags) == ("nenoa.resume", {"conn_id": "c"})
    assert timedelta(0) <= seconds < timedelta(seconds=1)


def test_an_end_from_before_the_wait_is_no_resume(server: Recorder) -> None:
    receiver = FakeReceiver()
    receiver.deliver("r", "completed")

    wait_for(FakeVendor(), receiver)

    assert server.timings == []


def test_a_gauge_without_tags_names_the_connection_in_plain_characters(server: Recorder) -> None:
    metrics.gauge("waiting", 3, "team:nen.ai")

    assert server.gauges == [
        ("nenoa.waiting", 3, {"conn_id": "team:nen.ai"}),
        ("nenoa.waiting.team_nen_ai", 3, None),
    ]


def test_tasks_count_with_a_client_of_their_own(server: Recorder, tasks: Recorder) -> None:
    metrics.count_in_task("start.started", "c", kind="agent")

    assert tasks.counts == [("nenoa.start.started", {"conn_id": "c", "kind": "agent"})]
    assert server.counts == []


@pytest.mark.parametrize("client", [airflow_internals.server_stats, airflow_internals.task_stats])
def test_airflow_takes_what_we_send(client: Any) -> None:
    stats = client()
    stats.incr("nenoa.test", tags={"conn_id": "c"})
    stats.gauge("nenoa.test", 1.5, tags={"conn_id": "c"})
    stats.timing("nenoa.test", timedelta(seconds=1), tags={"conn_id": "c"})


def test_the_documentation_lists_every_metric() -> None:
    calls = re.compile(r"(?:metrics\.(?:count|count_in_task|gauge|time)|_count|_count_start)\(\s*f?\"([^\"]+)\"")
    found = set()
    for module in (ROOT / "airflow_provider_nenoa").rglob("*.py"):
        for name in calls.findall(module.read_text()):
            if module.name == "app.py" and not name.startswith("webhook."):
                name = f"webhook.{name}"
            if "{" not in name:
                found.add(name if module.parent.name != "operators" else f"start.{name}")

    listed = re.findall(r"^\| `nenoa\.([a-z_.]+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)

    assert sorted(listed) == sorted(found | {"webhook.accepted", "webhook.duplicate"})
