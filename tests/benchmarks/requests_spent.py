"""Requests that the vendor gets for one awaited run of an hour: ours and every peer's, counted where they arrive."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from typing import Any
from unittest import mock

from tests.benchmarks.peers import PEERS, waiting_on
from tests.benchmarks.table import Row
from tests.support.receiver import SENDERS, ReceiverProcess
from tests.unit.test_learnt_pace import wait_for_told_runs

HOUR = 3600.0


def _spent_by_peer(name: str) -> int:
    """Requests with which a peer's trigger waits for a run of an hour; the hour is skipped between two polls."""
    with waiting_on(name) as (vendor, waiters):
        waiters.ask("start", 1, 100.0)
        waiters.ask("live", HOUR, True)
        if fired := waiters.ask("fired", 0, 0.0):
            raise RuntimeError(f"The trigger did not wait until the end of the run: {fired}")
        vendor.end()
        waiters.ask("live", PEERS[name].interval, True)
        if not waiters.ask("fired", 1, 10.0):
            raise RuntimeError("The trigger did not notice the end of the run.")
        return vendor.asked


def _spent_by_us() -> dict[str, int]:
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

    with (
        tempfile.TemporaryDirectory() as directory,
        Emulator(plan="unlimited") as emulator,
        ReceiverProcess(f"sqlite:///{directory}/events.db") as receiver,
    ):
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
        if not all(event.get("by_webhook") for event in events):
            raise RuntimeError(f"A run's end was not told by webhook: {events}")
        counts = emulator.control.counts()
    asked = {route: count for route, count in counts.items() if route != "runs_started"}
    nenai = sum(count for route, count in asked.items() if "/v1/" not in route)
    return {"NenAI": nenai, "OpenAnalyst": sum(asked.values()) - nenai}


def rows() -> list[Row]:
    """A run's requests; and those of the first run of its kind."""
    started = _spent_by_us()
    first, next_ = wait_for_told_runs([HOUR, HOUR])
    spent = {"NenAI": started["NenAI"], "OpenAnalyst": started["OpenAnalyst"] + next_}
    by_peers = {name: _spent_by_peer(name) for name in PEERS}
    reference = "for the waiting alone: " + ", ".join(
        f"{name} {count} (every {PEERS[name].interval:.0f} s)"
        for name, count in sorted(by_peers.items(), key=lambda each: each[1])
    )
    reckoned = ", ".join(f"{name} {HOUR / PEERS[name].interval:.0f}" for name in PEERS)
    return [
        Row(
            "vendor requests for one awaited run of an hour, webhook mode",
            "1",
            ", ".join(f"{vendor} {count}" for vendor, count in spent.items()),
            reference,
            set(spent.values()) == {1},
            "ours: the start and the wait for a short run, counted by the emulator, and OpenAnalyst's safety polls of "
            f"an hour in virtual time ({next_}). Peers: their own trigger, at the default of its operator or sensor, "
            f"counted by a local server until it has noticed the end; an hour divided by the interval is {reckoned}, "
            "and the end costs one or two",
        ),
        Row(
            "the same, the first run of its kind that a triggerer waits for, OpenAnalyst",
            "1",
            f"{started['OpenAnalyst'] + first}",
            f"{(started['OpenAnalyst'] + first) / min(by_peers.values()):.2f} of the peer that asks least",
            started["OpenAnalyst"] + first == 1,
            f"{first} safety polls, one in ten minutes: in case that the webhook gets lost, and as long as it is not "
            "known that such runs take an hour. NenAI has no endpoint to ask",
        ),
    ]
