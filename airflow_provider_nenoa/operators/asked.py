"""Whether a task asks for the same as the attempt did that started its run, without keeping what was asked for."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.vendors.arguments import json_object, plain

MOST_KEYS = 50
"""Keys of one object that are told apart; a larger one is compared as a whole."""


def fingerprints(arguments: Mapping[str, Any], *, key: str, ref: str) -> dict[str, str]:
    """
    Return a digest of each argument, and of each key of those that are objects.

    Arguments may be secrets, short ones too: who reads the digests cannot try values without the key.

    :param arguments: What is asked for, by the arguments' names. What JSON has nothing for is left out.
    :param key: The connection's API key.
    :param ref: The run's own token: the same arguments look different in each note.
    :return: The digests, by names such as ``context`` and ``workflow_params['url']``; that of nothing, under an empty
        name, tells another key.
    """

    def digest(name: str, value: Any) -> str:
        text = json.dumps([ref, name, value], sort_keys=True)
        return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:16]

    found = {"": digest("", None)}
    for name, argument in arguments.items():
        try:
            value = plain(name, _object_in(name, argument))
        except InvalidArgument:
            continue
        if isinstance(value, dict) and len(value) <= MOST_KEYS:
            found |= {f"{name}[{part!r}]": digest(f"{name}[{part!r}]", each) for part, each in value.items()}
        elif value not in (None, {}):
            found[name] = digest(name, value)
    return found


def _object_in(name: str, argument: Any) -> Any:
    """Return the object of which an argument is the text: they ask for the same. Any other one as it is."""
    try:
        return json_object(name, argument) if isinstance(argument, str) else argument
    except InvalidArgument:
        return argument


def changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """
    Return the names of what is asked for otherwise now; none where that cannot be told.

    :param then: The `fingerprints` in the note; empty in a note of an older version.
    :param now: Those of this attempt, with the same ``ref``.
    """
    if then.get("") != now.get(""):
        return []  # the API key is another one
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
