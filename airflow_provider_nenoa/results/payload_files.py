"""
The files of a run, as far as its payload tells of them.

Which of a payload's URLs are files is for the vendor's module to say, and for the user, who may name others. A payload
is not trusted: names are made safe, and their number has a limit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from airflow_provider_nenoa.exceptions import FilesMissing, ResultRefused
from airflow_provider_nenoa.vendors.key_paths import ANY, KeyPath, places_in
from airflow_provider_nenoa.vendors.nenai import ARCHIVE_KEY, files_in, is_archive
from airflow_provider_nenoa.vendors.payloads import is_url

log = logging.getLogger(__name__)

MAX_FILES = 1_000
"""Files that one run may have, by default."""
FETCHED = "fetched: see 'files'"
"""What stands in a task's result where the URL of a file stood that was stored."""


@dataclass(frozen=True)
class PayloadFile:
    """
    A file that a payload tells of.

    :param name: Where its URL stands, such as ``results.files[0].url``.
    :param url: The URL: a secret, for who has it has the file.
    :param is_archive: Whether it is the zip of all files that the run wrote.
    """

    name: str
    url: str
    is_archive: bool = False

    @property
    def last_part(self) -> str:
        """What the URL calls the file."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])

    def __repr__(self) -> str:
        return f"PayloadFile({self.name!r})"


def files_of(
    payload: Mapping[str, Any], max_files: int = MAX_FILES, named: Iterable[KeyPath] = ()
) -> list[PayloadFile]:
    """
    Find the files in a payload, in the order in which they stand there, then those that the user names.

    A URL that is repeated counts once.

    :param payload: A JSON object.
    :param max_files: How many there may be. Default 1,000.
    :param named: Where more URLs of files stand.
    :raises FilesMissing: There is no URL at a place that is named, or the run's files are where nobody can fetch them.
    :raises ResultRefused: There are more than ``max_files``.
    """
    archive = payload.get(ARCHIVE_KEY)
    if isinstance(archive, str) and archive.strip() and not is_url(archive):
        scheme, is_address, _ = archive.strip().partition("://")
        if is_address and scheme.isalnum() and not scheme.lower().startswith("http"):
            raise FilesMissing(
                f"The files of the run cannot be fetched: the address that its payload has as {ARCHIVE_KEY!r} begins "
                f"with {scheme}://.\nOnly http(s) URLs can be: fetch them by other means, or leave 'output_path' out."
            )
        log.warning(
            "What the run's payload has as %r is no http(s) URL: nothing can be fetched from there.", ARCHIVE_KEY
        )
    found = files_in(payload)
    for path in named:
        for url, name in _at(path, payload).items():
            found.setdefault(url, name)
    if len(found) > max_files:
        raise ResultRefused(
            f"The payload has {len(found):,} URLs of files, more than max_files = {max_files:,}. None was fetched.\n"
            "Raise 'max_files' if that many are expected."
        )
    return [PayloadFile(name, url, is_archive(name)) for url, name in found.items()]


def without_urls(payload: Mapping[str, Any], named: Iterable[KeyPath] = ()) -> dict[str, Any]:
    """
    Return a payload without the URLs of its files, for XCom: who has such a URL has the file.

    :param payload: A JSON object whose files were stored.
    :param named: As for `files_of`.
    :return: A copy, in which `FETCHED` stands where a file's URL did.
    """
    urls = set(files_in(payload)) | {url for path in named for url in _at(path, payload)}
    whole: list[Any] = [payload]
    open_ends: list[tuple[Any, Any]] = [(whole, 0)]  # not by recursion: a payload may be nested however deeply
    while open_ends:
        there, key = open_ends.pop()
        value = there[key]
        if isinstance(value, Mapping):
            there[key] = dict(value)
            open_ends += [(there[key], name) for name in value]
        elif isinstance(value, list):
            there[key] = list(value)
            open_ends += [(there[key], index) for index in range(len(value))]
        elif isinstance(value, str) and value in urls:
            there[key] = FETCHED
    found: dict[str, Any] = whole[0]
    return found


def _at(path: KeyPath, payload: Mapping[str, Any]) -> dict[str, str]:
    try:
        found = path.find(payload)
    except LookupError as error:
        raise _nothing_at(path, f"there is no {error.args[0]!r}", payload) from None
    urls = {value: name for name, value in found.items() if is_url(value)}
    if (found and not urls) or (ANY not in path.steps and len(urls) < len(found)):
        raise _nothing_at(path, "there is no http(s) URL", payload)
    return urls


def _nothing_at(path: KeyPath, why: str, payload: Mapping[str, Any]) -> FilesMissing:
    if places := places_in(payload, is_url):
        there = f"It has URLs at {', '.join(places)}"
    else:
        there = f"It has no URLs; its keys are {', '.join(places_in(payload, lambda value: True)) or 'none'}"
    return FilesMissing(
        f"'files' names {path.text!r}, but in the run's payload {why} at this place.\n{there}. Correct 'files'."
    )
