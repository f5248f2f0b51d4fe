"""How to find one's way in a payload, whichever vendor sent it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_nenoa.vendors.key_paths import step_text

_TOKEN = re.compile(r"[A-Za-z0-9._:~+=@-]{1,200}")  # in a URL's path and in every database's index, without a thought
_URL = re.compile(r"https?://[^\s\x00-\x20\x7f]+", re.IGNORECASE)


def is_token(text: str) -> bool:
    """Whether a text can be a run id or a ``ref``: up to 200 letters, digits and ``._:~+=@-``."""
    return _TOKEN.fullmatch(text) is not None


def urls_in(payload: Any) -> dict[str, str]:
    """
    Find every http(s) URL in a payload, in the order in which they stand there.

    :param payload: A JSON value.
    :return: Where each URL stands, such as ``results.files[0].url``, by the URL. One that is repeated counts once.
    """
    found: dict[str, str] = {}
    open_ends: list[tuple[str, Any]] = [("", payload)]  # not by recursion: a payload may be nested however deeply
    while open_ends:
        name, value = open_ends.pop()
        if isinstance(value, Mapping):
            open_ends += reversed([(name + step_text(str(key), first=not name), part) for key, part in value.items()])
        elif isinstance(value, list):
            open_ends += reversed([(f"{name}[{index}]", part) for index, part in enumerate(value)])
        elif is_url(value):
            found.setdefault(value, name if len(name) <= 200 else f"{name[:99]}…{name[-100:]}")
    return found


def is_url(text: object) -> bool:
    """Whether a value is an http(s) URL, whole and with a host."""
    if not isinstance(text, str):
        return False
    try:
        return _URL.fullmatch(text) is not None and bool(urlsplit(text).hostname)
    except ValueError:
        return False
