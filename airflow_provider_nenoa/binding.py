"""
Values for the ``:name`` placeholders of a query, written into its text.

OpenAnalyst's API takes a query as text and nothing beside it, and does not say which dialect of SQL that text is in.
So a value is bound only where every dialect reads the outcome alike, whatever its rules for strings and comments are;
otherwise it is refused, and nothing is sent. A bound value can then never be anything but a value.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidArgument

_TOKEN = re.compile(
    r"""
      (?P<string>    (?<!\w)'(?:[^'\\]+(?:''[^'\\]+)*)?'(?!') )
    | (?P<identifier>"(?:[^"\\]+(?:""[^"\\]+)*)?"(?!") | `[^`\\]*` )
    | (?P<comment>   --(?:[ \t][^\r\n]*|[^\r\n'"`]*)(?=\r?\n|\Z) | /\*(?!!)(?:(?!/\*|\*/).)*\*/ )
    | (?P<cast>      :: )
    | (?P<name>      :(?P<key>[A-Za-z_]\w*) )
    | (?P<other>     [\w\s]+ | -(?!-) | /(?![*/]) | :(?![:A-Za-z_]) | [^\w\s'"`\\\#$:/-] )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)

# A quote is doubled, as the SQL standard says. A text is refused where some dialect would see the string's end
# elsewhere: a backslash escapes in several, and three quotes in a row begin another kind of string in some.
_TEXT = re.compile(r"(?:[^'\\\0]+(?:'[^'\\\0]+)*)?")


def bind(query: str, parameters: Mapping[str, Any]) -> str:
    """
    Replace each ``:name`` outside strings, quoted names and comments by a literal.

    :param query: The SQL.
    :param parameters: A value for each name: None, bool, int, float, Decimal, str, date or datetime. A date is written
        as a text in ISO form, a datetime as ``2024-01-31 12:00:00``. Values without a placeholder are ignored.
    :return: The SQL with the values in it.
    :raises InvalidArgument: A value is missing or cannot be bound safely, or the query has something in it that
        dialects read differently, such as a backslash in a string. Nothing was sent.
    """
    if not isinstance(parameters, Mapping):
        raise InvalidArgument(
            f"'parameters' must be a mapping, for placeholders such as :name, not a {type(parameters).__name__}."
        )
    parts: list[str] = []
    position = 0
    while position < len(query):
        token = _TOKEN.match(query, position)
        if token is None:
            raise InvalidArgument(
                f"Values cannot be bound into this query safely: SQL dialects differ in how they read it from "
                f"{query[position : position + 20]!r} (character {position + 1}) on. Nothing was sent. Write that part "
                "without backslashes, '$', '#', nested comments or strings with a prefix, or leave 'parameters' away."
            )
        key = token["key"]
        if key is None:
            parts.append(token[0])
        elif key in parameters:
            _check_neighbours(query, token)
            parts.append(literal(parameters[key], key))
        else:
            raise InvalidArgument(f"'parameters' has no value for :{key} in the query. Nothing was sent.")
        position = token.end()
    return "".join(parts)


def literal(value: Any, name: str) -> str:
    """
    Write a value as SQL.

    :param name: What it is called, for the error; its value is not in there.
    :raises InvalidArgument: It is of another type, or cannot be written safely.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, (int, float, Decimal)):
        if not math.isfinite(value):
            raise InvalidArgument(f"The parameter '{name}' is {value}: SQL has no literal for that. Nothing was sent.")
        text = f"{value:f}" if isinstance(value, Decimal) else repr(value + 0)
        # In parentheses, or 1-:x would become 1--5: a comment.
        return f"({text})" if text.startswith("-") else text
    if isinstance(value, datetime.datetime):
        return f"'{value.isoformat(sep=' ')}'"
    if isinstance(value, datetime.date):
        return f"'{value.isoformat()}'"
    if not isinstance(value, str):
        raise InvalidArgument(
            f"The parameter '{name}' is a {type(value).__name__}, which cannot be bound. Use None, bool, int, float, "
            "Decimal, str, date or datetime. Nothing was sent."
        )
    if _TEXT.fullmatch(value) is None:
        raise InvalidArgument(
            f"The parameter '{name}' is a text that cannot be bound safely, because SQL dialects differ in where they "
            "see it end: it has a backslash or a NUL in it, begins or ends with a quote, or has two quotes in a row. "
            "Nothing was sent."
        )
    return "'" + value.replace("'", "''") + "'"


def _check_neighbours(query: str, token: re.Match[str]) -> None:
    """A literal must not grow together with what stands beside it: ``N:x``, ``1:x``, ``'a':x``."""
    before, after = query[: token.start()][-1:], query[token.end() :][:1]
    if any(character.isalnum() or character in "_.&@'\"`" for character in before + after):
        raise InvalidArgument(f"Put a space around :{token['key']} in the query. Nothing was sent.")
