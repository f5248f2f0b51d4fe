"""All that the emulator knows, in memory, and the runs that go on in it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_nenoa.emulator.archive import Archives
from airflow_provider_nenoa.emulator.behaviour import Behaviour, WebhookFault
from airflow_provider_nenoa.emulator.clock import Clock
from airflow_provider_nenoa.emulator.faults import Faults
from airflow_provider_nenoa.emulator.limits import FixedWindow, Limiter, SlidingWindow
from airflow_provider_nenoa.emulator.settings import Settings
from airflow_provider_nenoa.emulator.wire import odd_numbers

Kind = Literal["agent", "query", "export", "workflow"]

#: How many received requests and sent deliveries are remembered.
LOG_LENGTH = 20_000

#: How long a run that is executed is ``started`` before it is ``running``, at most.
_STARTED_SECONDS = 0.2


@dataclass(eq=False)
class Run:
    """One agent run, query, export or workflow run.

    It is ``queued`` first, then ``started``, then ``running``: its ``phase``, which it came to at ``updated_at``. Its
    ``status`` is ``running`` until the end (``ended_at``), then the outcome of its behaviour. ``at_end`` is what its
    last webhook says besides the result. ``secret`` signs its webhooks, if it is not the emulator's.
    """

    id: str
    kind: Kind
    behaviour: Behaviour
    detail: dict[str, Any]
    created_at: float
    workspace: str | None = None
    webhook_url: str | None = None
    secret: str | None = None
    status: str = "running"
    result: dict[str, Any] | None = None
    error: str | None = None
    at_end: dict[str, Any] = field(default_factory=dict)
    phase: Literal["queued", "started", "running"] = "queued"
    updated_at: float = 0
    ended_at: float | None = None
    on_begin: Callable[[Run], None] | None = None
    on_end: Callable[[Run], None] | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    deliveries: list[asyncio.Task[None]] = field(default_factory=list)
    held_back: tuple[str, dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        self.updated_at = self.created_at

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    def stop(self) -> None:
        """Nothing happens to it any more by itself."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()

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
        self.archives = Archives()
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
        self.mcp_sessions: dict[str, float] = {}
        self.registered: dict[str, Any] = {}
        self.exports: dict[str, bytes] = {}
        self.webhook_faults: list[WebhookFault] = []
        self._limiters: dict[str, Limiter] = {}

    def reset(self) -> None:
        """Forget everything, end nothing (runs that still go on are dropped without a webhook), real time again."""
        self.close()
        self.clock.reset()
        self._fresh()

    def close(self) -> None:
        """Stop all timers and deliveries, and remove what lies on the disk."""
        for run in self.runs.values():
            run.stop()
        for task in self._tasks:
            task.cancel()
        self.archives.close()

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
        queued = run.behaviour.queued
        if queued == 0:
            self.begin(run)
        elif queued is not None:
            run.timers.append(asyncio.get_running_loop().call_later(queued, self.begin, run))

    def begin(self, run: Run) -> None:
        """Let a run leave the queue: from now on it is executed. A second beginning is ignored."""
        if run.phase != "queued":
            return
        run.stop()
        run.phase, run.updated_at = "started", self.clock.time()
        if run.on_begin:
            run.on_begin(run)
        seconds = run.behaviour.seconds
        later = asyncio.get_running_loop().call_later
        run.timers.append(
            later(_STARTED_SECONDS if seconds is None else min(_STARTED_SECONDS, seconds / 2), self._run, run)
        )
        if seconds is not None:
            run.timers.append(later(seconds, self.finish, run))

    def _run(self, run: Run) -> None:
        run.phase, run.updated_at = "running", self.clock.time()

    def finish(self, run: Run) -> None:
        """End a run now, as its behaviour says. A second end is ignored."""
        if run.ended:
            return
        self.begin(run)
        run.stop()
        run.status = run.behaviour.outcome
        run.ended_at = run.updated_at = self.clock.time()
        if run.status == "success":
            run.result = {**(run.result or {}), **(run.behaviour.result or {})}
        else:
            run.error = run.behaviour.error or f"The {run.kind} run ended as {run.status}."
            run.result = run.behaviour.result
        if run.behaviour.odd_numbers:
            run.result = {**(run.result or {}), "numbers": odd_numbers()}
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
