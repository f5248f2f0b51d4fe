"""Who may look at the page, and at which connections: what Airflow's own auth manager says."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from airflow_provider_nenoa import airflow_internals
from airflow_provider_nenoa.vendors import VENDORS
from airflow_provider_nenoa.webhooks.secret import webhook_secrets

REMEMBER = 15.0
"""Seconds for which the connections are not read again: a secrets backend may be slow."""
LIMIT = 500
"""Connections on the page, at most."""

_VARIABLE = "AIRFLOW_CONN_"


@dataclass(frozen=True)
class Known:
    """
    A connection that the page can show.

    :param conn_id: Its id.
    :param conn_type: ``nenai`` or ``openanalyst``.
    :param has_secret: Whether it has a webhook secret.
    """

    conn_id: str
    conn_type: str
    has_secret: bool


class Access(Protocol):
    """What the page asks of Airflow. All but `user` may block."""

    user: Callable[..., Any]
    """A dependency in FastAPI's sense: it returns the user who is logged in, or refuses."""

    def may(self, user: Any, method: Literal["GET", "POST"], conn_id: str | None) -> bool:
        """Whether a user may see a connection (``GET``) or test it (``POST``); None: connections in general."""

    def known(self, seen: Iterable[str]) -> list[Known]:
        """Return the connections that can have webhooks; ``seen`` are names of some, should Airflow not list them."""


class AirflowAccess:
    """What Airflow's API server says."""

    def __init__(self) -> None:
        self.user = airflow_internals.logged_in_user()
        self._remembered: dict[str, tuple[float, Known | None]] = {}

    def may(self, user: Any, method: Literal["GET", "POST"], conn_id: str | None) -> bool:
        """Whether the auth manager lets a user see or test a connection, as it decides for Airflow's own pages."""
        return airflow_internals.may_use_connection(user, method, conn_id)

    def known(self, seen: Iterable[str]) -> list[Known]:
        """Return those in the database and the environment; of a secrets backend, those that webhooks have named."""
        variables = {name.removeprefix(_VARIABLE).lower() for name in os.environ if name.startswith(_VARIABLE)}
        names = sorted({*airflow_internals.stored_connections(VENDORS), *variables, *seen})
        return [known for name in names[:LIMIT] if (known := self._read(name)) is not None]

    def _read(self, conn_id: str) -> Known | None:
        at, known = self._remembered.get(conn_id, (float("-inf"), None))
        if time.monotonic() - at >= REMEMBER:
            try:
                connection = airflow_internals.server_connection(conn_id)
            except Exception:  # it is gone, or cannot be read: Airflow does not tell which
                known = None
            else:
                kind, secrets = connection.conn_type, webhook_secrets(connection.extra_dejson)
                known = Known(conn_id, str(kind), bool(secrets)) if kind in VENDORS else None
            if len(self._remembered) > LIMIT:
                self._remembered.clear()
            self._remembered[conn_id] = (time.monotonic(), known)
        return known
