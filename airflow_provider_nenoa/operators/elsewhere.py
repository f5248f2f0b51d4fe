"""Operators that are defined in the module beside, which is loaded when one of them is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def exported(module: str, **modules: str) -> Callable[[str], Any]:
    """
    Return a module's ``__getattr__`` (PEP 562).

    :param module: The name of the module that exports them.
    :param modules: The module beside it in which each of the names is defined.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(f"{__package__}.{modules[name]}"), name)

    return get
