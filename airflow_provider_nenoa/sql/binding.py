"""
Values for the ``:name`` placeholders of a query, written into its text.

OpenAnalyst's API takes a query as text and nothing beside it, and does not say which dialect of SQL that text is in.
So a value is bound only where every dialect reads the outcome alike, whatever its rules for strings and comments are;
otherwise it is refused, and nothing is sent. A bound value can then never be anything but a value.

A parser of SQL, such as sqlparse, would not do: it has the rules of one dialect, and it gives what it does not
understand some meaning. What is needed here is less, where strings, quoted names and comments end, and a clear no.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.sql.literals import literal

# Possessive throughout (++ and *+): nothing is tried twice, so the time grows with the length and no faster.
_STRING = r"'(?:[^'\\]++(?:''[^'\\]++)*+)?'(?!')"
_IDENTIFIER = r'"(?:[^"\\]++(?:""[^"\\]++)*+)?"(?!") | `[^`\\]*+`'
# A name in some dialects, an array or an index in others: it must end at the same place for both.
_IN_BRACKETS = r"""(?: [^\[\]'"`\\\#$/-] | -(?!-) | /(?![*/]) | '[^'\\\[\]]*+'(?!') | "[^"\\\[\]]*+"(?!") )*+"""
_TOKEN = re.compile(
    rf"""
      (?P<string>    (?<!\w){_STRING} )
    | (?P<identifier>{_IDENTIFIER} | \[{_IN_BRACKETS}\](?!\]) )
    | (?P<comment>   --(?:[ \t][^\r\n]*+|[^\r\n'"`]*+)(?=\r?\n|\Z) | /\*(?!!)(?:(?!/\*|\*/).)*+\*/ )
    | (?P<cast>      :: )
    | (?P<colon>     \\: )
    | (?P<name>      :(?P<key>[A-Za-z_]\w*+) )
    | (?P<other>     [\w\s]++ | -(?!-) | /(?![*/]) | :(?![:A-Za-z_]) | [^\w\s'"`\\\#$:/\[\]-] )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


def bind(query: str, parameters: Mapping[str, Any]) -> str:
    r"""
    Replace each ``:name`` outside strings, quoted names and comments by a literal.

    A colon that is meant as such, before a letter, is written ``\:``. In strings, quoted names and comments a colon is
    left alone, and ``::`` is a cast.

    :param query: The SQL.
    :param parameters: A value for each name: None, bool, int, float, Decimal, str, date, datetime or UUID. A date is
        written as a text in ISO form, a datetime as ``2024-01-31 12:00:00``, one with a time zone in UTC as
        ``2024-01-31 12:00:00+00:00``.
    :return: The SQL with the values in it.
    :raises InvalidArgument: A value is missing, is not used, or cannot be bound safely, or the query has something in
        it that dialects read differently, such as a backslash in a string. Nothing was sent.
    """
    return bind_each([query], parameters)[0]


def bind_each(queries: Iterable[str], parameters: Mapping[str, Any]) -> list[str]:
    """Do the same for queries that share their parameters: each must be used by one of them at least."""
    if not isinstance(parameters, Mapping):
        raise InvalidArgument(
            f"'parameters' must be a mapping, for placeholders such as :name, not a {type(parameters).__name__}."
        )
    used: set[str] = set()
    bound = [_bound(query, parameters, used) for query in queries]
    if unused := [str(key) for key in parameters if key not in used]:
        there = "these are there: " + _list(sorted(used)) if used else "it has none"
        raise InvalidArgument(
            f"'parameters' has {_list(unused)}, for which the query has no placeholder; {there}. Nothing was "
            "sent.\nInside quotes, brackets and comments :name is no placeholder."
        )
    return bound


def _bound(query: str, parameters: Mapping[str, Any], used: set[str]) -> str:
    parts: list[str] = []
    position = 0
    while position < len(query):
        token = _TOKEN.match(query, position)
        if token is None:
            raise InvalidArgument(
                f"Values cannot be bound into this query safely: SQL dialects differ in how they read it from "
                f"{query[position : position + 20]!r} (character {position + 1}) on. Nothing was sent.\n"
                "Write that part without backslashes, '$', '#', nested comments or brackets, or strings with a "
                "prefix, or leave 'parameters' away."
            )
        key = token["key"]
        if key is not None:
            parts.append(_value(query, token, key, parameters))
            used.add(key)
        else:
            parts.append(":" if token["colon"] else token[0])
        position = token.end()
    return "".join(parts)


def _value(query: str, token: re.Match[str], key: str, parameters: Mapping[str, Any]) -> str:
    """Return the literal that stands for a placeholder."""
    if key not in parameters:
        named = {found["key"] for found in _TOKEN.finditer(query)}
        unused = [str(name) for name in parameters if name not in named]
        hint = f"; it has {_list(unused)}, which the query does not use" if unused else ""
        raise InvalidArgument(
            f"'parameters' has no value for :{key} in the query{hint}. Nothing was sent.\nA colon that is meant as "
            f"such is written \\:{key}."
        )
    # It must not grow together with what stands beside it: N:x, 1:x, 'a':x.
    before, after = query[max(0, token.start() - 1) : token.start()], query[token.end() : token.end() + 1]
    if any(character.isalnum() or character in "_.&@'\"`:[]" for character in before + after):
        raise InvalidArgument(
            f":{key} stands beside a letter, digit or quote in the query. Nothing was sent.\nPut a space around it."
        )
    return literal(parameters[key], key)


def _list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
