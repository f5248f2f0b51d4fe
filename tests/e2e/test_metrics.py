"""What a real Airflow reports to StatsD: its API server, its triggerer and its tasks, each what the document lists."""

from __future__ import annotations

import requests

from airflow_provider_nenoa.emulator import Emulator
from airflow_provider_nenoa.vendors import VENDORS, signatures
from tests.e2e.conftest import WEBHOOK_SECRET
from tests.support.airflow_api import wait_until
from tests.support.local_airflow import LocalAirflow
from tests.support.statsd import StatsdServer

START = "/v1/agents/run"
TOO_MANY = {"status": 429, "headers": {"Retry-After": "1"}}


def expect(statsd: StatsdServer, values: list[float], name: str, **tags: str) -> None:
    """Wait until these values, and no others, were reported."""
    wait_until(
        lambda: statsd.received(name, **tags) == values,
        20,
        lambda: f"{name} {tags} is {statsd.received(name, **tags)}, not {values}",
    )


def expect_at_last(statsd: StatsdServer, value: float, name: str, **tags: str) -> None:
    """Wait until the newest report, of a gauge that is reported every so often, has this value."""
    wait_until(
        lambda: statsd.received(name, **tags)[-1:] == [value],
        20,
        lambda: f"{name} {tags} is {statsd.received(name, **tags)}, which does not end with {value}",
    )


def finish(emulator: Emulator) -> None:
    (run,) = emulator.control.runs()
    emulator.control.finish(run["id"])


def test_a_run_that_is_polled(airflow: LocalAirflow, emulator: Emulator, statsd: StatsdServer) -> None:
    told = {"conn_id": "openanalyst_polled"}
    emulator.control.fault("status", path=START, **TOO_MANY)
    run = airflow.api.trigger("agent_deferred_polled")
    run.wait_for("agent", "deferred")
    expect(statsd, [1.0], "rate_limited", **told)  # by the task
    expect(statsd, [1.0], "start.started", **told, kind="agent")

    emulator.control.fault("status", method="GET", **TOO_MANY)
    expect(statsd, [1.0, 1.0], "rate_limited", **told)  # by the triggerer
    expect_at_last(statsd, 1.0, "waiting", **told)
    finish(emulator)
    run.expect("success")
    expect_at_last(statsd, 0.0, "waiting", **told)
    expect_at_last(statsd, 0.0, "waiting.openanalyst_polled")
    polls = emulator.control.counts()["GET /v1/agents/runs/{run_id}"]
    expect(statsd, [1.0] * polls, "poll", **told, kind="agent")


def test_a_run_that_is_told_of(airflow: LocalAirflow, emulator: Emulator, statsd: StatsdServer) -> None:
    told = {"conn_id": "openanalyst_told"}
    emulator.control.webhook_fault(duplicate=1)
    run = airflow.api.trigger("agent_deferred_told")
    run.wait_for("agent", "deferred")
    url = f"{airflow.url}/nenoa/webhooks/openanalyst_told"
    assert requests.post(url, data=b"{}", timeout=10).status_code == 401
    signed = dict([signatures.sign(VENDORS["openanalyst"].SIGNATURE, WEBHOOK_SECRET, b"no JSON")])
    assert requests.post(url, data=b"no JSON", headers=signed, timeout=10).status_code == 400
    # Timed is only what comes from now on: before its long poll, the triggerer finds an end by looking it up.
    wait_until(lambda: statsd.received("webhook.newest_age", **told), 60, lambda: "no triggerer has begun a long poll")
    finish(emulator)
    run.expect("success")

    expect(statsd, [1.0], "webhook.accepted", **told)
    expect(statsd, [1.0], "webhook.duplicate", **told)
    expect(statsd, [1.0], "webhook.refused", reason="unauthorized")
    expect(statsd, [1.0], "webhook.refused", reason="bad_payload", **told)
    (milliseconds,) = statsd.received("resume", **told)
    assert 0 < milliseconds < 10_000
    ages = statsd.received("webhook.newest_age", **told)
    assert ages
    assert min(ages) >= 0
    assert statsd.received("webhook.newest_age.openanalyst_told")[: len(ages)] == ages
    assert statsd.received("poll") == []


def test_what_becomes_of_starts(airflow: LocalAirflow, emulator: Emulator, statsd: StatsdServer) -> None:
    agent = {"conn_id": "openanalyst_polled", "kind": "agent"}
    emulator.control.fault("status", path=START, status=422)
    run = airflow.api.trigger("agent_deferred_polled")
    run.expect("failed")
    expect(statsd, [1.0], "start.refused", **agent)

    emulator.control.fault("drop_before", path=START)
    run.clear()
    run.expect("failed")
    expect(statsd, [1.0], "start.unknown", **agent)

    run.clear()
    run.wait_for("agent", "deferred")
    expect(statsd, [1.0], "start.started", **agent)
    run.set_state("agent", "failed")
    run.expect("failed")
    run.clear()
    run.wait_for("agent", "deferred")
    expect(statsd, [1.0], "start.adopted", **agent)
    finish(emulator)
    run.expect("success")
