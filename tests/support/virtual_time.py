"""Asyncio without waiting: an event loop whose clock jumps to the next timer as soon as nothing else is left to do."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")

RESOLUTION = 1e-9
"""Seconds that every turn of the loop takes."""

EPOCH = 1_800_000_000.0
"""What `time.time` says at the beginning."""
LONGEST = 40 * 86_400.0
"""Seconds after which a test that goes on waiting is taken to do so for ever."""


class _Selector(selectors.DefaultSelector):
    """Does not wait for anything: asks for what is ready, and lets the loop's time pass instead."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self.loop.now > LONGEST:
            raise RuntimeError("Nothing can happen any more: every task waits for another one.")
        # A timer may come early by the clock's resolution: who then waits for the rest must not wait for ever.
        self.loop.now += max(RESOLUTION, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Time passes only when nothing is to be done; calls handed to an executor are made at once, in this thread."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """
    Run a coroutine to its end; days pass within seconds.

    :param main: Makes the coroutine. While it runs, `time.time` and `time.monotonic` follow the loop's clock.
    :raises RuntimeError: It waits for something that never comes.
    """
    loop = VirtualTimeLoop()

    def wall_clock() -> float:
        return EPOCH + loop.now

    with (
        mock.patch.object(time, "time", wall_clock),
        mock.patch.object(time, "monotonic", loop.time),
        asyncio.Runner(loop_factory=lambda: loop) as runner,
    ):
        return runner.run(main())
