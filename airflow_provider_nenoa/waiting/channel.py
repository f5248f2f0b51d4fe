"""All waiting on one connection, and the runs that are waited for."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.exceptions import ConnectionUnreadable, NenoaError
from airflow_provider_nenoa.pacing.pace import LISTEN_INTERVAL
from airflow_provider_nenoa.runs import same_run, status_of
from airflow_provider_nenoa.waiting.kinds import KINDS, Ended, RunKey

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
    :param told: Whether the vendor was given our callback URL, so that a webhook will tell the end; None: somebody else
        has started the run, and the connection says whether it may.
    :param task: The task that waits: ``dag_id``, ``dag_run_id``, ``task_id``, ``map_index``; None: it is not known.
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
        "task",
        "told",
        "waiters",
        "word",
    )

    def __init__(
        self,
        key: RunKey,
        poll_interval: float,
        started_at: float,
        told: bool | None,
        task: Mapping[str, Any] | None = None,
    ) -> None:
        self.task = task
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

    def ask_soon(self) -> None:
        """Ask about the runs of which a webhook should tell, if it can: webhooks may have been lost."""


class Channel:
    """
    All waiting on one connection.

    :param conn_id: The connection.
    :param kind: The name of one of the vendor's `Kind`: it says how to make the hook.
    :param read: Runs a call that reads an Airflow connection.
    :param make_sources: Makes what there is to learn from about the connection's runs.
    :param on_done: Called when nobody waits any more, or nothing can be learnt.
    """

    def __init__(
        self,
        conn_id: str,
        kind: str,
        *,
        read: Callable[[Callable[[], Any]], Awaitable[Any]],
        make_sources: Callable[[Channel, VendorHook], list[Source]],
        on_done: Callable[[Channel], None],
    ) -> None:
        self.conn_id = conn_id
        self.kind = kind
        self._read = read
        self._make_sources = make_sources
        self._on_done = on_done
        self.watched: dict[RunKey, Watched] = {}
        self._by_run_id: dict[str, set[RunKey]] = {}
        self._by_ref: dict[str, set[RunKey]] = {}
        self._sources: list[Source] = []
        self._may_be_told = False
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=f"nenoa-{conn_id}")
        # A task inherits its creator's context, and with it the log file of the task instance that came first.
        self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    @contextmanager
    def join(self, key: RunKey, **kwargs: Any) -> Iterator[Watched]:
        """
        Wait for a run as long as the context lasts.

        :param key: The run.
        :param kwargs: ``poll_interval``, ``started_at``, ``told`` and ``task`` of `Watched`.
        """
        watched = self.watched.get(key)
        if watched is None or watched.error is not None:
            watched = self.watched[key] = Watched(key, **kwargs)
            if key.run_id is not None:
                self._by_run_id.setdefault(key.run_id, set()).add(key)
            if key.ref is not None:
                self._by_ref.setdefault(key.ref, set()).add(key)
            self._add(watched)
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
        try:
            await asyncio.gather(self._task, return_exceptions=True)  # their last words need a thread
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def tell(
        self,
        run_id: str | None,
        word: str,
        *,
        kind: str | None = None,
        ref: str | None = None,
        by_webhook: bool,
        run: Run | None = None,
    ) -> list[Watched]:
        """
        Take what a source learnt about a run, whoever waits for it or nobody.

        :param run_id: The vendor's id; None: a webhook came that has none.
        :param word: The vendor's status word; empty if there is none.
        :param kind: The name of the run's `Kind`, if it is known: ids are unique within a kind only.
        :param ref: Our token, if it is known: who waits for it is told, by whatever id the webhook names the run.
        :param by_webhook: Whether our receiver has the payload.
        :param run: The run with its payload, where that may be handed over.
        :return: Those whose wait this has ended.
        """
        keys = self._by_run_id.get(run_id or "", set()) | self._by_ref.get(ref or "", set())
        status = status_of(word)
        ended: list[Watched] = []
        for key in keys:
            watched = self.watched[key]
            if watched.ended is not None or not same_run((key.run_id, key.ref, key.kind), (run_id, ref, kind)):
                continue
            found = key.run_id is None and run_id is not None
            if (status is not None and status.is_end) or found:
                watched.ended = Ended(key.run_id or run_id or "", word, by_webhook, run)
                ended.append(watched)
            elif word in ("", watched.word):
                continue
            watched.word = word
            watched.wake()
        return ended

    def webhooks_may_be_lost(self) -> None:
        """Have those sources ask that need no webhook."""
        for source in self._sources:
            source.ask_soon()

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
        await self._read(lambda: hook.settings)
        return hook

    async def _run(self) -> None:
        try:
            hook = await self._patiently_open_hook()
            sources = self._make_sources(self, hook)
            if not sources:
                raise KINDS[self.kind].cannot_be_learnt(self.conn_id)
            self._sources, self._may_be_told = sources, hook.may_be_told
            for watched in self.watched.values():
                self._add(watched)
            async with asyncio.TaskGroup() as group:
                for source in sources:
                    group.create_task(source.run())
                group.create_task(self._report())
        except Exception as error:
            if not isinstance(error, NenoaError):
                log.exception("Waiting on connection %s broke down", self.conn_id)
            for watched in list(self.watched.values()):
                watched.fail(error)
            self._on_done(self)

    def _add(self, watched: Watched) -> None:
        """Have the sources take up a run; nothing before there are any."""
        if self._sources and watched.told is None:
            watched.told = self._may_be_told
        for source in self._sources:
            source.added(watched)

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
            for names, name in ((self._by_run_id, key.run_id), (self._by_ref, key.ref)):
                if name is not None and (keys := names.get(name)):
                    keys.discard(key)
                    if not keys:
                        del names[name]
        if not self.watched:
            self._on_done(self)


async def back_off(failures: int) -> None:
    """Sleep before the next try: 1 s after the first failure, doubling up to a minute, jittered."""
    await asyncio.sleep(min(60.0, 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0))


async def not_at_once(asked_at: float) -> None:
    """
    Sleep before the next long poll, for what is left of a second: nothing if it was as long as it should be.

    :param asked_at: When the last one began, by the loop's clock. It brought nothing new.
    """
    await asyncio.sleep(max(0.0, asked_at + LISTEN_INTERVAL - asyncio.get_running_loop().time()))


async def read_connection_in_airflows_thread(read: Callable[[], Any]) -> Any:
    # In a triggerer, Airflow's connections are read over a socket that only asgiref's thread may use (3.0 to 3.2).
    from asgiref.sync import sync_to_async

    # Nor may it be cancelled there (3.0, 3.1): the next to read would get this answer, and the triggerer end with it.
    return await asyncio.shield(sync_to_async(read)())
