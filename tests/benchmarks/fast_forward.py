"""An hour of polling within seconds: asyncio whose clock skips the time in which nothing is under way."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    """Waits as always, except for a timer alone: then the loop's clock is put forward instead."""

    loop: FastForwardLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout > 0 and self.loop.forward and not self.loop.is_busy():
            self.loop.skipped += timeout
            timeout = 0
        return super().select(timeout)


class FastForwardLoop(asyncio.SelectorEventLoop):
    """
    An event loop with real sockets and threads, and a clock that skips waiting.

    While a socket is open or a thread is at work, time passes as it does on the wall, so a request takes as long as it
    takes. A sleep between two requests takes no time. Whoever sleeps with `asyncio.sleep` therefore makes the same
    requests, at the same times by this clock, as in real time.
    """

    def __init__(self) -> None:
        self.forward = False
        """Whether time is skipped. At first it is not."""
        self.skipped = 0.0
        """Seconds that were skipped so far."""
        self._in_threads = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._own_sockets = len(selector.get_map())

    def time(self) -> float:
        """Seconds, from the same origin as `time.monotonic` plus all that was skipped."""
        return super().time() + self.skipped

    def is_busy(self) -> bool:
        """Whether a socket is open, or a thread at work."""
        return self._in_threads > 0 or len(self._selector.get_map()) > self._own_sockets  # type: ignore[attr-defined]

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        self._in_threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._out_of_thread)
        return future

    def _out_of_thread(self, future: asyncio.Future[Any]) -> None:
        self._in_threads -= 1
