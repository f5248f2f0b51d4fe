"""
The files of a run, from their presigned URLs into object storage: found, fetched a few at once, counted and hashed.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_nenoa.exceptions import FilesMissing, ResultsExpired
from airflow_provider_nenoa.results.addresses import Guard
from airflow_provider_nenoa.results.archive import Archive, Spool
from airflow_provider_nenoa.results.names import Names
from airflow_provider_nenoa.results.payload_files import MAX_FILES, PayloadFile, files_of
from airflow_provider_nenoa.results.session import FileSession
from airflow_provider_nenoa.results.storage import NewFile, Place, StoredFile
from airflow_provider_nenoa.results.transfer import MAX_FILE_SIZE, Rules, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from airflow_provider_nenoa.vendors.key_paths import KeyPath

log = logging.getLogger(__name__)

PARALLEL = 4
"""Files that are fetched at once, by default."""

HOW_TO_BE_IN_TIME = (
    "Download files as soon as a run has ended. Fresh URLs can be had only where the connection names a "
    "'run_status_path'."
)
_MIB = 1024 * 1024


class Downloads:
    """
    Fetches the files of one run.

    :param output_path: The directory to store them in, as a URL for Airflow's `ObjectStoragePath`.
    :param guard: Decides which hosts may be asked.
    :param named: Where in the payload more URLs of files stand, besides those that are files by themselves.
    :param unpack: Whether the members of the run's zip are stored, instead of the zip. Default True.
    :param refresh: Asks the vendor for the run's payload anew, for fresh URLs; None: there is no way to.
    :param max_files: How many files there may be, and how many a zip may have. Default 1,000.
    :param max_file_size: How many bytes one of them may have, and all that a zip has together. Default 10 GiB.
    :param parallel: How many are fetched at once. Default 4.
    :param clock: The present time in Unix seconds; replaced in tests.
    :param sleep: Waits so many seconds before another try; replaced in tests.
    """

    def __init__(
        self,
        output_path: str,
        guard: Guard,
        *,
        named: Iterable[KeyPath] = (),
        unpack: bool = True,
        refresh: Callable[[], Mapping[str, Any]] | None = None,
        max_files: int = MAX_FILES,
        max_file_size: int = MAX_FILE_SIZE,
        parallel: int = PARALLEL,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.directory = Place(output_path)
        self.named = tuple(named)
        self.unpack = unpack
        self.refresh = refresh
        self.max_files = max_files
        self.parallel = parallel
        self.rules = Rules(guard, max_file_size, clock, sleep)

    def fetch(self, payload: Mapping[str, Any]) -> list[StoredFile]:
        """
        Fetch every file that a payload tells of, or fail.

        :param payload: The payload of a run that has ended.
        :return: The stored files, in the payload's order; in the place of a zip its members.
        :raises FilesMissing: A file is gone or refused, or its URL has expired, and fresh URLs do not help; or there
            is none at a place that was named.
        :raises ResultRefused: There are too many files, one is too large, or its URL leads where it should not.
        :raises DownloadFailed: A file could not be fetched, after several tries; or a zip is damaged.
        """
        files = self._files(payload)
        # Archives come last: their members must not take the names of others, and have none in common with themselves.
        self._names = Names()
        self._plain_names = {
            index: self._names.file(file.last_part, file.name)
            for index, file in enumerate(files)
            if not self._is_unpacked(file)
        }
        stored: dict[int, list[StoredFile]] = {}
        fresh = False
        while missing := {index: file for index, file in enumerate(files) if index not in stored}:
            stored_before = len(stored)
            try:
                self._fetch_all(missing, stored)
            except FilesMissing as error:
                if self.refresh is None and isinstance(error, ResultsExpired):
                    raise ResultsExpired(f"{error} {HOW_TO_BE_IN_TIME}") from None
                if self.refresh is None or (fresh and len(stored) == stored_before):
                    raise
                log.info("%s Asking for fresh URLs.", error)
                urls = {file.name: file.url for file in self._files(self.refresh())}
                files = [replace(file, url=urls.get(file.name, file.url)) for file in files]
                fresh = True
        all_stored = [one for _, some in sorted(stored.items()) for one in some]
        total = sum(file["size"] for file in all_stored)
        log.info("Stored %d files, %.1f MiB, in %s.", len(all_stored), total / _MIB, self.directory)
        return all_stored

    def _files(self, payload: Mapping[str, Any]) -> list[PayloadFile]:
        files = files_of(payload, self.max_files, self.named)
        for file in files:
            self.rules.guard.check_url(file.url)
        expires_at: Any = payload.get("expires_at")
        is_time = type(expires_at) in (int, float) and 0 < expires_at < 1e11  # Unix seconds, of this age
        self.rules.expires_at = expires_at if is_time else None
        return files

    def _is_unpacked(self, file: PayloadFile) -> bool:
        return file.is_archive and self.unpack

    def _fetch_all(self, files: Mapping[int, PayloadFile], stored: dict[int, list[StoredFile]]) -> None:
        with ThreadPoolExecutor(self.parallel, "nenoa-download") as pool, FileSession(self.rules.guard) as session:
            tasks = {pool.submit(self._fetch, session, index, file): index for index, file in files.items()}
            try:
                for task in as_completed(tasks):
                    stored[tasks[task]] = task.result()
            except FilesMissing:  # what goes on already is served to its end
                pool.shutdown(cancel_futures=True)
                done = [task for task in tasks if not task.cancelled() and task.exception() is None]
                stored.update((tasks[task], task.result()) for task in done)
                raise
            except BaseException:
                self.rules.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _fetch(self, session: FileSession, index: int, file: PayloadFile) -> list[StoredFile]:
        if self._is_unpacked(file):
            return self._fetch_archive(session, file)
        with NewFile(self.directory.file(self._plain_names[index]), file.name) as target:
            Transfer(self.rules, session, file, target).run()
        return [target.stored]

    def _fetch_archive(self, session: FileSession, file: PayloadFile) -> list[StoredFile]:
        with Spool() as spool:
            Transfer(self.rules, session, file, spool).run()
            if spool.is_zip:
                limits = {"max_files": self.max_files, "max_size": self.rules.max_file_size}
                with Archive(spool, file.name, **limits) as archive:
                    return archive.unpack(self.directory, self._names, self.parallel, self.rules.stop)
            log.warning("%s is no zip. It is stored as it is.", file.name)
            name = self._names.file(file.last_part, file.name)
            with NewFile(self.directory.file(name), file.name) as target:
                for chunk in spool.chunks():
                    target.write(chunk)
            return [target.stored]
