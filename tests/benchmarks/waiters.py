"""
A process full of waiting triggers, as a triggerer is: ours or a peer's, unmodified.

`WaitersProcess` starts it and asks it what waiting costs; the process itself is `Waiters`, which answers one question
after the other, each a line of JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import psutil

from tests.benchmarks.fast_forward import FastForwardLoop

SETTLING = 60.0
"""Seconds within which all must have come to rest."""


class WaitersProcess:
    """
    A process of waiters; a context manager.

    :param name: ``ours``, or a peer.
    :param environment: Environment variables: connections, and where servers are.
    """

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.waiters", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **environment},
        )

    def __enter__(self) -> WaitersProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ask(self, method: str, *arguments: Any) -> Any:
        """
        Let the process do something.

        :param method: A method of `Waiters`.
        :param arguments: What it is given.
        :return: What it returns.
        :raises RuntimeError: It has ended instead, with the reason.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([method, *arguments]), file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        self._errors.seek(0)
        raise RuntimeError(f"The process of waiters has ended.\n{self._errors.read()}")


ANSWER = "ANSWER "
"""Begins a line with an answer: Airflow may write lines too."""


class Waiters:
    """
    Triggers that wait, in the running event loop.

    :param make: Makes the trigger with a number.
    :param tasks: Where they run. One that breaks down ends the process.
    """

    def __init__(self, make: Callable[[int], Any], tasks: asyncio.TaskGroup) -> None:
        self._make = make
        self._tasks = tasks
        self._process = psutil.Process()
        self._started = 0
        self._fired: dict[int, tuple[float, str]] = {}
        self._another = asyncio.Event()

    async def start(self, count: int, per_second: float) -> None:
        """
        Let more triggers wait. They are numbered from 0.

        :param count: How many.
        :param per_second: How fast they come. All at the same time, they would poll at the same time ever after.
        """
        began = time.monotonic()
        for position in range(count):
            self._tasks.create_task(self._wait(self._started))
            self._started += 1
            await asyncio.sleep(began + (position + 1) / per_second - time.monotonic())

    async def resident(self) -> int:
        """Bytes of memory once there is nothing more to do than to wait."""
        until = time.monotonic() + SETTLING
        while time.monotonic() < until:
            before = time.process_time()
            await asyncio.sleep(1.0)
            if time.process_time() - before < 0.03:
                break
        gc.collect()
        return int(self._process.memory_info().rss)

    async def live(self, seconds: float, forward: bool) -> float:
        """
        Let time pass.

        :param seconds: How long, by the loop's clock.
        :param forward: Whether to skip the time in which nothing happens.
        :return: CPU seconds that were used.
        """
        loop = asyncio.get_running_loop()
        assert isinstance(loop, FastForwardLoop)
        before = time.process_time()
        loop.forward = forward
        await asyncio.sleep(seconds)
        loop.forward = False
        return time.process_time() - before

    async def fired(self, count: int, patience: float) -> dict[int, tuple[float, str]]:
        """
        Which triggers have fired: when, in Unix seconds, and with which event, by their numbers.

        :param count: How many are waited for.
        :param patience: Seconds after which they are waited for no more.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while len(self._fired) < count:
                    self._another.clear()
                    await self._another.wait()
        return self._fired

    async def _wait(self, number: int) -> None:
        async for event in self._make(number).run():
            self._fired[number] = time.time(), str(event.payload)
            self._another.set()
            return


def _maker(name: str) -> Callable[[int], Any]:
    if name == "ours":
        from airflow_provider_nenoa.triggers.nenai import NenAIWorkflowRunTrigger

        return lambda number: NenAIWorkflowRunTrigger(f"run-{number}", "nen", told=True)
    from tests.benchmarks.peers import PEERS

    peer = PEERS[name]
    interval = peer.interval
    return lambda number: peer.trigger(number, interval)


async def _main(name: str) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiters = Waiters(_maker(name), tasks)
        while line := await asyncio.to_thread(sys.stdin.readline):
            method, *arguments = json.loads(line)
            print(ANSWER + json.dumps(await getattr(waiters, method)(*arguments)), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=FastForwardLoop) as _runner:
        _runner.run(_main(sys.argv[1]))
