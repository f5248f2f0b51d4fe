"""How many requests the vendor gets for one awaited run: ours counted, peers' by their default interval."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from unittest import mock

from tests.benchmarks.table import Row
from tests.support.receiver import SENDERS, ReceiverThread, open_store

HOUR = 3600.0
DEFAULTS = {
    "databricks": ("databricks.operators.databricks", "DatabricksSubmitRunOperator", "polling_period_seconds"),
    "anthropic": ("anthropic.operators.agent", "AnthropicAgentSessionOperator", "poll_interval"),
    "dbt-cloud": ("dbt.cloud.operators.dbt", "DbtCloudRunJobOperator", "check_interval"),
    "http": ("http.triggers.http", "HttpSensorTrigger", "poke_interval"),
}
"""Where each peer's default interval stands: module, class, parameter."""
CHECKED = 12.0
"""Seconds for which one peer's trigger is run at its default interval, to see that it asks as often as it says."""


def _intervals() -> dict[str, float]:
    found = {}
    for peer, (module, name, parameter) in DEFAULTS.items():
        try:
            owner = getattr(importlib.import_module(f"airflow.providers.{module}"), name)
        except (ImportError, AttributeError):
            continue
        found[peer] = float(inspect.signature(owner.__init__).parameters[parameter].default)
    return found


@contextmanager
def _never_done() -> Iterator[tuple[str, list[float]]]:
    """A vendor whose runs go on for ever; give its URL and when it was asked."""
    asked: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(time.monotonic())
            self.send_error(404)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _polls_of_http() -> int:
    """How often HTTP's trigger asks within `CHECKED` seconds, at its default interval."""
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    async def wait() -> None:
        async for _ in HttpSensorTrigger(endpoint="runs/1", http_conn_id="peer").run():
            return

    async def main() -> None:
        try:
            await asyncio.wait_for(wait(), CHECKED)
        except TimeoutError:
            return

    with _never_done() as (url, asked):
        connection = json.dumps({"conn_type": "http", "host": url})
        with mock.patch.dict(os.environ, AIRFLOW_CONN_PEER=connection):
            asyncio.run(main())
        return len(asked)


def _spent_by_us(directory: str) -> dict[str, int]:
    """Start and await one run of each vendor, with webhooks; return the vendor's count of requests, by vendor."""
    from airflow_provider_nenoa.emulator import Emulator
    from airflow_provider_nenoa.hooks.nenai import NenAIHook
    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook
    from airflow_provider_nenoa.triggers.nenai import NenAIWorkflowRunTrigger
    from airflow_provider_nenoa.triggers.openanalyst import OpenAnalystAgentRunTrigger
    from airflow_provider_nenoa.webhooks.client import callback_url

    async def event_of(trigger: Any) -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise RuntimeError("The trigger ended without an event.")

    with Emulator(plan="unlimited") as emulator, ReceiverThread(open_store(f"sqlite:///{directory}/e.db")) as receiver:
        emulator.control.settings(
            agent={"seconds": 3},
            workflow={"seconds": 3},
            openanalyst_webhook_secret=SENDERS["oa"].secret,
            nenai_webhook_secret=SENDERS["nen"].secret,
        )
        hosts = {"oa": emulator.openanalyst_url, "nen": emulator.nenai_url}
        connections = {
            f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(
                {
                    "conn_type": SENDERS[conn_id].conn_type,
                    "host": host,
                    "password": "oa_live_acme_key",
                    "extra": {"webhook_secret": SENDERS[conn_id].secret},
                }
            )
            for conn_id, host in hosts.items()
        }
        addresses = dict.fromkeys(("AIRFLOW__NENOA__WEBHOOK_BASE_URL", "AIRFLOW__NENOA__RECEIVER_URL"), receiver.url)
        with mock.patch.dict(os.environ, {**connections, **addresses}):
            workflow = NenAIHook("nen").start_run(
                "6f1b8e2a-3c44-4c1e-9d0b-0f6f0c8f2a11", {}, webhook_callback=callback_url("nen", "a")
            )
            agent = OpenAnalystHook("oa").run_agent("agent_1", "Summarise", webhook_url=callback_url("oa", "b"))

            async def main() -> tuple[dict[str, Any], dict[str, Any]]:
                return await asyncio.gather(
                    event_of(NenAIWorkflowRunTrigger(workflow.run_id, "nen", told=True)),
                    event_of(OpenAnalystAgentRunTrigger(agent.run_id, "oa", told=True)),
                )

            events = asyncio.run(main())
        assert all(event["by_webhook"] for event in events)
        counts = emulator.control.counts()
    asked = {route: count for route, count in counts.items() if route != "runs_started"}
    ours = sum(count for route, count in asked.items() if "/v1/" not in route)
    return {"NenAI": ours, "OpenAnalyst": sum(asked.values()) - ours}


def rows() -> list[Row]:
    """One row: a run's requests."""
    with tempfile.TemporaryDirectory() as directory:
        spent = _spent_by_us(directory)
    intervals = _intervals()
    polled, expected = _polls_of_http(), 1 + int(CHECKED // intervals["http"])
    return [
        Row(
            "vendor requests for one awaited run, webhook mode",
            "1",
            ", ".join(f"{vendor} {count}" for vendor, count in spent.items()),
            "one hour at the default interval: "
            + ", ".join(
                f"{peer} {HOUR / interval:.0f} (every {interval:.0f} s)" for peer, interval in intervals.items()
            ),
            set(spent.values()) == {1},
            "ours: start and end, counted by the emulator; peers: their own default, reckoned for an hour, and seen "
            f"for http's: {polled} polls in {CHECKED:.0f} s, {expected} expected",
        )
    ]
