"""Reading what clients send."""

from __future__ import annotations

import json
from typing import Any


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in a request's body.

    :raises ValueError: if there is none; the message says what is wrong and ends a sentence "The body ...".
    """
    try:
        content = json.loads(body, parse_constant=_no_number)
    except ValueError:
        raise ValueError("is not valid JSON") from None
    if not isinstance(content, dict):
        raise ValueError("must be a JSON object")
    return content


def _no_number(name: str) -> None:
    # Python takes NaN and Infinity; JSON does not have them.
    raise ValueError(name)


def whole_number(text: str) -> int | None:
    """A number in decimal digits, with at most 18 of them; None if it is not one."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
