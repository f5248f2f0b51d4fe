from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import (
    AuthenticationError,
    ConnectionFailed,
    DeadlinePassed,
    InvalidConnection,
    InvalidReply,
    NotFound,
    RateLimited,
    ReceiverUnavailable,
    ServerError,
)
from airflow_provider_nenoa.hooks.base import ConnectionSettings, VendorHook
from airflow_provider_nenoa.pacing.budget import DAY
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.waiting import asking
from airflow_provider_nenoa.waiting.kinds import KINDS, Ended, RunKey
from airflow_provider_nenoa.webhooks import client
from airflow_provider_nenoa.webhooks.records import StoredRun
from tests.unit.conftest import Logged

NOW = 1_700_000_000.0
AGENT = RunKey("c", "agent", "r")
WORKFLOW = RunKey("c", "workflow", "r")


class World:
    """
    A vendor, a receiver and the time, all of one hook.

    :param secret: The connection's webhook secret; without one, there is no receiver.
    """

    def __init__(self, secret: str | None = None, base_url: str = "https://vendor.test") -> None:
        self.now = NOW
        self.polls: list[float] = []
        self.asked: list[tuple[str, float]] = []
        self.told: list[tuple[float, str]] = []  # (from when on, the stored word)
        self.answers: list[Any] = ["running"]
        self.noted: list[str] = []
        self.receiver_down = False
        self.takes_callbacks = True
        self.slow_failure = 0.0  # seconds until it fails
        # What the code under test takes for a hook:
        self.conn_id, self.vendor, self.webhooks_need_https = "c", "OpenAnalyst", True
        self.settings = ConnectionSettings("c", base_url, "key", secret, {})
        self.can_ask = False
        self.limits: tuple[float | None, float | None] = (None, None)
        self.on_response: Callable[[Any], None] = lambda response: None
        self.headers: Callable[[], dict[str, str]] = dict

    def rate_limits(self, settings: ConnectionSettings) -> tuple[float | None, float | None]:
        return self.limits

    new_budget, own_limits = VendorHook.new_budget, VendorHook.own_limits

    # The vendor

    def get_agent_run(self, run_id: str) -> Run:
        self.polls.append(self.now)
        self.on_response(SimpleNamespace(headers=self.headers()))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return Run(run_id, answer, {"from": "vendor"})

    # The receiver

    def tell_waiting(self, waiting: Any, over: Any = ()) -> None:
        self.noted += [*(wait.name for wait in waiting), *(f"over {name}" for name in over)]
        if self.receiver_down:
            raise ReceiverUnavailable("No answer from the webhook receiver.")

    def _stored(self, seconds: float, is_enough: Callable[[Run], bool]) -> StoredRun | None:
        if self.receiver_down:
            self.now += self.slow_failure
            raise ReceiverUnavailable("No answer from the webhook receiver.")
        until = self.now + seconds
        while True:
            words = [word for at, word in self.told if at <= self.now]
            run = Run("r", words[-1], {"from": "webhook"}) if words else None
            if (run is not None and is_enough(run)) or self.now >= until:
                return run and StoredRun("r", "ref", run.status, run.word, 1, 1, 0.0, run.payload)
            self.now = min([until, *(at for at, _ in self.told if at > self.now)])

    def run(self, run_id: str, wait: float = 0.0, **named: Any) -> StoredRun | None:
        self.asked.append(("run", wait))
        return self._stored(wait, lambda run: run.status.is_end)

    def by_ref(self, ref: str, wait: float = 0.0) -> StoredRun | None:
        self.asked.append(("ref", wait))
        return self._stored(wait, lambda run: True)

    # The time

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds

    def wait(self, key: RunKey = AGENT, **options: Any) -> Ended:
        arguments = {"deadline": NOW + 10_000, "poll_interval": 15.0, "started_at": NOW, "told": False, **options}
        return asking.wait(self, key, clock=self.clock, sleep=self.sleep, **arguments)  # type: ignore[arg-type]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    def make(*args: Any, **kwargs: Any) -> World:
        world = World(*args, **kwargs)
        monkeypatch.setattr(client, "ReceiverClient", lambda conn_id, secret, **options: world)
        return world

    return make


Make = Callable[..., World]


# Waiting


def test_the_rate_limit_is_kept(make: Make) -> None:
    world = make()
    world.limits = (None, 100)
    with pytest.raises(DeadlinePassed):
        world.wait(deadline=NOW + 86_000)
    assert 80 <= len(world.polls) <= 90


def test_what_others_send_meanwhile_is_not_there_to_be_spent(make: Make) -> None:
    """Of a day's thousand requests, others send 900 within an hour."""
    world, heard = make(), []
    world.limits = (None, 1_000)
    world.on_response = heard.append

    def headers() -> dict[str, str]:
        used = len(world.polls) + (900 if world.now > NOW + 3600 else 0)
        said = {"Limit": 1_000, "Remaining": 1_000 - used, "Reset": NOW + 86_399}
        return {f"X-RateLimit-{name}": str(value) for name, value in said.items()}

    world.headers = headers
    with pytest.raises(DeadlinePassed):
        world.wait(deadline=NOW + 86_000)
    assert len([at for at in world.polls if at > NOW + 3700]) <= 100
    assert len(heard) == len(world.polls), "who listened before still does"


def test_a_run_is_polled_until_it_ends(make: Make) -> None:
    world = make()
    world.answers = ["queued", "running", "running", "completed"]
    words: list[str] = []
    ended = world.wait(on_change=words.append)
    assert ended == Ended("r", "completed", False, Run("r", "completed", {"from": "vendor"}))
    assert words == ["queued", "running", "completed"]
    assert len(world.polls) == 4
    assert all(later - earlier >= 15 for earlier, later in zip([NOW, *world.polls], world.polls, strict=False))


def test_a_webhook_ends_the_wait(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW + 5, "processing"), (NOW + 100, "success")]
    words: list[str] = []
    ended = world.wait(told=True, on_change=words.append)
    assert ended == Ended("r", "success", True, Run("r", "success", {"from": "webhook"}))
    assert words == ["processing", "success"]
    assert world.polls == []
    assert world.now == NOW + 100
    assert len(world.asked) <= 100 / asking.LONG_POLL + 1
    assert all(0 < seconds <= asking.LONG_POLL for _, seconds in world.asked)
    assert world.noted == ["agent:r", "over agent:r"]  # for the page: who waits, as long as he does


def test_a_webhook_that_came_before(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW - 100, "failed")]
    assert world.wait(told=True).word == "failed"
    assert world.now == NOW


def test_a_lost_webhook_is_made_up_for_by_a_rare_poll(make: Make) -> None:
    world = make("secret")
    world.answers = ["running", "completed"]
    assert not world.wait(told=True).by_webhook
    assert world.polls == [NOW + 600, NOW + 1200]


def test_without_a_secret_nobody_tells_whatever_was_thought_at_the_start(make: Make) -> None:
    world = make()
    world.answers = ["completed"]
    world.wait(told=True)
    assert world.polls == [NOW + 15]


def test_a_vendor_without_an_endpoint_is_not_asked(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW + 5_000, "success")]
    assert world.wait(WORKFLOW, told=True).by_webhook


def test_a_run_whose_end_cannot_be_learnt(make: Make) -> None:
    with pytest.raises(InvalidConnection, match="nor an 'mcp_url': the end of a workflow run cannot be learnt"):
        make().wait(WORKFLOW)
    with pytest.raises(InvalidConnection, match="neither a 'webhook_secret'"):
        make().wait(RunKey("c", "agent", None, "ref"))


def test_a_run_is_found_by_its_ref_as_soon_as_it_is_told_of(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW + 30, "processing")]
    ended = world.wait(RunKey("c", "agent", None, "ref"), told=True)
    assert (ended.run_id, ended.word) == ("r", "processing")
    assert {name for name, _ in world.asked} == {"ref"}
    assert world.polls == []


@pytest.mark.parametrize("secret", [None, "secret"])
def test_a_deadline(make: Make, secret: str | None) -> None:
    world = make(secret)
    world.answers = ["running"]
    world.told = [(NOW + 1, "running")]
    with pytest.raises(DeadlinePassed, match=r"^running$"):
        world.wait(told=bool(secret), deadline=NOW + 100)
    assert world.now == pytest.approx(NOW + 100, abs=1)


def test_a_deadline_that_has_passed(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW, "success")]
    with pytest.raises(DeadlinePassed, match=r"^$"):
        world.wait(deadline=NOW)


def test_an_unknown_word_is_no_end_and_the_timeout_names_it(make: Make) -> None:
    world = make()
    world.answers = ["running", "Simmering"]
    words: list[str] = []
    with pytest.raises(DeadlinePassed, match=r"^Simmering$"):
        world.wait(deadline=NOW + 500, on_change=words.append)
    assert words == ["running", "Simmering"], "told once"
    assert len(world.polls) > 3


@pytest.mark.parametrize(
    "trouble",
    [ConnectionFailed("x"), ServerError("x"), InvalidReply("x"), RateLimited("x", retry_after=100)],
    ids=lambda error: type(error).__name__,
)
def test_trouble_with_the_vendor_is_waited_out(make: Make, trouble: Any, logged: Logged) -> None:
    world = make()
    world.answers = [*[trouble] * 4, "completed"]
    assert world.wait().word == "completed"
    assert len(world.polls) == 5
    assert logged.text.count("x Waiting on.") == 1
    if trouble.retry_after:
        assert all(later - earlier >= 100 for earlier, later in zip(world.polls, world.polls[1:], strict=False))


def test_trouble_does_not_last_beyond_the_deadline(make: Make) -> None:
    world = make()
    world.answers = [RateLimited("x", retry_after=1e9)]
    with pytest.raises(DeadlinePassed):
        world.wait(deadline=NOW + 1000)
    assert world.now <= NOW + 1000


def test_a_vendor_that_will_listen_in_a_thousand_years_is_asked_tomorrow(make: Make) -> None:
    world = make()
    world.answers = [RateLimited("x", retry_after=3e10), "completed"]
    assert world.wait(deadline=NOW + 3 * DAY).word == "completed"
    assert DAY <= world.polls[1] - world.polls[0] <= 2 * DAY


def test_a_run_of_our_own_is_not_given_up_before_the_vendor_can_know_it(make: Make, logged: Logged) -> None:
    world, own = make(), replace(AGENT, ref="a-ref")
    world.answers = [NotFound("404: no such run"), NotFound("404: no such run"), "running", "completed"]
    assert world.wait(own).word == "completed"
    assert "may be known a little later" in logged.text
    world = make()
    world.answers = [NotFound("404: no such run")]
    with pytest.raises(NotFound):
        world.wait(own)
    assert NOW + 60 <= world.now < NOW + 200


@pytest.mark.parametrize("error", [NotFound("404"), AuthenticationError("401")])
def test_what_does_not_pass_is_an_error(make: Make, error: Exception) -> None:
    world = make()
    world.answers = ["running", error]
    with pytest.raises(type(error)):
        world.wait()


def test_the_vendor_is_asked_now_and_then_while_the_receiver_is_down(make: Make, logged: Logged) -> None:
    world = make("secret")
    world.receiver_down = True
    world.answers = ["running", "running", "completed"]
    assert not world.wait(told=True).by_webhook
    assert len(world.polls) == 3
    assert world.now - NOW < 2_000
    assert logged.text.count("Waiting on.") <= 4, "once for each outage, as far as it can tell"


def test_a_dead_receiver_does_not_push_the_vendors_polls_away(make: Make) -> None:
    """The vendor is asked when it would be asked without a receiver."""
    without, world = make(), make("secret")
    world.receiver_down = True
    for each in (without, world):
        each.answers = [*["running"] * 6, "completed"]
    without.wait()
    world.wait(told=True)
    assert len(world.polls) == len(without.polls) == 7
    for late, planned in zip(world.polls, without.polls, strict=True):
        assert planned - 1 <= late <= planned + 3, "but for the second until its death was noticed"


@pytest.mark.parametrize("slow", [0.0, 10.0, 25.0])
def test_a_receiver_that_hangs_delays_a_poll_by_one_try_at_most(make: Make, slow: float) -> None:
    world = make("secret")
    world.receiver_down, world.answers = True, ["running", "running", "completed"]
    world.slow_failure = slow
    world.wait(told=True)
    assert world.polls[0] <= NOW + 15 + 2 * slow + 3
    assert world.now < NOW + 80 + 6 * slow


def test_a_vendor_that_is_down_does_not_push_the_questions_to_the_receiver_away(make: Make) -> None:
    world = make("secret")
    world.answers = [ServerError("x")]
    world.receiver_down = True
    sleep = world.sleep

    def sleep_and_mend(seconds: float) -> None:
        sleep(seconds)
        world.receiver_down = world.now < NOW + 300

    world.sleep = sleep_and_mend  # type: ignore[method-assign]
    world.told = [(NOW + 400, "success")]
    assert world.wait(told=True).by_webhook
    assert world.now == NOW + 400, "a webhook is noticed at once, whatever the vendor's endpoint does"


def test_a_dead_receiver_of_a_vendor_that_cannot_be_asked_is_waited_for(make: Make) -> None:
    world = make("secret")
    world.receiver_down = True
    with pytest.raises(DeadlinePassed):
        world.wait(WORKFLOW, told=True, deadline=NOW + 1000)
    assert world.now == NOW + 1000
    assert 15 < len(world.asked) < 40
    assert world.polls == []


def test_an_outage_is_followed_by_a_question(make: Make) -> None:
    """Its webhook may have come while nobody could take it."""
    world = make("secret")
    world.receiver_down = True
    world.answers = ["running"]
    sleep = world.sleep

    def sleep_and_mend(seconds: float) -> None:
        sleep(seconds)
        world.receiver_down = world.now < NOW + 10

    world.sleep = sleep_and_mend  # type: ignore[method-assign]
    with pytest.raises(DeadlinePassed):
        world.wait(told=True, deadline=NOW + 1500)
    soon = [poll for poll in world.polls if poll < NOW + 60]
    assert 1 <= len(soon) <= 2
    assert [poll - soon[-1] for poll in world.polls[len(soon) :]] == [600, 1200], "then as rarely as ever"


def test_a_receiver_is_not_asked_about_a_run_that_it_was_not_told_of(make: Make) -> None:
    world = make("secret")
    world.answers = ["running", "running", "completed"]
    assert not world.wait(told=False).by_webhook
    assert asking.ask(world, AGENT, told=False) is not None  # type: ignore[arg-type]
    assert world.asked == []
    assert len(world.polls) == 4


def test_where_only_the_receiver_could_know_it_is_asked_whatever_was_thought_at_the_start(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW + 5, "success")]
    assert world.wait(WORKFLOW, told=False).by_webhook
    assert asking.ask(world, WORKFLOW, told=False) is not None  # type: ignore[arg-type]
    assert len(world.asked) == 2


@pytest.mark.parametrize("word", [None, "running"])
def test_long_polls_that_are_cut_short_are_no_storm(make: Make, word: str | None) -> None:
    """As by a proxy that does not pass the question's parameters on."""
    world = make("secret")
    at_once = world.run
    world.run = lambda run_id, wait=0.0, **named: at_once(run_id, 0.0 if wait else wait)  # type: ignore[method-assign]
    world.told = [(NOW, word), (NOW + 60, "success")] if word else [(NOW + 60, "success")]
    asked: list[float] = []
    _stored = world._stored

    def stored(seconds: float, is_enough: Any) -> StoredRun | None:
        asked.append(world.now)
        assert len(asked) < 100
        return _stored(seconds, is_enough)

    world._stored = stored  # type: ignore[method-assign]
    assert world.wait(told=True).by_webhook
    assert asked == [NOW + second for second in range(61)]


def test_the_receiver_is_heard_again(make: Make) -> None:
    world = make("secret")
    world.receiver_down = True
    world.told = [(NOW + 50, "success")]
    sleep = world.sleep

    def sleep_and_mend(seconds: float) -> None:
        sleep(seconds)
        world.receiver_down = world.now < NOW + 200

    world.sleep = sleep_and_mend  # type: ignore[method-assign]
    assert world.wait(told=True).by_webhook
    assert world.now < NOW + 300


# Asking once


def test_the_receiver_is_asked_before_the_vendor(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW, "success")]
    words: list[str] = []
    assert asking.ask(world, AGENT, on_word=words.append) == Ended(  # type: ignore[arg-type]
        "r", "success", True, Run("r", "success", {"from": "webhook"})
    )
    assert world.polls == []
    assert world.asked == [("run", 0.0)]
    assert words == ["success"]


def test_the_vendor_is_asked_if_the_receiver_knows_of_no_end(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW, "processing")]
    world.answers = ["completed"]
    ended = asking.ask(world, AGENT)  # type: ignore[arg-type]
    assert ended is not None
    assert (ended.word, ended.by_webhook) == ("completed", False)


@pytest.mark.parametrize("word", ["running", "simmering"])
def test_a_run_that_goes_on_has_no_end_but_a_word(make: Make, word: str) -> None:
    world = make()
    world.answers = [word]
    words: list[str] = []
    assert asking.ask(world, AGENT, on_word=words.append) is None  # type: ignore[arg-type]
    assert words == [word]


def test_the_vendor_is_spared(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW, "processing")]
    words: list[str] = []
    assert asking.ask(world, AGENT, vendor=False, on_word=words.append) is None  # type: ignore[arg-type]
    assert world.polls == []
    assert words == ["processing"]


def test_the_vendor_is_asked_if_the_receiver_does_not_answer(make: Make, logged: Logged) -> None:
    world = make("secret")
    world.receiver_down = True
    world.answers = ["completed"]
    ended = asking.ask(world, AGENT)  # type: ignore[arg-type]
    assert ended is not None
    assert not ended.by_webhook
    assert "Asking OpenAnalyst instead" in logged.text
    for vendor, key in ((False, AGENT), (True, WORKFLOW)):
        with pytest.raises(ReceiverUnavailable):
            asking.ask(world, key, vendor=vendor)  # type: ignore[arg-type]


def test_a_run_is_looked_for_once(make: Make) -> None:
    world = make("secret")
    assert asking.find(world, "ref") is None  # type: ignore[arg-type]
    world.told = [(NOW, "processing")]
    assert asking.find(world, "ref") == Run("r", "processing", {"from": "webhook"})  # type: ignore[arg-type]
    world.receiver_down = True
    with pytest.raises(ReceiverUnavailable):
        asking.find(world, "ref")  # type: ignore[arg-type]
    assert asking.find(make(), "ref") is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run_id", "word", "found"), [("r", "processing", True), (None, "processing", False), (None, "failed", True)]
)
def test_what_neither_names_a_run_nor_tells_its_end_is_nothing_to_go_on_with(
    make: Make, run_id: str | None, word: str, found: bool
) -> None:
    world = make("secret")
    status = Run("", word).status

    def by_ref(ref: str, wait: float = 0.0) -> StoredRun:
        world.now += wait
        return StoredRun(run_id, ref, status, word, 1, 1, 0.0, {})

    world.by_ref = by_ref  # type: ignore[method-assign]
    run = Run(run_id or "", word, {})
    assert asking.find(world, "ref") == (run if found else None)  # type: ignore[arg-type]
    ended = Ended(run.run_id, word, True, run)
    key = RunKey("c", "agent", None, "ref")
    assert asking.ask(world, key) == (ended if Run("", word).status.is_end else None)  # type: ignore[arg-type]
    if found:
        assert world.wait(key, told=True) == ended
    else:
        with pytest.raises(DeadlinePassed):
            world.wait(key, told=True, deadline=NOW + 100)


# Reading the payload


def test_a_payload_that_is_at_hand_is_not_read_again(make: Make) -> None:
    world = make("secret")
    run = Run("r", "completed", {"at": "hand"})
    assert asking.read(world, AGENT, Ended("r", "completed", True, run)) is run  # type: ignore[arg-type]
    assert (world.polls, world.asked) == ([], [])


def test_a_payload_is_read_where_the_end_was_told(make: Make) -> None:
    world = make("secret")
    world.told = [(NOW, "completed")]
    world.answers = ["completed"]
    assert asking.read(world, AGENT, Ended("r", "completed", True)).payload == {"from": "webhook"}  # type: ignore[arg-type]
    assert asking.read(world, AGENT, Ended("r", "completed", False)).payload == {"from": "vendor"}  # type: ignore[arg-type]


def test_a_payload_that_the_receiver_has_no_more(make: Make) -> None:
    world = make("secret")
    world.answers = ["completed"]
    assert asking.read(world, AGENT, Ended("r", "completed", True)).payload == {"from": "vendor"}  # type: ignore[arg-type]
    with pytest.raises(ReceiverUnavailable, match=r"no longer has the end of workflow run r.*event_retention_days"):
        asking.read(world, WORKFLOW, Ended("r", "success", True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("secret", "told", "down", "waited", "payload"),
    [
        (None, "success", False, [], {}),
        ("secret", "success", False, [("run", 10.0)], {"from": "webhook"}),
        ("secret", "processing", False, [("run", 10.0)], {}),
        ("secret", None, False, [("run", 10.0)], {}),
        ("secret", "success", True, [("run", 10.0)], {}),
    ],
)
def test_a_payload_of_which_whoever_told_the_end_knows_nothing(
    make: Make, secret: str | None, told: str | None, down: bool, waited: list[Any], payload: dict[str, Any]
) -> None:
    """Its webhook may be there, or on its way."""
    world: Any = make(secret)
    world.get_run = lambda run_id: Run(run_id, "success", {}, has_result=False)
    world.told, world.receiver_down = [(NOW, told)] if told else [], down
    assert asking.read(world, WORKFLOW, Ended("r", "success", False)).payload == payload
    assert world.asked == waited


# The URL that the vendor calls


@pytest.mark.parametrize(
    ("ours", "theirs", "need_https", "error"),
    [
        ("https://airflow.example.com/nenoa", "https://vendor.test", True, None),
        ("http://airflow.example.com/nenoa", "https://vendor.test", False, None),
        ("http://airflow.example.com/nenoa", "https://vendor.test", True, "calls https URLs only"),
        ("http://localhost:8080/nenoa", "https://vendor.test", False, "that is this machine itself"),
        ("https://127.0.0.1:8080/nenoa", "https://vendor.test", True, "that is this machine itself"),
        ("http://localhost:8080/nenoa", "http://127.0.0.1:8090", True, None),
    ],
)
def test_a_url_that_the_vendor_can_call(
    make: Make, monkeypatch: pytest.MonkeyPatch, ours: str, theirs: str, need_https: bool, error: str | None
) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", ours)
    world = make("secret", theirs)
    world.webhooks_need_https = need_https
    if error is None:
        assert asking.callback_url(world, "ref-1") == f"{ours}/webhooks/c?ref=ref-1"  # type: ignore[arg-type]
        return
    with pytest.raises(ReceiverUnavailable, match=rf"{error}.*\nSet \[nenoa\] webhook_base_url"):
        asking.callback_url(world, "ref-1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("conn_type", "kind", "named"), [("openanalyst", "query", "&kind=query"), ("nenai", "workflow", "")]
)
def test_a_url_names_the_kind_where_the_vendor_has_several(
    make: Make, monkeypatch: pytest.MonkeyPatch, conn_type: str, kind: str, named: str
) -> None:
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", "https://airflow.example.com/nenoa")
    world = make("secret")
    world.conn_type = conn_type
    url = "https://airflow.example.com/nenoa/webhooks/c?ref=r"
    assert asking.callback_url(world, "r", kind) == url + named  # type: ignore[arg-type]
    assert asking.callback_url(world, "r") == url  # type: ignore[arg-type]


BY_WEBHOOK = "by OpenAnalyst's webhook at https://airflow.example.com/nenoa/webhooks/c"
RARELY = "by asking the vendor every 10 minutes, should that get lost"
REGISTERED = "by a webhook that somebody has registered"


@pytest.mark.parametrize(
    ("kind", "world", "options", "ways"),
    [
        ("agent", {}, {"told": True}, f"{BY_WEBHOOK} or {RARELY}"),
        ("agent", {"base_url": "http://airflow.example.com"}, {"told": True}, f"by OpenAnalyst's webhook or {RARELY}"),
        ("agent", {}, {}, "by asking the vendor every 15 to 150 s, within its rate limit"),
        ("agent", {}, {"poll_interval": 200.0}, "by asking the vendor every 200 s, within its rate limit"),
        ("agent", {"takes": False}, {"told": True}, f"{BY_WEBHOOK} or {RARELY}"),
        (
            "agent",
            {"takes": False},
            {},
            f"{REGISTERED} or by asking the vendor every 15 to 150 s, within its rate limit",
        ),
        (
            "agent",
            {"takes": False, "secret": None},
            {},
            "by asking the vendor every 15 to 150 s, within its rate limit",
        ),
        ("workflow", {}, {"told": True}, BY_WEBHOOK.replace("OpenAnalyst", "NenAI")),
    ],
)
def test_how_an_end_will_be_noticed(
    make: Make, monkeypatch: pytest.MonkeyPatch, kind: str, world: dict[str, Any], options: dict[str, Any], ways: str
) -> None:
    base_url = world.get("base_url", "https://airflow.example.com")
    monkeypatch.setenv("AIRFLOW__NENOA__WEBHOOK_BASE_URL", f"{base_url}/nenoa")
    hook: Any = make(world.get("secret", "secret"))
    hook.takes_callbacks, hook.who_answers = world.get("takes", True), "the vendor"
    arguments = {"told": False, "poll_interval": 15.0, "deadline": NOW, **options}
    assert asking.how_noticed(hook, KINDS[kind], **arguments) == (
        f"Its end will be noticed {ways}, on connection 'c', until 2023-11-14 22:13:20+00:00."
    )


# What others have started


class Told:
    """A receiver that knows the refs of some runs, until it is down."""

    def __init__(self, refs: dict[str, str | None], answers: int = 100) -> None:
        self.refs = refs
        self.answers = answers

    def run(self, run_id: str) -> StoredRun | None:
        self.answers -= 1
        if self.answers < 0:
            raise ReceiverUnavailable("It is down.")
        if run_id not in self.refs:
            return None
        return StoredRun(run_id, self.refs[run_id], None, "processing", 1, 1, 0.0, {})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("answers", "others"), [(100, {"theirs", "others"}), (2, {"theirs"}), (0, set())], ids=["up", "fails", "down"]
)
def test_runs_that_are_known_to_be_of_others(
    make: Make, monkeypatch: pytest.MonkeyPatch, answers: int, others: set[str]
) -> None:
    """Ours is never among them, though its webhook may have come since it was looked for by its ref."""
    told = Told({"theirs": "their ref", "ours": "our ref", "nobody's": None, "others": "another"}, answers)
    monkeypatch.setattr(client, "ReceiverClient", lambda conn_id, secret, **options: told)
    runs = ["theirs", "ours", "nobody's", "unheard of", "others"]
    assert asking.told_of_others(World("secret"), runs, "our ref") == others  # type: ignore[arg-type]
    assert asking.told_of_others(World(), runs, "our ref") == set(), "without a receiver nothing is known"  # type: ignore[arg-type]


@given(
    answers=st.lists(
        st.sampled_from(["running", RateLimited("429", retry_after=7.0), RateLimited("429"), ServerError("500")]),
        min_size=1,
        max_size=8,
    ),
    receiver=st.sampled_from(["none", "up", "down"]),
    told=st.booleans(),
    limit=st.sampled_from([None, 1.0, 3.0]),
    step=st.sampled_from([0.0, 0.3, 40.0]),
    seconds=st.floats(0.001, 2_000.0),
)
@settings(max_examples=60)
def test_no_wait_is_for_less_than_no_time(
    answers: list[Any], receiver: str, told: bool, limit: float | None, step: float, seconds: float
) -> None:
    """Whatever fails and however slowly, ``time.sleep`` and the receiver get seconds that they can wait for."""
    world = World("secret" if receiver != "none" else None)
    world.answers, world.receiver_down, world.slow_failure = [*answers, "running"], receiver == "down", step
    world.limits = (limit, None)
    ask = world.get_agent_run

    def slowly(run_id: str) -> Run:
        world.now += step
        return ask(run_id)

    world.get_agent_run = slowly  # type: ignore[method-assign]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "ReceiverClient", lambda conn_id, secret, **options: world)
        with pytest.raises(DeadlinePassed):
            world.wait(deadline=NOW + seconds, told=told and receiver != "none")
    assert all(wait >= 0 for _, wait in world.asked)
