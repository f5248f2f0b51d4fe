"""The receiver's place in a URL, and what can stand in the URLs below it."""

from __future__ import annotations

import os
import re

PREFIX = "/nenoa"
"""Where the receiver is, on the API server and alone."""

# Airflow's own rule for connection ids, without slashes: a path cannot carry them through every proxy.
_CONN_ID = re.compile(r"[\w.:#!()-]{1,250}")


def is_conn_id(text: str) -> bool:
    """Whether a connection of this name can have webhooks."""
    return _CONN_ID.fullmatch(text) is not None


def is_misspelled(conn_id: str) -> bool:
    """
    Whether a connection comes from an environment variable, which Airflow finds under any spelling, and this is not the
    one that counts: the lower-case one.
    """
    variable = conn_id.upper()
    return conn_id != variable.lower() and f"AIRFLOW_CONN_{variable}" in os.environ
