"""
The zip of a run's files, unpacked into object storage: each member streamed, with limits, and never out of its place.

An archive is not trusted: what its headers say is checked before anything is stored, and held against what then comes
out. It lies in a temporary file on this machine's disk meanwhile, because a zip is read from its end.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import stat
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from airflow_provider_nenoa.exceptions import DownloadFailed, ResultRefused
from airflow_provider_nenoa.results.names import Names
from airflow_provider_nenoa.results.storage import NewFile, Place, StoredFile

log = logging.getLogger(__name__)

MAX_RATIO = 200
"""How many times as large as the archive its members may be, all together: text comes to 20, pictures to 2."""
HARMLESS = 16 * 1024 * 1024
"""Bytes up to which the ratio does not matter."""

_CHUNK = 1024 * 1024
_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")  # with a member, without any, in several parts
_LOCAL_HEADER = 30
_DIRECTORY_BYTES = 1024  # of the archive's directory, for each member that there may be: names have 100 at most, mostly
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # bits of the flags: encrypted, strongly, and the directory too
# bzip2 and LZMA can blow up a few bytes to gigabytes in one step, in which nobody could stop them.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGES = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    IndexError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
_KEEP = "With unpack=False the archive is stored as it is."


class Spool:
    """A temporary file on this machine's disk, gone at the end, for an archive that is being fetched."""

    size = 0

    def __enter__(self) -> Spool:
        self.file = tempfile.TemporaryFile(prefix="nenoa-")
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        """Append some bytes."""
        self.file.write(data)
        self.size += len(data)
        return len(data)

    def restart(self) -> None:
        """Forget what was written so far."""
        self.file.seek(0)
        self.file.truncate()
        self.size = 0

    @property
    def is_zip(self) -> bool:
        """Whether it begins as a zip does."""
        self.file.seek(0)
        return self.file.read(4) in _STARTS

    def chunks(self) -> Iterator[bytes]:
        """Read it from its start."""
        self.file.seek(0)
        while chunk := self.file.read(_CHUNK):
            yield chunk


class Archive:
    """
    A zip in a spool, its headers checked. A context manager.

    :param spool: Where it lies.
    :param name: What it is called, for messages.
    :param max_files: How many members it may have.
    :param max_size: How many bytes all of them together may have.
    :raises ResultRefused: It has too many or too large members, or encrypted ones, or some that overlap.
    :raises DownloadFailed: It is damaged.
    """

    def __init__(self, spool: Spool, name: str, *, max_files: int, max_size: int) -> None:
        self.name = name
        self._spool = spool
        bounded: Any = _Bounded(spool.file, max(64 * 1024, max_files * _DIRECTORY_BYTES), self)
        with self._reading("its directory"):
            self._zip = zipfile.ZipFile(bounded)
        members = [member for member in self._zip.infolist() if not member.filename.endswith(("/", "\\"))]
        self._check(members, max_files, max_size)
        with self._reading("its directory"):
            self._check_overlap()
        self.members = [member for member in members if self._is_file(member)]

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._zip.close()

    def unpack(self, directory: Place, names: Names, parallel: int, stop: threading.Event) -> list[StoredFile]:
        """
        Store the members.

        :param directory: Where to; what directories the members are in is kept below it.
        :param names: The names that are taken there.
        :param parallel: How many to store at once.
        :param stop: Set when it need not go on.
        :return: The stored files, in the archive's order; each is called as the archive calls it.
        :raises DownloadFailed: A member is damaged.
        """
        places = [directory.file(names.path(member.filename)) for member in self.members]
        with ThreadPoolExecutor(parallel, "nenoa-unpack") as pool:
            tasks = [pool.submit(self._store, *pair, stop) for pair in zip(self.members, places, strict=True)]
            try:
                for task in as_completed(tasks):
                    task.result()
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        log.info("Unpacked %d files of %s.", len(tasks), self.name)
        return [task.result() for task in tasks]

    def _store(self, member: zipfile.ZipInfo, place: Place, stop: threading.Event) -> StoredFile:
        name = _printable(member.filename)
        with NewFile(place, name) as target:
            for chunk in self._chunks(member, name):
                if stop.is_set():
                    raise DownloadFailed("Another file could not be fetched.")
                target.write(chunk)
            if target.size != member.file_size:
                raise self._damaged(f"{name} has {target.size:,} bytes instead of {member.file_size:,}")
        return target.stored

    def _chunks(self, member: zipfile.ZipInfo, name: str) -> Iterator[bytes]:
        with self._reading(name):
            file = self._zip.open(member)
        with file:
            while True:
                with self._reading(name):
                    chunk = file.read(_CHUNK)
                if not chunk:
                    return
                yield chunk

    def _check(self, members: list[zipfile.ZipInfo], max_files: int, max_size: int) -> None:
        if len(members) > max_files:
            raise self.refused(
                f"has {len(members):,} files, more than max_files = {max_files:,}",
                "Raise 'max_files' if that many are expected. ",
            )
        total = sum(member.file_size for member in members)
        if total > max_size:
            raise self.refused(
                f"has files of {total:,} bytes in all, more than max_file_size = {max_size:,}",
                "Raise 'max_file_size' if that much is expected. ",
            )
        if total > HARMLESS and total > MAX_RATIO * self._spool.size:
            raise self.refused(
                f"is {self._spool.size:,} bytes large and would become {total:,}, more than {MAX_RATIO} times as many: "
                "so are archives that are made to fill disks"
            )
        for member in members:
            name = _printable(member.filename)
            if member.flag_bits & _ENCRYPTED:
                raise self.refused(f"is encrypted (its file {name}), and there is no password for it")
            if member.compress_type not in _METHODS:
                raise self.refused(f"has a file, {name}, that is compressed by method {member.compress_type}")

    def _check_overlap(self) -> None:
        """Members that share bytes are how a few of these become very many."""
        end, before = 0, ""
        for member in sorted(self._zip.infolist(), key=lambda member: member.header_offset):
            if member.header_offset < end:
                raise self.refused(f"has files that overlap: {_printable(before)} and {_printable(member.filename)}")
            self._spool.file.seek(member.header_offset + _LOCAL_HEADER - 4)
            name_size, extra_size = struct.unpack("<HH", self._spool.file.read(4))
            end = member.header_offset + _LOCAL_HEADER + name_size + extra_size + member.compress_size
            before = member.filename
        if end > self._zip.start_dir:
            raise self.refused(f"has a file that overlaps its directory: {_printable(before)}")

    def _is_file(self, member: zipfile.ZipInfo) -> bool:
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind in (0, stat.S_IFREG):
            return True
        log.warning(
            "%s in %s is no file but a link, a device or the like: it was left out.",
            _printable(member.filename),
            self.name,
        )
        return False

    @contextlib.contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except (*_DAMAGES, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the file's start
                raise
            raise self._damaged(f"{what}: {_printable(str(error)) or type(error).__name__}") from None

    def _damaged(self, how: str) -> DownloadFailed:
        return DownloadFailed(f"The archive {self.name} is damaged ({how}).\n{_KEEP}")

    def refused(self, why: str, advice: str = "") -> ResultRefused:
        """Return the error that says why the archive is not unpacked."""
        return ResultRefused(f"The archive {self.name} {why}. It was not unpacked.\n{advice}{_KEEP}")


class _Bounded:
    """A file of which no more than so many bytes are read at once: `zipfile` reads a whole directory into memory."""

    def __init__(self, file: Any, most: int, archive: Archive) -> None:
        self._file = file
        self._most = most
        self._archive = archive
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes."""
        if size > max(self._most, 2 * _CHUNK):
            raise self._archive.refused(
                f"has a directory of {size:,} bytes, for far more than 'max_files' members or very long names",
                "Raise 'max_files' if that many are expected. ",
            )
        data: bytes = self._file.read(size)
        return data


def _printable(text: str) -> str:
    cleaned = "".join(char if char.isprintable() else "?" for char in text)
    return cleaned if len(cleaned) <= 200 else f"{cleaned[:99]}…{cleaned[-100:]}"
