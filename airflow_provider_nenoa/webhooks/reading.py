"""From the body of a webhook, already known to be the vendor's, to what is stored of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from airflow_provider_nenoa.vendors import VENDORS
from airflow_provider_nenoa.vendors.json_text import read_json
from airflow_provider_nenoa.vendors.messages import Message, shown

SMALL = 16 * 1024
"""Bytes of a body that is read in the event loop: it takes less time than to change threads."""
THREADS = 2
"""Threads that read larger ones: as many of them are in memory as objects, which may be thirty times as large."""
AT_ONCE = 8
"""Larger bodies of one connection that are read or wait for it, at most: the others' must not stand behind them."""
SHOWN_FIELDS = 20
"""Names of fields that are logged, at most."""


class NotJson(ValueError):
    """The body is no JSON: the vendor, or somebody in between, made a mistake."""


class Busy(Exception):
    """Too many large bodies of this connection are being read. The vendor will deliver again."""


class Reading(NamedTuple):
    """
    A body that was read.

    :param message: What it tells.
    :param sealed: The body as it is stored.
    :param digest: SHA-256 of the body, in hex.
    :param fields: The names of its fields, fit for a log.
    :param warning: What to log about what of it JSON cannot carry; None: nothing.
    """

    message: Message
    sealed: bytes
    digest: str
    fields: str
    warning: str | None


def read(conn_type: str, body: bytes, seal: Callable[[bytes], bytes], kind: str | None = None) -> Reading:
    """
    Read a webhook's body.

    :param conn_type: ``nenai`` or ``openanalyst``: the vendors name things differently.
    :param body: The raw request body.
    :param seal: Makes of the body what is stored.
    :param kind: The kind of run that the called URL names, if it does.
    :raises NotJson: It is no JSON. Nothing else is refused.
    """
    try:
        json = read_json(body)
    except ValueError:
        raise NotJson("The body is not JSON.") from None
    names = sorted(shown(name, 40) for name in json.value) if isinstance(json.value, dict) else []
    more = ["…"] if len(names) > SHOWN_FIELDS else []
    return Reading(
        VENDORS[conn_type].read_webhook(json.value, kind),
        seal(body),
        hashlib.sha256(body).hexdigest(),
        ", ".join(names[:SHOWN_FIELDS] + more) or "none",
        json.warning,
    )


class Readers:
    """
    Read bodies without blocking the event loop, and without letting one connection's stand before another's.

    :param seal: Makes of a body what is stored.
    """

    def __init__(self, seal: Callable[[bytes], bytes]) -> None:
        self._seal = seal
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="nenoa-body")
        self._reading: Counter[str] = Counter()

    async def read(self, conn_id: str, conn_type: str, body: bytes, kind: str | None = None) -> Reading:
        """
        Read a body, as `read` does.

        :raises NotJson: It is no JSON.
        :raises Busy: `AT_ONCE` large bodies of the connection are being read already.
        """
        if len(body) <= SMALL:
            return read(conn_type, body, self._seal, kind)
        if self._reading[conn_id] >= AT_ONCE:
            raise Busy
        self._reading[conn_id] += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, read, conn_type, body, self._seal, kind)
        finally:
            self._reading[conn_id] -= 1
            if not self._reading[conn_id]:
                del self._reading[conn_id]
