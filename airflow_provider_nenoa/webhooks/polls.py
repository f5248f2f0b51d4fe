"""Reads of the store, and long polls: so many at once and no more, and one read for all who ask the same."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple, TypeVar

from starlette.requests import ClientDisconnect, Request

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.webhooks.connected import while_connected
from airflow_provider_nenoa.webhooks.refusals import CLOSE, Refusal, try_again
from airflow_provider_nenoa.webhooks.watcher import Key, Watcher
from airflow_provider_nenoa.webhooks.writer import short

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WAITING = 256
"""Long polls of one connection that one process holds, at most. A triggerer has one, a task in blocking mode too."""
MAX_WAITING_IN_ALL = 1024
"""Long polls that one process holds, at most."""
THREADS = 4
"""Threads that read: few, and our own, for Airflow's requests and ours must not queue behind each other."""
THREADS_OF_ONE = 2
"""Threads that read for one connection at a time, at most: whoever has its secret may ask without end, and the others'
questions must not stand behind his."""
MAX_READS = 1000
"""Reads of one connection that wait for these, at most."""
RETRY_AFTER = 5
"""Seconds after which to ask again when there are more."""
LOG_INTERVAL = 60.0
"""Seconds between two lines in the log about refused reads."""
OURSELVES = ""
"""In place of a connection, where we read for all of them."""


class Answer(NamedTuple):
    """
    What a read of the store found, as it is sent.

    :param content: JSON; None: there is nothing.
    :param is_enough: Whether it ends a long poll.
    """

    content: bytes | None
    is_enough: bool = True


class Question(NamedTuple):
    """
    What is asked of the store, once or until the answer is enough.

    :param conn_id: The connection that it is asked for.
    :param read: Asks the store; it blocks.
    :param name: Names the question: who asks the same at the same time shares the answer.
    :param keys: What may change the answer; none: nothing can.
    """

    conn_id: str
    read: Callable[[], Answer]
    name: Hashable
    keys: Sequence[Key]


class _Read(NamedTuple):
    generation: int
    task: asyncio.Task[Answer]


class _Turns:
    """Whose turn it is among the reads of one connection."""

    def __init__(self) -> None:
        self.number = 0
        self.next = asyncio.Semaphore(THREADS_OF_ONE)


class Polls:
    """
    Ask the store, once or until there is news.

    :param watcher: Knows of changes.
    """

    def __init__(self, watcher: Callable[[Polls], Watcher]) -> None:
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="nenoa-reader")
        self._turns: dict[str, _Turns] = {}
        self._waiting: Counter[str] = Counter()
        self._reads: dict[Hashable, _Read] = {}
        self._log_at = 0.0
        self.watcher = watcher(self)

    async def ask(self, conn_id: str, question: Callable[..., T], *args: Any) -> T:
        """
        Ask the store in a thread of its own: it blocks.

        :param conn_id: The connection that it is asked for, or `OURSELVES`.
        :param question: Asks the store.
        :raises Refusal: It could not be read, or too many reads of the connection wait already.
        """
        async with self._turn(conn_id):
            try:
                return await asyncio.get_running_loop().run_in_executor(self._threads, question, *args)
            except Exception as error:
                log.error("The event store could not be read: %s", short(error))
                raise try_again("The events cannot be read at the moment.") from None

    async def first(self, request: Request, question: Question, wait: float) -> Answer:
        """
        Ask the store until the answer is enough, or the time is up.

        :param request: Who waits. When it hangs up, the wait is over.
        :param question: What is asked.
        :param wait: Seconds to wait.
        :return: The last answer.
        :raises Refusal: Too many wait already, or the store could not be read.
        """
        with self._place(question.conn_id):
            try:
                return await while_connected(request, self._wait(question, time.monotonic() + wait))
            except ClientDisconnect:
                raise Refusal(400, "incomplete", "Nobody waits any more.", CLOSE) from None

    async def _wait(self, question: Question, until: float) -> Answer:
        with self.watcher.watch(*question.keys) as changed:
            while True:
                changed.clear()
                answer = await self._shared(question)
                if answer.is_enough:
                    return answer
                try:
                    await asyncio.wait_for(changed.wait(), until - time.monotonic())
                except TimeoutError:
                    return answer

    async def _shared(self, question: Question) -> Answer:
        """Read what others read too. A read that began before the last change may not have seen it."""
        name = question.name
        read = self._reads.get(name)
        if read is None or read.generation != self.watcher.generation:
            task = asyncio.create_task(self.ask(question.conn_id, question.read))
            read = self._reads[name] = _Read(self.watcher.generation, task)
            task.add_done_callback(lambda _: self._reads.pop(name) if self._reads.get(name) is read else None)
        return await asyncio.shield(read.task)

    @asynccontextmanager
    async def _turn(self, conn_id: str) -> AsyncIterator[None]:
        turns = self._turns.setdefault(conn_id, _Turns())
        if turns.number >= MAX_READS:
            raise self._too_many(conn_id, "a read", f"{turns.number} wait for their turn")
        turns.number += 1
        try:
            async with turns.next:
                yield
        finally:
            turns.number -= 1
            if not turns.number:
                del self._turns[conn_id]

    @contextmanager
    def _place(self, conn_id: str) -> Iterator[None]:
        waiting, in_all = self._waiting[conn_id], self._waiting.total()
        if waiting >= MAX_WAITING or in_all >= MAX_WAITING_IN_ALL:
            raise self._too_many(conn_id, "a long poll", f"{waiting} are held for it, {in_all} in all")
        self._waiting[conn_id] += 1
        try:
            yield
        finally:
            self._waiting[conn_id] -= 1
            if not self._waiting[conn_id]:
                del self._waiting[conn_id]

    def _too_many(self, conn_id: str, what: str, why: str) -> Refusal:
        metrics.count("webhook.polls_refused", conn_id=conn_id)
        if time.monotonic() >= self._log_at:
            self._log_at = time.monotonic() + LOG_INTERVAL
            log.warning(
                "Refused %s of connection '%s': %s. Run more receivers, or wait in the triggerer, which needs one long "
                "poll for all runs of a connection",
                what,
                conn_id,
                why,
            )
        return Refusal(429, "too_many", "Too many wait already.", {"Retry-After": str(RETRY_AFTER)})
