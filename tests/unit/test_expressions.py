"""No regular expression in the package explodes, whatever text it meets: its time grows with the text and no faster."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
import signal
import time
from collections.abc import Iterator
from types import FrameType

import pytest

import airflow_provider_nenoa
from airflow_provider_nenoa.exceptions import AirflowOptionalProviderFeatureException

ATOMS = [
    "'",
    '"',
    "`",
    "\\",
    "/*",
    "*/",
    "/* a */",
    "--",
    "\n",
    " ",
    "(",
    "[",
    "]",
    ":a",
    "a",
    "_",
    "0",
    ".",
    "<",
    "http://",
]
LENGTH = 60_000
SECONDS = 2.0
ONLY_AT_ONE_PLACE = {"results.scanner._BETWEEN.0", "results.session._URL.0", "sql.dbapi._FIRST_WORD.0"}
"""What the package matches and never searches: tried from every letter on, these would be slow."""


def expressions() -> Iterator[tuple[str, re.Pattern[str]]]:
    seen: set[str] = set()
    for module in pkgutil.walk_packages(airflow_provider_nenoa.__path__, "airflow_provider_nenoa."):
        if module.name.endswith(("__main__", "pytest_plugin", "migrations.env")):
            continue
        try:
            names = vars(importlib.import_module(module.name))
        except AirflowOptionalProviderFeatureException:
            continue  # what this Airflow has not
        for name, value in names.items():
            found = value.values() if isinstance(value, dict) else [value]
            for number, pattern in enumerate(found):
                if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str) and pattern.pattern not in seen:
                    seen.add(pattern.pattern)
                    yield f"{module.name.partition('.')[2]}.{name}.{number}", pattern


EXPRESSIONS = dict(expressions())


def beginnings(pattern: re.Pattern[str]) -> set[str]:
    """What the expression may want to see before it goes astray: pieces of its own text."""
    literal = re.sub(r"\\([^\w\s])", r"\1", pattern.pattern)
    return {"", "/* slow: ", "<Code>a</Code>", "bytes ", "https://", *re.findall(r"^[\w<>:/*'\" -]{1,12}", literal)}


def too_slow(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_no_expression_explodes(name: str) -> None:
    pattern = EXPRESSIONS[name]
    before = signal.signal(signal.SIGVTALRM, too_slow)
    try:
        for start, pair in itertools.product(beginnings(pattern), itertools.combinations_with_replacement(ATOMS, 2)):
            text = start + "".join(pair) * (LENGTH // len("".join(pair))) + "\0"
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                pattern.match(text)
                pattern.fullmatch(text)
                if name not in ONLY_AT_ONE_PLACE:
                    pattern.search(text)
            except TimeoutError:
                pytest.fail(f"{pattern.pattern!r} takes more than {SECONDS} s for {start!r} and many of {pair}")
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)


def test_the_expressions_are_found() -> None:
    assert {"sql.binding._TOKEN.0", "sql.dbapi._FIRST_WORD.0", "vendors.payloads._URL.0"} <= set(EXPRESSIONS)


def test_an_expression_that_explodes_is_noticed() -> None:
    began = time.process_time()
    EXPRESSIONS["explodes"] = re.compile(r"(?:\s|/\*.*?\*/)*x", re.DOTALL)
    try:
        with pytest.raises(pytest.fail.Exception, match="many of"):
            test_no_expression_explodes("explodes")
    finally:
        del EXPRESSIONS["explodes"]
    assert time.process_time() - began < 30 * SECONDS
