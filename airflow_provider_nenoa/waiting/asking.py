"""Questions about one run, asked from a worker: how it stands, how it ended, and the wait in blocking mode."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_nenoa.exceptions import NenoaError, ReceiverUnavailable
from airflow_provider_nenoa.pacing import blocking
from airflow_provider_nenoa.pacing.pace import LONGEST_INTERVAL, SAFETY_INTERVAL
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.waiting import report
from airflow_provider_nenoa.waiting.kinds import KINDS, Ended, Kind, RunKey, ask_vendor
from airflow_provider_nenoa.webhooks.wait import Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.webhooks.client import ReceiverClient

log = logging.getLogger(__name__)

LONG_POLL = 20.0
"""Seconds that the receiver may hold an answer back while there is no news."""
LOG_RETRY_FOR = 10.0
"""Seconds for which the vendor is asked again for the log of a run that failed."""
RESULT_WAIT = 10.0
"""Seconds for which a webhook is waited for that has the result, where somebody else told of the end first."""


def receiver_of(hook: VendorHook, **options: Any) -> ReceiverClient | None:
    """
    Return a client of our receiver for the hook's connection; None if the connection has no webhook secret.

    :param options: Those of `ReceiverClient`.
    """
    from airflow_provider_nenoa.webhooks.client import ReceiverClient

    secret = hook.settings.webhook_secret
    return ReceiverClient(hook.conn_id, secret, **options) if secret else None


def last_words(hook: VendorHook, kind: Kind, run_id: str) -> None:
    """Log the last lines of the vendor's own log of a run that failed, if there is one; never fail because of it."""
    try:
        lines = kind.log_lines(kind.hook(hook.conn_id, retry_for=LOG_RETRY_FOR), run_id)
    except NenoaError as error:
        log.warning("%s So the log has no lines of %s's own.", error, kind.vendor)
        return
    for line in lines:
        log.info("%s: %s", kind.vendor, line)


def callback_url(hook: VendorHook, ref: str, kind: str | None = None) -> str:
    """
    Return the URL that the vendor shall call about a run.

    :param hook: The connection.
    :param ref: Our token, by which the run is recognised should the start's reply get lost.
    :param kind: The name of the run's `Kind`.
    :raises ReceiverUnavailable: The vendor could not call it.
    """
    from airflow_provider_nenoa.http import is_loopback
    from airflow_provider_nenoa.vendors import VENDORS
    from airflow_provider_nenoa.webhooks import client

    if kind is not None and len(VENDORS[hook.conn_type].RUN_KINDS) == 1:
        kind = None  # nothing to tell apart
    url = client.callback_url(hook.conn_id, ref, kind)
    ours = urlsplit(url)
    setting = "Set [nenoa] webhook_base_url to the public address of the receiver."
    if is_loopback(ours.hostname):
        if not is_loopback(urlsplit(hook.settings.base_url).hostname):
            raise ReceiverUnavailable(
                f"{hook.vendor} cannot call {ours.scheme}://{ours.netloc}: that is this machine itself.\n{setting}"
            )
    elif ours.scheme != "https" and hook.webhooks_need_https:
        raise ReceiverUnavailable(f"{hook.vendor} calls https URLs only, not {ours.scheme}://{ours.netloc}.\n{setting}")
    return url


def see_whether_webhooks_arrive(hook: VendorHook) -> str:
    """Say what to do where a webhook was to tell of a run, and nothing was heard."""
    return (
        f"See whether webhooks arrive: `python -m airflow_provider_nenoa.webhooks.selftest {hook.conn_id}` tries the "
        "way, and Browse > Nenoa shows which were refused, and why."
    )


def how_noticed(hook: VendorHook, kind: Kind, *, told: bool, poll_interval: float, deadline: float) -> str:
    """
    Say in a log how the end of a run will be noticed, on which connection, and until when it is waited for.

    :param told: Whether a webhook will tell it.
    :param poll_interval: Seconds: the shortest interval at which the vendor is asked.
    :param deadline: When the wait ends, in Unix seconds.
    """
    ways: list[str] = []
    if told:
        try:
            # The ref in the query is the run's own, and nobody's business.
            address = f" at {callback_url(hook, 'ref').partition('?')[0]}"
        except ReceiverUnavailable:
            address = ""
        ways.append(f"by {kind.vendor}'s webhook{address}")
    elif not hook.takes_callbacks and hook.settings.webhook_secret:
        ways.append("by a webhook that somebody has registered")
    if kind.can_poll(hook):
        longest = f" to {LONGEST_INTERVAL:g}" if poll_interval < LONGEST_INTERVAL else ""
        ways.append(
            f"by asking {hook.who_answers} every {SAFETY_INTERVAL / 60:.0f} minutes, should that get lost"
            if told
            else f"by asking {hook.who_answers} every {poll_interval:g}{longest} s, within its rate limit"
        )
    until = datetime.fromtimestamp(deadline, UTC).isoformat(sep=" ", timespec="seconds")
    return f"Its end will be noticed {' or '.join(ways)}, on connection '{hook.conn_id}', until {until}."


def ask(
    hook: VendorHook,
    key: RunKey,
    *,
    told: bool = True,
    vendor: bool = True,
    started_at: float | None = None,
    on_word: Callable[[str], None] = lambda word: None,
) -> Ended | None:
    """
    Ask once how a run stands: our receiver first, then the vendor if it has an endpoint.

    :param hook: The connection.
    :param key: The run.
    :param told: Whether our receiver may have been told of it; else it is asked only where the vendor cannot be.
    :param vendor: Whether the vendor may be asked: it costs a request.
    :param started_at: When we have started the run, in Unix seconds; None: somebody else has.
    :param on_word: Called with the status word of a run that is known.
    :return: How it ended; None while it is running, or where nobody can be asked.
    :raises NenoaError: Nobody who was asked could say.
    """
    kind = KINDS[key.kind]
    run: Run | None = None
    vendor = vendor and bool(key.run_id) and kind.can_poll(hook)
    if (told or not vendor) and (receiver := receiver_of(hook)) is not None:
        try:
            run = _from_receiver(receiver, key)
        except ReceiverUnavailable as error:
            if not vendor:
                raise
            log.warning("%s Asking %s instead.", error, kind.vendor)
        else:
            if run is not None and run.status.is_end:
                on_word(run.word)
                return Ended(run.run_id, run.word, True, run)
    if vendor:
        run = ask_vendor(hook, key, started_at)
    if run is None:
        return None
    on_word(run.word)
    return Ended(run.run_id, run.word, False, run) if run.status.is_end else None


def tell_lost(hook: VendorHook, kind: Kind, ref: str, started_at: float) -> None:
    """
    Tell our receiver of a start whose reply never came, so that a person sees it; never fail because of it.

    :param kind: The kind of run.
    :param ref: The token in its callback URL.
    :param started_at: When it was sent, in Unix seconds.
    """
    if (receiver := receiver_of(hook)) is not None:
        report.tell(receiver, [Wait(kind.name, None, ref, started_at, **report.present_task(), lost=True)])


def tell_found(hook: VendorHook, ref: str) -> None:
    """Tell our receiver that nobody needs to look for a lost start any more; never fail because of it."""
    if (receiver := receiver_of(hook)) is not None:
        report.tell(receiver, [], [f"ref:{ref}"])


def find(hook: VendorHook, ref: str) -> Run | None:
    """
    Ask our receiver once for the run with a ``ref`` in its callback URL.

    :return: The run; None if no webhook has told of one.
    :raises ReceiverUnavailable: It does not answer: there may be one.
    """
    receiver = receiver_of(hook)
    stored = None if receiver is None else receiver.by_ref(ref)
    # What neither names the run nor tells its end is nothing to go on with.
    return stored.run if stored is not None and (stored.run_id is not None or stored.status.is_end) else None


def told_of_others(hook: VendorHook, run_ids: Iterable[str], ref: str) -> set[str]:
    """
    Return those of some runs that our receiver knows to be of other starts.

    :param run_ids: The runs.
    :param ref: That of our start. Its own webhook may come at any moment, so a run that has it is nobody else's.
    """
    known: set[str] = set()
    if (receiver := receiver_of(hook)) is not None:
        try:
            for run_id in run_ids:
                stored = receiver.run(run_id)
                if stored is not None and stored.ref not in (None, ref):
                    known.add(run_id)
        except ReceiverUnavailable as error:
            log.warning("%s", error)
    return known


def read(hook: VendorHook, key: RunKey, ended: Ended) -> Run:
    """
    Get the payload of a run that has ended.

    :raises ReceiverUnavailable: The receiver had it, and does not answer or has it no more.
    """
    if ended.run is not None:
        return ended.run
    kind = KINDS[key.kind]
    if ended.by_webhook and (receiver := receiver_of(hook)) is not None:
        run = _from_receiver(receiver, replace(key, run_id=ended.run_id or None))
        if run is not None:
            return run
        if not kind.can_poll(hook):
            raise ReceiverUnavailable(
                f"The webhook receiver no longer has the end of {kind.name} run {ended.run_id}: it keeps events for "
                "[nenoa] event_retention_days."
            )
    run = kind.poll(hook, ended.run_id)
    if not run.has_result and (receiver := receiver_of(hook)) is not None:
        try:
            stored = receiver.run(ended.run_id, wait=RESULT_WAIT)
        except ReceiverUnavailable as error:
            log.warning("%s", error)
        else:
            if stored is not None and stored.status.is_end:
                return stored.run
    return run


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
    can_poll = key.run_id is not None and kind.can_poll(hook)
    # The receiver knows nothing of a run that was started without our callback URL. Its failures are waited out here.
    # Where the vendor calls URLs that were registered beforehand, ours may be one of them.
    hears = told or not can_poll or not hook.takes_callbacks
    receiver = receiver_of(hook, retry_for=0.0) if hears else None
    if receiver is None and not can_poll:
        raise kind.cannot_be_learnt(hook.conn_id)
    listen = one = None
    if receiver is not None:
        awaited = Wait(key.kind, key.run_id, key.ref, started_at, **report.present_task())
        one = report.OneWait(receiver, awaited, clock)

        def listen(seconds: float) -> Run | None:
            one.goes_on()
            return _from_receiver(receiver, key, min(LONG_POLL, seconds))

    try:
        run, by_webhook = blocking.wait(
            listen=listen,
            poll=(lambda: ask_vendor(hook, key, started_at, clock)) if can_poll else None,
            budget=hook.new_budget(clock) if can_poll else None,
            deadline=deadline,
            poll_interval=poll_interval,
            started_at=started_at,
            told=told,
            any_status=key.run_id is None,
            on_change=on_change,
            clock=clock,
            sleep=sleep,
        )
    finally:
        if one is not None:
            one.is_over()
    return Ended(run.run_id, run.word, by_webhook, run)


def _from_receiver(receiver: ReceiverClient, key: RunKey, seconds: float = 0.0) -> Run | None:
    if key.run_id is not None:
        stored = receiver.run(key.run_id, wait=seconds, ref=key.ref, kind=key.kind)
    else:
        stored = receiver.by_ref(key.ref or "", wait=seconds)
    if stored is None or (key.run_id is None and stored.run_id is None and not stored.status.is_end):
        return None
    # By whatever id a webhook names it, the run is the one that was asked for.
    return replace(stored.run, run_id=key.run_id or stored.run_id or "")
