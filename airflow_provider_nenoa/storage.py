"""
Files in object storage that are there whole or not at all, with their size and SHA-256.

A file is written under a temporary name beside its place, and then put into place: a rename on a local disk, a copy by
the store itself elsewhere. What a killed process leaves behind is called ``.nenoa-….part``.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypedDict

from airflow.sdk import ObjectStoragePath

from airflow_provider_nenoa.exceptions import InvalidArgument

if TYPE_CHECKING:
    from types import TracebackType

    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)

PART_SIZE = 8 * 1024 * 1024
"""Bytes that a remote store is sent at once, and so what one open file holds in memory; S3 wants 5 MiB at least."""


class StoredFile(TypedDict):
    """
    What is known of a file that was stored; goes into XCom.

    ``name`` is what it is called in the result it came from, ``path`` the URL for `ObjectStoragePath`, ``size`` in
    bytes, ``sha256`` in lowercase hex.
    """

    name: str
    path: str
    size: int
    sha256: str


class Place:
    """
    A file or directory in object storage.

    :param output_path: Any URL that Airflow's `ObjectStoragePath` understands; a connection stands before the host:
        ``s3://aws_default@bucket/key``.
    :raises InvalidArgument: It is no such URL, or the file system for it is not installed.
    """

    def __init__(self, output_path: str | ObjectStoragePath) -> None:
        text = str(output_path)
        if not isinstance(output_path, (str, ObjectStoragePath)) or not text.strip() or "\0" in text:
            raise InvalidArgument(f"'output_path' must be a URL such as s3://bucket/key, not {output_path!r}.")
        self.is_directory = text.endswith("/")
        try:
            self.path = output_path if isinstance(output_path, ObjectStoragePath) else ObjectStoragePath(text)
            self.fs = _file_system(self.path)
        except (ImportError, TypeError, ValueError) as error:
            raise InvalidArgument(
                f"'output_path' {text!r} cannot be used: {error}. Install the provider for this kind of storage."
            ) from error

    def file(self, name: str) -> Place:
        """Return the place of a file in this directory."""
        place = copy.copy(self)
        place.path = self.path / name
        place.is_directory = False
        return place

    def file_or_in(self, name: str) -> Place:
        """Return this place; if it is a directory, that of a file in it: one by its final slash, or one that exists."""
        if self.is_directory or self.fs.isdir(self.path.path):
            return self.file(name)
        return self

    def __str__(self) -> str:
        return str(self.path)


class NewFile:
    """
    A file that is being written. As a context manager: put into place at the end, or discarded if that was an error.

    :param place: Where it will stand; an older file there is replaced, and missing directories are made.
    :param name: What it is called in the result.
    """

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.name = name
        self._fs = place.fs
        self._final = place.path.path
        self._part = (place.path.parent / f".nenoa-{secrets.token_hex(8)}.part").path

    def __enter__(self) -> NewFile:
        self._begin()
        self._hasher = ThreadPoolExecutor(1, "nenoa-hash")
        self._hashing = self._hasher.submit(lambda: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hasher.shutdown()
        try:
            self._file.close()
            if error is None:
                _put_into_place(self._fs, self._part, self._final)
        except BaseException:
            self._discard()
            raise
        if error is not None:
            self._discard()

    def write(self, data: bytes) -> int:
        """Append some bytes."""
        # Hashing takes as long as fetching does, and leaves the interpreter to others: it goes on while the next bytes
        # are fetched, but never more than one piece behind.
        self._hashing.result()
        self._hashing = self._hasher.submit(self._digest.update, data)
        self._file.write(data)
        self.size += len(data)
        return len(data)

    def restart(self) -> None:
        """Forget what was written so far."""
        self._hashing.result()
        self._file.close()
        self._begin()

    @property
    def stored(self) -> StoredFile:
        """The file's description."""
        return StoredFile(name=self.name, path=str(self.place), size=self.size, sha256=self._digest.hexdigest())

    def _begin(self) -> None:
        try:
            self._file = self._open()
        except FileNotFoundError:
            # Not before it is needed: on a store without directories this may ask for a bucket to be made.
            self._fs.makedirs(self._fs._parent(self._part), exist_ok=True)
            self._file = self._open()
        self._digest = hashlib.sha256()
        self.size = 0

    def _open(self) -> Any:
        return self._fs.open(self._part, "wb", block_size=PART_SIZE)

    def _discard(self) -> None:
        with contextlib.suppress(Exception):
            self._fs.rm_file(self._part)


def _put_into_place(fs: AbstractFileSystem, part: str, final: str) -> None:
    if "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)):
        os.replace(part, final)
        return
    # One file each: fsspec's move and copy would read a * in the path as a pattern.
    fs.cp_file(part, final)
    fs.rm_file(part)


def _conn_id(path: ObjectStoragePath) -> str | None:
    # Airflow 3.2 made it an attribute of its own.
    conn_id: str | None = path.storage_options.get("conn_id") or getattr(path, "conn_id", None)
    return conn_id


def _file_system(path: ObjectStoragePath) -> AbstractFileSystem:
    try:
        return path.fs
    except ValueError:
        if _conn_id(path) is not None:
            raise
        # Airflow knows the file systems of its installed providers; fsspec knows more, without a connection.
        import fsspec

        return fsspec.filesystem(path.protocol)
