"""
The files of a run, as far as its payload tells of them.

NenAI says that a successful run's webhook has "presigned URLs to download results", and not where in the body they
stand: so every http(s) URL counts, at any depth. A payload is not trusted: names are made safe, and their number has
a limit.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_nenoa.exceptions import ResultRefused

MAX_FILES = 1_000
"""Files that one run may have, by default."""

_URL = re.compile(r"https?://[^\s\x00-\x20\x7f]+", re.IGNORECASE)
_UNSAFE = re.compile(r"[^\w .()+,=-]")
_LONGEST_NAME = 180  # bytes: file systems take 255, and a number may have to be added


@dataclass(frozen=True)
class PayloadFile:
    """
    A file that a payload tells of.

    :param name: Where its URL stands, such as ``results.files[0].url``.
    :param url: The URL: a secret, for who has it has the file.
    :param file_name: What it is stored as: the last part of the URL's path, made safe, and unlike the others'.
    """

    name: str
    url: str
    file_name: str

    def __repr__(self) -> str:
        return f"PayloadFile({self.name!r}, {self.file_name!r})"


def files_of(payload: Any, max_files: int = MAX_FILES) -> list[PayloadFile]:
    """
    Find every http(s) URL in a payload, in the order in which they stand there. One that is repeated counts once.

    :param payload: A JSON value.
    :param max_files: How many there may be. Default 1,000.
    :raises ResultRefused: There are more.
    """
    found: dict[str, str] = {}
    open_ends: list[tuple[str, Any]] = [("", payload)]  # not by recursion: a payload may be nested however deeply
    while open_ends:
        name, value = open_ends.pop()
        if isinstance(value, dict):
            open_ends += reversed([(name + _step(str(key), first=not name), part) for key, part in value.items()])
        elif isinstance(value, list):
            open_ends += reversed([(f"{name}[{index}]", part) for index, part in enumerate(value)])
        elif isinstance(value, str) and _is_url(value):
            found.setdefault(value, name if len(name) <= 200 else f"{name[:99]}…{name[-100:]}")
    if len(found) > max_files:
        raise ResultRefused(
            f"The payload has {len(found):,} URLs of files, more than max_files = {max_files:,}. None was fetched. "
            "Raise 'max_files' if that many are expected."
        )
    taken: set[str] = set()
    return [PayloadFile(name, url, _distinct(safe_name(_last_part(url), name), taken)) for url, name in found.items()]


def safe_name(name: str, otherwise: str = "") -> str:
    """
    Make a file name of any text: no directories, no ``..``, no control or wildcard characters, not too long.

    :param name: For example the last part of a URL's path.
    :param otherwise: What to take where nothing is left of it.
    """
    for text in (name, otherwise):
        cleaned = _UNSAFE.sub("_", text.replace("\\", "/").rpartition("/")[2]).strip(" .")
        if cleaned.strip("_"):
            stem, suffix = posixpath.splitext(cleaned)
            suffix = _shortened(suffix, 20)
            return _shortened(stem, _LONGEST_NAME - len(suffix.encode())).rstrip(" .") + suffix
    return "file"


def _is_url(text: str) -> bool:
    try:
        return _URL.fullmatch(text) is not None and bool(urlsplit(text).hostname)
    except ValueError:
        return False


def _last_part(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _step(key: str, *, first: bool) -> str:
    # Keys are the vendor's, or an attacker's: what may have line breaks in it is quoted.
    if key.isidentifier():
        return key if first else f".{key}"
    return f"[{json.dumps(key)}]"


def _distinct(name: str, taken: set[str]) -> str:
    stem, suffix = posixpath.splitext(name)
    number = 1
    while name.casefold() in taken:  # some file systems do not tell upper case from lower
        number += 1
        name = f"{stem}-{number}{suffix}"
    taken.add(name.casefold())
    return name


def _shortened(text: str, size: int) -> str:
    return text.encode("utf-8", "ignore")[:size].decode("utf-8", "ignore")
