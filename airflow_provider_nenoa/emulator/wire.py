"""Reading what clients send, and writing what they are sent."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from fastapi.responses import JSONResponse

_TOO_LARGE = "(a number that fits into no float)"


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


def odd_numbers() -> dict[str, Any]:
    """Numbers that JSON, or a float, does not have, and that some servers send all the same."""
    return {"nan": math.nan, "infinity": math.inf, "minus_infinity": -math.inf, "too_large": _TOO_LARGE}


def json_bytes(content: Any) -> bytes:
    """JSON as some servers write it: with :func:`odd_numbers`, if there are any."""
    return json.dumps(content).replace(json.dumps(_TOO_LARGE), "1e999").encode()


class JsonReply(JSONResponse):
    """A reply with :func:`json_bytes`."""

    def render(self, content: Any) -> bytes:
        return json_bytes(content)


def iso(seconds: float) -> str:
    """Unix time as ISO 8601 text with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
