"""How Airflow 3.3 drives a stream that several triggers share, and tells what of it is in its database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_nenoa.triggers.stream import Page, follow

try:
    from airflow.triggers.shared_stream import SharedStreamProducer
except ImportError:  # Airflow 3.0 to 3.2, which ask for no producer
    SharedStreamProducer = object  # type: ignore[misc,assignment]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from airflow.triggers.shared_stream import AdvanceItem


class Producer(SharedStreamProducer):
    """
    Gives the pages of a connection's stream, and closes them.

    Each watcher keeps its own place in the stream, in the state store of its asset, once its page is closed: who still
    runs then has got all its events into the database; Airflow ends who has not.

    :param conn_id: The connection.
    """

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id

    async def open_stream(self) -> AsyncIterator[tuple[Page, Page]]:
        """Give the pages."""
        async for page in follow(self._conn_id):
            page.open = True
            yield page, page

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Close the pages with which all watchers are done."""
        for item in batch:
            item.broker_payload.open = False
