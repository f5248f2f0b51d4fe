"""
Replies with more rows than one wants to hold: their head is read, and the rows stay where they are.

What an answer of the vendor's says before its rows is enough to know how a query stands. The rows are left in the
socket, which is closed; or the whole answer goes to a temporary file on this machine's disk, from where its rows are
read in batches, as often as that is needed. The classes here are for the ``large`` of `HttpApi`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NoReturn

from airflow_provider_nenoa.exceptions import NenoaError
from airflow_provider_nenoa.results.scanner import PIECE, Scanner
from airflow_provider_nenoa.vendors.rows import NESTED

SMALL = 2**20
"""Bytes of an answer that are held in memory without a thought."""

Read = Callable[[], bytes]


class LargeRows:
    """
    Stands for the rows in a payload that has them not.

    :param file: The vendor's whole answer; None: it was not read to its end.
    :param at_least: How many rows there are at least.
    """

    def __init__(self, file: IO[bytes] | None = None, at_least: int = 0) -> None:
        self.file = file
        self.at_least = at_least

    def scanner(self) -> Scanner:
        """Return a scanner over the vendor's answer, from its beginning."""
        assert self.file is not None
        file = self.file
        file.seek(0)
        return Scanner(lambda: file.read(PIECE))


class Head:
    """Reads what comes before the rows, and leaves them where they are."""

    small = SMALL

    def __call__(self, read: Read) -> dict[str, Any]:
        """Read a large answer."""
        return walk(Scanner(read), lambda scanner, part: _leave(LargeRows()))


class OnDisk:
    """Reads everything into a temporary file (a small answer into memory), and what comes before the rows."""

    small = 0  # all go this way, which keeps every digit

    def __call__(self, read: Read) -> dict[str, Any]:
        """
        Read an answer.

        :raises NenoaError: The disk does not take it; that says nothing of the vendor.
        """
        file = tempfile.SpooledTemporaryFile(SMALL, prefix="nenoa-")  # noqa: SIM115  (closed when nobody has its rows any more)
        while piece := read():
            with _room():
                file.write(piece)
        rows = LargeRows(file)
        with _room():
            scanner = rows.scanner()
        return walk(scanner, lambda scanner, part: _leave(rows))


class UpTo:
    """
    Reads everything if there are so many rows at most; otherwise reads no further than is needed to know that.

    :param most: The number of rows.
    """

    small = SMALL

    def __init__(self, most: int) -> None:
        self.most = most

    def __call__(self, read: Read) -> dict[str, Any]:
        """Read a large answer."""
        return walk(Scanner(read, exact=False), self._rows)

    def _rows(self, scanner: Scanner, part: dict[str, Any]) -> list[Any]:
        told = part.get("row_count")
        if isinstance(told, int) and told > self.most:
            _leave(LargeRows(at_least=told))
        found: list[Any] = []
        for batch in scanner.batches():
            found += batch
            if len(found) > self.most:
                _leave(LargeRows(at_least=self.most + 1))
        return found


def walk(scanner: Scanner, rows: Callable[[Scanner, dict[str, Any]], Any]) -> dict[str, Any]:
    """
    Read a reply about a query, and hand its rows over when they come.

    :param scanner: At the beginning of the reply.
    :param rows: Called with the scanner before the list of rows, and the part of the payload that has it, as far as it
        has been read. It returns what stands for the rows, having read them.
    :return: The payload; or as much of it as was read before the rows were left where they are.
    """
    payload: dict[str, Any] = {}
    try:
        _read(scanner, payload, rows, NESTED)
    except _Enough as enough:
        part = payload
        while "rows" not in part:
            part = next(reversed(part.values()))
        part["rows"] = enough.rows
    return payload


class _Enough(Exception):
    """The rest of a reply is of no interest."""

    def __init__(self, rows: LargeRows) -> None:
        super().__init__()
        self.rows = rows


def _read(scanner: Scanner, into: dict[str, Any], rows: Callable[..., Any], nested: tuple[str, ...]) -> None:
    for name in scanner.members():
        if name == "rows" and scanner.next() == "[":
            into[name] = None  # this is the part that has them, should the rest not be read
            into[name] = rows(scanner, into)
        elif name in nested and scanner.next() == "{":
            into[name] = {}
            _read(scanner, into[name], rows, ())
        else:
            into[name] = scanner.value()


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NenoaError(
            f"OpenAnalyst's answer came, but cannot be kept on this machine's disk, in {tempfile.gettempdir()}: "
            f"{error.strerror or error}. Nothing was stored.\nMake room there, or name another directory in TMPDIR."
        ) from error


def _leave(rows: LargeRows) -> NoReturn:
    raise _Enough(rows)
