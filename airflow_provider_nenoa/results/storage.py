"""
Files in object storage that are there whole or not at all, with their size and SHA-256.

Where the store itself can hold an upload back until it is whole (S3, Google Cloud Storage), a file is uploaded once, to
its place. Elsewhere it is written under a temporary name beside its place, and then put there: by a rename, or a copy
where nothing is renamed. What a killed process leaves behind of these is called ``.nenoa-….part``.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import os
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from airflow.sdk import ObjectStoragePath
from fsspec import AbstractFileSystem
from fsspec.asyn import AsyncFileSystem
from fsspec.spec import AbstractBufferedFile

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.lineage.files import tell_of_file

if TYPE_CHECKING:
    from types import TracebackType

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
        if re.match(r"((file|local)://)?~", text):
            raise InvalidArgument(
                f"'output_path' {text!r} begins with '~', which is another directory for each user of each worker.\n"
                "Write the whole path."
            )
        self.is_directory = text.endswith("/")
        try:
            self.path = output_path if isinstance(output_path, ObjectStoragePath) else ObjectStoragePath(text)
            self.fs = _file_system(self.path)
        except (ImportError, TypeError, ValueError) as error:
            raise InvalidArgument(
                f"'output_path' {text!r} cannot be used: {error}.\nInstall the provider for this kind of storage."
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

    def check(self, *, directory: bool = False) -> None:
        """
        See whether something can be stored here, as far as it can be known without storing: on a local disk.

        :param directory: Whether files are stored in it. Default False: it is a file, or an existing directory.
        :raises InvalidArgument: It cannot.
        """
        if not _is_local(self.fs):
            return
        file = self.file("file") if directory else self.file_or_in("file")
        path = os.path.dirname(os.path.abspath(file.path.path))
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        if not os.path.isdir(path):
            why = f"{path} is no directory"
        elif not os.access(path, os.W_OK | os.X_OK):
            why = f"nothing may be written into {path}"
        else:
            return
        raise InvalidArgument(
            f"'output_path' {str(self)!r} cannot be used: {why}, for the user that runs this task.\nNothing was sent. "
            "Name a place where it may write."
        )

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
            if error is None:
                self._upload.commit()
                tell_of_file(self.place.path)
        except BaseException:
            self._upload.discard()
            raise
        if error is not None:
            self._upload.discard()

    def write(self, data: bytes) -> int:
        """Append some bytes."""
        # Hashing takes as long as fetching does, and leaves the interpreter to others: it goes on while the next bytes
        # are fetched, but never more than one piece behind.
        self._hashing.result()
        self._hashing = self._hasher.submit(self._digest.update, data)
        self._upload.write(data)
        self.size += len(data)
        return len(data)

    def restart(self) -> None:
        """Forget what was written so far."""
        self._hashing.result()
        self._upload.discard()
        self._begin()

    @property
    def stored(self) -> StoredFile:
        """The file's description."""
        return StoredFile(name=self.name, path=str(self.place), size=self.size, sha256=self._digest.hexdigest())

    def _begin(self) -> None:
        self._upload = _upload_to(self.place)
        self._digest = hashlib.sha256()
        self.size = 0


class _Upload(Protocol):
    """A file in the making, of which nothing is seen before it is committed."""

    def write(self, data: bytes) -> None: ...
    def commit(self) -> None: ...
    def discard(self) -> None: ...


class _HeldBack:
    """An upload to the file's place that the store holds back until it is whole, by fsspec's ``autocommit=False``."""

    def __init__(self, fs: AbstractFileSystem, path: str) -> None:
        self._fs = fs
        self._path = path
        self._first = bytearray()  # what fits into one part is sent as a whole, in one request
        self._file: Any = None

    def write(self, data: bytes) -> None:
        if self._file is None and len(self._first) + len(data) < PART_SIZE:
            self._first += data
            return
        if self._file is None:
            self._open()
        self._file.write(data)

    def commit(self) -> None:
        if self._file is None and isinstance(self._fs, AsyncFileSystem):
            self._fs.pipe_file(self._path, bytes(self._first))
            return
        if self._file is None:
            self._open()
        self._file.close()
        self._file.commit()

    def discard(self) -> None:
        if self._file is not None:
            _drop(self._file)
            self._file = None

    def _open(self) -> None:
        self._file = _open_held_back(self._fs, self._path)
        self._file.write(bytes(self._first))
        self._first.clear()


class _Renamed:
    """A file under a temporary name beside its place."""

    def __init__(self, fs: AbstractFileSystem, path: str, part: str, file: Any) -> None:
        self._fs = fs
        self._path = path
        self._part = part
        self._file = file

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def commit(self) -> None:
        self._file.close()
        if _is_local(self._fs):
            os.replace(self._part, self._path)
        elif _renames(self._fs):
            self._fs.mv(self._part, self._path)
        else:
            # One file each: fsspec's own move and copy would read a * in the path as a pattern.
            self._fs.cp_file(self._part, self._path)
            self._fs.rm_file(self._part)

    def discard(self) -> None:
        with contextlib.suppress(Exception):
            self._file.close()
        with contextlib.suppress(Exception):
            self._fs.rm_file(self._part)


def _upload_to(place: Place) -> _Upload:
    fs, path = place.fs, place.path.path
    part = (place.path.parent / f".nenoa-{secrets.token_hex(8)}.part").path
    if _is_local(fs) or _renames(fs):
        return _Renamed(fs, path, part, _open(fs, part))
    # Whether a file system holds uploads back is seen by its files: the base class of all has a commit that does
    # nothing, and some take autocommit=False and do not heed it. An object store is not asked for anything yet.
    try:
        file = _open_held_back(fs, part)
    except FileNotFoundError:
        file = None
    if isinstance(file, AbstractBufferedFile) and type(file).commit is not AbstractBufferedFile.commit:
        _drop(file)
        return _HeldBack(fs, path)
    if file is not None:
        _drop(file)
    return _Renamed(fs, path, part, _open(fs, part))


def _open(fs: AbstractFileSystem, path: str) -> Any:
    try:
        return fs.open(path, "wb", block_size=PART_SIZE)
    except FileNotFoundError:
        # Not before it is needed: on a store without directories this may ask for a bucket to be made.
        fs.makedirs(fs._parent(path), exist_ok=True)
        return fs.open(path, "wb", block_size=PART_SIZE)


def _open_held_back(fs: AbstractFileSystem, path: str) -> Any:
    file = fs.open(path, "wb", block_size=PART_SIZE, autocommit=False)
    # fsspec keeps such files for a transaction of the whole file system, which is none of ours.
    with contextlib.suppress(AttributeError, ValueError):
        fs.transaction.files.remove(file)
    return file


def _drop(file: Any) -> None:
    with contextlib.suppress(Exception):
        file.discard()
    with contextlib.suppress(Exception):
        if isinstance(file, AbstractBufferedFile):
            file.closed = True  # or else it would be uploaded when its memory is freed
        else:
            file.close()


def _renames(fs: AbstractFileSystem) -> bool:
    """Whether a file system has a move of its own, such as SFTP's: fsspec's is a copy."""
    return type(fs).mv is not AbstractFileSystem.mv


def _is_local(fs: AbstractFileSystem) -> bool:
    return "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))


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
