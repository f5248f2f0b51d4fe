"""
What each vendor's pages say, as code: one module per vendor, pure functions and tables.

Nothing here sends, stores or logs anything. Hooks, receiver, waiting and results look up here how a request is written
and how an answer or a webhook is read. The words in which the vendors tell how a run stands are in
`airflow_provider_nenoa.runs`: one list serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from airflow_provider_nenoa.vendors import nenai, openanalyst
from airflow_provider_nenoa.vendors.messages import Message
from airflow_provider_nenoa.vendors.signatures import Scheme


class Vendor(Protocol):
    """What whoever does not care which vendor it is may ask a vendor's module for."""

    NAME: str
    SIGNATURE: Scheme
    RUN_KINDS: tuple[str, ...]

    def read_webhook(self, payload: Any, kind: str | None = None) -> Message:
        """
        Read a webhook's body, whatever JSON it is.

        :param payload: The JSON value.
        :param kind: The kind of run that the called URL names, if it does.
        """


VENDORS: Mapping[str, Vendor] = {"nenai": nenai, "openanalyst": openanalyst}
"""The vendors' modules, by the type of the connections that lead to them."""
