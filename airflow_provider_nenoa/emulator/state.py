"""All that the emulator knows, in memory, and the runs that go on in it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_nenoa.emulator.clock import Clock
from airflow_provider_nenoa.emulator.faults import Faults
from airflow_provider_nenoa.emulator.limits import FixedWindow, Limiter, SlidingWindow
from airflow_provider_nenoa.emulator.settings import Behaviour, Settings, WebhookFault

Kind = Literal["agent", "query", "workflow"]

#: How many received requests and sent deliveries are remembered.
LOG_LENGTH = 20_000


@dataclass(eq=False)
class Run:
    """One agent run, query or workflow run.

    ``status`` is ``running`` until the end (``ended_at``), then the outcome of its behaviour.
    """

    id: str
    kind: Kind
    behaviour: Behaviour
    detail: dict[str, Any]
    started_at: float
    workspace: str | None = None
    webhook_url: str | None = None
    status: str = "running"
    result: dict[str, Any] | None = None
    error: str | None = None
    ended_at: float | None = None
    on_end: Callable[[Run], None] | None = None
    timer: asyncio.TimerHandle | None = None
    deliveries: list[asyncio.Task[None]] = field(default_factory=list)
    held_back: tuple[str, dict[str, Any]] | None = None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def faults(self) -> WebhookFault:
        return self.behaviour.webhooks or WebhookFault()


class State:
    """The emulator's memory. Everything in it is touched by the event loop alone.

    :param settings: what a reset goes back to.
    :param clock: counts limits and expiries.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.initial = settings
        self.clock = clock
        self._tasks: set[asyncio.Task[Any]] = set()
        self._fresh()

    def _fresh(self) -> None:
        self.settings = self.initial
        self.runs: dict[str, Run] = {}
        self.requests: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self.counts: Counter[str] = Counter()
        self.runs_started: Counter[str] = Counter(agent=0, workflow=0, query=0)
        self.deliveries: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self.faults = Faults()
        self.webhook_faults: list[WebhookFault] = []
        self._limiters: dict[str, Limiter] = {}

    def reset(self) -> None:
        """Forget everything, end nothing (runs that still go on are dropped without a webhook), real time again."""
        self.close()
        self.clock.reset()
        self._fresh()

    def close(self) -> None:
        """Stop all timers and deliveries."""
        for run in self.runs.values():
            if run.timer:
                run.timer.cancel()
        for task in self._tasks:
            task.cancel()

    def patch_settings(self, patch: dict[str, Any]) -> None:
        """Change settings from now on; runs that have started keep theirs."""
        new = self.settings.patched(patch)
        if (new.limits(), new.window) != (self.settings.limits(), self.settings.window):
            self._limiters.clear()
        self.settings = new

    def limiter(self, workspace: str) -> Limiter:
        """The limits of a workspace."""
        if workspace not in self._limiters:
            window = SlidingWindow if self.settings.window == "sliding" else FixedWindow
            self._limiters[workspace] = Limiter(*self.settings.limits(), window)
        return self._limiters[workspace]

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background until it is done or the emulator is reset."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def start(self, run: Run) -> None:
        """Count a run as started and let it take its time."""
        if run.behaviour.webhooks is None:
            run.behaviour = run.behaviour.model_copy(update={"webhooks": self._next_webhook_fault(run)})
        self.runs[run.id] = run
        self.runs_started[run.kind] += 1
        if run.behaviour.seconds is not None:
            run.timer = asyncio.get_running_loop().call_later(run.behaviour.seconds, self.finish, run)

    def finish(self, run: Run) -> None:
        """End a run now, as its behaviour says. A second end is ignored."""
        if run.ended:
            return
        if run.timer:
            run.timer.cancel()
        run.status = run.behaviour.outcome
        run.ended_at = self.clock.time()
        if run.status == "success":
            run.result = {**(run.result or {}), **(run.behaviour.result or {})}
        else:
            run.error = run.behaviour.error or f"The {run.kind} run ended as {run.status}."
            run.result = run.behaviour.result
        if run.on_end:
            run.on_end(run)

    def _next_webhook_fault(self, run: Run) -> WebhookFault | None:
        vendor = "nenai" if run.kind == "workflow" else "openanalyst"
        for place, fault in enumerate(self.webhook_faults):
            if fault.vendor in (None, vendor):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        del self.webhook_faults[place]
                return fault
        return None
