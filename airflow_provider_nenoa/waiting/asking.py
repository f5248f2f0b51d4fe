"""Questions about one run, asked from a worker: how it stands, how it ended, and the wait in blocking mode."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow_provider_nenoa.exceptions import (
    ConnectionFailed,
    DeadlinePassed,
    InvalidConnection,
    InvalidReply,
    RateLimited,
    ReceiverUnavailable,
    ServerError,
)
from airflow_provider_nenoa.runs import Run, status_of
from airflow_provider_nenoa.waiting.budget import Budget
from airflow_provider_nenoa.waiting.kinds import KINDS, Ended, Kind, RunKey
from airflow_provider_nenoa.waiting.pace import SAFETY_INTERVAL, interval

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.webhooks.client import ReceiverClient

log = logging.getLogger(__name__)

TRANSIENT = (ConnectionFailed, InvalidReply, RateLimited, ReceiverUnavailable, ServerError)
"""What a wait goes on after: the next answer may be better."""

LONG_POLL = 20.0
"""Seconds that the receiver may hold an answer back while there is no news."""


def receiver_of(hook: VendorHook) -> ReceiverClient | None:
    """Return a client of our receiver for the hook's connection; None if the connection has no webhook secret."""
    from airflow_provider_nenoa.webhooks.client import ReceiverClient

    secret = hook.settings.webhook_secret
    return ReceiverClient(hook.conn_id, secret) if secret else None


def cannot_be_learnt(hook: VendorHook, kind: Kind) -> InvalidConnection:
    """Return the error for a connection without a webhook secret, of a vendor that cannot be asked."""
    return InvalidConnection(
        f"Connection '{hook.conn_id}' has no 'webhook_secret': the end of a {kind.name} run cannot be learnt. Set the "
        "secret with which the vendor signs its webhooks."
    )


def callback_url(hook: VendorHook, ref: str) -> str:
    """
    Return the URL that the vendor shall call about a run.

    :param hook: The connection.
    :param ref: Our token, by which the run is recognised should the start's reply get lost.
    :raises ReceiverUnavailable: The vendor could not call it.
    """
    from airflow_provider_nenoa.http import is_loopback
    from airflow_provider_nenoa.webhooks import client

    url = client.callback_url(hook.conn_id, ref)
    ours = urlsplit(url)
    setting = "Set [nenoa] webhook_base_url to the public address of the receiver."
    if is_loopback(ours.hostname):
        if not is_loopback(urlsplit(hook.settings.base_url).hostname):
            raise ReceiverUnavailable(
                f"{hook.vendor} cannot call {ours.scheme}://{ours.netloc}: that is this machine itself. {setting}"
            )
    elif ours.scheme != "https" and hook.webhooks_need_https:
        raise ReceiverUnavailable(f"{hook.vendor} calls https URLs only, not {ours.scheme}://{ours.netloc}. {setting}")
    return url


def ask(
    hook: VendorHook, key: RunKey, *, vendor: bool = True, on_word: Callable[[str], None] = lambda word: None
) -> Ended | None:
    """
    Ask once how a run stands: our receiver first, then the vendor if it has an endpoint.

    :param hook: The connection.
    :param key: The run, by its id.
    :param vendor: Whether the vendor may be asked: it costs a request.
    :param on_word: Called with the status word of a run that is known.
    :return: How it ended; None while it is running, or where nobody can be asked.
    :raises NenoaError: Nobody who was asked could say.
    """
    kind = KINDS[key.kind]
    run: Run | None = None
    vendor = vendor and kind.can_poll(hook)
    if (receiver := receiver_of(hook)) is not None:
        try:
            stored = receiver.run(key.run_id or "")
        except ReceiverUnavailable as error:
            if not vendor:
                raise
            log.warning("%s Asking %s instead.", error, kind.vendor)
        else:
            run = None if stored is None else stored.run
            if run is not None and run.status.is_end:
                on_word(run.word)
                return Ended(run.run_id, run.word, True, run)
    if vendor:
        run = kind.poll(hook, key.run_id or "")
    if run is None:
        return None
    on_word(run.word)
    return Ended(run.run_id, run.word, False, run) if run.status.is_end else None


def find(hook: VendorHook, ref: str) -> Run | None:
    """
    Ask our receiver once for the run with a ``ref`` in its callback URL.

    :return: The run; None if no webhook has told of one.
    :raises ReceiverUnavailable: It does not answer: there may be one.
    """
    receiver = receiver_of(hook)
    stored = None if receiver is None else receiver.by_ref(ref)
    return None if stored is None else stored.run


def read(hook: VendorHook, key: RunKey, ended: Ended) -> Run:
    """
    Get the payload of a run that has ended.

    :raises ReceiverUnavailable: The receiver had it, and does not answer or has it no more.
    """
    if ended.run is not None:
        return ended.run
    kind = KINDS[key.kind]
    if ended.by_webhook and (receiver := receiver_of(hook)) is not None:
        stored = receiver.run(ended.run_id)
        if stored is not None:
            return stored.run
        if not kind.can_poll(hook):
            raise ReceiverUnavailable(
                f"The webhook receiver no longer has the end of {kind.name} run {ended.run_id}: it keeps events for "
                "[nenoa] event_retention_days."
            )
    return kind.poll(hook, ended.run_id)


def wait(
    hook: VendorHook,
    key: RunKey,
    *,
    deadline: float,
    poll_interval: float,
    started_at: float,
    told: bool,
    on_change: Callable[[str], None] = lambda word: None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Ended:
    """
    Wait for one run while holding the worker; the parameters are those of `Hub.wait`.

    The rate limit is kept as in the hub, as far as the vendor's headers tell what others send meanwhile.

    :raises DeadlinePassed: With the last status word.
    :raises NenoaError: The end cannot be learnt, or the vendor does not know the run.
    """
    kind = KINDS[key.kind]
    receiver = receiver_of(hook)
    can_poll = key.run_id is not None and kind.can_poll(hook)
    if receiver is None and not can_poll:
        raise cannot_be_learnt(hook, kind)

    def pause() -> float:
        told_of = told and receiver is not None
        return SAFETY_INTERVAL if told_of else interval(clock() - started_at, poll_interval)

    next_poll = clock() + pause() if can_poll else float("inf")
    budget = _budget(hook, clock) if can_poll else None
    word, failures = "", 0
    while clock() < deadline:
        left = max(0.0, min(deadline, next_poll) - clock())
        try:
            run: Run | None = None
            by_webhook = receiver is not None and left > 0
            if receiver is not None and left > 0:
                run = _from_receiver(receiver, key, min(LONG_POLL, left))
            elif budget is not None and clock() >= next_poll:
                if (delay := budget.delay()) > 0:
                    next_poll = clock() + delay
                    continue
                budget.spend()
                run = kind.poll(hook, key.run_id or "")
                next_poll = clock() + pause()
            else:
                sleep(left)
                continue
            failures = 0
        except TRANSIENT as error:
            failures += 1
            if failures == 1:
                log.warning("%s Waiting on.", error)
            wait_for = error.retry_after or min(60.0, 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)
            if clock() >= next_poll:
                next_poll = clock() + max(wait_for, pause())
            sleep(max(0.0, min(wait_for, deadline - clock())))
            continue
        if run is None:
            continue
        if run.word != word:
            word = run.word
            on_change(word)
        status = status_of(word)
        if (status is not None and status.is_end) or key.run_id is None:
            return Ended(run.run_id, word, by_webhook, run)
    raise DeadlinePassed(word)


def _budget(hook: VendorHook, clock: Callable[[], float]) -> Budget:
    budget, on_response = Budget(*hook.rate_limits(hook.settings), clock), hook.on_response

    def observe(response: requests.Response) -> None:
        budget.observe(response.headers)
        on_response(response)

    hook.on_response = observe
    return budget


def _from_receiver(receiver: ReceiverClient, key: RunKey, seconds: float) -> Run | None:
    if key.run_id is not None:
        stored = receiver.run(key.run_id, wait=seconds)
    else:
        stored = receiver.by_ref(key.ref or "", wait=seconds)
    return None if stored is None else stored.run
