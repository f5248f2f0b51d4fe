"""Names for files that somebody else has named: safe, and each unlike the others."""

from __future__ import annotations

import posixpath
import re
import threading
import unicodedata

_UNSAFE = re.compile(r"[^\w .()+,=-]")
_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST_NAME = 180  # bytes: file systems take 255, and a number may have to be added
_LONGEST_PATH = 700  # bytes: S3 takes 1,024 for a whole key


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


class Names:
    """
    The names of the files in one directory, and in those below it.

    No two are the same, nor the same to a file system that does not tell upper case from lower; no file has the name
    of a directory. May be used by several threads.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._directories: dict[str, str] = {"": ""}
        self._lock = threading.Lock()

    def file(self, name: str, otherwise: str = "") -> str:
        """
        Return a name for a file in the directory itself.

        :param name: As somebody else calls it; what looks like a directory in it is left out.
        :param otherwise: What to take where nothing is left of it.
        """
        with self._lock:
            return self._distinct(safe_name(name, otherwise))

    def path(self, path: str) -> str:
        """
        Return a relative path for a file that somebody else has put into directories.

        What would lead elsewhere is left out: a root, a drive, ``.`` and ``..``. Of directories that are too deep the
        deepest are left out.

        :param path: Parts between slashes or backslashes.
        """
        parts = [part for part in path.replace("\\", "/").split("/") if part.strip(" ") not in ("", ".", "..")]
        if len(parts) > 1 and _DRIVE.fullmatch(parts[0]):
            del parts[0]
        *directories, name = parts or [""]
        with self._lock:
            parent, room = "", _LONGEST_PATH - _LONGEST_NAME
            for part in map(safe_name, directories):
                room -= len(part.encode()) + 1
                if room < 0:
                    break
                parent = self._directory(parent, part)
            return self._distinct(posixpath.join(parent, safe_name(name)))

    def _directory(self, parent: str, name: str) -> str:
        path = posixpath.join(parent, name)
        if (key := _key(path)) not in self._directories:
            self._directories[key] = self._distinct(path)
        return self._directories[key]

    def _distinct(self, path: str) -> str:
        stem, suffix = posixpath.splitext(path)
        number = 1
        while _key(path) in self._taken:
            number += 1
            path = f"{stem}-{number}{suffix}"
        self._taken.add(_key(path))
        return path


def _key(path: str) -> str:
    # To some file systems, letters with their accents beside them are the same as accented ones.
    return unicodedata.normalize("NFC", path).casefold()


def _shortened(text: str, size: int) -> str:
    return text.encode("utf-8", "ignore")[:size].decode("utf-8", "ignore")
