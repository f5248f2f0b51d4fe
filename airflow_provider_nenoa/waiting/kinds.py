"""The four kinds of runs, and what each vendor can tell about them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import InvalidConnection, InvalidReply, NotFound
from airflow_provider_nenoa.runs import Run, RunStatus, status_of

if TYPE_CHECKING:
    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.hooks.nenai import NenAIHook
    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook


LARGEST_EVENT = 16_384
"""Characters of JSON that a payload may have to travel in a trigger's event."""
KNOWN_WITHIN = 60.0
"""
Seconds after its start for which a vendor that says it knows no such run is not believed: it has named the run itself,
and what it answers from may be a little behind. To give the run up would be to pay for it twice.
"""


@dataclass(frozen=True)
class Kind:
    """
    A kind of run.

    :param name: ``workflow``, ``agent``, ``query`` or ``export``; also how a run is called in messages.
    :param vendor: The vendor's name.
    :param hook: Makes the hook for a connection; takes the hook's keyword arguments.
    :param can_poll: Whether this connection has an endpoint to ask.
    :param poll: Asks it.
    :param hands_over: Whether a small payload may travel in a trigger's event, through Airflow's database: that saves
        asking the vendor once more. Never one that holds a URL, which may be presigned.
    :param lost_for: Seconds for which a run whose start's reply was lost is looked for by its webhooks. That none has
        come proves nothing: a run that waits in the vendor's queue is not announced yet.
    :param patience: Seconds for which the vendor tries to deliver a webhook: 5 and no second time (NenAI), five more
        times with growing pauses (OpenAnalyst).
    :param log_lines: Returns the last lines of a run's log at the vendor, where there is one and it can be read.
    """

    name: str
    vendor: str
    hook: Callable[..., VendorHook]
    can_poll: Callable[[Any], bool]
    poll: Callable[[Any, str], Run]
    hands_over: bool
    lost_for: float = 600.0
    patience: float = 30.0
    log_lines: Callable[[Any, str], list[str]] = lambda hook, run_id: []

    @property
    def a_run(self) -> str:
        """Name a run of this kind in a message."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name} run"

    def cannot_be_learnt(self, conn_id: str) -> InvalidConnection:
        """Return the error for a connection without a webhook secret, of a vendor that cannot be asked."""
        return InvalidConnection(
            f"Connection '{conn_id}' has neither a 'webhook_secret' nor an 'mcp_url': the end of {self.a_run} cannot "
            "be learnt.\nSet the secret with which the vendor signs its webhooks, or the address of its MCP server."
        )

    def hand_over(self, run: Run) -> Run | None:
        """Return the run if its payload may travel in a trigger's event."""
        if not self.hands_over:
            return None
        try:
            text = json.dumps(run.payload, allow_nan=False)
        except ValueError:
            return None
        # PostgreSQL takes neither NaN nor the character 0 in its JSON. Airflow logs events, and a URL may be presigned,
        # which makes it a secret.
        may_travel = len(text) <= LARGEST_EVENT and "\\u0000" not in text and "://" not in text
        return run if may_travel else None


def _nenai(conn_id: str, **kwargs: Any) -> NenAIHook:
    from airflow_provider_nenoa.hooks.nenai import NenAIHook

    return NenAIHook(conn_id, **kwargs)


def _openanalyst(conn_id: str, **kwargs: Any) -> OpenAnalystHook:
    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook

    return OpenAnalystHook(conn_id, **kwargs)


def _query(hook: OpenAnalystHook, query_id: str) -> Run:
    from airflow_provider_nenoa.results.reply import Head

    return hook.get_query_results(query_id, large=Head())  # who waits has no use for the rows


WORKFLOW = Kind(
    "workflow",
    "NenAI",
    hook=_nenai,
    can_poll=lambda hook: hook.can_ask,
    poll=lambda hook, run_id: hook.get_run(run_id),
    hands_over=False,
    patience=5.0,
    log_lines=lambda hook, run_id: hook.last_log_lines(run_id),
)
AGENT = Kind(
    "agent",
    "OpenAnalyst",
    hook=_openanalyst,
    can_poll=lambda hook: True,
    poll=lambda hook, run_id: hook.get_agent_run(run_id),
    hands_over=True,
)
QUERY = Kind(
    "query",
    "OpenAnalyst",
    hook=_openanalyst,
    can_poll=lambda hook: True,
    poll=lambda hook, run_id: _query(hook, run_id),
    hands_over=False,
)
EXPORT = Kind(
    "export",
    "OpenAnalyst",
    hook=_openanalyst,
    can_poll=lambda hook: True,
    poll=lambda hook, run_id: hook.get_export(run_id),
    hands_over=False,
)
KINDS = {kind.name: kind for kind in (WORKFLOW, AGENT, QUERY, EXPORT)}


@dataclass(frozen=True)
class RunKey:
    """
    What is waited for: a run by its id or the ``ref`` in its callback URL, whichever a webhook brings.

    :param conn_id: The connection.
    :param kind: The name of the run's `Kind`.
    :param run_id: The vendor's id; None: the start's reply was lost.
    :param ref: Our own token; None: the run was started by somebody else.
    """

    conn_id: str
    kind: str
    run_id: str | None = None
    ref: str | None = None


@dataclass(frozen=True)
class Ended:
    """
    How a wait ended.

    :param run_id: The vendor's id of the run.
    :param word: The vendor's status word.
    :param by_webhook: Whether our receiver has the payload; otherwise the vendor must be asked for it.
    :param run: The run with its payload, where the source that noticed the end already has it.
    """

    run_id: str
    word: str
    by_webhook: bool
    run: Run | None = field(default=None, compare=False)

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> Ended:
        """Read what `to_event` wrote."""
        run = Run(event["run_id"], event["word"], event["payload"]) if "payload" in event else None
        return cls(event["run_id"], event["word"], event["by_webhook"], run)

    def to_event(self) -> dict[str, Any]:
        """Return what a trigger's event says."""
        event = {"run_id": self.run_id, "word": self.word, "by_webhook": self.by_webhook}
        return event if self.run is None else {**event, "payload": self.run.payload}

    @property
    def status(self) -> RunStatus:
        """The word in our vocabulary."""
        return status_of(self.word) or RunStatus.RUNNING


def ask_vendor(
    hook: VendorHook, key: RunKey, started_at: float | None, clock: Callable[[], float] | None = None
) -> Run:
    """
    Ask the vendor how a run stands.

    :param hook: The connection.
    :param key: The run, by its id. With a ``ref``, we have started it ourselves.
    :param started_at: When, in Unix seconds; None: that is not known.
    :param clock: The present time in Unix seconds; replaced in tests. Default `time.time`.
    :raises NotFound: The vendor knows no such run.
    :raises InvalidReply: It says so of a run that it has just made, which is no reason to give up.
    """
    try:
        return KINDS[key.kind].poll(hook, key.run_id or "")
    except NotFound as error:
        age = float("inf") if started_at is None or key.ref is None else (clock or time.time)() - started_at
        if age >= KNOWN_WITHIN:
            raise
        raise InvalidReply(f"{error} But it was started {age:.0f} s ago, and may be known a little later.") from None
