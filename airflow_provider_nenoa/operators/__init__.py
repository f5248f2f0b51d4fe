"""Start a run, wait for it, return its result; one operator per kind of run, and those that list and fetch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def exported(module: str, **modules: str) -> Callable[[str], Any]:
    """
    Return a module's ``__getattr__`` (PEP 562): operators defined in a module beside, loaded when one is asked for.

    It is here, and not in a module of its own, because each module costs every parse of a DAG file.

    :param module: The name of the module that exports them.
    :param modules: The module beside it in which each of the names is defined.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{modules[name]}"), name)

    return get
