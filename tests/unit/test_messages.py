"""Logs cut long lines off: an error says in its first line what happened, and on the next one what to do."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_nenoa

PACKAGE = Path(airflow_provider_nenoa.__file__).parent
AFTERMATH = re.compile(r" (Nothing|None|It) was [^.]*\.")
"""Short enough to stand beside what happened: whether anything was sent."""


def text_of(node: ast.expr) -> str:
    """The text of a literal, `{}` for what is filled in; of a call such as ``scrub(...)``, what it is given."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return text_of(node.args[0]) if isinstance(node, ast.Call) and node.args else ""


def errors() -> Iterator[tuple[str, str]]:
    """Where an error is made in the package, and its message."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        if "emulator" in path.parts or "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and is_error(name, node.func):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", text_of(node.args[0])


def is_error(module: str, called: ast.expr) -> bool:
    if isinstance(called, ast.Subscript) or not re.fullmatch(r"(\w+\.)?[A-Z]\w+", ast.unparse(called)):
        return False
    found: object = importlib.import_module(module)
    for part in ast.unparse(called).split("."):
        found = getattr(found, part, None)
    return isinstance(found, type) and issubclass(found, Exception)


MESSAGES = list(errors())


@pytest.mark.parametrize(("place", "message"), MESSAGES, ids=[place for place, _ in MESSAGES])
def test_the_first_line_is_one_sentence(place: str, message: str) -> None:
    first = AFTERMATH.sub("", message.partition("\n")[0])
    assert not re.search(r"[.!?] \(?[A-Z{']", first), "begin a line for what to do"


def test_the_errors_are_found() -> None:
    assert len(MESSAGES) > 150
    assert sum("\n" in message for _, message in MESSAGES) > 50
