"""A trigger for event-driven DAGs: it fires for every run that ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_nenoa.exceptions import (
    ConnectionUnreadable,
    InvalidArgument,
    InvalidConnection,
    ReceiverUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_nenoa.webhooks.client import ReceiverClient

CURSOR = "nenoa_cursor"


class RunEventTrigger(BaseEventTrigger):
    """
    Fire for every run of a connection whose end a webhook tells, whoever started it: for an ``AssetWatcher``.

    Each event is a dict: ``conn_id``, ``run_id``, ``status`` (``success``, ``failed`` or ``cancelled``) and ``word``
    (the vendor's own). On Airflow 3.3 and later the place in the stream of events is kept in the asset's state store:
    what ends while no triggerer runs fires later, and after a crash the last event may fire twice. Before that, the
    trigger begins with what ends after its start.

    :param conn_id: A connection of type ``nenai`` or ``openanalyst`` with a ``webhook_secret``.
    :param statuses: Which ends to fire for. Default: ``success`` only.
    """

    def __init__(self, conn_id: str, statuses: list[str] | tuple[str, ...] = ("success",)) -> None:
        super().__init__()
        if not statuses or not set(statuses) <= {"success", "failed", "cancelled"}:
            raise InvalidArgument(f"'statuses' must be some of success, failed, cancelled, not {statuses!r}.")
        self.conn_id = conn_id
        self.statuses = list(statuses)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{__name__}.{type(self).__qualname__}", {"conn_id": self.conn_id, "statuses": self.statuses}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Follow the receiver's stream of events for ever; what does not answer for a while is waited for.

        :raises InvalidConnection: The connection has another type, or no ``webhook_secret``.
        """
        from airflow_provider_nenoa.waiting.hub import back_off
        from airflow_provider_nenoa.waiting.webhook_source import LONG_POLL

        client: ReceiverClient | None = None
        # Kept by Airflow 3.3 and later; None before, and where the trigger watches for more than one asset.
        state: Any = getattr(self, "asset_state_store", None)
        cursor: int | None = await state.aget(CURSOR) if state is not None else None
        failures = 0
        while True:
            try:
                # Made anew after each failure: the webhook secret may have been changed meanwhile.
                client = client or await self._client()
                if cursor is None:
                    cursor = (await asyncio.to_thread(client.events)).cursor
                news = await asyncio.to_thread(client.events, after=cursor, wait=LONG_POLL)
            except (ConnectionUnreadable, ReceiverUnavailable) as error:
                failures += 1
                if failures == 1:
                    self.log.warning("%s Trying on.", error)
                await back_off(failures)
                client = None
                continue
            failures = 0
            for event in news.events:
                if event.status in self.statuses:
                    yield TriggerEvent(
                        {
                            "conn_id": self.conn_id,
                            "run_id": event.run_id,
                            "status": str(event.status),
                            "word": event.word,
                        }
                    )
            if cursor != news.cursor and state is not None:
                await state.aset(CURSOR, news.cursor)
            cursor = news.cursor

    async def _client(self) -> ReceiverClient:
        from airflow_provider_nenoa.hooks.base import airflow_connection
        from airflow_provider_nenoa.waiting.hub import read_connection_in_airflows_thread
        from airflow_provider_nenoa.waiting.kinds import AGENT, WORKFLOW
        from airflow_provider_nenoa.webhooks.client import ReceiverClient

        hooks = {"nenai": WORKFLOW.hook, "openanalyst": AGENT.hook}
        either = " or ".join(hooks)
        connection = await read_connection_in_airflows_thread(lambda: airflow_connection(self.conn_id, either))
        if connection.conn_type not in hooks:
            raise InvalidConnection(f"Connection '{self.conn_id}' is of type '{connection.conn_type}', not {either}.")
        hook = hooks[connection.conn_type](self.conn_id)
        secret = (await read_connection_in_airflows_thread(lambda: hook.settings)).webhook_secret
        if not secret:
            raise InvalidConnection(f"Connection '{self.conn_id}' has no 'webhook_secret': no webhook can tell an end.")
        return ReceiverClient(self.conn_id, secret, retry_for=0)
