"""
OpenAnalyst's queries as a database for Python: the DB API 2.0 of PEP 249, over ``POST /queries``.

The API runs one query at a time over one dataset and answers with all its rows. So there are no transactions, no
writes and no streaming; whoever asks for them gets a `NotSupportedError`, and nothing is sent. Parameters are named
(``:name``) and bound here: see `binding`.

An error that another try cannot cure is a `PermanentError` as well: it fails a task without retries.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn, Self

from airflow_provider_nenoa import exceptions
from airflow_provider_nenoa.exceptions import PermanentError
from airflow_provider_nenoa.runs import Run
from airflow_provider_nenoa.sql.binding import bind
from airflow_provider_nenoa.vendors.rows import table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

apilevel = "2.0"
threadsafety = 1  # threads may share the module, but not connections
paramstyle = "named"


class Warning(Exception):
    """Something to know about; never raised here."""


class Error(Exception):
    """The base of all errors."""


class InterfaceError(Error):
    """The vendor's answer makes no sense, or a closed connection or cursor was used."""


class DatabaseError(Error):
    """The vendor says that the query has failed."""


class DataError(DatabaseError, PermanentError):
    """The rows cannot be taken as they came: some are missing, or two columns have the same name."""


class OperationalError(DatabaseError):
    """Not the query's fault: no answer, an error at the vendor's end, the rate limit, or too long a wait."""


class AccessDenied(OperationalError, PermanentError):
    """The connection is not usable, or its API key may not do this."""


class IntegrityError(DatabaseError):
    """Never raised here: there are no writes."""


class InternalError(DatabaseError):
    """Never raised here: the vendor does not tell such errors from others."""


class ProgrammingError(DatabaseError, PermanentError):
    """The query, its parameters or the dataset's id are wrong."""


class NotSupportedError(DatabaseError, PermanentError):
    """The API has nothing like it. Nothing was sent."""


class _Type:
    """A type object of PEP 249: equal to each of the Python types that JSON values of this kind have."""

    def __init__(self, *kinds: type) -> None:
        self._kinds = frozenset(kinds)

    def __eq__(self, other: object) -> bool:
        return other in self._kinds if isinstance(other, type) else self is other

    def __hash__(self) -> int:
        return hash(self._kinds)


STRING = _Type(str, list, dict)
BINARY = _Type(bytes)
NUMBER = _Type(int, float, bool, Decimal)
DATETIME = _Type(datetime.datetime, datetime.date, datetime.time)
ROWID = _Type()

Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
DateFromTicks = datetime.date.fromtimestamp
TimestampFromTicks = datetime.datetime.fromtimestamp
Binary = bytes


def TimeFromTicks(ticks: float) -> datetime.time:
    """Return the local time of day at a moment, given in Unix seconds."""
    return datetime.datetime.fromtimestamp(ticks).time()


# By the first word of what is no query. A courtesy, not a safeguard: the vendor has the last word. Possessive (++, *+):
# what precedes the word is read once, however long it is.
_FIRST_WORD = re.compile(r"(?:\s++|\(|--[^\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)*+([A-Za-z]++)\b")
_TRANSACTION = frozenset(("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE", "ABORT"))
_WRITE = frozenset(
    "INSERT UPDATE DELETE MERGE UPSERT REPLACE TRUNCATE CREATE ALTER DROP RENAME GRANT REVOKE CALL".split()  # noqa: SIM905
)


def connect(run: Callable[[str], Run], *, allow_partial: bool = False) -> Connection:
    """
    Connect to a dataset; nothing is sent before the first query.

    :param run: Runs a query over the dataset to its end; raises a `NenoaError`, or an `Error` of its own.
    :param allow_partial: Take fewer rows than the vendor says there are. Default: that is a `DataError`.
    """
    return Connection(run, allow_partial)


class Connection:
    """A dataset, as a database connection. Use `connect`. As a context manager: closed at the end."""

    Warning = Warning
    Error = Error
    InterfaceError = InterfaceError
    DatabaseError = DatabaseError
    DataError = DataError
    OperationalError = OperationalError
    IntegrityError = IntegrityError
    InternalError = InternalError
    ProgrammingError = ProgrammingError
    NotSupportedError = NotSupportedError

    def __init__(self, run: Callable[[str], Run], allow_partial: bool = False) -> None:
        self._run_query = run
        self._allow_partial = allow_partial
        self._closed = False

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; it, and its cursors, cannot be used any more."""
        self._closed = True

    def commit(self) -> None:
        """Do nothing: without transactions, there is nothing to commit."""
        self._check_open()

    def rollback(self) -> NoReturn:
        """Raise: nothing can be undone."""
        self._check_open()
        raise NotSupportedError("OpenAnalyst's API has no transactions: there is nothing to roll back.")

    def cursor(self, *args: Any, **kwargs: Any) -> Cursor:
        """Return a new cursor; the arguments with which other drivers make one that streams are refused."""
        self._check_open()
        if args or kwargs:
            raise NotSupportedError("OpenAnalyst's API answers with all rows at once: there are no streaming cursors.")
        return Cursor(self)

    def _check_open(self) -> None:
        if self._closed:
            raise InterfaceError("The connection is closed.")

    def _run(self, query: str) -> Run:
        """Run a query to its end."""
        try:
            return self._run_query(query)
        except exceptions.NenoaError as error:
            raise _translated(error) from error


class Cursor:
    """
    Runs queries on a connection, one at a time, and hands out their rows as tuples.

    As a context manager: closed at the end.
    """

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.description: Sequence[tuple[str, type, None, None, None, None, None]] | None = None
        self.rowcount = -1
        self.query_id: str | None = None
        self._rows: Iterator[tuple[Any, ...]] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it; it cannot be used any more."""
        self._closed = True
        self._rows = None

    def execute(self, operation: str, parameters: Mapping[str, Any] | None = None) -> None:
        """
        Run a query and wait for its rows.

        :param operation: The SQL.
        :param parameters: Values for its ``:name`` placeholders. Without any, the SQL is sent as it is.
        """
        self._check_open()
        self.description, self.rowcount, self.query_id, self._rows = None, -1, None, None
        _check_reads(operation)
        try:
            query = operation if parameters is None else bind(operation, parameters)
        except exceptions.InvalidArgument as error:
            raise ProgrammingError(str(error)) from error
        run = self.connection._run(query)
        self.query_id = run.run_id or None
        if not run.status.is_success:
            raise DatabaseError(f"OpenAnalyst ended the query with '{run.word}': {run.error or 'it gave no reason'}")
        try:
            table = table_of(run.payload, allow_partial=self.connection._allow_partial)
        except exceptions.NenoaError as error:
            raise _translated(error) from error
        if table is None:
            raise InterfaceError("OpenAnalyst ended the query, but sent no 'rows'.")
        columns = table.columns
        self.description = [
            (name, _type_of(row.get(name) for row in table.rows), None, None, None, None, None) for name in columns
        ]
        self.rowcount = len(table.rows)
        self._rows = (tuple([row.get(name) for name in columns]) for row in table.rows)

    def executemany(self, operation: str, seq_of_parameters: Sequence[Mapping[str, Any]]) -> NoReturn:
        """Raise: it is for writes, and for queries PEP 249 leaves it undefined."""
        self._check_open()
        raise NotSupportedError("OpenAnalyst's API cannot write, and executemany is for writing. Nothing was sent.")

    def callproc(self, procname: str, parameters: Any = None) -> NoReturn:
        """Raise: there are no stored procedures."""
        self._check_open()
        raise NotSupportedError("OpenAnalyst's API has no stored procedures. Nothing was sent.")

    def nextset(self) -> NoReturn:
        """Raise: a query has one set of rows."""
        self._check_open()
        raise NotSupportedError("OpenAnalyst's API answers a query with one set of rows.")

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row; None if there is none left."""
        return next(self._fetching(), None)

    def fetchmany(self, size: int | None = None) -> list[tuple[Any, ...]]:
        """Return the next rows, at most ``size``. Default: `arraysize`."""
        rows = self._fetching()
        wanted = self.arraysize if size is None else size
        return [row for _, row in zip(range(wanted), rows, strict=False)]

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows that are left."""
        return list(self._fetching())

    def setinputsizes(self, sizes: Any) -> None:
        """Do nothing: there is no memory to prepare."""
        self._check_open()

    def setoutputsize(self, size: int, column: int | None = None) -> None:
        """Do nothing: there is no memory to prepare."""
        self._check_open()

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> tuple[Any, ...]:
        return next(self._fetching())

    def _fetching(self) -> Iterator[tuple[Any, ...]]:
        self._check_open()
        if self._rows is None:
            raise ProgrammingError("There are no rows: no query was run.")
        return self._rows

    def _check_open(self) -> None:
        self.connection._check_open()
        if self._closed:
            raise InterfaceError("The cursor is closed.")


def _check_reads(operation: str) -> None:
    found = _FIRST_WORD.match(operation)
    word = found[1].upper() if found else ""
    if word in _TRANSACTION:
        raise NotSupportedError(f"{word}: OpenAnalyst's API has no transactions. Nothing was sent.")
    if word in _WRITE:
        raise NotSupportedError(f"{word}: OpenAnalyst's API is for queries, it cannot write. Nothing was sent.")


def _type_of(values: Iterator[Any]) -> type:
    """Return the Python type of a column's values; text where they differ or are all null."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds == {int, float}:
        return float
    return kinds.pop() if len(kinds) == 1 else str


def _translated(error: exceptions.NenoaError) -> Error:
    for kinds, translated in _TRANSLATIONS:
        if isinstance(error, kinds):
            return translated(str(error))
    return OperationalError(str(error))


_TRANSLATIONS: list[tuple[tuple[type[exceptions.NenoaError], ...], type[Error]]] = [
    ((exceptions.AuthenticationError, exceptions.PermissionDenied, exceptions.InvalidConnection), AccessDenied),
    ((exceptions.ResultRefused,), DataError),
    ((exceptions.PermanentError,), ProgrammingError),
    ((exceptions.InvalidReply,), InterfaceError),
]
