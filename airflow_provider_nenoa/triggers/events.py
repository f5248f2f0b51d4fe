"""A trigger for event-driven DAGs: it fires for every run that ends, or for events by their name."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_nenoa.exceptions import ConnectionUnreadable, InvalidArgument, ReceiverUnavailable
from airflow_provider_nenoa.triggers.stream import Page, follow, receiver_client
from airflow_provider_nenoa.vendors.arguments import required

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from airflow_provider_nenoa.webhooks.client import ReceiverClient
    from airflow_provider_nenoa.webhooks.records import RunSummary

CURSOR = "nenoa_cursor"


class RunEventTrigger(BaseEventTrigger):
    """
    Fire for every run of a connection whose end a webhook tells, whoever started it: for an ``AssetWatcher``.

    With ``events``, fire for webhooks whose event has one of these names, also for those that are about no run, such as
    OpenAnalyst's ``report.completed`` and ``alert_triggered``.

    Each event is a dict: ``conn_id``, ``run_id`` (None: it is about no run, or the webhook did not name it), ``status``
    (``success``, ``failed`` or ``cancelled``; ``running`` for what is no end), ``word`` (the vendor's own), ``kind``,
    ``event`` (its name, or None) and ``id``, by which `ReceiverClient.event` gives the whole body.

    On Airflow 3.3 and later all watchers of a connection share one stream, and the place in it is kept in the asset's
    state store, once Airflow has the events in its database: what comes while no triggerer runs fires later, and after
    a crash what was on its way fires twice. Before that, the trigger begins with what comes after its start.

    :param conn_id: A connection of type ``nenai`` or ``openanalyst`` with a ``webhook_secret``.
    :param statuses: Which ends of runs to fire for. Default: ``success`` only; with ``events``, none.
    :param events: Which events to fire for, by their names.
    :param kinds: Fire only for these kinds of runs: ``workflow``, ``agent``, ``query``, ``export``. Default: all.
    :param workflow_id: Fire only for webhooks in whose body this workflow stands, as ``workflow_id``.
    :param agent_id: Fire only for webhooks in whose body this agent stands, as ``agent_id``. OpenAnalyst's pages do not
        say that it does: where it does not, nothing fires, and the triggerer's log says so once.
    :raises InvalidArgument: There is nothing to fire for, no such status or kind, or an id that is none.
    """

    def __init__(
        self,
        conn_id: str,
        statuses: list[str] | tuple[str, ...] | None = None,
        events: list[str] | tuple[str, ...] = (),
        kinds: list[str] | tuple[str, ...] = (),
        workflow_id: str | None = None,
        agent_id: str | None = None,
    ) -> None:
        super().__init__()
        if isinstance(events, str) or not all(isinstance(name, str) and name for name in events):
            raise InvalidArgument(f"'events' must be a list of names of events, not {events!r}.")
        if statuses is None:
            statuses = () if events else ("success",)
        if not (statuses or events) or not set(statuses) <= {"success", "failed", "cancelled"}:
            raise InvalidArgument(f"'statuses' must be some of success, failed, cancelled, not {statuses!r}.")
        if isinstance(kinds, str) or not set(kinds) <= {"workflow", "agent", "query", "export"}:
            raise InvalidArgument(f"'kinds' must be some of workflow, agent, query, export, not {kinds!r}.")
        self.conn_id = conn_id
        self.statuses = list(statuses)
        self.events = list(events)
        self.kinds = list(kinds)
        self.workflow_id = None if workflow_id is None else required("workflow_id", workflow_id)
        self.agent_id = None if agent_id is None else required("agent_id", agent_id)
        self._unnamed: set[str] = set()  # of these, a body had none, and the log has said so

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{__name__}.{type(self).__qualname__}", {
            "conn_id": self.conn_id,
            "statuses": self.statuses,
            "events": self.events,
            "kinds": self.kinds,
            "workflow_id": self.workflow_id,
            "agent_id": self.agent_id,
        }

    def shared_stream_key(self) -> Hashable:
        """Return what the watchers of one connection have in common: they share one long poll (Airflow 3.3)."""
        return "nenoa", self.conn_id

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Any:
        """Return what gives them the stream."""
        from airflow_provider_nenoa.triggers.shared import Producer

        return Producer(kwargs["conn_id"])

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Follow the receiver's stream of events for ever, with no other watcher; outages are waited out.

        :raises InvalidConnection: The connection has another type, or no ``webhook_secret``.
        """
        async for event in self.filter_shared_stream(follow(self.conn_id)):
            yield event

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Page]) -> AsyncIterator[TriggerEvent]:
        """
        Give this watcher's events from the pages of the stream; what it has missed before, it fetches itself.

        :param shared_stream: The pages, each where the last one ended; the first of them anywhere.
        """
        # Kept by Airflow 3.3 and later; None before, and where the trigger watches for more than one asset.
        state: Any = getattr(self, "asset_state_store", None)
        saved: int | None = await state.aget(CURSOR) if state is not None else None
        cursor = saved
        pages: deque[Page] = deque()
        async for page in shared_stream:
            done = saved
            while pages and not pages[0].open:
                done = pages.popleft().cursor
            if cursor is None:
                cursor = done = page.after
            if done != saved and state is not None:
                await state.aset(CURSOR, done)
            saved = done
            if cursor > page.cursor:
                cursor = 0  # another database stands behind the receiver now: twice is better than never
            try:
                asks = page.after > cursor or (page.events and self._needs_body)
                client = await receiver_client(self.conn_id) if asks else None
                for event in [*await self._missed(client, cursor, page.after), *page.events]:
                    if event.seq > cursor and await self._is_wanted(event, client):
                        yield self._event(event)
                    cursor = max(cursor, event.seq)
            except (ConnectionUnreadable, ReceiverUnavailable) as error:
                self.log.warning("%s Trying on with the next look.", error)
                continue
            cursor = page.cursor
            pages.append(page)

    @property
    def _needs_body(self) -> bool:
        return self.workflow_id is not None or self.agent_id is not None

    async def _missed(self, client: ReceiverClient | None, after: int, until: int) -> list[RunSummary]:
        """Fetch what came between two places. What has changed again since comes with a later page."""
        found: list[RunSummary] = []
        while client is not None and after < until:
            news = await asyncio.to_thread(client.events, after=after)
            found += [event for event in news.events if event.seq <= until]
            after = news.cursor
            if not news.more:
                break
        return found

    async def _is_wanted(self, event: RunSummary, client: ReceiverClient | None) -> bool:
        if event.event not in self.events and not (event.is_run and event.status in self.statuses):
            return False
        if self.kinds and event.kind not in self.kinds:
            return False
        if client is None or not self._needs_body:
            return True
        stored = await asyncio.to_thread(client.event, event.id)
        if stored is None:
            self.log.warning("The body of event %d is kept no longer: whose it is cannot be told.", event.id)
            return False
        return all(
            self._is_about(field, wanted, event, stored.payload)
            for field, wanted in (("workflow_id", self.workflow_id), ("agent_id", self.agent_id))
            if wanted is not None
        )

    def _is_about(self, field: str, wanted: str, event: RunSummary, payload: Any) -> bool:
        named = _ids_in(payload, field)
        if not named and field not in self._unnamed:
            self._unnamed.add(field)
            self.log.warning(
                "Event %d of connection '%s' has no %s in its body: whether it is about '%s' cannot be told, and "
                "nothing fires for it, nor for others like it.\nLeave '%s' out, and let the DAG look at the run.",
                event.id,
                self.conn_id,
                field,
                wanted,
                field,
            )
        alike = str.lower if field == "workflow_id" else str  # a UUID is the same in either case
        return alike(wanted) in map(alike, named)

    def _event(self, event: RunSummary) -> TriggerEvent:
        return TriggerEvent(
            {
                "conn_id": self.conn_id,
                "run_id": event.run_id,
                "status": str(event.status),
                "word": event.word,
                "kind": event.kind,
                "event": event.event,
                "id": event.id,
            }
        )


def _ids_in(payload: Any, field: str) -> list[str]:
    """Return the ids that a body, or an object in it, has in a field."""
    parts = [payload, *payload.values()] if isinstance(payload, dict) else []
    first, *rest = field.split("_")
    names = (field, first + "".join(map(str.capitalize, rest)))
    return [str(part[name]) for part in parts if isinstance(part, dict) for name in names if part.get(name) is not None]
