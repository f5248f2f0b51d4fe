"""
Where all waiting of one triggerer process comes together.

Ten thousand triggers that await runs on one connection are one long poll to our receiver, or one paced sequence of
polls to the vendor. A `Hub` belongs to an event loop; for each connection that somebody waits on it has a `Channel`,
which starts with the first waiter and ends with the last. The channel's sources learn what became of the runs and
tell it; the channel wakes whoever waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from airflow_provider_nenoa.exceptions import DeadlinePassed
from airflow_provider_nenoa.pacing.budget import Budget
from airflow_provider_nenoa.pacing.pace import Durations
from airflow_provider_nenoa.waiting.channel import Channel, Source, read_connection_in_airflows_thread
from airflow_provider_nenoa.waiting.kinds import KINDS, Ended, RunKey
from airflow_provider_nenoa.waiting.poll_source import PollSource
from airflow_provider_nenoa.waiting.webhook_source import WebhookSource

if TYPE_CHECKING:
    from airflow_provider_nenoa.hooks.base import VendorHook


class Hub:
    """
    All waiting of one event loop.

    :param read: Runs a call that reads an Airflow connection; None: through asgiref, as a triggerer wants it.
    """

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]] = WeakKeyDictionary()

    def __init__(self, read: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None) -> None:
        self.read = read or read_connection_in_airflows_thread
        self._channels: dict[tuple[str, str], Channel] = {}
        self._budgets: dict[str, Budget] = {}
        self._durations: dict[tuple[str, str], Durations] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @classmethod
    def of_running_loop(cls) -> Hub:
        """Return the hub of the running event loop; the first call makes it."""
        loop = asyncio.get_running_loop()
        hub = cls._of_loop.get(loop)
        if hub is None:
            hub = cls._of_loop[loop] = cls()
        return hub

    async def wait(
        self,
        key: RunKey,
        *,
        deadline: float,
        poll_interval: float,
        started_at: float,
        told: bool | None,
        task: Mapping[str, Any] | None = None,
        on_change: Callable[[str], None] = lambda word: None,
    ) -> Ended:
        """
        Wait until a run ends; for a key with only a ``ref``, until the run is known.

        :param key: The run.
        :param deadline: When to give up, in Unix seconds: wall clock, so that it survives a restart.
        :param poll_interval: Seconds: the shortest interval at which the vendor may be asked about this run.
        :param started_at: When the run was started, in Unix seconds.
        :param told: Whether a webhook will tell the end; None: the connection says whether it may.
        :param task: The task that waits, as `Watched` has it.
        :param on_change: Called with each new status word.
        :return: How it ended.
        :raises DeadlinePassed: With the last status word.
        :raises NenoaError: The end cannot be learnt: the connection is gone, or the vendor does not know the run.
        """
        # Each vendor's kinds share a channel: what they have in common is how their hook is made.
        hook_maker = KINDS[key.kind].hook.__name__
        channel = self._channels.get((key.conn_id, hook_maker))
        if channel is None:
            channel = self._channels[key.conn_id, hook_maker] = Channel(
                key.conn_id, key.kind, read=self.read, make_sources=self._sources, on_done=self.drop
            )
        with channel.join(key, poll_interval=poll_interval, started_at=started_at, told=told, task=task) as watched:
            word = ""
            try:
                left = None if deadline == float("inf") else max(0.0, deadline - time.time())
                async with asyncio.timeout(left):
                    while True:
                        if watched.word != word:
                            word = watched.word
                            on_change(word)
                        if watched.ended is not None:
                            return watched.ended
                        if watched.error is not None:
                            # The same error ends many waits: its traceback must not grow with each.
                            raise watched.error.with_traceback(None)
                        future = asyncio.get_running_loop().create_future()
                        watched.waiters.append(future)
                        await future
            except TimeoutError:
                raise DeadlinePassed(watched.word) from None

    def budget(self, hook: VendorHook) -> Budget:
        """Return a connection's budget. It outlives the channel: what was spent stays spent."""
        if hook.conn_id not in self._budgets:
            limits, own = hook.rate_limits(hook.settings), hook.own_limits(hook.settings)
            self._budgets[hook.conn_id] = Budget(*limits, at_most=own)
        return self._budgets[hook.conn_id]

    def durations(self, key: RunKey) -> Durations:
        """Return what is known of how long runs of this connection and kind take."""
        return self._durations.setdefault((key.conn_id, key.kind), Durations())

    def drop(self, channel: Channel) -> None:
        """End a channel for which nobody waits any more."""
        for name, known in list(self._channels.items()):
            if known is channel:
                del self._channels[name]
                closing = asyncio.get_running_loop().create_task(channel.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    def _sources(self, channel: Channel, hook: VendorHook) -> list[Source]:
        """Make what there is to learn from about a connection's runs."""
        sources: list[Source] = []
        budget = self.budget(hook) if KINDS[channel.kind].can_poll(hook) else None
        if hook.settings.webhook_secret:
            sources.append(WebhookSource(channel, self.durations, budget))
        if budget is not None:
            sources.append(PollSource(channel, hook, budget, self.durations))
        return sources
