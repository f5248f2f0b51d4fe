"""
From a presigned URL into object storage: streamed, resumed, counted and hashed on the way.

These requests are not calls of a vendor's API: they carry no API key, and the URL itself is the secret. Neither a log
line nor an error has more of it than the host.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.exceptions import InvalidSchema, InvalidURL
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential
from urllib3.exceptions import HTTPError, LocationValueError

from airflow_provider_nenoa.addresses import Guard, guarded_session
from airflow_provider_nenoa.compat import mask_secret
from airflow_provider_nenoa.exceptions import DownloadFailed, NotFound, ResultRefused, ResultsExpired
from airflow_provider_nenoa.http import reason_of
from airflow_provider_nenoa.payload_files import MAX_FILES, PayloadFile, files_of
from airflow_provider_nenoa.storage import NewFile, Place, StoredFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
"""Bytes that are read, hashed and written at once: what a download holds in memory, besides the store's own buffer."""
MAX_FILE_SIZE = 10 * 1024**3
"""Bytes that one file may have, by default."""
PARALLEL = 4
"""Files that are fetched at once, by default."""
PATIENCE = 5
"""Tries without a byte of progress after which a file is given up."""
PROGRESS_INTERVAL = 10.0
"""Seconds between two log lines about a file that takes long."""

_TIMEOUT = (10.0, 60.0)  # seconds: to connect; between two bytes
_REDIRECTS = 5
_MIB = 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_XML_ERROR = re.compile(r"<Code>([^<]{1,100})</Code>(?:\s*<Message>([^<]{1,200})</Message>)?")


class Downloads:
    """
    Fetches the files of one run.

    :param output_path: The directory to store them in, as a URL for Airflow's `ObjectStoragePath`.
    :param guard: Decides which hosts may be asked.
    :param refresh: Asks the vendor for the run's payload anew, for fresh URLs; None: there is no way to.
    :param max_files: How many files there may be. Default 1,000.
    :param max_file_size: How many bytes one of them may have. Default 10 GiB.
    :param parallel: How many are fetched at once. Default 4.
    :param clock: The present time in Unix seconds; replaced in tests.
    :param sleep: Waits so many seconds before another try; replaced in tests.
    """

    def __init__(
        self,
        output_path: str,
        guard: Guard,
        *,
        refresh: Callable[[], Mapping[str, Any]] | None = None,
        max_files: int = MAX_FILES,
        max_file_size: int = MAX_FILE_SIZE,
        parallel: int = PARALLEL,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.directory = Place(output_path)
        self.guard = guard
        self.refresh = refresh
        self.max_files = max_files
        self.max_file_size = max_file_size
        self.parallel = parallel
        self.clock = clock
        self.stop = threading.Event()
        self.sleep: Callable[[float], object] = sleep or self.stop.wait
        self.expires_at: float | None = None

    def fetch(self, payload: Mapping[str, Any]) -> list[StoredFile]:
        """
        Fetch every file that a payload tells of, or fail.

        :param payload: The payload of a run that has ended.
        :return: The stored files, in the payload's order.
        :raises ResultsExpired: The URLs are accepted no more, and there are no fresh ones.
        :raises ResultRefused: There are too many files, one is too large, or its URL leads where it should not.
        :raises DownloadFailed: A file could not be fetched, after several tries.
        """
        files = self._files(payload)
        stored: dict[str, StoredFile] = {}
        fresh = False
        while missing := [file for file in files if file.file_name not in stored]:
            stored_before = len(stored)
            try:
                self._fetch_all(missing, stored)
            except ResultsExpired as expired:
                if self.refresh is None or (fresh and len(stored) == stored_before):
                    raise
                log.info("%s Asking for fresh ones.", expired)
                urls = {file.name: file.url for file in self._files(self.refresh())}
                files = [replace(file, url=urls.get(file.name, file.url)) for file in files]
                fresh = True
        total = sum(file["size"] for file in stored.values())
        log.info("Stored %d files, %.1f MiB, in %s.", len(stored), total / _MIB, self.directory)
        return [stored[file.file_name] for file in files]

    def _files(self, payload: Mapping[str, Any]) -> list[PayloadFile]:
        files = files_of(payload, self.max_files)
        mask_secret([query for file in files if (query := urlsplit(file.url).query)])
        for file in files:
            self.guard.check_url(file.url)
        expires_at: Any = payload.get("expires_at")
        is_time = type(expires_at) in (int, float) and 0 < expires_at < 1e11  # Unix seconds, of this age
        self.expires_at = expires_at if is_time else None
        return files

    def _fetch_all(self, files: list[PayloadFile], stored: dict[str, StoredFile]) -> None:
        with ThreadPoolExecutor(self.parallel, "nenoa-download") as pool, guarded_session(self.guard) as session:
            tasks = {pool.submit(_Transfer(self, session, file).run): file for file in files}
            try:
                for task in as_completed(tasks):
                    stored[tasks[task].file_name] = task.result()
            except ResultsExpired:  # what goes on already is served to its end
                pool.shutdown(cancel_futures=True)
                done = [task for task in tasks if not task.cancelled() and task.exception() is None]
                stored.update((tasks[task].file_name, task.result()) for task in done)
                raise
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise


class _Interrupted(Exception):
    """The connection broke, or the server was not up to it: to be tried again, from where it stopped."""


class _Transfer:
    """One file on its way."""

    def __init__(self, downloads: Downloads, session: requests.Session, file: PayloadFile) -> None:
        self.downloads = downloads
        self.session = session
        self.file = file
        self.host = urlsplit(file.url).hostname
        self.etag: str | None = None
        self.total: int | None = None
        self.furthest = 0
        self.failures = 0
        self.next_line = downloads.clock() + PROGRESS_INTERVAL

    def run(self) -> StoredFile:
        """Fetch it."""
        self._check_expiry()
        with NewFile(self.downloads.directory.file(self.file.file_name), self.file.name) as target:
            self.target = target
            try:
                Retrying(
                    retry=retry_if_exception_type(_Interrupted),
                    stop=lambda state: self.failures >= PATIENCE or self.downloads.stop.is_set(),
                    wait=wait_random_exponential(multiplier=0.5, max=30),
                    sleep=self._pause,
                    before_sleep=self._log_retry,
                    reraise=True,
                )(self._try)
            except _Interrupted as error:
                raise DownloadFailed(
                    f"{self._which} could not be fetched: {error}, {self.failures} times without a byte of progress. "
                    f"{target.size:,} bytes had come; none were kept."
                ) from None
        return target.stored

    def _try(self) -> None:
        try:
            self._go_on()
        except _Interrupted:
            # New ground is progress; coming as far as before, from the start again, is not.
            self.failures = 0 if self.target.size > self.furthest else self.failures + 1
            self.furthest = max(self.furthest, self.target.size)
            raise

    def _go_on(self) -> None:
        offset = self.target.size
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self.etag:
                headers["If-Range"] = self.etag
        with self._ask(headers) as response:
            if response.status_code == 206 and offset:
                self._check_continuation(response, offset)
            elif response.status_code == 200:
                if offset:
                    self.target.restart()
                    offset = 0
            else:
                if response.status_code == 416:
                    self.target.restart()
                raise self._refusal(response)
            etag = response.headers.get("ETag", "")
            self.etag = etag if etag.startswith('"') else None  # a weak one does not vouch for every byte
            length = response.headers.get("Content-Length", "")
            self.total = offset + int(length) if length.isdecimal() else None
            self._check_size(self.total or 0)
            for chunk in _chunks(response):
                if self.downloads.stop.is_set():
                    raise DownloadFailed("Another file could not be fetched.")
                self._check_size(self.target.size + len(chunk))
                self.target.write(chunk)
                self._log_progress()

    def _ask(self, headers: dict[str, str]) -> requests.Response:
        url = self.file.url
        for _ in range(_REDIRECTS + 1):
            self._check_expiry()
            self.downloads.guard.check_url(url)
            try:
                response = self.session.get(
                    url,
                    headers=headers,
                    stream=True,
                    allow_redirects=False,
                    timeout=_TIMEOUT,
                    proxies=requests.utils.get_environ_proxies(url),
                )
            except (InvalidSchema, InvalidURL, LocationValueError, UnicodeError):
                raise ResultRefused(f"{self._which} has a URL that nobody can be asked by.") from None
            except requests.RequestException as error:
                raise _Interrupted(reason_of(error)) from None
            if not response.is_redirect:
                return response
            response.close()
            url = urljoin(url, response.headers["Location"])
            mask_secret(urlsplit(url).query)
        raise DownloadFailed(f"{self._which} could not be fetched: it is redirected more than {_REDIRECTS} times.")

    def _check_expiry(self) -> None:
        if self.downloads.expires_at is not None and self.downloads.clock() >= self.downloads.expires_at:
            raise self._expired()

    def _check_continuation(self, response: requests.Response, offset: int) -> None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = None if match is None or match[2] == "*" else int(match[2])
        if match is None or int(match[1]) != offset or (self.total is not None and total not in (None, self.total)):
            self.target.restart()
            raise _Interrupted("the server does not go on where it stopped")

    def _check_size(self, size: int) -> None:
        if size > self.downloads.max_file_size:
            raise ResultRefused(
                f"{self._which} is larger than max_file_size = {self.downloads.max_file_size:,} bytes. It was not "
                "stored. Raise 'max_file_size' if files of this size are expected."
            )

    def _refusal(self, response: requests.Response) -> Exception:
        status = response.status_code
        try:
            found = _XML_ERROR.search(response.raw.read(4096, decode_content=True).decode("utf-8", "replace"))
        except HTTPError:
            found = None
        words = ": ".join(part for part in found.groups() if part) if found else "no explanation"
        answer = f"{self.host} answered {status} ({words})"
        if status == 403 or "expired" in words.lower():
            return self._expired(answer)
        if status == 404:
            return NotFound(f"{self._which} is not there: {answer}.")
        if status in (408, 416, 429) or status >= 500:
            return _Interrupted(answer)
        return DownloadFailed(f"{self._which} could not be fetched: {answer}.")

    def _expired(self, answer: str = "") -> ResultsExpired:
        at, now = self.downloads.expires_at, self.downloads.clock()
        if at is None:
            when = "The payload does not say until when the URLs of its files are valid"
        elif now >= at:
            when = f"The URLs of the run's files expired at {_time(at)}, {now - at:,.0f} s ago"
        else:
            when = f"By the payload, the URLs of the run's files are valid until {_time(at)}"
        if answer:
            when += f"; for {self.file.name}, {answer}"
        return ResultsExpired(
            f"{when}. Download files as soon as a run has ended. Fresh URLs can be had only where the connection names "
            "a 'run_status_path'; otherwise the workflow has to run again."
        )

    def _pause(self, seconds: float) -> None:
        self.downloads.sleep(seconds)

    def _log_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        seconds = state.upcoming_sleep
        log.warning("%s: %s. Going on at byte %d in %.1f s.", self._which, error, self.target.size, seconds)

    def _log_progress(self) -> None:
        now = self.downloads.clock()
        if now >= self.next_line:
            self.next_line = now + PROGRESS_INTERVAL
            of_all = f" of {self.total / _MIB:,.0f}" if self.total else ""
            log.info("%s: %.0f%s MiB", self.file.name, self.target.size / _MIB, of_all)

    @property
    def _which(self) -> str:
        return f"The file {self.file.name} at {self.host}"


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Read the body as it is, past what requests would do to it."""
    while True:
        try:
            chunk = response.raw.read(CHUNK, decode_content=False)
        except HTTPError as error:
            raise _Interrupted(f"the connection broke ({type(error).__name__})") from None
        if not chunk:
            return
        yield chunk


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
