"""
Places in a payload, as a person writes them: ``result.files[0].url``, ``result.files.*.url``, ``result["odd key"]``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidArgument

ANY = "*"
"""The step that stands for every key of an object and every entry of a list."""

_STEP = re.compile(
    r"""
    \[ (?P<inside> \* | [0-9]{1,9} | "(?:[^"\\]|\\.)*" ) \]   # [0], [*], ["odd key"]
    | (?P<plain> \* | [^.\[\]"*]+ )                           # key, 0, *
    """,
    re.VERBOSE,
)
_SHOWN = 20


@dataclass(frozen=True)
class KeyPath:
    """
    A place, or with ``*`` several places, in a payload.

    :param text: As it was written.
    :param steps: Keys, numbers of list entries as text, and `ANY`.
    """

    text: str
    steps: tuple[str, ...]

    def find(self, payload: Any) -> dict[str, Any]:
        """
        Return what stands there, by its place.

        :raises LookupError: A key or an entry that the path names is not there; what ``*`` stands for need not be.
        """
        found: dict[str, Any] = {"": payload}
        for step in self.steps:
            deeper = {}
            for name, value in found.items():
                for key, part in _parts(value, step):
                    deeper[name + step_text(key, first=not name)] = part
            # Of several entries not every one need have the next key; one of them must.
            if not deeper and found and not (step == ANY and all(_is_empty(value) for value in found.values())):
                raise LookupError(step)
            found = deeper
        return found


def parse_key_paths(value: object) -> tuple[KeyPath, ...]:
    """
    Read the argument ``files``: one path, or several.

    :param value: A text, an iterable of texts, or None.
    :raises InvalidArgument: One of them is no path.
    """
    if value is None:
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Iterable) or isinstance(texts, (bytes, Mapping)):
        raise InvalidArgument(
            f"'files' must be a key path such as 'result.report_url', or a list of them, not {value!r}."
        )
    return tuple(_parse(text) for text in texts)


def places_in(payload: Any, is_wanted: Callable[[Any], bool]) -> list[str]:
    """
    Return the places of wanted values in a payload, for a message: with ``[*]`` for numbers, each once, 20 at most.

    :param is_wanted: A function of a value.
    """
    found: dict[str, None] = {}
    open_ends: list[tuple[str, Any]] = [("", payload)]
    while open_ends and len(found) < _SHOWN:
        name, value = open_ends.pop()
        if isinstance(value, Mapping):
            open_ends += reversed([(name + step_text(str(key), first=not name), part) for key, part in value.items()])
        elif isinstance(value, list):
            open_ends += [(f"{name}[*]", part) for part in reversed(value)]
        elif is_wanted(value):
            found.setdefault(name if len(name) <= 200 else f"{name[:99]}…{name[-100:]}")
    return list(found)


def step_text(key: str | int, *, first: bool) -> str:
    """Write one step of a path; keys are the vendor's, or an attacker's: what may have line breaks in it is quoted."""
    if isinstance(key, int):
        return f"[{key}]"
    if key.isidentifier():
        return key if first else f".{key}"
    return f"[{json.dumps(key)}]"


def _parse(text: object) -> KeyPath:
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgument(f"'files' must name key paths such as 'result.report_url', not {text!r}.")
    written, at = text.strip(), 0
    steps: list[str] = []
    while at < len(written):
        if steps and written[at] == ".":
            at += 1
        elif steps and written[at] != "[":
            at = len(written) + 1
            break
        match = _STEP.match(written, at)
        if match is None:
            break
        step = match["inside"] or match["plain"].strip()
        try:
            steps.append(json.loads(step) if step.startswith('"') else step)
        except ValueError:
            break
        at = match.end()
    if at != len(written) or written.endswith(".") or "" in steps:
        raise InvalidArgument(
            f"'files' has {text!r}, which is no key path.\nWrite keys with dots between them, numbers or * for the "
            "entries of a list, and odd keys in brackets and quotes: result.files[0].url, result.files.*.url, "
            'result["odd key"].'
        )
    return KeyPath(written, tuple(steps))


def _parts(value: Any, step: str) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        if step == ANY:
            yield from ((str(key), part) for key, part in value.items())
        elif step in value:
            yield step, value[step]
    elif isinstance(value, list):
        if step == ANY:
            yield from enumerate(value)
        elif step.isascii() and step.isdecimal() and int(step) < len(value):
            yield int(step), value[int(step)]


def _is_empty(value: Any) -> bool:
    return isinstance(value, (Mapping, list)) and not value
