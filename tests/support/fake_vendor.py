"""A receiver and a vendor for a hub in virtual time: they answer from memory, and take as long as they are told."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

from airflow_provider_nenoa.exceptions import NotFound, ReceiverUnavailable
from airflow_provider_nenoa.hooks.base import ConnectionSettings, VendorHook
from airflow_provider_nenoa.runs import Run, RunStatus, status_of
from airflow_provider_nenoa.waiting.channel import Channel
from airflow_provider_nenoa.waiting.hub import Hub
from airflow_provider_nenoa.waiting.kinds import KINDS
from airflow_provider_nenoa.webhooks import client
from airflow_provider_nenoa.webhooks.records import Events, RunSummary
from airflow_provider_nenoa.webhooks.spent import Spent
from airflow_provider_nenoa.webhooks.wait import Wait


class FakeReceiver:
    """Keeps events as the real store does: one row per run, an end is never undone, every change gets a number."""

    def __init__(self) -> None:
        self.rows: dict[str, RunSummary] = {}
        self.seq = 0
        self.calls: list[str] = []
        self.looked_up: list[str] = []
        self.latency = 0.0
        self.longest_poll = float("inf")
        self.down = False
        self._changed = asyncio.Event()

    def deliver(self, run_id: str, word: str, ref: str | None = None, kind: str | None = None) -> None:
        """Take a webhook."""
        status = status_of(word) or RunStatus.RUNNING
        old = self.rows.get(run_id)
        if old is not None and (old.status.is_end or old.word == word):
            return
        self.seq += 1
        ref = ref if old is None else old.ref
        self.rows[run_id] = RunSummary(run_id, ref, status, word, self.seq, 1, time.time(), kind=kind)
        self._changed.set()
        self._changed = asyncio.Event()

    def forget_everything(self) -> None:
        """Put another, empty database behind the receiver."""
        self.rows, self.seq = {}, 0


class FakeClient:
    """What the hub asks; the methods are awaited by `vendors`."""

    def __init__(self, receiver: FakeReceiver) -> None:
        self._receiver = receiver

    async def _enter(self, name: str) -> None:
        self._receiver.calls.append(name)
        await asyncio.sleep(self._receiver.latency)
        self._check()

    def _check(self) -> None:
        if self._receiver.down:
            raise ReceiverUnavailable("No answer from the webhook receiver.")

    async def events(self, after: int | None = None, wait: float = 0.0) -> Events:
        await self._enter("events")
        receiver = self._receiver
        until = asyncio.get_running_loop().time() + min(wait, receiver.longest_poll)
        while True:
            if after is None:
                return Events(receiver.seq, [], more=False)
            found = sorted((row for row in receiver.rows.values() if row.seq > after), key=lambda row: row.seq)
            if after > receiver.seq:
                found, after = sorted(receiver.rows.values(), key=lambda row: row.seq), receiver.seq
                return Events(receiver.seq, found, more=False)
            left = until - asyncio.get_running_loop().time()
            if found or left <= 0:
                await asyncio.sleep(receiver.latency)
                self._check()
                return Events(found[-1].seq if found else after, found, more=False)
            with suppress(TimeoutError):
                await asyncio.wait_for(receiver._changed.wait(), left)

    def tell_waiting(self, waiting: Sequence[Wait], over: Sequence[str] = (), spent: Sequence[Spent] = ()) -> None:
        """Take no note of who waits; what a channel tells at its end comes when this module is out of its way."""

    async def runs(self, run_ids: list[str], refs: list[str]) -> list[RunSummary]:
        await self._enter("runs")
        self._receiver.looked_up += run_ids
        found = [row for row in self._receiver.rows.values() if row.run_id in run_ids or row.ref in refs]
        await asyncio.sleep(self._receiver.latency)
        self._check()
        return found


@dataclass
class FakeVendor:
    """Says how runs stand; what is an exception is raised."""

    answers: dict[str, list[Any]] = field(default_factory=dict)
    polls: list[str] = field(default_factory=list)
    polled_at: list[float] = field(default_factory=list)
    can_be_polled: bool = True
    secret: str | None = None
    opened: int = 0
    unreadable: Callable[[int], Exception | None] = lambda opened: None
    limits: tuple[float | None, float | None] = (None, None)

    def poll(self, hook: Any, run_id: str) -> Run:
        self.polls.append(run_id)
        self.polled_at.append(time.time())
        answers = self.answers.get(run_id)
        if answers is None:
            raise NotFound(f"no run {run_id}")
        # The last answer stays.
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return Run(run_id, answer)


class FakeHook:
    """As much of a hook as the hub looks at."""

    conn_type = "openanalyst"

    def __init__(self, vendor: FakeVendor, conn_id: str, **kwargs: Any) -> None:
        self.conn_id = conn_id
        self.on_response = kwargs.get("on_response")
        self._vendor = vendor

    @property
    def settings(self) -> ConnectionSettings:
        self._vendor.opened += 1
        if (error := self._vendor.unreadable(self._vendor.opened)) is not None:
            raise error
        return ConnectionSettings(self.conn_id, "https://vendor.test", "key", self._vendor.secret, {})

    @property
    def may_be_told(self) -> bool:
        return bool(self._vendor.secret)

    def rate_limits(self, settings: ConnectionSettings) -> tuple[float | None, float | None]:
        return self._vendor.limits

    own_limits = VendorHook.own_limits


@contextmanager
def vendors(vendor: FakeVendor, receiver: FakeReceiver | None = None) -> Iterator[None]:
    """Put a fake vendor, and with a receiver also that, in the place of the real ones."""
    if receiver is not None:
        vendor.secret = vendor.secret or "secret"

    def open_hook(conn_id: str, **kwargs: Any) -> FakeHook:
        return FakeHook(vendor, conn_id, **kwargs)

    def open_receiver(*args: Any, **kwargs: Any) -> FakeClient:
        return FakeClient(receiver or FakeReceiver())

    async def in_thread(self: Channel, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    kinds = {
        name: replace(KINDS[name], hook=open_hook, can_poll=lambda hook: vendor.can_be_polled, poll=vendor.poll)
        for name in ("agent", "query")
    }
    with (
        mock.patch.dict(KINDS, kinds),
        mock.patch.object(Channel, "in_thread", in_thread),
        mock.patch.object(client, "ReceiverClient", open_receiver),
    ):
        yield


def new_hub() -> Hub:
    """A hub that reads connections without Airflow's thread."""

    async def read(function: Callable[[], Any]) -> Any:
        return function()

    return Hub(read)
