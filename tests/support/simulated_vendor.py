"""OpenAnalyst in virtual time: runs that end when they are said to, behind the limits of a plan, without a network."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest import mock

from airflow_provider_nenoa.emulator.limits import FixedWindow, Limiter, Window
from airflow_provider_nenoa.emulator.settings import PLANS
from airflow_provider_nenoa.exceptions import RateLimited
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.waiting.hub import Hub
from airflow_provider_nenoa.waiting.kinds import AGENT, KINDS, RunKey


class SimulatedVendor:
    """
    One workspace.

    :param per_minute: Requests per minute; None: unlimited.
    :param per_day: Requests per day; None: unlimited.
    :param window: How the vendor counts: `FixedWindow` or the stricter `SlidingWindow`.
    :param rate_headers: Whether it sends ``X-RateLimit-*``.
    """

    def __init__(
        self,
        per_minute: int | None,
        per_day: int | None,
        window: Callable[[int, float], Window] = FixedWindow,
        *,
        rate_headers: bool = True,
    ) -> None:
        self.limiter = Limiter(per_minute, per_day, window)
        self.limits = (per_minute, per_day)
        self.rate_headers = rate_headers
        self.ends_at: dict[str, float] = {}
        self.polls: list[tuple[float, str]] = []
        self.refusals: list[float] = []

    def use_elsewhere(self, requests: int) -> None:
        """Count requests that went in without hurry, from somewhere else."""
        for window in self.limiter._windows[1:]:
            for _ in range(requests):
                window.take(time.time())

    def request(self, hook: Any) -> None:
        """
        Let a request in and tell the hook about the limits.

        :raises RateLimited: The vendor answers 429.
        """
        now = time.time()
        retry_after = self.limiter.admit(now)
        headers = self.limiter.headers(now) if self.rate_headers else {}
        hook.on_response(SimpleNamespace(status_code=200 if retry_after is None else 429, headers=headers))
        if retry_after is not None:
            self.refusals.append(now)
            raise RateLimited("429", retry_after=retry_after)

    def poll(self, hook: Any, run_id: str) -> Run:
        """Answer a poll."""
        self.request(hook)
        self.polls.append((time.time(), run_id))
        return Run(run_id, "completed" if time.time() >= self.ends_at[run_id] else "running")

    def _hook(self, conn_id: str, **kwargs: Any) -> Any:
        settings = SimpleNamespace(conn_id=conn_id, webhook_secret=None)
        return SimpleNamespace(
            conn_id=conn_id,
            conn_type="openanalyst",
            settings=settings,
            on_response=kwargs.get("on_response") or (lambda response: None),
            rate_limits=lambda settings: self.limits,
            own_limits=lambda settings: (None, None),
            may_be_told=False,
        )

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Answer for OpenAnalyst's agents as long as the context lasts."""
        kind = dataclasses.replace(AGENT, hook=self._hook, poll=self.poll)
        self._hook.__func__.__name__ = "simulated"
        with mock.patch.dict(KINDS, agent=kind):
            yield


async def read_at_once(read: Callable[[], Any]) -> Any:
    """Read a connection, for a `Hub` outside of a triggerer."""
    return read()


async def wait_for_all(
    vendor: SimulatedVendor,
    durations: Mapping[str, float],
    hub: Hub | None = None,
    *,
    poll_interval: float = 15.0,
    age: float = 0.0,
) -> dict[str, float]:
    """
    Begin to wait for runs at the same time, with the real hub and the real poll source.

    :param vendor: Where they run.
    :param durations: In how many seconds from now each run ends, by its id.
    :param hub: Who waits; None: a new one.
    :param poll_interval: What a trigger would be given.
    :param age: For how many seconds they have been running.
    :return: For each run, the seconds from its end to its waiter's waking up.
    """
    hub = hub or Hub(read=read_at_once)
    started_at = time.time()
    vendor.ends_at |= {run_id: started_at + seconds for run_id, seconds in durations.items()}

    async def wait(run_id: str) -> float:
        await hub.wait(
            RunKey("oa", "agent", run_id),
            deadline=float("inf"),
            poll_interval=poll_interval,
            started_at=started_at - age,
            told=False,
        )
        return time.time() - vendor.ends_at[run_id]

    async with asyncio.TaskGroup() as group:
        waits = {run_id: group.create_task(wait(run_id)) for run_id in durations}
    return {run_id: waiting.result() for run_id, waiting in waits.items()}


def limits_of(plan: str) -> tuple[int | None, int | None]:
    """Return the requests per minute and per day of a plan."""
    return PLANS[plan]
