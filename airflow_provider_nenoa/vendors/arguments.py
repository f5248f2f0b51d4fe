"""Checks of what a user wants to send, before anything is sent."""

from __future__ import annotations

import datetime
import math
from collections import UserString
from collections.abc import Mapping, Sequence, ValuesView
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from urllib.parse import quote
from uuid import UUID

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.vendors.json_text import read_json

DEEPEST = 100
"""Levels of lists and objects that an argument may have."""
LARGEST_INTEGER = 1 << 4_096
"""Python does not write much larger ones as text."""

_TIMES = ("M", "m")  # numpy's letters for moments and for lengths of time


def required(name: str, value: object) -> str:
    """
    Return a text argument without the space around it. A number or a UUID is taken for the text that it is written as.

    With ``render_template_as_native_obj``, a template that renders to ``42`` comes as a number.

    :raises InvalidArgument: It is missing, empty, or neither text nor number.
    """
    text = _text(name, value)
    if text is None or not text.strip():
        raise InvalidArgument(f"'{name}' must be a non-empty string, not {value!r}. Nothing was sent.")
    return text.strip()


def path_segment(name: str, value: object) -> str:
    """
    Return a text argument as one segment of a URL's path.

    :raises InvalidArgument: It is missing, empty, no text, or would lead to another path.
    """
    text = required(name, value)
    if text in (".", ".."):
        raise InvalidArgument(f"'{name}' cannot be {text!r}. Nothing was sent.")
    return quote(text, safe="")


def seconds(name: str, value: object) -> float:
    """
    Return a duration in seconds; a timedelta is one, too.

    :raises InvalidArgument: It is not a number or timedelta above 0, or does not end.
    """
    found = value.total_seconds() if isinstance(value, datetime.timedelta) else value
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 < found < math.inf:
        raise InvalidArgument(f"'{name}' must be more than 0 seconds, not {value!r}. Nothing was sent.")
    return int(found) if found == int(found) else found  # 30, and not 30.0: an API may take whole seconds only


def whole_number(name: str, value: object) -> int:
    """
    Return a number of things.

    :raises InvalidArgument: It is no whole number, or less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument(f"'{name}' must be a whole number of at least 1, not {value!r}. Nothing was sent.")
    return value


def plain(name: str, value: object) -> Any:
    """
    Return a value as JSON has it, made of dict, list, str, int, float, bool and None only.

    Mappings and sequences of any class become dicts and lists, also Airflow's lazy ones and numpy's arrays. Enum
    members become their values; date, time and datetime a text in ISO 8601; timedelta its seconds; UUIDs and paths
    their text. A Decimal becomes the same number, or a text where JSON's number would be another one for who reads it
    as a float.

    :param name: What it is called, for the error.
    :raises InvalidArgument: JSON has nothing for it: NaN and the infinities, bytes, sets, iterators, any other class.
        The error names the place in it, such as ``context['answers'][3]``, and no value.
    """
    return _plain(name, value, ())


def json_object(name: str, value: object) -> dict[str, Any]:
    """
    Return an argument as an object that JSON can carry: see `plain`. The text of a JSON object is one, too.

    :raises InvalidArgument: It is none.
    """
    found: dict[str, Any] = _plain(name, any_object(name, value), ())
    return found


def optional_object(name: str, value: object) -> dict[str, Any] | None:
    """
    Return an argument as `json_object` does; None for None and for a text that is blank or ``null``.

    A template that renders to nothing is one of those.
    """
    if isinstance(value, str) and value.strip() in ("", "null"):
        return None
    return None if value is None else json_object(name, value)


def any_object(name: str, value: object) -> Mapping[Any, Any]:
    """
    Return an argument as a mapping, its values as they are. The text of a JSON object is taken for that object.

    :raises InvalidArgument: It is none.
    """
    if isinstance(value, str):
        try:
            read = read_json(value, decimals=True)
        except ValueError as error:
            raise InvalidArgument(
                f"'{name}' is not JSON: {error}. Nothing was sent.\nIt must be a dict, or the text of a JSON object."
            ) from None
        if read.lost:
            raise InvalidArgument(
                f"'{name}' cannot be sent as JSON: {', '.join(read.lost)} is NaN, an infinity, too large a number or "
                "nested too deeply. Nothing was sent."
            )
        value = read.value
    if not isinstance(value, Mapping):
        raise InvalidArgument(
            f"'{name}' must be a dict that can be sent as JSON, or the text of one; it is a {type(value).__name__}. "
            "Nothing was sent."
        )
    return value


def text_object(name: str, value: object) -> dict[str, str]:
    """
    Return an object of texts, a number as a text, as `required` does. Its values never show up in the message.

    :raises InvalidArgument: It is none.
    """
    message = f"'{name}' must be a dict whose keys and values are strings. Nothing was sent."
    try:
        texts = {key: _text(name, part) for key, part in any_object(name, value).items()}
    except InvalidArgument:
        raise InvalidArgument(message) from None
    if not all(isinstance(key, str) and text is not None for key, text in texts.items()):
        raise InvalidArgument(message)
    return {str(key): text for key, text in texts.items() if text is not None}


def with_extra(body: Mapping[str, Any], extra_body: object) -> dict[str, Any]:
    """
    Return a request's body with what the caller adds to it.

    :param body: The body.
    :param extra_body: Fields that this package does not know, or None.
    :raises InvalidArgument: They are no object that JSON can carry, or one of them is in the body already.
    """
    if extra_body is None:
        return dict(body)
    extra = json_object("extra_body", extra_body)
    if taken := sorted(body.keys() & extra.keys()):
        raise InvalidArgument(
            f"'extra_body' cannot have {', '.join(map(repr, taken))}: that is set by other arguments or by this "
            "package. Nothing was sent."
        )
    return {**body, **extra}


def _text(name: str, value: Any) -> str | None:
    """Return the text that a text or a number is written as; None: it is neither."""
    if isinstance(value, (Enum, UUID, PurePath)) or _is_numpy_scalar(value):
        value = _plain(name, value, ())
    if isinstance(value, str):
        return str.__str__(value)
    number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    return str(_number(name, value)) if number else None


def _plain(path: str, value: Any, around: tuple[int, ...]) -> Any:
    """
    Do the work of `plain`.

    :param path: Where the value stands.
    :param around: What it stands in, by identity: who contains himself has no end.
    """
    if isinstance(value, Enum):
        value = value.value
    if _is_numpy_scalar(value):
        value = _of_numpy(path, value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, UserString):
        value = value.data
    if isinstance(value, str):
        return str.__str__(value)  # of whatever subclass
    if isinstance(value, (int, float, Decimal)):
        return _number(path, value)
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        if value != value:  # pandas' NaT
            raise _refused(path, "is not a time")
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return _number(path, value.total_seconds())
    if isinstance(value, (UUID, PurePath)):
        return str(value)
    if id(value) in around or len(around) >= DEEPEST:
        raise _refused(path, f"contains itself, or goes deeper than {DEEPEST} levels")
    around = (*around, id(value))
    if isinstance(value, Mapping):
        return _object(path, value, around)
    if hasattr(value, "tolist") and not isinstance(value, type):  # numpy's arrays, and what wraps them
        value = list(value) if _numpy_kind(value) in _TIMES else value.tolist()
    if isinstance(value, (Sequence, ValuesView)) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [_plain(f"{path}[{index}]", each, around) for index, each in enumerate(value)]
    advice = (
        "decode it first" if isinstance(value, (bytes, bytearray, memoryview)) else "make it a list or a text first"
    )
    raise _refused(path, f"is of the class {type(value).__name__}, for which JSON has nothing; {advice}")


def _object(path: str, value: Mapping[Any, Any], around: tuple[int, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        name = None if key is None or isinstance(key, (bool, float)) else _plain(path, key, around)
        if isinstance(name, int):
            name = str(name)
        if not isinstance(name, str):
            raise _refused(path, f"has a key of the class {type(key).__name__}: JSON's keys are texts")
        if name in found:
            raise _refused(path, f"has the key {name!r} twice, as a text and as something else")
        found[name] = _plain(f"{path}[{name!r}]", each, around)
    return found


def _number(path: str, value: int | float | Decimal) -> int | float | str:
    finite = value.is_finite() if isinstance(value, Decimal) else isinstance(value, int) or math.isfinite(value)
    if not finite:
        raise _refused(path, f"is {value}, for which JSON has no number")
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Decimal) and value != value.to_integral_value():
        return float(value) if Decimal(repr(float(value))) == value else str(value)
    far = value.adjusted() > 1_000 if isinstance(value, Decimal) else abs(value) >= LARGEST_INTEGER
    if far:
        raise _refused(path, "is too large a number")
    return int(value)


def _is_numpy_scalar(value: Any) -> bool:
    return hasattr(value, "item") and getattr(value, "shape", None) == ()


def _numpy_kind(value: Any) -> str:
    """Return numpy's letter for a kind of values; empty where there is none."""
    return str(getattr(getattr(value, "dtype", None), "kind", ""))


def _of_numpy(path: str, value: Any) -> Any:
    """Return a scalar of numpy's as one of Python's; of times in nanoseconds, numpy itself would give bare numbers."""
    kind = _numpy_kind(value)
    if kind not in _TIMES:
        return value.tolist()
    value = value[()]  # out of an array without dimensions
    if value != value:
        raise _refused(path, "is not a time")
    if kind == "m":
        try:
            return float(value / type(value)(1, "s"))
        except TypeError:
            raise _refused(path, "is a number of months or years, which are of no fixed length") from None
    if isinstance(value.item(), datetime.date):
        return value.item()
    moment = value.astype("datetime64[us]")
    is_exact = moment == value and isinstance(moment.item(), datetime.datetime)
    return moment.item() if is_exact else str(value)


def _refused(path: str, why: str) -> InvalidArgument:
    """Return the error; a path that has no end is told by its beginning."""
    path = path if len(path) <= 200 else f"{path[:200]}..."
    return InvalidArgument(f"'{path.partition('[')[0]}' cannot be sent as JSON: {path} {why}. Nothing was sent.")
