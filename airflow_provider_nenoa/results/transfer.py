"""
One file on its way from a presigned URL: streamed, resumed where a connection broke, tried again, and given up.

These requests are not calls of a vendor's API: they carry no API key, and the URL itself is the secret. Neither a log
line nor an error has more of it than the host.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

import requests
from requests.exceptions import InvalidProxyURL, InvalidSchema, InvalidURL, ProxyError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential
from urllib3.exceptions import DecodeError, HTTPError, LocationValueError, ProxySchemeUnknown, ReadTimeoutError

from airflow_provider_nenoa.exceptions import DownloadFailed, InvalidSetting, NenoaError, ResultRefused
from airflow_provider_nenoa.http import reason_of
from airflow_provider_nenoa.http.failures import (
    certificate_refused,
    certificates_at_fault,
    proxy_at_fault,
    refused_by_proxy,
)
from airflow_provider_nenoa.http.session import proxy_of
from airflow_provider_nenoa.results.addresses import Guard
from airflow_provider_nenoa.results.payload_files import PayloadFile
from airflow_provider_nenoa.results.refusals import refusal_of
from airflow_provider_nenoa.results.session import FileSession, redirected

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
"""Bytes that are read, hashed and written at once: what a download holds in memory, besides the store's own buffer."""
MAX_FILE_SIZE = 10 * 1024**3
"""Bytes that one file may have, by default."""
PATIENCE = 5
"""Tries without a byte of progress after which a file is given up."""
PROGRESS_INTERVAL = 10.0
"""Seconds between two log lines about a file that takes long."""

_REDIRECTS = 5
_MIB = 1024 * 1024
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_BROKEN = (HTTPError, ValueError)
"""How it is told that a body broke off, or has an impossible form: a chunk of less than no bytes is a ValueError."""


class Target(Protocol):
    """What the bytes of a file go to."""

    size: int

    def write(self, data: bytes) -> int:
        """Append some bytes."""

    def restart(self) -> None:
        """Forget what was written so far."""


@dataclass
class Rules:
    """
    What holds for all files of one run.

    :param guard: Decides which hosts may be asked.
    :param max_file_size: How many bytes a file may have.
    :param clock: The present time in Unix seconds; replaced in tests.
    :param sleep: Waits so many seconds before another try; replaced in tests. Default: until ``stop``.
    :param expires_at: When the URLs expire by the payload, in Unix seconds; None: it does not say.
    :param stop: Set when the others need not go on.
    """

    guard: Guard
    max_file_size: int
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], object] | None = None
    expires_at: float | None = None
    stop: threading.Event = field(default_factory=threading.Event)


class _Interrupted(Exception):
    """The connection broke, or the server was not up to it: to be tried again, from where it stopped."""


class Transfer:
    """
    One file on its way.

    :param rules: What holds for all files of the run.
    :param session: What to ask with.
    :param file: The file.
    :param target: Where its bytes go.
    """

    def __init__(self, rules: Rules, session: FileSession, file: PayloadFile, target: Target) -> None:
        self.rules = rules
        self.session = session
        self.file = file
        self.target = target
        self.url = file.url
        self.etag: str | None = None
        self.is_encoded = False
        self.total: int | None = None
        self.furthest = 0
        self.failures = 0
        self.next_line = rules.clock() + PROGRESS_INTERVAL

    def run(self) -> None:
        """
        Fetch the file.

        :raises FilesMissing: It is gone, or refused, or its URL has expired.
        :raises ResultRefused: It is too large, or its URL leads where it should not.
        :raises DownloadFailed: It could not be fetched, after several tries.
        :raises InvalidSetting: The proxy or the certificates that the environment names cannot be used.
        """
        try:
            Retrying(
                retry=retry_if_exception_type(_Interrupted),
                stop=lambda state: self.failures >= PATIENCE or self.rules.stop.is_set(),
                wait=wait_random_exponential(multiplier=0.5, max=30),
                sleep=self._pause,
                before_sleep=self._log_retry,
                reraise=True,
            )(self._try)
        except _Interrupted as error:
            raise DownloadFailed(
                f"{self._which} could not be fetched: {error}, {self.failures} times without a byte of progress.\n"
                f"{self.target.size:,} bytes had come; none were kept."
            ) from None

    def _try(self) -> None:
        try:
            self._go_on()
        except _Interrupted:
            # New ground is progress; coming as far as before, from the start again, is not.
            self.failures = 0 if self.target.size > self.furthest else self.failures + 1
            self.furthest = max(self.furthest, self.target.size)
            raise

    def _go_on(self) -> None:
        if self.is_encoded and self.target.size:
            self.target.restart()  # a range would be one of the bytes on the way, not of the file's
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
            # A weak one does not vouch for every byte; one that no header can carry is none.
            self.etag = etag if etag.startswith('"') and etag.isascii() and etag.isprintable() else None
            # Nobody asked for it, but a store may keep a file like that; a .gz that is said to be encoded stays one.
            self.is_encoded = _can_be_decoded(response) and not self.file.last_part.lower().endswith((".gz", ".tgz"))
            length = response.headers.get("Content-Length", "")
            self.total = offset + int(length) if _LENGTH.fullmatch(length) and not self.is_encoded else None
            self._check_size(self.total or 0)
            for chunk in _chunks(response, self.is_encoded):
                if self.rules.stop.is_set():
                    raise DownloadFailed("Another file could not be fetched.")
                self._check_size(self.target.size + len(chunk))
                self.target.write(chunk)
                self._log_progress()

    def _ask(self, headers: dict[str, str]) -> requests.Response:
        self.url = self.file.url
        for _ in range(_REDIRECTS + 1):
            self.rules.guard.check_url(self.url)
            try:
                response = self.session.fetch(self.url, headers)
            except (InvalidURL, InvalidSchema, LocationValueError, UnicodeError) as error:
                if _is_about_proxy(error) and (proxy := proxy_of(self.url)) is not None:
                    raise self._not_fetched(proxy_at_fault(proxy, error)) from None
                raise ResultRefused(f"{self._which} has a URL that nobody can be asked by.") from None
            except ProxyError as error:
                proxy = proxy_of(self.url)
                if proxy is not None and (refusal := refused_by_proxy(proxy, error, self.url)) is not None:
                    raise self._not_fetched(refusal) from None
                which = f"the proxy {proxy.name} of {proxy.variable}" if proxy is not None else "the proxy"
                raise _Interrupted(f"{which} failed ({reason_of(error)})") from None
            except OSError as error:  # those of requests are such, and a file of certificates may be missing
                if (setting := certificates_at_fault(self.url)) is not None:
                    raise self._not_fetched(setting) from None
                if (refused := certificate_refused(error)) is not None:
                    raise DownloadFailed(
                        f"{self._which} could not be fetched: {reason_of(error)}.\nNo other try would change that; "
                        f"{refused}."
                    ) from None
                raise _Interrupted(reason_of(error)) from None
            if not response.is_redirect:
                return response
            response.close()
            try:
                self.url = redirected(self.url, response.headers["Location"])
            except ValueError:
                raise ResultRefused(f"{self._which} is redirected to what is no URL.") from None
        raise DownloadFailed(f"{self._which} could not be fetched: it is redirected more than {_REDIRECTS} times.")

    def _not_fetched(self, setting: str) -> InvalidSetting:
        return InvalidSetting(f"{setting}\n{self._which} could not be fetched.")

    def _check_continuation(self, response: requests.Response, offset: int) -> None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = None if match is None or match[2] == "*" else int(match[2])
        if match is None or int(match[1]) != offset or (self.total is not None and total not in (None, self.total)):
            self.target.restart()
            raise _Interrupted("the server does not go on where it stopped")

    def _check_size(self, size: int) -> None:
        if size > self.rules.max_file_size:
            raise ResultRefused(
                f"{self._which} is larger than max_file_size = {self.rules.max_file_size:,} bytes. It was not "
                "stored.\nRaise 'max_file_size' if files of this size are expected."
            )

    def _refusal(self, response: requests.Response) -> NenoaError | _Interrupted:
        try:
            body = response.raw.read(4096, decode_content=True)
        except _BROKEN:
            body = b""
        refusal = refusal_of(response, body, self.file.name, self.url, self.rules.expires_at, self.rules.clock())
        return _Interrupted(refusal) if isinstance(refusal, str) else refusal

    def _pause(self, seconds: float) -> None:
        (self.rules.sleep or self.rules.stop.wait)(seconds)

    def _log_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        seconds = state.upcoming_sleep
        log.warning("%s: %s. Going on at byte %d in %.1f s.", self._which, error, self.target.size, seconds)

    def _log_progress(self) -> None:
        now = self.rules.clock()
        if now >= self.next_line:
            self.next_line = now + PROGRESS_INTERVAL
            of_all = f" of {self.total / _MIB:,.0f}" if self.total else ""
            log.info("%s: %.0f%s MiB", self.file.name, self.target.size / _MIB, of_all)

    @property
    def _which(self) -> str:
        return f"The file {self.file.name} at {urlsplit(self.url).hostname}"


def _is_about_proxy(error: Exception) -> bool:
    cause = error.args[0] if error.args else None
    # A file's URL has a schema that is known: so it is the proxy's.
    return isinstance(error, (InvalidProxyURL, InvalidSchema)) or isinstance(cause, ProxySchemeUnknown)


def _can_be_decoded(response: requests.Response) -> bool:
    """Whether a body comes in encodings that urllib3 can undo; ``identity`` and ``aws-chunked``, for two, are none."""
    encodings = response.headers.get("Content-Encoding", "").lower().split(",")
    return all(encoding.strip() in response.raw.CONTENT_DECODERS for encoding in encodings)


def _chunks(response: requests.Response, is_encoded: bool) -> Iterator[bytes]:
    """Read the body as it is, past what requests would do to it, or as it was before its Content-Encoding."""
    while True:
        try:
            chunk = response.raw.read(CHUNK, decode_content=is_encoded)
        except ReadTimeoutError:
            raise _Interrupted("it did not go on in time") from None
        except DecodeError:
            encoding = response.headers["Content-Encoding"][:40]
            raise _Interrupted(f"its body is not in the Content-Encoding {encoding!r} that it says") from None
        except _BROKEN as error:
            raise _Interrupted(f"the connection broke ({type(error).__name__})") from None
        if not chunk:
            return
        yield chunk
