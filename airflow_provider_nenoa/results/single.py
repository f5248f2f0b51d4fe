"""One file for one ``output_path``: from a presigned URL, or out of a vendor's answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_nenoa.exceptions import DownloadFailed, FilesMissing, ResultRefused
from airflow_provider_nenoa.results.payload_files import PayloadFile
from airflow_provider_nenoa.results.session import FileSession
from airflow_provider_nenoa.results.storage import NewFile, Place, StoredFile
from airflow_provider_nenoa.results.transfer import CHUNK, MAX_FILE_SIZE, Rules, Transfer

if TYPE_CHECKING:
    import requests

    from airflow_provider_nenoa.results.addresses import Guard
    from airflow_provider_nenoa.vendors.openanalyst import ExportLink

log = logging.getLogger(__name__)


def fetch_link(
    link: Callable[[], ExportLink],
    output_path: str,
    stem: str,
    file_format: str,
    guard: Guard,
    max_file_size: int = MAX_FILE_SIZE,
) -> StoredFile:
    """
    Store the file behind a link that the vendor hands out.

    :param link: Asks the vendor for the link: it is valid for minutes only, so it is asked for now, and once more
        where the store does not take it, each time that some of the file has come by it. The file is gone on with.
    :param output_path: Any URL that Airflow's ``ObjectStoragePath`` understands: a file, or a directory.
    :param stem: What the file is called in a directory, before its format.
    :param file_format: Its format, if the vendor does not say.
    :param guard: Decides which hosts may be asked.
    :param max_file_size: How many bytes it may have. Default 10 GiB.
    :raises FilesMissing: The store has no such file, or does not take a fresh link either.
    :raises ResultRefused: The file is too large, or the link leads where it should not.
    :raises DownloadFailed: It could not be fetched, or has another size than the vendor says.
    """
    place, given = Place(output_path), link()
    guard.check_url(given.url)
    place = place.file_or_in(f"{stem}.{given.file_format or file_format}")
    rules = Rules(guard, max_file_size, expires_at=given.expires_at)
    with FileSession(guard) as session, NewFile(place, "download_url") as target:
        transfer = Transfer(rules, session, PayloadFile("download_url", given.url), target)
        is_fresh = False
        while True:
            came = target.size
            try:
                transfer.run()
                break
            except FilesMissing as error:
                if is_fresh and target.size <= came:
                    raise
                log.info("%s Asking for a fresh link.", error)
                given, is_fresh = link(), True
                guard.check_url(given.url)
                transfer.file, rules.expires_at = PayloadFile("download_url", given.url), given.expires_at
        # How large an encoded one is was perhaps said of its bytes on the way.
        if given.size is not None and target.size != given.size and not transfer.is_encoded:
            raise DownloadFailed(
                f"The file has {target.size:,} bytes, and the vendor says that it has {given.size:,} (size_bytes). It "
                "was not kept."
            )
    return target.stored


class Body:
    """
    The body of an answer, on its way into a file. Each call begins anew: the answer before it was broken off.

    :param target: The file.
    :param max_file_size: How many bytes it may have. Default 10 GiB.
    """

    def __init__(self, target: NewFile, max_file_size: int = MAX_FILE_SIZE) -> None:
        self.target = target
        self.max_file_size = max_file_size

    def __call__(self, response: requests.Response) -> None:
        """
        Write it.

        :raises ResultRefused: It is too large.
        """
        if self.target.size:
            self.target.restart()
        for chunk in response.iter_content(CHUNK):
            if self.target.size + len(chunk) > self.max_file_size:
                raise ResultRefused(
                    f"The file is larger than max_file_size = {self.max_file_size:,} bytes. It was not stored.\nRaise "
                    "'max_file_size' if files of this size are expected."
                )
            self.target.write(chunk)
