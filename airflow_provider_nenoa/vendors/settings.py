"""What stands in the extra fields of a connection, read in one way by hooks and receiver."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def text_setting(extra: Mapping[str, Any], name: str) -> str:
    """
    Read a setting that is a text.

    What comes from a file or the clipboard often brings a line's end along, and a text of digits only may have become a
    number on its way: neither is part of the setting, or another one.

    :param extra: The connection's extra fields.
    :return: The text; empty where there is none.
    :raises TypeError: It is a list, an object, or true or false.
    """
    value = extra.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(f"{name} is a {type(value).__name__}")
    return str(value).strip()
