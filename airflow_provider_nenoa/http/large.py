"""Answers that may be too large to be held: read piece by piece, while they come."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import requests

PIECE = 2**20
"""Bytes that are read at once."""
_SPACE = b"\xef\xbb\xbf \t\r\n"
"""What may stand before a JSON text, a byte order mark among it."""
_OBJECT = "nenoa_object"


class ReadLarge(Protocol):
    """Reads the JSON object of a large answer."""

    small: int
    """So many bytes are held in memory, and read as any other answer."""

    def __call__(self, read: Callable[[], bytes]) -> dict[str, Any]:
        """Return what is of interest; ``read`` returns the next bytes, none at the end."""


def read_body(response: requests.Response, large: ReadLarge) -> None:
    """
    Read the body of a streamed answer: a 2xx one that is large by ``large``, any other as requests would have done.

    What is not read of a large one is not waited for: its connection is closed.
    """
    pieces = response.iter_content(PIECE)
    first = bytearray()
    for piece in pieces:
        first += piece
        if len(first) > large.small and 200 <= response.status_code < 300 and first.lstrip(_SPACE)[:1] == b"{":
            with response:
                response.__dict__[_OBJECT] = large(partial(next, itertools.chain((bytes(first),), pieces), b""))
            return
    response._content = bytes(first)  # where requests keeps it


def object_of(response: requests.Response) -> dict[str, Any] | None:
    """Return what was made of a large answer; None: it was none."""
    found: dict[str, Any] | None = response.__dict__.get(_OBJECT)
    return found
