"""
JSON as the vendors send it: one rule for webhooks, replies and files.

RFC 8259 knows neither NaN nor Infinity, and what no float can hold would be one again as soon as somebody computes with
it. A run must not be lost because of such a number, so it becomes null, and so does what is nested too deep. What was
lost is named once, by its key path.

Half a surrogate pair, which is left where a text was cut within an emoji, is no character: neither a log nor a database
takes it. It becomes U+FFFD.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

MAX_DEPTH = 100
"""Objects and lists within each other. Far below what Python's parser can take, here and in whoever reads on."""
MAX_NAMED = 10
"""Key paths that are named, at most: a hostile body may have hundreds of thousands."""

_LOST = object()
_TOKEN = re.compile(  # what it does not match stays as it is, and is the parser's to refuse
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|-?+[0-9][0-9.eE+-]*+|NaN|-?+Infinity|[\[\]{}]', re.DOTALL
)
_HALF = re.compile(
    r"(?<!\\)((?:\\\\)*+)\\u[dD](?:([89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|[89a-fA-F][0-9a-fA-F]{2})"
)
_STEP = re.compile(r"\w{1,50}")


class Json(NamedTuple):
    """
    A JSON text that was read.

    :param value: What it says; what could not be kept is None.
    :param text: The same as a text of RFC 8259, with every digit of every number as it came.
    :param lost: Key paths of what became null, such as ``result.rows[3].price``: the first `MAX_NAMED`.
    :param lost_count: How many there are.
    """

    value: Any
    text: str
    lost: tuple[str, ...] = ()
    lost_count: int = 0

    @property
    def warning(self) -> str | None:
        """What to log about what was lost; None if nothing was."""
        if not self.lost:
            return None
        more = self.lost_count - len(self.lost)
        return (
            f"Null stands for what JSON cannot carry (NaN, Infinity, a number that fits no float, or more than "
            f"{MAX_DEPTH} levels) at {', '.join(self.lost)}{f' and {more:,} more places' if more else ''}."
        )


class _Unfit(Exception):
    pass


def read_json(body: bytes | str, *, decimals: bool = False) -> Json:
    """
    Read a JSON text.

    :param body: The text; bytes are UTF-8, whatever a header says (RFC 8259, section 8.1). A byte order mark is let
        pass.
    :param decimals: Whether a number whose digits a float would lose becomes a `decimal.Decimal`. Default: a float.
        Integers keep their digits either way.
    :raises ValueError: It is no JSON, or not UTF-8.
    """
    text = body.decode() if isinstance(body, bytes) else body
    text = text.removeprefix("\ufeff")
    if "\\ud" in text or "\\uD" in text:
        text = _HALF.sub(lambda found: found[0] if found[2] else f"{found[1]}\\ufffd", text)
    try:
        value = _loads(text, decimals)
        if text.count("[") + text.count("{") <= MAX_DEPTH or not _deeper_than(MAX_DEPTH, value):
            return Json(value, text)
    except (_Unfit, RecursionError):
        pass
    pieces = _without_unfit(text)
    root = [_loads("NaN".join(pieces), decimals, lambda constant: _LOST)]
    lost, count = _forget_lost(root)
    return Json(root[0], "null".join(pieces), lost, count)


def _loads(text: str, decimals: bool, constant: Any = None) -> Any:
    return json.loads(
        text,
        parse_int=_integer,
        parse_float=_decimal if decimals else _float,
        parse_constant=constant or _refuse,
    )


def _refuse(text: str) -> Any:
    raise _Unfit


def _integer(text: str) -> int:
    if len(text) > 308 and not _fits(text):
        raise _Unfit
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise _Unfit
    return number


def _decimal(text: str) -> float | Decimal:
    number = _float(text)
    if len(text) < 17 and abs(number) > 1e-300:  # up to 15 digits, which every float keeps
        return number
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent with more digits than anything has
        return number
    return number if Decimal(repr(number)) == exact else exact


def _fits(text: str) -> bool:
    try:
        return not math.isinf(float(text))
    except ValueError:  # no number at all: the parser will say so
        return True


def _without_unfit(text: str) -> list[str]:
    """Take out what cannot be kept, and return the texts before, between and after."""
    pieces: list[str] = []
    depth = done = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                pieces.append(text[done : token.start()])
        elif first in "]}":
            depth -= 1
            if depth == MAX_DEPTH:
                done = token.end()
        elif depth <= MAX_DEPTH and first != '"' and (token[0][-1] in "Ny" or not _fits(token[0])):
            pieces.append(text[done : token.start()])
            done = token.end()
    # What opens too deep and is never closed is no JSON: with nothing after it, the parser sees that.
    pieces.append(text[done:] if depth <= MAX_DEPTH else "")
    return pieces


def _deeper_than(limit: int, value: Any) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True


def _forget_lost(root: list[Any]) -> tuple[tuple[str, ...], int]:
    """Put None where something was lost; return the first of the places, and their number."""
    lost: list[str] = []
    count = 0
    ends: list[tuple[Any, Any]] = [(None, root)]  # a chain of keys down from the root, and what is there
    while ends:
        chain, holder = ends.pop()
        inner = []
        for key, value in list(holder.items()) if isinstance(holder, dict) else enumerate(holder):
            if value is _LOST:
                holder[key] = None
                count += 1
                if len(lost) < MAX_NAMED:
                    lost.append(_path((chain, key)))
            elif isinstance(value, (dict, list)):
                inner.append(((chain, key), value))
        ends += reversed(inner)
    return tuple(lost), count


def _path(chain: Any) -> str:
    keys = []
    while chain is not None:
        chain, key = chain
        keys.append(key)
    path = ""
    for key in keys[-2::-1]:  # the first leads from our own list to the value
        if isinstance(key, int):
            path += f"[{key}]"
        else:
            # Keys are the vendor's, or an attacker's: only what is harmless in a log is shown as it is.
            step = key if _STEP.fullmatch(key) else json.dumps(key[:50])
            path += f".{step}" if path else step
    return (path if len(path) <= 200 else f"{path[:100]}…{path[-99:]}") or "the top"
