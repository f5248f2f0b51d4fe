"""
A process full of waiting triggers, as a triggerer is: ours or a peer's, unmodified.

It says on its standard output, a JSON object a line, what waiting costs it; then which triggers fired and when, once
its standard input is closed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil

CONN_ID = "nen"
SETTLING = 60.0
"""Seconds within which all must have come to rest."""


def _ours(number: int, interval: float) -> Any:
    from airflow_provider_nenoa.triggers.nenai import NenAIWorkflowRunTrigger

    return NenAIWorkflowRunTrigger(f"run-{number}", CONN_ID, poll_interval=interval, told=True)


def _http(number: int, interval: float) -> Any:
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    return HttpSensorTrigger(endpoint=f"runs/{number}", http_conn_id="peer", poke_interval=interval)


def _airbyte(number: int, interval: float) -> Any:
    from airflow.providers.airbyte.triggers.airbyte import AirbyteSyncTrigger

    return AirbyteSyncTrigger(number, "peer", time.time() + 86_400, interval)


TRIGGERS: dict[str, Callable[[int, float], Any]] = {"ours": _ours, "http": _http, "airbyte": _airbyte}


async def _at_rest(process: psutil.Process) -> None:
    """Return when the process has nothing more to do than to wait."""
    until = time.monotonic() + SETTLING
    while time.monotonic() < until:
        before = sum(process.cpu_times()[:2])
        await asyncio.sleep(1.0)
        if sum(process.cpu_times()[:2]) - before < 0.03:
            return


async def _main(name: str, count: int, interval: float, idle: float, rest: bool) -> None:
    process, make = psutil.Process(), TRIGGERS[name]
    fired: dict[int, float] = {}

    async def wait(number: int) -> None:
        async for _ in make(number, interval).run():
            fired[number] = time.time()
            return

    async def resident() -> int:
        if rest:
            await _at_rest(process)
        gc.collect()
        return process.memory_info().rss

    waiting = [asyncio.create_task(wait(count))]  # one more: what is loaded and opened once is no waiter's
    await asyncio.sleep(1.0)
    before = await resident()
    waiting += [asyncio.create_task(wait(number)) for number in range(count)]
    await asyncio.sleep(1.0)
    each = (await resident() - before) / count
    cpu, began = time.process_time(), time.monotonic()
    await asyncio.sleep(idle)
    share = (time.process_time() - cpu) / (time.monotonic() - began)
    print(json.dumps({"bytes": each, "cpu": share, "waiting": sum(not task.done() for task in waiting)}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(fired), flush=True)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


if __name__ == "__main__":
    _name, _count, _interval, _idle, _rest = sys.argv[1:]
    asyncio.run(_main(_name, int(_count), float(_interval), float(_idle), _rest == "rest"))
