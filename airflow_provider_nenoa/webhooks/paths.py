"""The receiver's place in a URL, and what can stand in the URLs below it."""

from __future__ import annotations

import re

PREFIX = "/nenoa"
"""Where the receiver is, on the API server and alone."""

# Airflow's own rule for connection ids, without slashes: a path cannot carry them through every proxy.
_CONN_ID = re.compile(r"[\w.:#!()-]{1,250}")
# What can stand in a URL's path and in every database's index without a second thought.
_TOKEN = re.compile(r"[A-Za-z0-9._:~+=@-]{1,200}")


def is_conn_id(text: str) -> bool:
    """Whether a connection of this name can have webhooks."""
    return _CONN_ID.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Whether a text can be a run id or a ``ref``: up to 200 letters, digits and ``._:~+=@-``."""
    return _TOKEN.fullmatch(text) is not None
