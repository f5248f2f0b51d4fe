"""
A JSON text read bit by bit: small values whole, a long list in batches, so that memory does not grow with the list.

The work is done by the JSON scanner of Python's standard library, which is written in C, over pieces of the text that
end where an item of the list does. Nothing else needs to be installed for it, and every value is read as `json` reads
it, with two exceptions: what no JSON and no database has (NaN, Infinity, numbers beyond a float) becomes null, and a
number that a float would change becomes a `Decimal`.
"""

from __future__ import annotations

import codecs
import json
import logging
import math
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidReply

log = logging.getLogger(__name__)

PIECE = 2**20
"""Bytes that are read at once."""
FIRST = 2**16
"""Characters of the first items of a list, which may be looked at more closely than others."""
LARGEST = 64 * 2**20
"""Characters that one value, or one item of a list, may have."""

_SPACE = re.compile(r"[ \t\n\r]*+")
_BETWEEN = re.compile(r"[ \t\n\r]*+([,\]])[ \t\n\r]*+")
_HEAD = re.compile(r'\{[ \t\n\r]*+"[^"\\]{1,200}+"')
_MARGIN = 32
"""A number that stands so close to the end of what has been read may go on."""

# All digits and the point as 0, both letters of an exponent as e: so that what needs a second look is found at C speed.
_SHAPE = bytes.maketrans(b"123456789.E", b"0000000000e")
_LONG = b"0" * 16
_EXTREME = b"000e0"  # backwards, in which its last letter is a rare one: bytes are searched by that


def oddities(text: bytes) -> tuple[bool, bool]:
    """Whether there may be long numbers in a JSON text, and such with exponents for which floats end."""
    shape = text.translate(_SHAPE, b"+-")
    return _LONG in shape, _EXTREME in shape[::-1]


def looks_odd(text: bytes) -> bool:
    """Whether there may be numbers in a JSON text that a float would change; long numbers within texts count, too."""
    return any(oddities(text))


class Scanner:
    """
    Reads a JSON text from its beginning to its end.

    :param read: Returns the next bytes of it, in UTF-8; none at the end.
    :param exact: Whether a number that a float would change becomes a `Decimal`. Default: yes.
    """

    def __init__(self, read: Callable[[], bytes], *, exact: bool = True) -> None:
        self._read = read
        self._decimals = exact
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text = ""
        self._at = 0
        self._ended = False
        self._warned = False
        self._plain = json.JSONDecoder(parse_constant=self._nothing).scan_once  # type: ignore[attr-defined]
        self._exact = json.JSONDecoder(  # type: ignore[attr-defined]
            parse_constant=self._nothing, parse_float=self._number, parse_int=self._whole
        ).scan_once

    def next(self) -> str:
        """Return the character that comes next, space left out; an empty text at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._fill():
                return ""

    def take(self, character: str) -> None:
        """Go on behind a character, which must come next."""
        if self.next() != character:
            raise self._invalid(f"{character!r} is missing")
        self._at += 1

    def value(self) -> Any:
        """Read the next value whole."""
        self.next()
        while True:
            try:
                value, end = self._exact(self._text, self._at)
            except (StopIteration, ValueError) as error:
                if not self._fill():
                    raise self._invalid(str(error) or "a value is missing") from None
            except RecursionError:
                raise self._invalid("it is nested too deeply") from None
            else:
                if self._ended or len(self._text) - end >= _MARGIN:
                    self._at = end
                    return value
                self._fill()

    def members(self) -> Iterator[str]:
        """Yield the names in the object that comes next; who gets one has to read its value before the next."""
        self.take("{")
        if self.next() == "}":
            self._at += 1
            return
        while True:
            name = self.value()
            if not isinstance(name, str):
                raise self._invalid("a name is missing")
            self.take(":")
            yield name
            if self.next() == "}":
                self._at += 1
                return
            self.take(",")

    def batches(self, convert: Callable[[bytes], Any] | None = None) -> Iterator[Any]:
        """
        Yield the items of the list that comes next, many at a time.

        :param convert: Makes something of the text of some items, which is yielded in place of a list of them; None:
            it cannot. Whoever gives it must see to it that no JSON is accepted that `json` would not accept.
        """
        self.take("[")
        if self.next() == "]":
            self._at += 1
            return
        ended, size = False, FIRST
        while not ended:
            if len(self._text) - self._at < PIECE:
                self._fill()
            batch, ended = self._many(convert, size) or self._some()
            size = len(self._text)
            if batch is not None:
                yield batch

    def _many(self, convert: Callable[[bytes], Any] | None, size: int) -> tuple[Any, bool] | None:
        """Read up to the last place within some characters that looks like the end of an item; None if it is none."""
        self.next()
        cut = self._text.rfind(self._border(), self._at, self._at + size)
        if cut < 0:
            return None
        part = self._text[self._at : cut + 1]
        raw = part.encode()
        if convert is not None and (made := convert(raw)) is not None:
            self._at = cut + 1
            self.take(",")
            return made, False
        try:
            items, end = (self._exact if looks_odd(raw) else self._plain)(f"[{part}]", 0)
        except (StopIteration, ValueError, RecursionError):
            return None
        if end == len(part) + 2:
            self._at = cut + 1
            self.take(",")
            return items, False
        self._at += end - 1  # the list ended before: what looked like an end of an item is part of what comes behind it
        return items, True

    def _border(self) -> str:
        """
        Return what looks like the end of an item and what follows it.

        Objects within an item end, too. Those in a list have the same names as a rule, and so the same beginning.
        """
        if head := _HEAD.match(self._text, self._at):
            border = re.compile(r"\}[ \t\n\r]*+,[ \t\n\r]*+" + re.escape(head[0])).search(self._text, self._at)
            return border[0] if border else "},"
        return "]," if self._text[self._at : self._at + 1] == "[" else "},"

    def _some(self) -> tuple[list[Any] | None, bool]:
        """Read item by item, up to the end of what there is."""
        items: list[Any] = []
        while True:
            self.next()
            try:
                item, end = self._exact(self._text, self._at)
                between = _BETWEEN.match(self._text, end)
                if between is None and end < len(self._text) and self._text[end:].strip(" \t\n\r"):
                    raise self._invalid("a comma between two rows is missing")
            except (StopIteration, ValueError) as error:
                between = None
                reason = str(error)
            except RecursionError:
                raise self._invalid("it is nested too deeply") from None
            else:
                reason = "a list does not end"
            if between is None:
                if items:
                    return items, False
                if not self._fill():
                    raise self._invalid(reason or "a value is missing")
                continue
            items.append(item)
            self._at = between.end()
            if between[1] == "]":
                return items, True

    def _fill(self) -> bool:
        """Read on; False at the end."""
        if self._ended:
            return False
        rest = self._text[self._at :]
        if len(rest) > LARGEST:
            raise self._invalid(f"a single value has more than {LARGEST:,} characters")
        pieces, wanted = [rest], max(PIECE, len(rest))
        try:
            while wanted > 0 and not self._ended:
                read = self._read()
                self._ended = not read
                pieces.append(self._decode(read, self._ended))
                wanted -= len(read)
        except UnicodeDecodeError:
            raise self._invalid("it is not in UTF-8") from None
        self._text, self._at = "".join(pieces), 0
        return len(self._text) > len(rest)

    def _invalid(self, why: str) -> InvalidReply:
        return InvalidReply(f"OpenAnalyst sent a reply that is no JSON, or was cut off: {why}.")

    def _number(self, text: str) -> float | Decimal | None:
        number = float(text)
        if not math.isfinite(number):
            self._nothing(text[:40])
            return None
        if not self._decimals or (len(text) < 16 and abs(number) > 1e-300):
            return number
        exact = Decimal(text)
        return number if Decimal(repr(number)) == exact else exact

    def _whole(self, text: str) -> int | None:
        if len(text) > 4_000:
            self._nothing(f"{text[:40]}...")
            return None
        return int(text)

    def _nothing(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("OpenAnalyst sent %s, which is no number that others can read: it is null.", text)
