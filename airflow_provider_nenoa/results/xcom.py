"""
What a task returns and a trigger tells, as Airflow can carry it, whatever database it has.

Airflow's processes hand each other whole numbers of 64 bits at most, and texts that are UTF-8; PostgreSQL's JSON has no
character 0; and two names are those of Airflow's own objects. What JSON can have beyond that would fail the task after
its run is paid for, at each attempt, or end the triggerer with all that wait in it.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any, TypeVar

log = logging.getLogger(__name__)

_LEAST, _MOST = -(2**63), 2**63 - 1
_RESERVED = {"__classname__", "__id__"}
_UNFIT = re.compile("[\0\ud800-\udfff]")

T = TypeVar("T")


def fit_for_airflow(value: T, what: str) -> T:
    """
    Make a JSON value such that Airflow can carry it, in place; the log tells what had to be changed.

    A whole number beyond 64 bits becomes a text, which keeps its digits. A NUL and half a surrogate pair become U+FFFD.
    An object with a name that Airflow reserves becomes the text of its JSON.

    :param value: The value.
    :param what: What it is, for the log.
    """
    root: list[Any] = [value]
    numbers = texts = objects = 0
    open_ends: list[Any] = [root]  # not by recursion: a value may be nested however deeply
    while open_ends:
        holder = open_ends.pop()
        if isinstance(holder, dict) and any(map(_UNFIT.search, holder)):
            texts += 1
            named: dict[str, Any] = {}
            for name, part in holder.items():
                name = _UNFIT.sub("\ufffd", name)
                while name in named:
                    name += "\ufffd"
                named[name] = part
            holder.clear()
            holder.update(named)
        for key, part in list(holder.items()) if isinstance(holder, dict) else enumerate(holder):
            if isinstance(part, dict) and not _RESERVED.isdisjoint(part):
                holder[key] = json.dumps(part, default=str)
                objects += 1
            elif isinstance(part, (dict, list)):
                open_ends.append(part)
            elif isinstance(part, int) and not _LEAST <= part <= _MOST:
                holder[key] = str(part)
                numbers += 1
            elif isinstance(part, str) and _UNFIT.search(part):
                holder[key] = _UNFIT.sub("\ufffd", part)
                texts += 1
    if numbers:
        log.warning(
            "%s has %d whole numbers beyond 64 bits, which Airflow cannot carry: they are texts.", what, numbers
        )
    if texts:
        log.warning("%s has texts with a NUL or half a character, which Airflow cannot carry: it is U+FFFD.", what)
    if objects:
        log.warning("%s has %d objects with a name that Airflow reserves: they are JSON texts.", what, objects)
    return root[0]
