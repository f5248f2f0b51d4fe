"""
Where all waiting of one triggerer process comes together.

Ten thousand triggers that await runs on one connection are one long poll to our receiver, or one paced sequence of
polls to the vendor. A `Hub` belongs to an event loop; for each connection that somebody waits on it has a `Channel`,
which starts with the first waiter and ends with the last. The channel's sources learn what became of the runs and
tell it; the channel wakes whoever waits.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.exceptions import ConnectionUnreadable, DeadlinePassed, InvalidConnection, NenoaError
from airflow_provider_nenoa.runs import status_of
from airflow_provider_nenoa.waiting.budget import Budget
from airflow_provider_nenoa.waiting.kinds import KINDS, Ended, RunKey
from airflow_provider_nenoa.waiting.pace import Durations

if TYPE_CHECKING:
    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.runs import Run

T = TypeVar("T")

log = logging.getLogger(__name__)

THREADS = 8
"""Threads in which one channel's blocking HTTP requests run at most, its long poll included."""

REPORT_INTERVAL = 30.0
"""Seconds between two reports of how many runs are waited for."""

PATIENCE = 10
"""
Tries to read a connection, about three minutes, before all who wait on it are told. Airflow does not tell a connection
that was deleted from a secrets backend or an API server that is down.
"""


class Watched:
    """
    One run that somebody waits for, and what is known of it.

    :param key: The run.
    :param poll_interval: Seconds: the shortest interval at which the vendor may be asked about it.
    :param started_at: When it was started, in Unix seconds: intervals grow with its age.
    :param told: Whether the vendor was given our callback URL, so that a webhook will tell the end.
    """

    __slots__ = (
        "asked_at",
        "ended",
        "error",
        "holders",
        "joined_at",
        "key",
        "poll_interval",
        "started_at",
        "told",
        "waiters",
        "word",
    )

    def __init__(self, key: RunKey, poll_interval: float, started_at: float, told: bool) -> None:
        self.key = key
        self.poll_interval = poll_interval
        self.started_at = started_at
        self.told = told
        self.joined_at = time.time()
        self.asked_at: float | None = None  # when the vendor last said that it goes on
        self.word = ""
        self.ended: Ended | None = None
        self.error: BaseException | None = None
        self.holders = 0
        self.waiters: list[asyncio.Future[None]] = []

    def wake(self) -> None:
        """Let everybody who waits for this run look at it again."""
        for future in self.waiters:
            if not future.done():
                future.set_result(None)
        self.waiters.clear()

    def fail(self, error: BaseException) -> None:
        """End the wait with an error."""
        self.error = error
        self.wake()


class Source(Protocol):
    """A way to learn about runs. It calls `Channel.tell`."""

    async def run(self) -> None:
        """Learn, until cancelled."""

    def added(self, watched: Watched) -> None:
        """Take up one more run. Called in the event loop; must not block."""


class Channel:
    """
    All waiting on one connection.

    :param hub: The hub, which keeps the connection's budget.
    :param conn_id: The connection.
    :param kind: The name of one of the vendor's `Kind`: it says how to make the hook.
    """

    def __init__(self, hub: Hub, conn_id: str, kind: str) -> None:
        self.hub = hub
        self.conn_id = conn_id
        self.kind = kind
        self.watched: dict[RunKey, Watched] = {}
        self._by_run_id: dict[str, set[RunKey]] = {}
        self._by_ref: dict[str, RunKey] = {}
        self._sources: list[Source] = []
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"nenoa-{conn_id}")
        # A task inherits its creator's context, and with it the log file of the task instance that came first.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    @contextmanager
    def join(self, key: RunKey, **kwargs: Any) -> Iterator[Watched]:
        """
        Wait for a run as long as the context lasts.

        :param key: The run.
        :param kwargs: ``poll_interval``, ``started_at`` and ``told`` of `Watched`.
        """
        watched = self.watched.get(key)
        if watched is None or watched.error is not None:
            watched = self.watched[key] = Watched(key, **kwargs)
            if key.run_id is not None:
                self._by_run_id.setdefault(key.run_id, set()).add(key)
            if key.ref is not None:
                self._by_ref[key.ref] = key
            for source in self._sources:
                source.added(watched)
        watched.holders += 1
        try:
            yield watched
        finally:
            watched.holders -= 1
            if not watched.holders:
                self._forget(watched)

    async def close(self) -> None:
        """End the sources. Requests that are under way in threads end by themselves."""
        self._task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(self._task, return_exceptions=True)

    def tell(
        self,
        run_id: str,
        word: str,
        *,
        kind: str | None = None,
        ref: str | None = None,
        by_webhook: bool,
        run: Run | None = None,
    ) -> list[Watched]:
        """
        Take what a source learnt about a run, whoever waits for it or nobody.

        :param run_id: The vendor's id.
        :param word: The vendor's status word.
        :param kind: The name of the run's `Kind`, if it is known: ids are unique within a kind only.
        :param ref: Our token, if it is known.
        :param by_webhook: Whether our receiver has the payload.
        :param run: The run with its payload, where that may be handed over.
        :return: Those whose wait this has ended.
        """
        keys = {key for key in self._by_run_id.get(run_id, ()) if kind in (None, key.kind)}
        if ref is not None and ref in self._by_ref:
            keys.add(self._by_ref[ref])
        status = status_of(word)
        ended: list[Watched] = []
        for key in keys:
            watched = self.watched[key]
            if watched.ended is not None:
                continue
            found = key.run_id is None
            if (status is not None and status.is_end) or found:
                watched.ended = Ended(run_id, word, by_webhook, run)
                ended.append(watched)
            elif word == watched.word:
                continue
            watched.word = word
            watched.wake()
        return ended

    async def in_thread(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a blocking call in one of the channel's threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))

    async def open_hook(self, **kwargs: Any) -> VendorHook:
        """
        Read the connection, anew each time, and make the hook.

        :param kwargs: Keyword arguments of the hook.
        :raises InvalidConnection: It cannot be used.
        """
        hook = KINDS[self.kind].hook(self.conn_id, **kwargs)
        await self.hub.read(lambda: hook.settings)
        return hook

    async def _run(self) -> None:
        from airflow_provider_nenoa.waiting.poll_source import PollSource
        from airflow_provider_nenoa.waiting.webhook_source import WebhookSource

        try:
            hook = await self._patiently_open_hook()
            sources: list[Source] = []
            if hook.settings.webhook_secret:
                sources.append(WebhookSource(self))
            if KINDS[self.kind].can_poll(hook):
                sources.append(PollSource(self, hook, self.hub.budget(hook)))
            if not sources:
                raise InvalidConnection(
                    f"Connection '{self.conn_id}' has neither a 'webhook_secret' nor a 'run_status_path': the end of "
                    "a run cannot be learnt. Set the webhook secret that you agreed on with the vendor."
                )
            for watched in self.watched.values():
                for source in sources:
                    source.added(watched)
            self._sources = sources
            async with asyncio.TaskGroup() as group:
                for source in sources:
                    group.create_task(source.run())
                group.create_task(self._report())
        except Exception as error:
            if not isinstance(error, NenoaError):
                log.exception("Waiting on connection %s broke down", self.conn_id)
            for watched in list(self.watched.values()):
                watched.fail(error)
            self.hub.drop(self)

    async def _report(self) -> None:
        try:
            while True:
                metrics.gauge("waiting", len(self.watched), self.conn_id)
                await asyncio.sleep(REPORT_INTERVAL)
        finally:
            metrics.gauge("waiting", 0, self.conn_id)

    async def _patiently_open_hook(self) -> VendorHook:
        failures = 0
        while True:
            try:
                return await self.open_hook(retry_for=0)
            except ConnectionUnreadable as error:
                failures += 1
                if failures == 1:
                    log.warning("%s Trying on.", error)
                if failures == PATIENCE:
                    raise
            await back_off(failures)

    def _forget(self, watched: Watched) -> None:
        key = watched.key
        if self.watched.get(key) is watched:
            del self.watched[key]
            if key.run_id is not None and (keys := self._by_run_id.get(key.run_id)):
                keys.discard(key)
                if not keys:
                    del self._by_run_id[key.run_id]
            if key.ref is not None:
                self._by_ref.pop(key.ref, None)
        if not self.watched:
            self.hub.drop(self)


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
        told: bool,
        on_change: Callable[[str], None] = lambda word: None,
    ) -> Ended:
        """
        Wait until a run ends; for a key with only a ``ref``, until the run is known.

        :param key: The run.
        :param deadline: When to give up, in Unix seconds: wall clock, so that it survives a restart.
        :param poll_interval: Seconds: the shortest interval at which the vendor may be asked about this run.
        :param started_at: When the run was started, in Unix seconds.
        :param told: Whether a webhook will tell the end.
        :param on_change: Called with each new status word.
        :return: How it ended.
        :raises DeadlinePassed: With the last status word.
        :raises NenoaError: The end cannot be learnt: the connection is gone, or the vendor does not know the run.
        """
        # Each vendor's kinds share a channel: what they have in common is how their hook is made.
        hook_maker = KINDS[key.kind].hook.__name__
        channel = self._channels.get((key.conn_id, hook_maker))
        if channel is None:
            channel = self._channels[key.conn_id, hook_maker] = Channel(self, key.conn_id, key.kind)
        with channel.join(key, poll_interval=poll_interval, started_at=started_at, told=told) as watched:
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
            self._budgets[hook.conn_id] = Budget(*hook.rate_limits(hook.settings))
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


async def back_off(failures: int) -> None:
    """Sleep before the next try: 1 s after the first failure, doubling up to a minute, jittered."""
    await asyncio.sleep(min(60.0, 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0))


async def read_connection_in_airflows_thread(read: Callable[[], Any]) -> Any:
    # In a triggerer, Airflow's connections are read over a socket that only asgiref's thread may use (3.0 to 3.2).
    from asgiref.sync import sync_to_async

    # Nor may it be cancelled there (3.0, 3.1): the next to read would get this answer, and the triggerer end with it.
    return await asyncio.shield(sync_to_async(read)())
