"""What can happen to a task while it has a run started, and what must come of it: the rows of the documented table."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.e2e.crash.stage import AIRFLOW, KINDS, MODES, Outcome, Stage
from tests.support.local_airflow import LocalAirflow

Script = Callable[[Stage], None]
Disaster = Callable[[LocalAirflow, list[Stage]], None]

ONCE = Outcome(posts=1, runs=1, attempts=1, end="success")
ADOPTED = Outcome(posts=1, runs=1, attempts=2, end="success")
STARTED_LATER = Outcome(posts=2, runs=1, attempts=2, end="success")
LEFT_OPEN = Outcome(posts=1, runs=0, attempts=1, end="failed")
PAID_TWICE = Outcome(posts=2, runs=2, attempts=2, end="success")


def as_it_comes(stage: Stage) -> None:
    """Interfere no more."""


def end_when_adopted(stage: Stage) -> None:
    """Let the vendor's run go on until the second attempt waits for it."""
    stage.until_waiting(attempt=2)
    stage.finish()


@dataclass(frozen=True, eq=False)
class Situation:
    """
    One thing that can happen.

    :param words: What happens, for the documentation.
    :param expected: What must come of it.
    :param before_3_3: What must come of it on Airflow before 3.3, where the note is a Variable, if that differs.
    :param kinds: For which kinds.
    :param modes: In which ways of waiting.
    :param quick: For which (kind, mode) it is part of the quick selection.
    :param stage: Arguments of `Stage`.
    :param before: Done before the DAG's run is started.
    :param disaster: Befalls all of Airflow when everybody waits: all cases of the situation are played together.
    :param after: Done afterwards.
    """

    words: str
    expected: Outcome
    before_3_3: Outcome | None = None
    kinds: tuple[str, ...] = KINDS
    modes: tuple[str, ...] = MODES
    quick: tuple[tuple[str, str], ...] = ()
    stage: Mapping[str, Any] = field(default_factory=dict)
    before: Script = as_it_comes
    disaster: Disaster | None = None
    after: Script = as_it_comes

    def __str__(self) -> str:
        return self.words

    def cases(self) -> list[Case]:
        return [Case(self, kind, mode) for kind in self.kinds for mode in self.modes]


@dataclass(frozen=True)
class Case:
    """A situation, for one kind of run and one way of waiting."""

    situation: Situation
    kind: str
    mode: str

    def __str__(self) -> str:
        return f"{self.situation.words}: {self.kind}, {self.mode}"

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the documented table knows it by."""
        section = next(title for title, (_, situations) in SECTIONS.items() if self.situation in situations)
        return section, self.situation.words, self.kind, self.mode

    @property
    def quick(self) -> bool:
        return (self.kind, self.mode) in self.situation.quick

    @property
    def differs(self) -> bool:
        """Whether this Airflow is an older one than the documented table is about, and it matters."""
        return AIRFLOW < (3, 3) and self.situation.before_3_3 is not None

    @property
    def expected(self) -> Outcome:
        before_3_3 = self.situation.before_3_3
        return before_3_3 if self.differs and before_3_3 is not None else self.situation.expected

    def play(self, airflow: LocalAirflow) -> Outcome:
        """Let it happen and return what came of it."""
        with self.stage(airflow) as stage:
            self.situation.before(stage)
            stage.trigger()
            self.situation.after(stage)
            return self.outcome(stage)

    def stage(self, airflow: LocalAirflow) -> Stage:
        return Stage(airflow, self.kind, self.mode, **self.situation.stage)

    def outcome(self, stage: Stage) -> Outcome:
        """Wait for the outcome and check it."""
        outcome = stage.outcome()
        assert outcome == self.expected, f"{outcome} instead of {self.expected}\n{stage.story()}"
        return outcome


# A look that finds nothing is over when the operator's timeout is.
SHORT_LOOK = {"timeout": 8.0}
RESTART = {"timeout": 16.0, "on_lost_start": "restart"}


def kill_while_waiting(stage: Stage) -> None:
    stage.until_waiting()
    stage.kill_task()
    end_when_adopted(stage)


def lose_worker_while_waiting(stage: Stage) -> None:
    stage.until_waiting()
    stage.kill_task(with_worker=True)
    end_when_adopted(stage)


KILLED = [
    Situation(
        "before the start was noted down",
        ADOPTED,
        stage={"dies": "not announced"},
        quick=(("agent", "blocking"),),
    ),
    Situation(
        "after the start was noted down, before it was sent",
        Outcome(posts=0, runs=0, attempts=2, end="failed"),
        stage={"dies": "announced", "arguments": SHORT_LOOK},
        quick=(("workflow", "deferrable"),),
    ),
    Situation(
        'after the start was noted down, before it was sent; `on_lost_start="restart"`',
        ADOPTED,
        stage={"dies": "announced", "arguments": RESTART},
    ),
    Situation(
        "after the vendor acted, before the reply was read",
        ADOPTED,
        stage={"dies": "reply unread"},
        quick=(("agent", "deferrable"), ("query", "blocking")),
    ),
    Situation(
        "after the reply was read, before the id was noted down",
        ADOPTED,
        stage={"dies": "not remembered"},
        quick=(("workflow", "blocking"),),
    ),
    Situation(
        "after the id was noted down, before the waiting began",
        ADOPTED,
        stage={"dies": "remembered", "seconds": None},
        after=end_when_adopted,
        quick=(("workflow", "deferrable"),),
    ),
    Situation(
        "after the id was noted down; the run ends before the next attempt",
        ADOPTED,
        stage={"dies": "remembered", "seconds": 0.2},
    ),
    Situation(
        "while the task waits",
        ADOPTED,
        modes=("blocking",),
        stage={"seconds": None},
        after=kill_while_waiting,
        quick=(("agent", "blocking"),),
    ),
    Situation(
        "while the task waits, together with the worker that supervises it",
        ADOPTED,
        modes=("blocking",),
        stage={"seconds": None},
        after=lose_worker_while_waiting,
    ),
    Situation(
        "after the run has ended, before its result was read",
        ADOPTED,
        stage={"dies": "finishing"},
        quick=(("workflow", "deferrable"),),
    ),
    Situation(
        "after the task has its result, before Airflow hears of it",
        ADOPTED,
        before_3_3=PAID_TWICE,
        stage={"dies": "finished"},
        quick=(("agent", "blocking"), ("query", "deferrable")),
    ),
    Situation(
        "after a task with `wait_for_completion=False` has its id, before Airflow hears of it",
        ADOPTED,
        before_3_3=PAID_TWICE,
        modes=("blocking",),
        stage={"dies": "finished", "arguments": {"wait_for_completion": False}},
    ),
]


def lost_without_webhooks(stage: Stage) -> None:
    stage.fault_start("drop_after")


def faulty_start(kind: str, **fault: Any) -> Script:
    return lambda stage: stage.fault_start(kind, **fault)


def come_back(stage: Stage) -> None:
    """The vendor can be reached only after a while."""
    stage.until("trying", lambda: "Trying again" in stage.logs())
    stage.emulator.start()


STARTS = [
    Situation(
        "nobody can be reached at the vendor's address for a while",
        ONCE,
        before=lambda stage: stage.emulator.stop(),
        after=come_back,
        quick=(("agent", "blocking"),),
    ),
    Situation(
        "429 with `Retry-After`",  # more than one is waited out too, for longer than a test should last
        ONCE._replace(posts=2),
        before=faulty_start("status", status=429, headers={"Retry-After": "1"}),
        quick=(("query", "blocking"),),
    ),
    Situation(
        "503 with `Retry-After`",
        ONCE._replace(posts=2),
        before=faulty_start("status", status=503, headers={"Retry-After": "1"}),
    ),
    *(
        Situation(
            f"{words}; the vendor has acted",
            ONCE,
            before=faulty_start(kind, acted=True, **fault) if kind == "status" else faulty_start(kind, **fault),
            quick=quick,
        )
        for words, kind, fault, quick in (
            ("the connection breaks", "drop_after", {}, (("agent", "deferrable"),)),
            ("the connection breaks within the reply", "drop_body", {}, ()),
            ("500", "status", {"status": 500}, ()),
            ("502", "status", {"status": 502}, (("query", "deferrable"),)),
            ("503", "status", {"status": 503}, ()),
            ("504", "status", {"status": 504}, ()),
            ("a truncated reply", "truncate", {}, (("workflow", "deferrable"),)),
            ("a reply that is not JSON", "not_json", {}, ()),
            ("a reply without the id", "missing_id", {}, ()),
        )
    ),
    Situation(
        "no reply within the connection's `timeout`; the vendor has acted",
        ONCE,
        stage={"extra": {"timeout": 2}},
        before=faulty_start("slow", seconds=6),
    ),
    *(
        Situation(
            f"{words}; the vendor has not acted",
            LEFT_OPEN,
            stage={"arguments": SHORT_LOOK},
            before=faulty_start(kind, **fault),
            quick=quick,
        )
        for words, kind, fault, quick in (
            ("the connection breaks", "drop_before", {}, (("agent", "deferrable"), ("workflow", "blocking"))),
            ("500", "status", {"status": 500}, ()),
            ("502", "status", {"status": 502}, ()),
            ("503", "status", {"status": 503}, ()),
            ("504", "status", {"status": 504}, ()),
        )
    ),
    *(
        Situation(
            f'{words}; the vendor has not acted; `on_lost_start="restart"`',
            STARTED_LATER,
            stage={"arguments": RESTART},
            before=faulty_start(kind, **fault),
            quick=quick,
        )
        for words, kind, fault, quick in (
            ("the connection breaks", "drop_before", {}, (("query", "blocking"),)),
            ("500", "status", {"status": 500}, ()),
        )
    ),
]


def end_too_late_and_clear(stage: Stage) -> None:
    """The webhook comes when the task has already failed; then somebody clears it."""
    stage.until_ended()
    assert stage.task()["state"] == "failed"
    stage.finish()
    stage.until("delivered", lambda: stage.emulator.control.deliveries())
    stage.clear()


def clear_when_failed(stage: Stage) -> None:
    stage.until_ended()
    assert stage.task()["state"] == "failed"
    stage.clear()


CHOICES = [
    Situation(
        "the reply is lost; the connection has no `webhook_secret`",
        ONCE._replace(end="failed"),
        stage={"told": False},
        before=lost_without_webhooks,
        quick=(("agent", "deferrable"),),
    ),
    Situation(
        'the same; `on_lost_start="restart"`',
        PAID_TWICE,
        stage={"told": False, "arguments": {"on_lost_start": "restart"}},
        before=lost_without_webhooks,
        quick=(("query", "blocking"),),
    ),
    Situation(
        "the reply is lost; the task has failed before the webhook came; then somebody clears the task",
        ADOPTED,
        kinds=("agent", "query"),
        stage={"seconds": None, "arguments": SHORT_LOOK},
        before=lost_without_webhooks,
        after=end_too_late_and_clear,
        quick=(("agent", "blocking"),),
    ),
    Situation(
        "the vendor has not acted; the task has failed; then somebody clears the task",
        STARTED_LATER,
        stage={"arguments": SHORT_LOOK},
        before=faulty_start("drop_before"),
        after=clear_when_failed,
    ),
]

# With a short `timeout` of the connection, the list of runs is soon sure that nothing was started.
BY_MCP: dict[str, Any] = {"mcp": True, "extra": {"timeout": 2}}

LISTED = [
    Situation(
        "the task's process is killed after the vendor acted, before the reply was read",
        ADOPTED,
        kinds=("workflow",),
        stage={"dies": "reply unread", **BY_MCP},
        quick=(("workflow", "deferrable"),),
    ),
    Situation(
        "the task's process is killed after the start was noted down, before it was sent",
        ADOPTED,
        kinds=("workflow",),
        stage={"dies": "announced", **BY_MCP},
    ),
    Situation(
        "the task's process is killed while the task waits",
        ADOPTED,
        kinds=("workflow",),
        modes=("blocking",),
        stage={"seconds": None, **BY_MCP},
        after=kill_while_waiting,
    ),
    Situation(
        "the connection breaks; the vendor has acted",
        ONCE,
        kinds=("workflow",),
        stage=BY_MCP,
        before=faulty_start("drop_after"),
    ),
    Situation(
        "the connection breaks; the vendor has not acted",
        STARTED_LATER,
        kinds=("workflow",),
        stage=BY_MCP,
        before=faulty_start("drop_before"),
    ),
]

TROUBLES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("broken connections", "drop_before", {}),
    ("connections that break within the reply", "drop_body", {}),
    ("500", "status", {"status": 500}),
    ("502", "status", {"status": 502}),
    ("503", "status", {"status": 503}),
    ("504", "status", {"status": 504}),
    ("429 with `Retry-After`, five times", "status", {"status": 429, "headers": {"Retry-After": "1"}, "times": 5}),
    ("truncated replies", "truncate", {}),
    ("replies that are not JSON", "not_json", {}),
)


def faulty_questions(kind: str, fault: dict[str, Any]) -> Script:
    return lambda stage: stage.fault_questions(kind, **{"times": 2, **fault})


POLLS = [
    Situation(
        words,
        ONCE,
        stage={"told": False, "seconds": 3.0},
        before=faulty_questions(kind, fault),
        quick={"500": (("agent", "deferrable"),), "truncated replies": (("query", "blocking"),)}.get(words, ()),
    )
    for words, kind, fault in TROUBLES
]


def spoil_result(kind: str, fault: dict[str, Any]) -> Script:
    def spoil(stage: Stage) -> None:
        stage.until_waiting()
        asked = stage.questions()
        stage.finish()
        # The trigger's question, which sees the end, is let through; the task's, for the result, is not.
        stage.until("asked", lambda: stage.questions() > asked)
        faulty_questions(kind, fault)(stage)

    return spoil


def after_spoilt(kind: str) -> Outcome:
    # A reply in which nothing can be read fails the attempt; the next one asks again.
    return ADOPTED if kind in ("truncate", "not_json") else ONCE


RESULTS = [
    Situation(
        words,
        after_spoilt(kind),
        kinds=("workflow", "query"),  # the trigger hands the small result of an agent over
        modes=("deferrable",),
        stage={"told": False, "seconds": None},
        after=spoil_result(kind, fault),
        quick=(("query", "deferrable"),) if words == "502" else (),
    )
    for words, kind, fault in TROUBLES
]


def end(stage: Stage) -> None:
    stage.finish()


def clear_after_success(stage: Stage) -> None:
    stage.until_ended()
    stage.clear()


def mark_failed_and_clear(stage: Stage) -> None:
    stage.until_waiting()
    if stage.mode == "deferrable":
        stage.until("in the triggerer", lambda: stage.times_logged("trigger", "starting"))
    (run_id,) = stage.runs()
    stage.run.set_state("task", "failed")
    told = stage.mode == "blocking" or AIRFLOW >= (3, 3)  # before, Airflow does not tell a trigger
    if told:
        stage.until("said", lambda: stage.times_logged(run_id, "goes on"))
    stage.until("gone", lambda: stage.task_id not in stage.airflow.task_processes())
    stage.until_ended()
    assert stage.times_logged(run_id, "goes on") == told, stage.story()
    stage.clear()
    end_when_adopted(stage)


def clear_while_waiting(stage: Stage) -> None:
    stage.until_waiting()
    stage.run.clear()
    end_when_adopted(stage)


def fail_then_succeed(stage: Stage) -> None:
    stage.until_waiting()
    stage.emulator.control.settings(**{stage.kind: {"seconds": 1.0}})
    stage.finish(outcome="failed", error="The dog ate it.")
    stage.until_ended()
    assert stage.times_logged("The dog ate it.")


def time_out(stage: Stage) -> None:
    stage.until_waiting(attempt=2)
    (run_id,) = stage.runs()
    assert stage.times_logged(run_id, "did not end in time", "It goes on", "the next attempt"), stage.story()
    stage.finish()


OPERATIONS = [
    Situation(
        "the task has succeeded; then somebody clears it",
        Outcome(posts=2, runs=2, attempts=2, end="success"),
        stage={"seconds": 0.5},
        after=clear_after_success,
        quick=(("agent", "deferrable"),),
    ),
    Situation(
        "somebody marks the task as failed while its run goes on, and clears it later",
        ADOPTED,
        stage={"seconds": None},
        after=mark_failed_and_clear,
        quick=(("workflow", "blocking"), ("agent", "deferrable")),
    ),
    Situation(
        "somebody clears the task while its run goes on",
        ADOPTED,
        stage={"seconds": None},
        after=clear_while_waiting,
    ),
    Situation(
        "the vendor says that the run has failed",
        Outcome(posts=2, runs=2, attempts=2, end="success"),
        stage={"seconds": None},
        after=fail_then_succeed,
    ),
    Situation(
        "the operator's `timeout` passes; the run ends while the next attempt waits",
        ADOPTED,
        stage={"seconds": None, "arguments": {"timeout": 15.0}},
        after=time_out,
    ),
    Situation(
        "the task's `execution_timeout` passes; the run ends while the next attempt waits",
        ADOPTED,
        stage={"seconds": None, "dag": "_limited"},
        after=time_out,
    ),
]


def restart_triggerer(airflow: LocalAirflow, stages: list[Stage]) -> None:
    airflow.kill_component("triggerer")
    airflow.start_component("triggerer")


def end_without_triggerer(airflow: LocalAirflow, stages: list[Stage]) -> None:
    airflow.kill_component("triggerer")
    for stage in stages:
        stage.finish()
    airflow.start_component("triggerer")


def restart_triggerer_after_deadline(airflow: LocalAirflow, stages: list[Stage]) -> None:
    airflow.kill_component("triggerer")
    for stage in stages:
        stage.until("in the second attempt", lambda stage=stage: stage.task()["try_number"] == 2)
        assert stage.times_logged("no triggerer had said so", "goes on", "Check that a triggerer runs"), stage.story()
    airflow.start_component("triggerer")


def restart_api_server(airflow: LocalAirflow, stages: list[Stage]) -> None:
    airflow.kill_component("api-server")
    airflow.start_component("api-server")


def end_without_api_server(airflow: LocalAirflow, stages: list[Stage]) -> None:
    airflow.kill_component("api-server")
    for stage in stages:
        stage.finish()
    airflow.start_component("api-server")


def freeze_scheduler(airflow: LocalAirflow, stages: list[Stage]) -> None:
    scheduler = psutil.Process(airflow.pid("scheduler"))
    for stage in stages:
        if stage.mode == "deferrable":
            # One that has not yet seen the deferral takes the task for lost: apache/airflow issue 72716.
            airflow.wait_logged("scheduler", "Received executor event", repr(stage.dag_id), repr(stage.run.run_id))
    scheduler.suspend()
    for stage in stages:
        stage.finish()
    time.sleep(20)
    scheduler.resume()


def restart_scheduler(airflow: LocalAirflow, stages: list[Stage]) -> None:
    airflow.kill_component("scheduler")
    airflow.start_component("scheduler")


ENDLESS: dict[str, Any] = {"seconds": None}

DISASTERS = [
    Situation(
        "the triggerer is killed and started again",
        ONCE,
        modes=("deferrable",),
        stage=ENDLESS,
        disaster=restart_triggerer,
        after=end,
    ),
    Situation(
        "the triggerer is killed; the run ends; the triggerer is started again",
        ONCE,
        modes=("deferrable",),
        stage=ENDLESS,
        disaster=end_without_triggerer,
        quick=(("agent", "deferrable"), ("workflow", "deferrable")),
    ),
    Situation(
        "the triggerer is killed and started again; the operator's `timeout`, which counts on, passes",
        ADOPTED,
        modes=("deferrable",),
        stage={"seconds": None, "arguments": {"timeout": 40.0}},
        disaster=restart_triggerer,
        after=time_out,
    ),
    Situation(
        "no triggerer runs until long after the operator's `timeout`",
        ADOPTED,
        modes=("deferrable",),
        stage={"seconds": None, "arguments": {"timeout": 30.0}, "grace": 2.0},
        disaster=restart_triggerer_after_deadline,
        after=end_when_adopted,
    ),
    Situation(
        "the API server is killed and started again",
        ONCE,
        stage=ENDLESS,
        disaster=restart_api_server,
        after=end,
        quick=(("agent", "blocking"), ("query", "deferrable")),
    ),
    Situation(
        "the API server is killed; the run ends; the API server is started again",
        ONCE,
        kinds=("agent", "query"),
        stage=ENDLESS,
        disaster=end_without_api_server,
    ),
    Situation(
        "the same with a vendor that sends its webhook only once; the connection has a `run_status_path`",
        ONCE,
        kinds=("workflow",),
        stage={"seconds": None, "arguments": {"timeout": 40.0}, "extra": {"run_status_path": "/runs/{message_id}"}},
        disaster=end_without_api_server,
    ),
    Situation(
        "the scheduler stands still for 20 seconds, in which the run ends",
        ONCE,
        stage=ENDLESS,
        disaster=freeze_scheduler,
    ),
    Situation(
        "the scheduler is killed with all its workers and started again",
        ADOPTED,
        modes=("blocking",),
        stage=ENDLESS,
        disaster=restart_scheduler,
        after=end_when_adopted,
    ),
    Situation(
        "the scheduler is killed with all its workers and started again",
        ONCE,
        modes=("deferrable",),
        stage=ENDLESS,
        disaster=restart_scheduler,
        after=end,
    ),
]

SECTIONS = {
    "The task's process is killed": (
        "With SIGKILL, on the first attempt, at the moment that the row names.",
        KILLED,
    ),
    "A part of Airflow fails": ("While the task waits.", DISASTERS),
    "The start meets trouble": ("The request that starts the run is answered with what the row names.", STARTS),
    "Nobody can tell whether a run was started": ("What the task does then is your choice.", CHOICES),
    "NenAI's list of runs tells": (
        "The connection has an `mcp_url`, and nothing else: no webhook comes.",
        LISTED,
    ),
    "Questions meet trouble": (
        "The connection has no `webhook_secret`: the vendor is asked how the run stands. The first two questions, "
        "if the row does not say otherwise, are answered with what it names.",
        POLLS,
    ),
    "The request for the result meets trouble": (
        "The connection has no `webhook_secret`, and the triggerer waits. When it has seen the end, the task asks for "
        "the result. The first two requests, if the row does not say otherwise, are answered with what it names. "
        "(Where a webhook tells the end, the result came with it.)",
        RESULTS,
    ),
    "People and time-outs": ("While the task waits, or afterwards.", OPERATIONS),
}
"""By title: what is said about all situations of the section, and the situations."""

SITUATIONS = [situation for _, situations in SECTIONS.values() for situation in situations]
