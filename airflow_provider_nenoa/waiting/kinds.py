"""The three kinds of runs, and what each vendor can tell about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.runs import Run, RunStatus, status_of

if TYPE_CHECKING:
    from airflow_provider_nenoa.hooks.base import VendorHook
    from airflow_provider_nenoa.hooks.nenai import NenAIHook
    from airflow_provider_nenoa.hooks.openanalyst import OpenAnalystHook


LARGEST_EVENT = 16_384
"""Characters of JSON that a payload may have to travel in a trigger's event."""


@dataclass(frozen=True)
class Kind:
    """
    A kind of run.

    :param name: ``workflow``, ``agent`` or ``query``; also how a run is called in messages.
    :param vendor: The vendor's name.
    :param hook: Makes the hook for a connection; takes the hook's keyword arguments.
    :param can_poll: Whether this connection has an endpoint to ask.
    :param poll: Asks it.
    :param announces: Whether the vendor reports the beginning of a run by webhook too, not only its end.
    :param hands_over: Whether a small payload may travel in a trigger's event, through Airflow's database: that saves
        asking the vendor once more. Never one that holds a URL, which may be presigned.
    :param lost_for: Seconds for which a run whose start's reply was lost is looked for by its webhooks.
    """

    name: str
    vendor: str
    hook: Callable[..., VendorHook]
    can_poll: Callable[[Any], bool]
    poll: Callable[[Any, str], Run]
    announces: bool
    hands_over: bool
    lost_for: float

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


WORKFLOW = Kind(
    "workflow",
    "NenAI",
    hook=_nenai,
    can_poll=lambda hook: hook.run_status_path is not None,
    poll=lambda hook, run_id: hook.get_run(run_id),
    announces=True,
    hands_over=False,
    lost_for=120.0,
)
AGENT = Kind(
    "agent",
    "OpenAnalyst",
    hook=_openanalyst,
    can_poll=lambda hook: True,
    poll=lambda hook, run_id: hook.get_agent_run(run_id),
    announces=False,
    hands_over=True,
    lost_for=600.0,
)
QUERY = Kind(
    "query",
    "OpenAnalyst",
    hook=_openanalyst,
    can_poll=lambda hook: True,
    poll=lambda hook, run_id: hook.get_query_results(run_id),
    announces=False,
    hands_over=False,
    lost_for=600.0,
)
KINDS = {kind.name: kind for kind in (WORKFLOW, AGENT, QUERY)}


@dataclass(frozen=True)
class RunKey:
    """
    What is waited for: a run by its id, or, where the start's reply was lost, by the ``ref`` in its callback URL.

    :param conn_id: The connection.
    :param kind: The name of the run's `Kind`.
    :param run_id: The vendor's id, or None.
    :param ref: Our own token, or None.
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
