"""What docstrings say of a parameter's default is the default."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

import airflow_provider_nenoa

PARAMETER = re.compile(r":param (\w+):((?:(?!\n\s*(?::|\n|\Z)).)*)", re.DOTALL)
DEFAULT = re.compile(r"\bDefault(?: is)? ((?:``[^`]*``|[^\s`]+(?: GiB| MiB| hours| minutes)?))[.:,;\s]")
UNITS = {"GiB": 1024**3, "MiB": 1024**2, "hours": 3600, "minutes": 60}


def documented() -> Iterator[tuple[str, Callable[..., Any], str, str]]:
    """Give what has parameters: its name, a callable, a parameter's name, and what is said of it."""
    for found in pkgutil.walk_packages(airflow_provider_nenoa.__path__, "airflow_provider_nenoa."):
        if ".migrations." in found.name or found.name.endswith("__main__"):
            continue
        module = import_module(found.name)
        for owner in [each for each in vars(module).values() if getattr(each, "__module__", "") == found.name]:
            for each in [owner, *(vars(owner).values() if inspect.isclass(owner) else ())]:
                if callable(each) and not getattr(each, "__name__", "_").startswith("_"):
                    for name, text in PARAMETER.findall(inspect.getdoc(each) or ""):
                        yield f"{found.name}.{each.__qualname__}", each, name, text


def said(text: str) -> Any:
    """Return the value of a default as it is written."""
    number, _, unit = text.partition(" ")
    if unit:
        return float(number.replace(",", "")) * UNITS[unit]
    try:
        return ast.literal_eval(text.strip("`").replace(",", "").rstrip(".:"))
    except (ValueError, SyntaxError):
        return text.strip("`")


DEFAULTS = [
    pytest.param(parameter, said(default[1]), id=f"{qualified}-{name}")
    for qualified, each, name, text in documented()
    if (default := DEFAULT.search(text + "\n"))
    # What a hook or operator hands on to Airflow's class is not named there.
    if (parameter := inspect.signature(each).parameters.get(name))
]


@pytest.mark.parametrize(("parameter", "default"), DEFAULTS)
def test_the_default_is_what_the_docstring_says(parameter: inspect.Parameter, default: Any) -> None:
    assert parameter.default == default


@pytest.mark.parametrize("objects", ["datasets", "reports", "dashboards"])
def test_a_docstring_that_is_put_together_is_whole(objects: str) -> None:
    from airflow_provider_nenoa.operators import openanalyst

    text = inspect.getdoc(getattr(openanalyst, f"OpenAnalystList{objects.capitalize()}Operator")) or ""
    assert text.startswith(f"List the {objects} of a workspace.\n\nReturns a list")


def test_defaults_are_found() -> None:
    assert len(DEFAULTS) > 90
