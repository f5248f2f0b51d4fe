"""The zip of all files of a workflow run, NenAI's ``assets``."""

from __future__ import annotations

import tempfile
import threading
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from airflow_provider_nenoa.emulator.behaviour import ResultFile

_BLOCK = 64 * 1024
_EPOCH = (2024, 1, 1, 0, 0, 0)


class Archives:
    """Zips on the disk, each made when it is first asked for."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._making = threading.Lock()

    def close(self) -> None:
        """Remove them all."""
        with self._making:
            if self._folder is not None:
                self._folder.cleanup()
                self._folder = None

    def zipped(self, message_id: str, files: Sequence[ResultFile]) -> Path:
        """The zip of a run's files. Two that are made of the same files are alike to the byte."""
        with self._making:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="nenoa-emulator-")
            path = Path(self._folder.name) / f"{message_id}.zip"
            if not path.exists():
                write_zip(path, files)
            return path


def write_zip(path: Path, files: Sequence[ResultFile]) -> None:
    """Write a zip. Names are taken as they are: absolute ones, ones with ``..``, and the same one twice, too."""
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "Duplicate name"
        for file in files:
            member = zipfile.ZipInfo(file.name, _EPOCH)
            # What is filled with bytes from nowhere does not get smaller.
            member.compress_type = zipfile.ZIP_STORED if file.content is None else zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=file.size >= zipfile.ZIP64_LIMIT) as to:
                for piece in file.pieces(0, file.length):
                    to.write(piece)


def read(path: Path, start: int, end: int) -> Iterator[bytes]:
    """The bytes ``start`` to ``end`` (exclusive) of a file, in blocks."""
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (piece := file.read(min(_BLOCK, end - start))):
            yield piece
            start += len(piece)
