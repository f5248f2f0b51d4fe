"""Names instead of ids. No page shows an object of a list: its name is looked for as ``name``, then as ``title``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.vendors.messages import id_in, shown

CANDIDATES = 10
"""Names or ids that a message repeats, at most."""


def id_of_named(what: str, name: str, objects: Iterable[Mapping[str, Any]]) -> str:
    """
    Find an object by its name, as it is written: case matters, spaces around it do not.

    :param what: What it is, for messages, and the argument that takes its id: ``dataset`` or ``report``.
    :param name: The name.
    :param objects: All objects, as the vendor lists them.
    :return: Its id.
    :raises InvalidArgument: None has this name, or several have.
    """
    by_id: dict[str, str] = {}
    nameless = 0
    for each in objects:
        known = next((text for field in ("name", "title") if isinstance(text := each.get(field), str) and text), None)
        object_id = id_in(each, ("id", f"{what}_id"))
        if known is None or object_id is None:
            nameless += 1
        else:
            by_id[object_id] = known.strip()
    found = [object_id for object_id, known in by_id.items() if known == name.strip()]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidArgument(
            f"OpenAnalyst has {len(found)} {what}s that are named {name!r}.\nName one by '{what}_id': {_some(found)}. "
            "Nothing was started."
        )
    near = sorted(by_id.values(), key=lambda known: (name.lower() not in known.lower(), known.lower()))
    has = f"It has {_some(map(repr, near))}" if near else "It lists none that has a name"
    without = f", and {nameless} without a name or id" if nameless else ""
    raise InvalidArgument(
        f"OpenAnalyst has no {what} that is named {name!r}.\n{has}{without}. Correct '{what}_name', or give "
        f"'{what}_id'. Nothing was started."
    )


def _some(texts: Iterable[str]) -> str:
    every = list(texts)
    more = f" and {len(every) - CANDIDATES} more" if len(every) > CANDIDATES else ""
    return ", ".join(shown(text, 100) for text in every[:CANDIDATES]) + more
