"""
A value as a literal of SQL, or a refusal.

Two steps keep a value from being anything else than a value. First it is made plain: whatever class it is of (a number
of NumPy, a time stamp of pandas, a member of an enumeration, a subclass that prints itself in its own way), what is
left is an object of one of Python's own types, and its own ``__str__`` is never asked. Then its literal must have the
fixed form of its kind before it goes into a query.
"""

from __future__ import annotations

import datetime
import math
import re
import sys
import uuid
from decimal import Decimal
from typing import Any, NoReturn

from airflow_provider_nenoa.exceptions import InvalidArgument

LONGEST_NUMBER = 1_000
"""Digits that a number may have; no database has room for more."""

_TYPES = "None, bool, int, float, Decimal, str, date, datetime or UUID"

# A quote is doubled, as the SQL standard says. A text is refused where some dialect would see the string's end
# elsewhere: a backslash escapes in several, and three quotes in a row begin another kind of string in some.
_TEXT = re.compile(r"(?:[^'\\\0]++(?:'[^'\\\0]++)*+)?")

_FORMS: dict[type, re.Pattern[str]] = {
    type(None): re.compile("NULL"),
    bool: re.compile("TRUE|FALSE"),
    int: re.compile(r"[0-9]++|\(-[0-9]++\)"),
    float: re.compile(r"(?:[0-9]++(?:\.[0-9]++)?(?:e[+-][0-9]++)?)|\(-[0-9]++(?:\.[0-9]++)?(?:e[+-][0-9]++)?\)"),
    Decimal: re.compile(r"[0-9]++(?:\.[0-9]++)?|\(-[0-9]++(?:\.[0-9]++)?\)"),
    datetime.date: re.compile(r"'[0-9]{4}-[0-9]{2}-[0-9]{2}'"),
    datetime.datetime: re.compile(
        r"'[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6})?(?:\+00:00)?'"
    ),
    str: re.compile(r"'(?:[^'\\\0]++|'')*+'"),
}


def literal(value: Any, name: str) -> str:
    """
    Write a value as SQL.

    :param value: None, bool, int, float, Decimal, str, date, datetime or UUID, or of a class that is made from them.
    :param name: What it is called, for the error; its value is not in there.
    :raises InvalidArgument: It is of another type, or cannot be written safely.
    """
    plain = _plain(value, name)
    text = _written(plain, name)
    if _FORMS[type(plain)].fullmatch(text) is None:  # by what stands above it does; if not, it must not go out
        raise InvalidArgument(f"The parameter '{name}' cannot be written as SQL. Nothing was sent.")
    return text


def _plain(value: Any, name: str) -> Any:
    """Return the same value as an object of exactly one of the types that have a form."""
    numpy = sys.modules.get("numpy")  # a value of NumPy's cannot be there before NumPy is
    if numpy is not None and isinstance(value, numpy.generic):
        value = _of_numpy(value, numpy, name)
    if value is None or isinstance(value, bool):
        return value
    # The types' own methods, because a subclass may have others: an enumeration's member prints its name.
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Decimal):
        return Decimal(tuple(Decimal.as_tuple(value)))  # type: ignore[arg-type]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, uuid.UUID):
        return uuid.UUID.__str__(value)
    if isinstance(value, datetime.datetime):
        return _plain_datetime(value, name)
    if isinstance(value, datetime.date):
        return datetime.date(value.year, value.month, value.day)
    raise InvalidArgument(
        f"The parameter '{name}' is a {type(value).__name__}, which cannot be bound.\nUse {_TYPES}. Nothing was sent."
    )


def _of_numpy(value: Any, numpy: Any, name: str) -> Any:
    if isinstance(value, numpy.timedelta64):
        return value  # item() would make a bare number of nanoseconds
    if not isinstance(value, numpy.datetime64):
        # bool_, int64, float32, str_ and their like; whatever has no like in Python stays and is refused.
        return value.item()
    # In nanoseconds, which is how pandas has them, item() would return a bare number.
    unit, _ = numpy.datetime_data(value.dtype)
    shortened = value if unit in ("Y", "M", "W", "D") else value.astype("datetime64[us]")
    moment = shortened.item()
    # Back again: NumPy cuts off nanoseconds, and counts from the other end what is too far away, both in silence.
    if shortened.astype(value.dtype) != value or not isinstance(moment, datetime.date):
        _refuse_moment(name)
    return moment


def _plain_datetime(value: datetime.datetime, name: str) -> datetime.datetime:
    # pandas' NaT is a datetime without a year, and pandas counts nanoseconds, which would be cut off in silence.
    # Its time stamps have years beyond those of datetime, too.
    if value != value or getattr(value, "nanosecond", 0) != 0 or not 1 <= value.year <= 9999:
        _refuse_moment(name)
    try:
        moved = value if value.utcoffset() is None else value.astimezone(datetime.UTC)
    except OverflowError:
        _refuse_moment(name)
    return datetime.datetime(
        moved.year,
        moved.month,
        moved.day,
        moved.hour,
        moved.minute,
        moved.second,
        moved.microsecond,
        tzinfo=None if value.utcoffset() is None else datetime.UTC,
    )


def _written(value: Any, name: str) -> str:
    """Write a plain value."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float, Decimal)):
        text = _number(value, name)
        # In parentheses, or 1-:x would become 1--5: a comment.
        return f"({text})" if text.startswith("-") else text
    if isinstance(value, datetime.datetime):
        return f"'{value.isoformat(sep=' ')}'"
    if isinstance(value, datetime.date):
        return f"'{value.isoformat()}'"
    if _TEXT.fullmatch(value) is None:
        raise InvalidArgument(
            f"The parameter '{name}' is a text that cannot be bound safely, because SQL dialects differ in where they "
            "see it end: it has a backslash or a NUL in it, begins or ends with a quote, or has two quotes in a row. "
            "Nothing was sent."
        )
    return "'" + value.replace("'", "''") + "'"


def _number(value: float | Decimal, name: str) -> str:
    if not (value.is_finite() if isinstance(value, Decimal) else isinstance(value, int) or math.isfinite(value)):
        raise InvalidArgument(f"The parameter '{name}' is {value}: SQL has no literal for that. Nothing was sent.")
    if isinstance(value, Decimal):
        digits = len(value.as_tuple().digits) + abs(int(value.as_tuple().exponent))
    else:
        digits = value.bit_length() // 3 if isinstance(value, int) else 0
    if digits > LONGEST_NUMBER:
        raise InvalidArgument(
            f"The parameter '{name}' is a number of more than {LONGEST_NUMBER:,} digits. Nothing was sent."
        )
    return f"{value:f}" if isinstance(value, Decimal) else repr(value)


def _refuse_moment(name: str) -> NoReturn:
    raise InvalidArgument(
        f"The parameter '{name}' is no moment that SQL can be told: it is not a time (NaT), has nanoseconds, or lies "
        "outside of the years 1 to 9999. Nothing was sent."
    )
