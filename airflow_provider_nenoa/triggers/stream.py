"""The stream of events of a connection, which all its watchers in a triggerer share where Airflow can (3.3)."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_nenoa.exceptions import ConnectionUnreadable, InvalidConnection, ReceiverUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_nenoa.webhooks.client import ReceiverClient
    from airflow_provider_nenoa.webhooks.records import RunSummary

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Page:
    """
    What has changed between two places in the stream.

    :param after: Where it begins.
    :param cursor: Where it ends.
    :param events: What has changed, in the order of ``seq``; now and then nothing, so that everybody sees the place.
    :param open: Whether Airflow has yet to say that all that came of it is in its database. It only says so where it
        has a shared stream.
    """

    after: int
    cursor: int
    events: list[RunSummary]
    open: bool = False


async def follow(conn_id: str) -> AsyncIterator[Page]:
    """
    Give the pages of a connection's stream of events for ever, from its present end on; outages are waited out.

    :raises InvalidConnection: The connection has another type, or no ``webhook_secret``.
    """
    from airflow_provider_nenoa.waiting.channel import back_off, not_at_once
    from airflow_provider_nenoa.waiting.webhook_source import LONG_POLL

    client: ReceiverClient | None = None
    cursor: int | None = None
    failures = 0
    while True:
        asked_at = asyncio.get_running_loop().time()
        try:
            # Made anew after each failure: the webhook secret may have been changed meanwhile.
            client = client or await receiver_client(conn_id)
            if cursor is None:
                after = (await asyncio.to_thread(client.events)).cursor
                page = Page(after, after, [])
            else:
                news = await asyncio.to_thread(client.events, after=cursor, wait=LONG_POLL)
                # A smaller cursor: another database stands behind the receiver, and this is its beginning.
                page = Page(cursor if news.cursor >= cursor else 0, news.cursor, news.events)
        except (ConnectionUnreadable, ReceiverUnavailable) as error:
            failures += 1
            if failures == 1:
                log.warning("%s Trying on.", error)
            await back_off(failures)
            client = None
            continue
        failures = 0
        is_new, cursor = page.cursor != cursor, page.cursor
        yield page
        if not is_new:
            await not_at_once(asked_at)


async def receiver_client(conn_id: str) -> ReceiverClient:
    """
    Make the client that asks our receiver about a connection's webhooks.

    :raises ConnectionUnreadable: Airflow does not give the connection at the moment.
    :raises InvalidConnection: It has another type, or no ``webhook_secret``.
    """
    from airflow_provider_nenoa.hooks.base import airflow_connection
    from airflow_provider_nenoa.waiting.channel import read_connection_in_airflows_thread
    from airflow_provider_nenoa.waiting.kinds import AGENT, WORKFLOW
    from airflow_provider_nenoa.webhooks.client import ReceiverClient

    hooks = {"nenai": WORKFLOW.hook, "openanalyst": AGENT.hook}
    either = " or ".join(hooks)
    connection = await read_connection_in_airflows_thread(lambda: airflow_connection(conn_id, either))
    if connection.conn_type not in hooks:
        raise InvalidConnection(f"Connection '{conn_id}' is of type '{connection.conn_type}', not {either}.")
    hook = hooks[connection.conn_type](conn_id)
    secret = (await read_connection_in_airflows_thread(lambda: hook.settings)).webhook_secret
    if not secret:
        raise InvalidConnection(
            f"Connection '{conn_id}' has no 'webhook_secret', or a key for which none are sent, as OpenAnalyst's "
            "oa_test_ keys are: no webhook can tell an end."
        )
    return ReceiverClient(conn_id, secret, retry_for=0)
