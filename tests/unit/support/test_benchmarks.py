"""What the benchmarks measure with must itself be right."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from airflow.triggers.base import TriggerEvent

from tests.benchmarks.fast_forward import FastForwardLoop
from tests.benchmarks.waiters import Waiters

HOUR = 3600.0


@pytest.fixture
def loop() -> Iterator[FastForwardLoop]:
    with asyncio.Runner(loop_factory=FastForwardLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, FastForwardLoop)
        yield loop


@pytest.fixture
def slow_server() -> Iterator[tuple[str, int]]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            time.sleep(0.02)
            self.request.sendall(b"answer")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address  # type: ignore[misc]
        server.shutdown()
        thread.join()


def test_an_hour_of_polling_asks_as_often_as_in_real_time(loop: FastForwardLoop, slow_server: tuple[str, int]) -> None:
    answers: list[float] = []

    async def poll() -> None:
        while True:
            began = loop.time()
            reader, writer = await asyncio.open_connection(*slow_server)
            assert await reader.read() == b"answer"
            writer.close()
            answers.append(loop.time() - began)
            await asyncio.sleep(60)

    async def main() -> None:
        loop.forward = True
        polling = asyncio.create_task(poll())
        await asyncio.sleep(HOUR)
        polling.cancel()

    began = time.monotonic()
    loop.run_until_complete(main())

    assert len(answers) == 60
    assert min(answers) >= 0.02, "a request takes its time"
    assert max(answers) < 30, "and none is skipped"
    assert time.monotonic() - began < 60


def test_no_time_is_skipped_while_a_thread_is_at_work(loop: FastForwardLoop) -> None:
    async def main() -> None:
        loop.forward = True
        sleeping = asyncio.create_task(asyncio.sleep(HOUR))
        await asyncio.to_thread(time.sleep, 0.05)
        assert not sleeping.done()
        assert loop.skipped == 0
        await sleeping
        assert loop.skipped > HOUR - 60

    loop.run_until_complete(main())


def test_no_time_is_skipped_before_it_is_asked_for(loop: FastForwardLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0.01))

    assert loop.skipped == 0


class Trigger:
    def __init__(self, fires: asyncio.Event) -> None:
        self._fires = fires

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await self._fires.wait()
        yield TriggerEvent("done")


async def test_waiters_that_resume_late_are_waited_for_and_lost_ones_show() -> None:
    now, never = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        waiters = Waiters(lambda number: Trigger(never if number == 2 else now), tasks)
        await waiters.start(3, per_second=1e6)
        asyncio.get_running_loop().call_later(0.02, now.set)

        assert (await waiters.fired(2, patience=10)).keys() == {0, 1}
        assert (await waiters.fired(3, patience=0.02)).keys() == {0, 1}
        never.set()
