from __future__ import annotations

import asyncio
import contextvars
import random
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import async_to_sync
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_nenoa import metrics
from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    ConnectionFailed,
    ConnectionUnreadable,
    DeadlinePassed,
    InvalidConnection,
    InvalidReply,
    NotFound,
    RateLimited,
    ServerError,
)
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.waiting.channel import Channel, back_off, read_connection_in_airflows_thread
from airflow_provider_nenoa.waiting.hub import Hub
from airflow_provider_nenoa.waiting.kinds import KINDS, Ended, RunKey
from airflow_provider_nenoa.webhooks import client
from tests.support import virtual_time
from tests.support.fake_vendor import FakeReceiver, FakeVendor, new_hub, vendors
from tests.unit.conftest import Logged

FOR_EVER = float("inf")


def wait_for(hub: Hub, run_id: str | None = "r", **options: Any) -> Awaitable[Ended]:
    key = RunKey("c", options.pop("kind", "agent"), run_id, options.pop("ref", None))
    arguments = {"deadline": FOR_EVER, "poll_interval": 15.0, "started_at": time.time(), "told": False, **options}
    return hub.wait(key, **arguments)


def run(main: Callable[[Hub], Awaitable[Any]]) -> None:
    """Run a test in virtual time, and see that nothing is left behind."""

    async def watched() -> None:
        hub = new_hub()
        await main(hub)
        await nothing_left(hub)

    virtual_time.run(watched)


async def nothing_left(hub: Hub) -> None:
    assert hub._channels == {}
    await asyncio.gather(*hub._closing)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert hub._closing == set()


# Told by webhooks


def test_a_webhook_wakes_who_waits() -> None:
    async def main(hub: Hub) -> None:
        receiver, vendor = FakeReceiver(), FakeVendor({"r": ["running"]})
        words: list[str] = []
        with vendors(vendor, receiver):
            waiting = asyncio.ensure_future(wait_for(hub, told=True, on_change=words.append))
            await asyncio.sleep(5)
            receiver.deliver("other", "completed")
            receiver.deliver("r", "processing")
            await asyncio.sleep(5)
            assert not waiting.done()
            receiver.deliver("r", "Completed")
            await asyncio.sleep(0.1)
            assert waiting.done()
            assert await waiting == Ended("r", "Completed", by_webhook=True)
        assert words == ["processing", "Completed"]
        assert vendor.polls == []

    run(main)


def test_a_webhook_that_came_before() -> None:
    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        receiver.deliver("r", "failed")
        with vendors(FakeVendor(), receiver):
            assert await wait_for(hub, told=True) == Ended("r", "failed", by_webhook=True)

    run(main)


def test_an_end_is_not_undone_and_not_replaced() -> None:
    async def main(hub: Hub) -> None:
        with vendors(FakeVendor(), FakeReceiver()):
            waiting = asyncio.ensure_future(wait_for(hub, told=True))
            await asyncio.sleep(1)
            (channel,) = hub._channels.values()
            for word in ("processing", "success", "processing", "failed"):
                channel.tell("r", word, by_webhook=True)
            assert await waiting == Ended("r", "success", by_webhook=True)

    run(main)


def test_a_run_is_found_by_its_ref() -> None:
    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        receiver.deliver("early", "processing", "ref-1")
        with vendors(FakeVendor(), receiver):
            assert await wait_for(hub, None, ref="ref-1") == Ended("early", "processing", by_webhook=True)
            waiting = asyncio.ensure_future(wait_for(hub, None, ref="ref-2"))
            await asyncio.sleep(1)
            receiver.deliver("other", "completed", "ref-3")
            receiver.deliver("late", "success", "ref-2")
            assert await waiting == Ended("late", "success", by_webhook=True)

    run(main)


def test_all_who_wait_for_one_run_are_woken() -> None:
    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        with vendors(FakeVendor(), receiver):
            waiting = [asyncio.ensure_future(wait_for(hub, told=True)) for _ in range(5)]
            by_ref = asyncio.ensure_future(wait_for(hub, None, ref="ref"))
            await asyncio.sleep(1)
            receiver.deliver("r", "completed", "ref")
            assert set(await asyncio.gather(*waiting, by_ref)) == {Ended("r", "completed", by_webhook=True)}

    run(main)


def test_many_who_wait_are_one_long_poll() -> None:
    async def main(hub: Hub) -> None:
        receiver, vendor = FakeReceiver(), FakeVendor(can_be_polled=False)
        with vendors(vendor, receiver):
            waiting = [asyncio.ensure_future(wait_for(hub, f"r{number}", told=True)) for number in range(1000)]
            await asyncio.sleep(599)
            assert receiver.calls.count("events") == 1 + 600 / 20
            assert receiver.calls.count("runs") == 1000 / 200
            for number in range(1000):
                receiver.deliver(f"r{number}", "success")
            ended = await asyncio.gather(*waiting)
        assert [end.run_id for end in ended] == [f"r{number}" for number in range(1000)]
        assert vendor.opened < 10

    run(main)


def test_long_polls_that_are_cut_short_are_no_storm() -> None:
    """As by a proxy that does not pass on how long to wait."""

    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        receiver.longest_poll, receiver.latency = 0.0, 0.01
        with vendors(FakeVendor(can_be_polled=False), receiver):
            waiting = asyncio.ensure_future(wait_for(hub, told=True))
            await asyncio.sleep(60)
            assert receiver.calls.count("events") <= 62
            receiver.deliver("r", "success")
            async with asyncio.timeout(1.1):
                assert (await waiting).word == "success"

    run(main)


def test_an_outage_of_the_receiver_is_told_once_and_nothing_is_missed(logged: Logged) -> None:
    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        with vendors(FakeVendor(can_be_polled=False), receiver):
            before = asyncio.ensure_future(wait_for(hub, "before", told=True))
            await asyncio.sleep(5)
            receiver.down = True
            meanwhile = [asyncio.ensure_future(wait_for(hub, f"r{number}", told=True)) for number in range(300)]
            await asyncio.sleep(600)
            for number in range(300):
                receiver.deliver(f"r{number}", "success")
            receiver.deliver("before", "success")
            await asyncio.sleep(600)
            assert not any(each.done() for each in [before, *meanwhile])
            assert receiver.calls.count("events") < 60, "it was asked without a pause"
            receiver.down = False
            ended = await asyncio.gather(before, *meanwhile)
            assert all(end.word == "success" for end in ended)

    run(main)
    assert logged.text.count("no news from the webhook receiver") == 1
    assert logged.text.count("the webhook receiver answers again") == 1


def test_a_single_failure_is_told(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", max)  # each is followed by a second's pause

    async def main(hub: Hub) -> None:
        receiver, vendor = FakeReceiver(), FakeVendor({"r": [ServerError("500"), "completed"]})
        vendor.unreadable = lambda opened: ConnectionUnreadable("down") if opened == 1 else None
        with vendors(vendor, receiver):
            waiting = asyncio.ensure_future(wait_for(hub, told=True))
            await asyncio.sleep(40)
            receiver.down = True  # as the second long poll ends, which began at 21 s
            await asyncio.sleep(1.5)
            receiver.down = False
            assert (await waiting).word == "completed"

    run(main)
    for line in (
        "down Trying on.",
        "no news from the webhook receiver; trying on",
        "the webhook receiver answers again",
        "a poll failed; trying on. 500",
        "the vendor answers again",
    ):
        assert logged.text.count(line) == 1, line


def test_what_fails_is_tried_again_by_the_hub_alone() -> None:
    """Else an outage would be noticed when its tries are over, in a thread that others wait for."""
    clients: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    hooks: list[dict[str, Any]] = []

    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        with vendors(FakeVendor({"r": [AuthenticationError("401"), "completed"]}), receiver):
            make_client, make_hook = client.ReceiverClient, KINDS["agent"].hook

            def note_client(*args: Any, **kwargs: Any) -> Any:
                clients.append((args, kwargs))
                return make_client(*args, **kwargs)

            def note_hook(conn_id: str, **kwargs: Any) -> Any:
                hooks.append({name: value for name, value in kwargs.items() if name != "on_response"})
                return make_hook(conn_id, **kwargs)

            with (
                mock.patch.object(client, "ReceiverClient", note_client),
                mock.patch.dict(KINDS, agent=replace(KINDS["agent"], hook=note_hook)),
            ):
                assert (await wait_for(hub, told=True)).word == "completed"

    run(main)
    assert clients == [(("c", "secret"), {"retry_for": 0})]
    assert [each for each in hooks if each] == [{"retry_for": 0}] * 2  # the first, and one after the refused key


def test_look_ups_go_on_after_an_outage_that_cut_them_off() -> None:
    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        receiver.latency = 1.0
        receiver.deliver("r", "success")
        with vendors(FakeVendor(can_be_polled=False), receiver):
            waiting = asyncio.ensure_future(wait_for(hub, told=True))
            await asyncio.sleep(1.5)
            assert receiver.calls == ["events", "events", "runs"]
            receiver.down = True  # in the midst of the look-up, and nobody joins afterwards
            await asyncio.sleep(30)
            receiver.down = False
            async with asyncio.timeout(120):
                assert (await waiting).word == "success"

    run(main)


def test_another_database_behind_the_receiver() -> None:
    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        for number in range(10):
            receiver.deliver(f"old{number}", "success")
        with vendors(FakeVendor(can_be_polled=False), receiver):
            waiting = asyncio.ensure_future(wait_for(hub, told=True))
            await asyncio.sleep(50)
            receiver.forget_everything()
            receiver.deliver("r", "success")
            async with asyncio.timeout(60):
                assert (await waiting).word == "success"

    run(main)


# Asking the vendor


def test_a_run_is_polled_until_it_ends() -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"r": ["queued", "running", "running", "completed"]})
        words: list[str] = []
        started_at = time.time()
        with vendors(vendor):
            ended = await wait_for(hub, on_change=words.append)
        assert ended == Ended("r", "completed", by_webhook=False)
        assert words == ["queued", "running", "completed"]
        assert len(vendor.polls) == 4
        assert time.time() - started_at >= 4 * 15

    run(main)


def test_a_poll_tells_nothing_of_another_kind_of_run_with_the_same_id() -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"r": ["completed", "running", "failed"]})
        with vendors(vendor):
            agent = wait_for(hub, kind="agent", poll_interval=10)
            query = wait_for(hub, kind="query", poll_interval=20)
            assert await asyncio.gather(agent, query) == [
                Ended("r", "completed", by_webhook=False),
                Ended("r", "failed", by_webhook=False),
            ]
        assert vendor.polls == ["r", "r", "r"]

    run(main)


def test_a_run_that_is_told_of_is_polled_rarely() -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"r": ["running", "running", "completed"]})
        started_at = time.time()
        with vendors(vendor, FakeReceiver()):
            ended = await wait_for(hub, told=True)
        assert ended == Ended("r", "completed", by_webhook=False), "the webhook was lost"
        assert len(vendor.polls) == 3
        assert time.time() - started_at >= 3 * 600

    run(main)


def test_an_unknown_word_is_no_end_and_the_timeout_names_it() -> None:
    async def main(hub: Hub) -> None:
        words: list[str] = []
        vendor = FakeVendor({"r": ["running", "simmering"]})
        with vendors(vendor), pytest.raises(DeadlinePassed, match=r"^simmering$"):
            await wait_for(hub, deadline=time.time() + 3600, on_change=words.append)
        assert words == ["running", "simmering"]

    run(main)


@pytest.mark.parametrize(
    "trouble",
    [ConnectionFailed("no answer"), ServerError("500"), RateLimited("429", retry_after=30), InvalidReply("not JSON")],
    ids=lambda error: type(error).__name__,
)
def test_trouble_with_the_vendor_is_waited_out(trouble: Exception, logged: Logged) -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"r": [*[trouble] * 5, "completed"]})
        with vendors(vendor):
            assert (await wait_for(hub)).word == "completed"
        assert len(vendor.polls) == 6

    run(main)
    assert logged.text.count("a poll failed; trying on") == 1
    assert logged.text.count("the vendor answers again") == 1


def test_one_waiters_error_is_nobody_elses() -> None:
    async def main(hub: Hub) -> None:
        broken = {"gone": NotFound("404"), "odd": RuntimeError("a bug"), "odder": ValueError("another")}
        vendor = FakeVendor({name: [error] for name, error in broken.items()})
        vendor.answers |= {"r": [*["running"] * 10, "completed"], "q": [*["running"] * 10, "completed"]}
        with vendors(vendor):
            failing = [asyncio.ensure_future(wait_for(hub, name)) for name in broken]
            others = [
                asyncio.ensure_future(wait_for(hub, "r")),
                asyncio.ensure_future(wait_for(hub, "q", kind="query")),
            ]
            errors = await asyncio.gather(*failing, return_exceptions=True)
            assert [type(error) for error in errors] == [type(error) for error in broken.values()]
            assert not any(other.done() for other in others)
            assert [ended.word for ended in await asyncio.gather(*others)] == ["completed", "completed"]

    run(main)


def test_a_run_of_our_own_is_not_given_up_before_the_vendor_can_know_it() -> None:
    async def main(hub: Hub) -> None:
        gone = NotFound("404: no such run")
        vendor = FakeVendor(
            {
                "new": [gone, gone, gone, "running", "completed"],
                "gone": [gone] * 100,
                "ended": ["running"] * 5 + [gone],
                "theirs": [gone, "completed"],
            }
        )
        with vendors(vendor):
            theirs = asyncio.ensure_future(wait_for(hub, "theirs"))
            own = [
                asyncio.ensure_future(wait_for(hub, name, ref=f"ref-{name}", poll_interval=15.0))
                for name in ("new", "gone", "ended")
            ]
            with pytest.raises(NotFound):
                await theirs
            await asyncio.sleep(40)
            assert not any(each.done() for each in own)
            ended, *errors = await asyncio.gather(*own, return_exceptions=True)
        assert isinstance(ended, Ended)
        assert ended.word == "completed"
        assert [type(error) for error in errors] == [NotFound, NotFound]

    run(main)


def test_who_waits_anew_after_an_error_is_not_told_of_the_old_one() -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"r": [NotFound("404"), "completed"], "other": ["running", "completed"]})
        with vendors(vendor):
            other = asyncio.ensure_future(wait_for(hub, "other", poll_interval=500.0))
            with pytest.raises(NotFound):
                await wait_for(hub)
            assert (await wait_for(hub)).word == "completed"
            assert (await other).word == "completed"

    run(main)


def test_who_waits_anew_while_another_still_learns_of_the_error() -> None:
    async def main(hub: Hub) -> None:
        async def wait_again() -> Ended:
            with pytest.raises(NotFound):
                await wait_for(hub)
            return await wait_for(hub)

        with vendors(FakeVendor({"r": [NotFound("404"), "completed"]})):
            again, once = await asyncio.gather(wait_again(), wait_for(hub), return_exceptions=True)
        assert isinstance(again, Ended)
        assert isinstance(once, NotFound)

    run(main)


def test_so_many_are_asked_about_at_once() -> None:
    """One of a channel's eight threads belongs to the receiver's long poll."""
    asking, most = set[str](), 0

    async def poll(hook: Any, run_id: str) -> Run:
        nonlocal most
        asking.add(run_id)
        most = max(most, len(asking))
        await asyncio.sleep(1)
        asking.remove(run_id)
        return Run(run_id, "completed")

    async def main(hub: Hub) -> None:
        vendor = FakeVendor()
        vendor.poll = poll  # type: ignore[assignment, method-assign]
        with vendors(vendor):
            await asyncio.gather(*(wait_for(hub, f"r{number}") for number in range(20)))

    run(main)
    assert most == 7


@pytest.mark.parametrize(("pick", "part"), [(min, 0.5), (max, 1.0)])
async def test_the_pauses_after_failures(
    monkeypatch: pytest.MonkeyPatch, pick: Callable[[float, float], float], part: float
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(random, "uniform", pick)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    for failures in range(1, 9):
        await back_off(failures)
    assert slept == [seconds * part for seconds in (1, 2, 4, 8, 16, 32, 60, 60)]


def test_nobody_is_polled_while_the_vendor_wants_to_be_left_alone() -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"r": [RateLimited("429", retry_after=1000), "completed"]})
        vendor.answers |= {f"other{number}": ["completed"] for number in range(10)}
        with vendors(vendor):
            first = asyncio.ensure_future(wait_for(hub, poll_interval=1.0))
            await asyncio.sleep(2)
            others = [asyncio.ensure_future(wait_for(hub, f"other{number}")) for number in range(10)]
            await asyncio.gather(first, *others)
        assert vendor.polled_at[1] - vendor.polled_at[0] >= 1000

    run(main)


def test_a_key_that_was_changed_is_read_again() -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"r": [AuthenticationError("401"), "completed"]})
        with vendors(vendor):
            assert (await wait_for(hub)).word == "completed"
        assert vendor.opened >= 2

    run(main)


def test_a_wrong_key_is_an_error() -> None:
    async def main(hub: Hub) -> None:
        with vendors(FakeVendor({"r": [AuthenticationError("401")]})), pytest.raises(AuthenticationError):
            await wait_for(hub)

    run(main)


def test_a_budget_outlives_the_waiting() -> None:
    async def main(hub: Hub) -> None:
        with vendors(vendor := FakeVendor({"r": ["completed"]}, limits=(600, 2))):
            await wait_for(hub)
            assert hub._channels == {}
            for _ in range(2):
                with suppress(DeadlinePassed):
                    await wait_for(hub, deadline=time.time() + 3600)
        assert len(vendor.polls) <= 2

    run(main)


@pytest.mark.parametrize(("own", "limit"), [((10, None), 10), ((None, None), 600), ((100, None), 100)])
def test_the_vendors_own_limit_is_gone_by_up_to_that_of_the_connection(
    own: tuple[float | None, float | None], limit: float
) -> None:
    async def main(hub: Hub) -> None:
        hook: Any = SimpleNamespace(
            conn_id="c", settings=None, rate_limits=lambda settings: (10, None), own_limits=lambda settings: own
        )
        for _ in range(2):  # a higher one is believed when it was named in two minutes
            reset = {"X-RateLimit-Reset": str(time.time() + 30)}
            hub.budget(hook).observe({"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "600", **reset})
            await asyncio.sleep(65)
        assert [spent[2] for spent in hub.budget(hook).spent()] == [limit]

    run(main)


# Connections


def test_a_connection_that_cannot_be_read_for_a_while(logged: Logged) -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"r": ["completed"]})
        vendor.unreadable = lambda opened: ConnectionUnreadable("down") if opened <= 5 else None
        with vendors(vendor):
            assert (await wait_for(hub)).word == "completed"

    run(main)
    assert logged.text.count("down Trying on.") == 1


def test_a_connection_that_is_gone() -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor(unreadable=lambda opened: ConnectionUnreadable("gone"))
        began = time.time()
        with vendors(vendor):
            waiting = [asyncio.ensure_future(wait_for(hub, f"r{number}")) for number in range(3)]
            errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(error) for error in errors] == ["gone"] * 3
        assert 60 < time.time() - began < 600
        assert vendor.opened == 10

    run(main)


def test_an_error_that_ends_many_waits_is_no_longer_for_the_last_than_for_the_first() -> None:
    async def main(hub: Hub) -> None:
        with vendors(FakeVendor(unreadable=lambda opened: InvalidConnection("no key"))):
            waiting = [asyncio.ensure_future(wait_for(hub, f"r{number}")) for number in range(100)]
            errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(error, InvalidConnection) for error in errors)
        assert len(traceback.extract_tb(errors[-1].__traceback__)) <= 3

    run(main)


@pytest.mark.parametrize("error", [InvalidConnection("no key"), None])
def test_a_connection_that_cannot_be_used(error: Exception | None) -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor(can_be_polled=False, unreadable=lambda opened: error)
        with vendors(vendor):
            with pytest.raises(InvalidConnection, match=r"no key|neither a 'webhook_secret' nor an 'mcp_url'"):
                await wait_for(hub)
            # Whoever comes later has another look: it may have been mended.
            vendor.unreadable, vendor.can_be_polled, vendor.answers = lambda opened: None, True, {"r": ["completed"]}
            assert (await wait_for(hub)).word == "completed"

    run(main)


async def test_a_connection_is_read_to_the_end_whoever_is_cancelled_meanwhile() -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def ask_supervisor() -> str:
        asked.set()
        await asyncio.sleep(0.05)
        answered.set()
        return "the connection"

    # As in the triggerer of Airflow 3.0 and 3.1: an answer that nobody waits for is taken for the next question's.
    reading = asyncio.ensure_future(read_connection_in_airflows_thread(async_to_sync(ask_supervisor)))
    await asked.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.wait_for(answered.wait(), 10)
    assert await read_connection_in_airflows_thread(async_to_sync(ask_supervisor)) == "the connection"


# Deadlines


@pytest.mark.parametrize("seconds", [-86_400.0, 0.0])
def test_a_deadline_that_has_passed(seconds: float) -> None:
    async def main(hub: Hub) -> None:
        with vendors(FakeVendor({"r": ["running"]})):
            began = time.time()
            with pytest.raises(DeadlinePassed, match=r"^$"):
                await wait_for(hub, deadline=began + seconds)
            assert time.time() == pytest.approx(began, abs=1e-3)

    run(main)


def test_a_deadline_is_kept_by_the_wall_clock() -> None:
    async def main(hub: Hub) -> None:
        with vendors(FakeVendor({"r": ["running"]}), FakeReceiver()):
            deadline = time.time() + 1234.5
            for _ in range(2):  # as after a restart of the triggerer: the same deadline, another wait
                waiting = asyncio.ensure_future(wait_for(hub, deadline=deadline))
                await asyncio.sleep(500)
                waiting.cancel()
                with suppress(asyncio.CancelledError):
                    await waiting
            with pytest.raises(DeadlinePassed):
                await wait_for(hub, deadline=deadline)
            assert time.time() == pytest.approx(deadline, abs=0.01)

    run(main)


# Nothing is left behind


def test_who_is_cancelled_leaves_nothing_behind() -> None:
    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        with vendors(FakeVendor({"r": ["running"], "stays": ["running"]}), receiver):
            stays = asyncio.ensure_future(wait_for(hub, "stays", told=True))
            waiting = [
                *(asyncio.ensure_future(wait_for(hub, "r", told=True)) for _ in range(3)),
                asyncio.ensure_future(wait_for(hub, None, ref="ref")),
            ]
            await asyncio.sleep(1)
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            (channel,) = hub._channels.values()
            assert set(channel.watched) == {RunKey("c", "agent", "stays")}
            assert set(channel._by_run_id) == {"stays"}
            assert channel._by_ref == {}
            receiver.deliver("stays", "completed", "ref")
            assert (await stays).word == "completed"
        await nothing_left(hub)
        assert (channel.watched, channel._by_run_id, channel._by_ref) == ({}, {}, {})

    run(main)


def test_who_is_cancelled_during_an_outage_leaves_nothing_behind() -> None:
    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        receiver.down = True
        with vendors(FakeVendor(can_be_polled=False), receiver):
            stays = asyncio.ensure_future(wait_for(hub, "stays", told=True))
            for number in range(50):
                waiting = asyncio.ensure_future(wait_for(hub, f"r{number}", told=True))
                await asyncio.sleep(1)
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            receiver.down = False
            receiver.looked_up.clear()
            await asyncio.sleep(100)
            assert receiver.looked_up == ["stays"]
            receiver.deliver("stays", "completed")
            await stays

    run(main)


def test_the_channel_begins_with_the_first_and_ends_with_the_last() -> None:
    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"a": ["completed"], "b": ["running", "completed"]})
        with vendors(vendor):
            first = asyncio.ensure_future(wait_for(hub, "a"))
            second = asyncio.ensure_future(wait_for(hub, "b", kind="query"))
            await asyncio.sleep(1)
            (channel,) = hub._channels.values()
            await first
            assert list(hub._channels.values()) == [channel]
            await second
            assert hub._channels == {}
            await nothing_left(hub)
            again = asyncio.ensure_future(wait_for(hub, "a"))
            await asyncio.sleep(1)
            assert list(hub._channels.values()) != [channel]
            await again

    run(main)


def test_the_log_of_the_task_that_came_first_is_not_the_channels() -> None:
    whose = contextvars.ContextVar("whose", default="nobody's")
    seen: list[str] = []

    async def main(hub: Hub) -> None:
        vendor = FakeVendor({"r": ["completed"]})
        vendor.unreadable = lambda opened: seen.append(whose.get())  # type: ignore[func-returns-value]
        whose.set("the first task's")
        with vendors(vendor):
            await wait_for(hub)

    run(main)
    assert set(seen) == {"nobody's"}


async def test_each_loop_has_its_own_hub() -> None:
    assert Hub.of_running_loop() is Hub.of_running_loop()
    others: list[Hub] = []

    async def other() -> None:
        others.append(Hub.of_running_loop())

    thread = threading.Thread(target=lambda: asyncio.run(other()))
    thread.start()
    thread.join()
    assert others[0] is not Hub.of_running_loop()


async def test_threads_end_with_the_waiting() -> None:
    in_thread = Channel.in_thread
    vendor = FakeVendor()
    vendor.poll = lambda hook, run_id: fail(threading.current_thread().name)  # type: ignore[method-assign]
    with vendors(vendor), mock.patch.object(Channel, "in_thread", in_thread):
        hub = new_hub()
        with pytest.raises(NotFound, match=r"^nenoa-c_\d$"):
            await wait_for(hub, poll_interval=0.01)
        await nothing_left(hub)
    async with asyncio.timeout(5):
        while any(thread.name.startswith("nenoa-c") for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def fail(message: str) -> Any:
    raise NotFound(message)


# Any schedule at all

WORDS = st.sampled_from(["processing", "running", "success", "failed", "completed", "cancelled"])
TIMES = st.floats(0, 100)


@settings(max_examples=100)
@given(
    deliveries=st.lists(st.tuples(TIMES, st.integers(0, 4), WORDS), max_size=25),
    waiters=st.lists(st.tuples(TIMES, st.integers(0, 4), st.booleans(), st.none() | TIMES), min_size=1, max_size=12),
    outages=st.lists(st.tuples(TIMES, st.floats(0, 50)), max_size=3),
    latency=st.sampled_from([0.0, 0.01, 3.0]),
    seed=st.integers(),
)
def test_any_schedule_of_deliveries_waiters_and_outages(
    deliveries: list[tuple[float, int, str]],
    waiters: list[tuple[float, int, bool, float | None]],
    outages: list[tuple[float, float]],
    latency: float,
    seed: int,
) -> None:
    """
    Deliveries come early, late, doubled and in any order, also for runs that nobody waits for; who waits comes and is
    cancelled at any time, and waits for the id or the ref; the receiver is down now and then. Every wait ends once,
    with the run's first end.
    """
    random.seed(seed)
    ends: dict[int, str] = {}
    known: set[int] = set()
    for _, number, word in sorted(deliveries, key=lambda delivery: delivery[0]):
        known.add(number)
        if word not in ("processing", "running"):
            ends.setdefault(number, word)

    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        receiver.latency = latency

        async def deliver_all() -> None:
            began = time.time()
            # One after the other: of two timers that end at the same moment, either may come first.
            for at, number, word in sorted(deliveries, key=lambda delivery: delivery[0]):
                await asyncio.sleep(began + at - time.time())
                receiver.deliver(f"r{number}", word, f"ref{number}")

        async def outage(at: float, seconds: float) -> None:
            await asyncio.sleep(at)
            receiver.down = True
            await asyncio.sleep(seconds)
            receiver.down = False

        async def wait(at: float, number: int, by_ref: bool, cancel_after: float | None) -> str | None:
            await asyncio.sleep(at)
            words: list[str] = []
            run_id, ref = (None, f"ref{number}") if by_ref else (f"r{number}", None)
            try:
                async with asyncio.timeout(cancel_after):
                    ended = await wait_for(
                        hub, run_id, ref=ref, told=True, deadline=time.time() + 1_000, on_change=words.append
                    )
            except (TimeoutError, DeadlinePassed) as error:
                if isinstance(error, TimeoutError):
                    return None
                assert number not in (known if by_ref else ends), "it was never told"
                return None
            assert ended.run_id == f"r{number}"
            assert ended.by_webhook
            assert words[-1] == ended.word, "the last word is the end"
            if not by_ref:
                assert ended.word == ends[number]
                assert not {"processing", "running"} & set(words[words.index(ended.word) :]), "no way back"
            return ended.word

        with vendors(FakeVendor(can_be_polled=False), receiver):
            await asyncio.gather(
                deliver_all(),
                *(outage(*one) for one in outages),
                *(wait(*waiter) for waiter in waiters),
            )

    run(main)


@pytest.mark.parametrize(("patience", "seconds", "asked"), [(30.0, 12, False), (30.0, 120, True), (5.0, 20, True)])
def test_after_an_outage_runs_are_asked_about_soon_whose_webhooks_may_be_lost(
    patience: float, seconds: int, asked: bool, logged: Logged
) -> None:
    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        vendor = FakeVendor({f"r{number}": ["success"] for number in range(20)})
        with vendors(vendor, receiver), mock.patch.dict(KINDS, agent=replace(KINDS["agent"], patience=patience)):
            waiting = [asyncio.ensure_future(wait_for(hub, f"r{n}", told=True)) for n in range(20)]
            await asyncio.sleep(5)
            receiver.down = True
            await asyncio.sleep(seconds)
            receiver.down = False
            await asyncio.sleep(150)
            assert all(each.done() is asked for each in waiting)
            assert len(vendor.polls) == (20 if asked else 0)
            for number in range(20):
                receiver.deliver(f"r{number}", "success")
            assert {(await each).word for each in waiting} == {"success"}

    run(main)
    assert ("longer than" in logged.text) is asked


def test_a_run_whose_end_is_overdue_is_named_once(logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    gauges: list[tuple[str, float]] = []
    monkeypatch.setattr(metrics, "gauge", lambda name, value, conn_id: gauges.append((name, value)))

    async def main(hub: Hub) -> None:
        receiver = FakeReceiver()
        with vendors(FakeVendor(can_be_polled=False), receiver):
            late = asyncio.ensure_future(wait_for(hub, "late", told=True))
            silent = asyncio.ensure_future(wait_for(hub, "silent", told=True))
            quick = asyncio.ensure_future(wait_for(hub, "quick", told=True))
            await asyncio.sleep(5)
            receiver.deliver("late", "processing")
            await asyncio.sleep(995)
            receiver.deliver("quick", "success")
            await quick
            await asyncio.sleep(300)
            assert "no webhook has told" not in logged.text
            await asyncio.sleep(800)
            assert logged.text.count("an agent run late has been 'processing' for 34 min, and no webhook has told") == 1
            receiver.deliver("late", "success")
            await late
            await asyncio.sleep(100)
            silent.cancel()
            await asyncio.gather(silent, return_exceptions=True)

    run(main)
    assert "silent" not in logged.text
    counts = [value for name, value in gauges if name == "overdue"]
    assert set(counts[:-1]) == {1}
    assert counts[-1] == 0
