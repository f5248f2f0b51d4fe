"""Files come whole, by whatever bad roads, or not at all."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import logging
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import (
    DownloadFailed,
    FilesMissing,
    ResultRefused,
    ResultsExpired,
)
from airflow_provider_nenoa.results.addresses import Guard
from airflow_provider_nenoa.results.download import Downloads
from airflow_provider_nenoa.results.refusals import refusal_of
from airflow_provider_nenoa.results.transfer import CHUNK, PATIENCE
from tests.unit.results.conftest import FileServer, content_of, names_in

SECRET = "verysecretsignature"


@pytest.fixture
def out(tmp_path: Path) -> str:
    return f"file://{tmp_path}/out"


def downloads(output_path: str, **kwargs: Any) -> Downloads:
    return Downloads(output_path, Guard(loopback=True), **{"sleep": lambda seconds: None, **kwargs})


def test_a_file_in_every_store(file_server: FileServer, directory: str) -> None:
    files = downloads(directory).fetch({"report": file_server.url})
    assert files == [
        {
            "name": "report",
            "path": f"{directory}/report.pdf",
            "size": len(file_server.content),
            "sha256": hashlib.sha256(file_server.content).hexdigest(),
        }
    ]
    assert content_of(files[0]["path"]) == file_server.content
    assert names_in(directory) == ["report.pdf"]
    assert "x-api-key" not in file_server.seen[0]
    assert "authorization" not in file_server.seen[0]


def test_a_broken_connection_is_resumed_where_it_broke(file_server: FileServer, directory: str) -> None:
    file_server.answers = [file_server.breaking(2_000_000), file_server.breaking(500_000), file_server.ranged]
    (file,) = downloads(directory).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content
    assert file["sha256"] == hashlib.sha256(file_server.content).hexdigest()
    # What the broken connection had brought may differ by what was still under way.
    starts = [int(seen["range"].removeprefix("bytes=").removesuffix("-")) for seen in file_server.seen[1:]]
    assert 0 < starts[0] <= 2_000_000 < starts[1] + 500_000
    assert starts[0] < starts[1] <= 2_500_000
    assert [seen.get("if-range") for seen in file_server.seen] == [None, '"one"', '"one"']


def test_a_file_that_changed_meanwhile_comes_from_its_start(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.breaking(2_000_000), file_server.changed]
    (file,) = downloads(out).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content


def test_a_server_without_ranges(file_server: FileServer, out: str) -> None:
    cut = lambda handler: file_server.send(handler, 200, file_server.content, cut=1_500_000)  # noqa: E731
    file_server.answers = [cut, file_server.whole]
    (file,) = downloads(out).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content


def test_a_server_that_goes_on_at_another_place(file_server: FileServer, out: str) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        file_server.send(handler, 206, b"wrong", Content_Range=f"bytes 7-11/{len(file_server.content)}")

    file_server.answers = [file_server.breaking(2_000_000), elsewhere, file_server.ranged]
    (file,) = downloads(out).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content
    assert "range" not in file_server.seen[2]


def test_a_file_of_another_size_is_not_a_continuation(file_server: FileServer, out: str) -> None:
    def longer(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        file_server.send(handler, 206, b"x" * 10, Content_Range=f"bytes {start}-{start + 9}/{start + 10}")

    file_server.answers = [file_server.breaking(2_000_000, etag=""), longer, file_server.whole]
    (file,) = downloads(out).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content


def test_a_range_that_cannot_be_had_means_from_the_start(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.breaking(2_000_000), file_server.status(416), file_server.ranged]
    (file,) = downloads(out).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content


@given(st.lists(st.integers(0, 3_100_000) | st.sampled_from(["whole", "changed", "416", "503"]), max_size=PATIENCE - 1))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_happens_on_the_way_the_file_is_the_same(file_server: FileServer, way: list[int | str]) -> None:
    answers: dict[int | str, Any] = {
        "whole": lambda handler: file_server.send(handler, 200, file_server.content, cut=1_000_000),
        "changed": file_server.breaking(700_000, etag='"two"'),
        "416": file_server.status(416),
        "503": file_server.status(503),
    }
    file_server.answers = [answers.get(step) or file_server.breaking(int(step)) for step in way] + [file_server.ranged]
    (file,) = downloads("memory://hypothesis").fetch({"report": file_server.url})
    assert file["sha256"] == hashlib.sha256(file_server.content).hexdigest()
    assert file["size"] == len(file_server.content)
    assert content_of(file["path"]) == file_server.content


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("X-GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("gzip, deflate", lambda data: zlib.compress(gzip.compress(data))),
    ],
)
def test_a_file_that_its_store_keeps_encoded(
    file_server: FileServer, out: str, encoding: str, encode: Callable[[bytes], bytes]
) -> None:
    body = encode(file_server.content)
    whole, cut = (
        lambda handler, cut=cut: file_server.send(
            handler, 200, body, cut=cut, Content_Encoding=encoding, ETag='"one"', Accept_Ranges="bytes"
        )
        for cut in (None, len(body) // 2)
    )
    file_server.answers = [cut, whole]
    (file,) = downloads(out).fetch({"file": file_server.url})
    assert content_of(file["path"]) == file_server.content
    assert file["sha256"] == hashlib.sha256(file_server.content).hexdigest()
    assert not any("range" in headers for headers in file_server.seen)


@pytest.mark.parametrize("encoding", ["identity", "aws-chunked", "", "none, such", "aws-chunked, gzip"])
def test_what_is_no_encoding_is_resumed_like_any_other_file(file_server: FileServer, out: str, encoding: str) -> None:
    cut = file_server.status(200, file_server.content, cut=1_000_000, Content_Encoding=encoding, ETag='"one"')
    file_server.answers = [cut, file_server.ranged]
    (file,) = downloads(out).fetch({"file": file_server.url})
    assert content_of(file["path"]) == file_server.content
    assert ["range" in headers for headers in file_server.seen] == [False, True]


@pytest.mark.parametrize("name", ["sales.csv.gz", "all.tgz", "SALES.GZ"])
def test_what_is_called_gzip_stays_gzip(file_server: FileServer, out: str, name: str) -> None:
    body = gzip.compress(file_server.content)
    file_server.answers = [lambda handler: file_server.send(handler, 200, body, Content_Encoding="gzip")]
    (file,) = downloads(out).fetch({"file": file_server.url.replace("report.pdf", name)})
    assert content_of(file["path"]) == body


def test_a_file_that_is_too_large_when_it_is_decoded(file_server: FileServer, out: str) -> None:
    body = gzip.compress(b"\0" * 20_000_000)
    file_server.answers = [lambda handler: file_server.send(handler, 200, body, Content_Encoding="gzip")]
    with pytest.raises(ResultRefused, match="max_file_size"):
        downloads(out, max_file_size=10_000_000).fetch({"file": file_server.url})
    assert names_in(out) == []


def test_what_is_not_encoded_as_it_says(file_server: FileServer, out: str) -> None:
    file_server.answers = [lambda handler: file_server.send(handler, 200, b"no gzip", Content_Encoding="gzip")]
    with pytest.raises(DownloadFailed, match=r"not in the Content-Encoding 'gzip' that it says, 5 times"):
        downloads(out).fetch({"file": file_server.url})
    assert names_in(out) == []


def test_files_whose_places_look_alike_are_all_fetched(file_server: FileServer, out: str) -> None:
    long = "x" * 300
    files = downloads(out).fetch({f"{long}{n}{long}": f"{file_server.url}&n={n}" for n in range(2)})
    assert files[0]["name"] == files[1]["name"]
    assert names_in(out) == ["report-2.pdf", "report.pdf"]
    assert len(file_server.seen) == 2


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_store_is_asked_again(file_server: FileServer, out: str, status: int) -> None:
    waits: list[float] = []
    file_server.answers = [file_server.status(status)] * (PATIENCE - 1) + [file_server.ranged]
    (file,) = downloads(out, sleep=waits.append).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content
    assert len(waits) == PATIENCE - 1


def test_patience_ends_and_nothing_is_kept(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.breaking(2_000_000), file_server.status(503)]
    with pytest.raises(DownloadFailed, match=f"answered 503.*{PATIENCE} times without a byte of progress") as caught:
        downloads(out).fetch({"report": file_server.url})
    assert len(file_server.seen) == PATIENCE + 1
    assert names_in(out) == []
    assert SECRET not in str(caught.value)


def test_progress_renews_the_patience(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.breaking(200_000)]
    (file,) = downloads(out).fetch({"report": file_server.url})
    assert len(file_server.seen) > PATIENCE * 2
    assert content_of(file["path"]) == file_server.content


def test_coming_as_far_as_before_again_is_no_progress(file_server: FileServer, out: str) -> None:
    file_server.answers = [lambda handler: file_server.send(handler, 200, file_server.content, cut=1_500_000)]
    with pytest.raises(DownloadFailed, match="the connection broke"):
        downloads(out).fetch({"report": file_server.url})
    assert len(file_server.seen) < PATIENCE * 3


def test_nobody_at_home(out: str) -> None:
    with pytest.raises(DownloadFailed, match="Connection refused") as caught:
        downloads(out).fetch({"report": f"http://127.0.0.1:9/x?sig={SECRET}"})
    assert SECRET not in str(caught.value)


def test_404_is_said_at_once(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.status(404, b"<Error><Code>NoSuchKey</Code></Error>")]
    with pytest.raises(FilesMissing, match=r"The file report is not there: 127\.0\.0\.1 answered 404 \(NoSuchKey\)"):
        downloads(out).fetch({"report": file_server.url})
    assert len(file_server.seen) == 1


def test_another_refusal(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.status(400, b"\xff not xml")]
    with pytest.raises(DownloadFailed, match=r"answered 400 \(no explanation\)"):
        downloads(out).fetch({"report": file_server.url})


# --- expiry

SIGNED = 1_700_000_000  # 2023-11-14 22:13:20 UTC


def refusing(body: bytes, now: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """A 403 of a store whose clock says ``now``."""
    date = format_datetime(datetime.fromtimestamp(now, UTC), usegmt=True)
    return lambda handler: raw_answer(handler, 403, f"Date: {date}", f"Content-Length: {len(body)}", body=body)


def amazon(url: str, seconds: int) -> str:
    """Let a URL say until when it is valid, as Amazon's do."""
    signed = datetime.fromtimestamp(SIGNED, UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{url}&X-Amz-Date={signed}&X-Amz-Expires={seconds}"


@pytest.mark.parametrize("ours", [-1e6, 0.0, 1e6])
def test_the_stores_clock_says_whether_a_url_has_expired_and_not_ours(
    file_server: FileServer, out: str, ours: float
) -> None:
    clock = lambda: SIGNED + ours  # noqa: E731
    (file,) = downloads(out, clock=clock).fetch({"expires_at": SIGNED - 1, "report": file_server.url})
    assert content_of(file["path"]) == file_server.content, "served is served"
    file_server.answers = [refusing(b"", SIGNED + 59)]
    with pytest.raises(FilesMissing) as refused:
        downloads(out, clock=clock).fetch({"expires_at": SIGNED + 60, "report": file_server.url})
    assert type(refused.value) is FilesMissing
    assert "It is valid until 2023-11-14 22:14:20 UTC" in str(refused.value)
    file_server.answers = [refusing(b"", SIGNED + 61)]
    for payload in (
        {"expires_at": SIGNED + 60, "report": file_server.url},
        {"report": amazon(file_server.url, 60)},
        {"report": f"{file_server.url}&Expires={SIGNED + 60}"},
        {"report": f"{file_server.url}&se=2023-11-14T22%3A14%3A20Z"},
    ):
        with pytest.raises(ResultsExpired, match=r"valid until 2023-11-14 22:14:20 UTC, 1 s before this answer"):
            downloads(out, clock=clock).fetch(payload)


def test_a_store_that_names_no_time_zone_means_that_of_http(
    file_server: FileServer, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        date = f"Date: {datetime.fromtimestamp(SIGNED + 90, UTC):%a, %d %b %Y %H:%M:%S} -0000"
        file_server.answers = [lambda handler: raw_answer(handler, 403, date)]
        with pytest.raises(ResultsExpired, match="90 s before"):
            downloads(out, clock=lambda: 0.0).fetch({"expires_at": SIGNED, "report": file_server.url})
    finally:
        monkeypatch.undo()
        time.tzset()


def test_without_a_clock_of_the_stores_it_is_ours(file_server: FileServer, out: str) -> None:
    for date in ("", "yesterday", "Fri, 99 Nov 2023 22:13:20 GMT", "9" * 400):
        file_server.answers = [lambda handler, date=date: raw_answer(handler, 403, f"Date: {date}")]  # type: ignore[misc]
        with pytest.raises(ResultsExpired, match="90 s before"):
            downloads(out, clock=lambda: SIGNED + 90.0).fetch({"expires_at": SIGNED, "report": file_server.url})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"),
        (400, b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"),
        (401, b'{"error": {"code": 401, "message": "Token expired"}}'),
    ],
)
@pytest.mark.parametrize("expires_at", [None, 2_000_000_000, "soon", 1e300, True])
def test_expired_by_the_stores_word(
    file_server: FileServer, out: str, status: int, body: bytes, expires_at: object
) -> None:
    file_server.answers = [file_server.status(status, body)]
    with pytest.raises(ResultsExpired, match="run_status_path") as caught:
        downloads(out).fetch({"report": file_server.url, "expires_at": expires_at})
    message = str(caught.value)
    assert f"127.0.0.1 answered {status}" in message
    assert ("valid until 2033-05-18 03:33:20 UTC" in message) == (expires_at == 2_000_000_000)
    assert SECRET not in message
    assert len(file_server.seen) == 1


@pytest.mark.parametrize("expires_at", [None, SIGNED - 60, SIGNED + 60])
def test_a_signature_that_does_not_match_has_not_expired(
    file_server: FileServer, out: str, expires_at: int | None
) -> None:
    body = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature does not match.</Message></Error>"""
    file_server.answers = [refusing(body, SIGNED)]
    with pytest.raises(
        FilesMissing, match=r"report is refused: .* 403 \(SignatureDoesNotMatch: .*was signed"
    ) as caught:
        downloads(out).fetch({"report": file_server.url, "expires_at": expires_at})
    assert type(caught.value) is FilesMissing
    assert "expired" not in str(caught.value)


def test_a_refusal_without_a_word_is_called_no_more_than_that(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.status(403)]
    with pytest.raises(FilesMissing, match=r"refused: .* 403 \(no explanation\). Neither .* says until when") as caught:
        downloads(out).fetch({"report": file_server.url})
    assert type(caught.value) is FilesMissing


def test_what_each_status_means() -> None:
    meanings = {401: FilesMissing, 403: FilesMissing, 404: FilesMissing, 410: FilesMissing}
    for status in range(201, 600):
        response = requests.Response()
        response.status_code = status
        meaning = refusal_of(response, b"", "report", "https://store.test/report", None, SIGNED)
        if status in (408, 416, 425, 429) or status >= 500:
            assert meaning == f"store.test answered {status} (no explanation)", "a text: to be tried again"
        else:
            assert type(meaning) is meanings.get(status, DownloadFailed), status


@pytest.mark.parametrize(("length", "kept"), [(200, "x" * 200), (201, "x" * 200 + "…")])
def test_a_store_may_say_so_much(length: int, kept: str) -> None:
    response = requests.Response()
    response.status_code = 503
    body = f"<Message>{'x' * length}</Message>".encode()
    assert f"answered 503 ({kept})" in str(refusal_of(response, body, "r", "https://store.test/r", None, SIGNED))


# --- what a store says is not trusted

WORDS = [
    f"the signature you sent, {SECRET}, is wrong",
    f"look: &quot;{SECRET}&quot;",
    "two\nlines\r\nERROR forged",
    "\x1b[31mred\x1b[0m \x07 \u202e \x9b31m",
    "x" * 900,
]


@pytest.mark.parametrize("words", WORDS, ids=range(len(WORDS)))
@pytest.mark.parametrize("form", ["<Error><Code>Odd</Code><Message>{}</Message></Error>", "json"])
def test_a_stores_words_are_made_harmless(
    file_server: FileServer, out: str, words: str, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = json.dumps({"error": {"code": "Odd", "message": words}}) if form == "json" else form.format(words)
    for status in (400, 403, 404, 503):
        file_server.answers = [file_server.status(status, body.encode())]
        with pytest.raises((DownloadFailed, FilesMissing), match=rf"answered {status} \(Odd: ") as caught:
            downloads(out).fetch({"report": file_server.url})
        for said in (str(caught.value), *(record.getMessage() for record in caplog.records)):
            assert SECRET not in said
            assert said.replace("\n", "", 1).isprintable()  # what to do is on a line of its own
            assert len(said) < 800


@pytest.mark.parametrize("key", ["a b/c", "ä+ö=&", "%41" * 4])
def test_a_secret_is_recognised_however_it_is_written(file_server: FileServer, out: str, key: str) -> None:
    secret = f"{key}{SECRET}"
    url = file_server.url.replace("X-Signature=" + SECRET, "sig=" + quote(secret, safe=""))
    for echo in (secret, quote(secret, safe="")):
        body = f"<Error><Code>X</Code><Message>{escape(echo)}</Message></Error>".encode()
        file_server.answers = [file_server.status(403, body)]
        with pytest.raises(FilesMissing) as caught:
            downloads(out).fetch({"report": url})
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "location",
    [
        "https://[::1/x",
        "http://[",
        "https://files.example.com:99999/x",
        "https://:443/",
        "",
        " ",
        "mailto:me@example.com",
        "javascript:alert(1)",
        "//",
        "https://user:" + SECRET + "@files.example.com/",
        "https://\xe2\x80\xae.example.com:1/\xff",
    ],
)
def test_a_hostile_redirect_is_a_clear_error(file_server: FileServer, out: str, location: str) -> None:
    file_server.answers = [lambda handler: raw_answer(handler, 302, f"Location: {location}")]
    with pytest.raises((ResultRefused, DownloadFailed)) as caught:
        downloads(out).fetch({"report": file_server.url})
    assert SECRET not in str(caught.value)
    first, _, advice = str(caught.value).partition("\n")
    assert first.isprintable()
    assert advice.isprintable()


def raw_answer(handler: BaseHTTPRequestHandler, status: int, *lines: str, body: bytes = b"") -> None:
    """Answer with lines that nobody has looked at."""
    head = "\r\n".join([f"HTTP/1.1 {status} X", *lines, "", ""])
    handler.wfile.write(head.encode("latin-1") + body)
    handler.close_connection = True


@pytest.mark.parametrize(
    "length", ["9" * 5_000, "-5", "1e3", "0x10", "\xb2", "", "5, 6", "5, 5", "+5", "5_0", " 5 ", "nan"]
)
def test_a_hostile_length_is_no_crash(file_server: FileServer, out: str, length: str) -> None:
    file_server.answers = [lambda handler: raw_answer(handler, 200, f"Content-Length: {length}", body=b"12345")]
    with contextlib.suppress(DownloadFailed, ResultRefused):
        downloads(out).fetch({"report": file_server.url})
    stored = [content_of(f"{out}/{name}") for name in names_in(out)]
    assert stored in ([], [b"12345"]), "where there is no usable length, the end is the end"


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("size", [b"-5", b"zz", b"", b"f" * 100])
def test_a_hostile_chunk_is_a_broken_connection(file_server: FileServer, out: str, status: int, size: bytes) -> None:
    chunked = "Transfer-Encoding: chunked"
    hostile = lambda handler: raw_answer(handler, status, chunked, body=size + b"\r\nhello\r\n")  # noqa: E731
    file_server.answers = [hostile] * PATIENCE
    with pytest.raises(DownloadFailed, match="the connection broke" if status == 200 else "answered 400"):
        downloads(out).fetch({"report": file_server.url})
    assert names_in(out) == []


@pytest.mark.parametrize(
    "spot",
    [
        "bytes " + "9" * 5_000 + "-1/2",
        "bytes 1-2/" + "9" * 5_000,
        "bytes \xb2-3/4",
        "bytes -1-2/3",
        "bytes */9",
        "x",
        "",
    ],
)
def test_a_hostile_range_is_no_continuation(file_server: FileServer, out: str, spot: str) -> None:
    hostile = lambda handler: raw_answer(handler, 206, f"Content-Range: {spot}", "Content-Length: 1", body=b"x")  # noqa: E731
    file_server.answers = [file_server.breaking(2_000_000), hostile, file_server.ranged]
    (file,) = downloads(out).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content


@pytest.mark.parametrize("etag", ['"one\x1b"', '"\xff"', 'W/"one"', '"' + "x" * 5_000 + '"'])
def test_a_hostile_etag_is_not_sent_back(file_server: FileServer, out: str, etag: str) -> None:
    lines = f"ETag: {etag}", f"Content-Length: {len(file_server.content)}"

    def cut(handler: BaseHTTPRequestHandler) -> None:
        raw_answer(handler, 200, *lines, body=file_server.content[:1_500_000])

    file_server.answers = [cut, file_server.whole]
    (file,) = downloads(out).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content
    if not etag.isascii() or not etag.isprintable() or etag.startswith("W"):
        assert "if-range" not in file_server.seen[1]


@pytest.mark.parametrize("status", [201, 204, 206, 300, 304, 305, 306, 402, 418, 451])
def test_what_is_neither_a_file_nor_a_known_refusal(file_server: FileServer, out: str, status: int) -> None:
    answer = lambda handler: raw_answer(handler, status, "Location: /elsewhere", "Content-Length: 0")  # noqa: E731
    file_server.answers = [answer]
    with pytest.raises(DownloadFailed, match=rf"report could not be fetched: 127\.0\.0\.1 answered {status}"):
        downloads(out).fetch({"report": file_server.url})
    assert len(file_server.seen) == 1, "and nothing is followed"
    assert names_in(out) == []


def test_a_redirect_to_nowhere(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.status(302)]
    with pytest.raises(DownloadFailed, match="answered 302"):
        downloads(out).fetch({"report": file_server.url})


def test_fresh_urls_are_fetched_when_these_have_expired(file_server: FileServer, out: str) -> None:
    now = 1_700_000_000.0
    fresh = {"expires_at": now + 60, "files": [file_server.url + "&fresh=0", file_server.url + "&fresh=1"]}
    asked: list[int] = []

    def refresh() -> dict[str, Any]:
        asked.append(1)
        return fresh

    def answer(handler: BaseHTTPRequestHandler) -> None:
        (file_server.status(403) if "old" in handler.path else file_server.ranged)(handler)

    file_server.answers = [answer]
    old = {"expires_at": now - 1, "files": [file_server.url + "&old=0", file_server.url + "&old=1"]}
    files = downloads(out, clock=lambda: now, refresh=refresh).fetch(old)
    assert asked == [1]
    assert [file["name"] for file in files] == ["files[0]", "files[1]"]
    assert len([seen for seen in file_server.seen if "fresh" in seen["path"]]) == 2
    assert names_in(out) == ["report-2.pdf", "report.pdf"]


def test_urls_that_expire_on_the_way_are_renewed_and_what_is_there_stays(file_server: FileServer, out: str) -> None:
    served = 0
    lock = threading.Lock()

    def three_then_expired(handler: BaseHTTPRequestHandler) -> None:
        nonlocal served
        with lock:
            served += 1
            expired = served > 3 and "fresh" not in handler.path
        (file_server.status(403) if expired else file_server.ranged)(handler)

    file_server.answers = [three_then_expired]
    urls = [f"{file_server.url}&number={number}" for number in range(8)]
    files = downloads(out, refresh=lambda: {"files": [url + "&fresh=1" for url in urls]}, parallel=2).fetch(
        {"files": urls}
    )
    assert len(files) == 8
    assert {file["sha256"] for file in files} == {hashlib.sha256(file_server.content).hexdigest()}
    # Eight were served; of the others, few were refused: those under way when the first was.
    assert len(file_server.seen) <= 8 + 4


def test_fresh_urls_that_are_refused_too_end_it(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.status(403)]
    with pytest.raises(FilesMissing):
        downloads(out, refresh=lambda: {"report": file_server.url}).fetch({"report": file_server.url})
    assert len(file_server.seen) == 2


# --- hostile payloads


def test_a_file_that_says_it_is_too_large_is_not_read(file_server: FileServer, out: str) -> None:
    limit = len(file_server.content) - 1
    with pytest.raises(ResultRefused, match=f"larger than max_file_size = {limit:,} bytes"):
        downloads(out, max_file_size=limit).fetch({"report": file_server.url})
    assert names_in(out) == []
    assert downloads(out, max_file_size=limit + 1).fetch({"report": file_server.url})


def test_a_file_that_does_not_say_how_large_it_is(file_server: FileServer, out: str) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        try:
            while True:
                sent += handler.wfile.write(b"x" * 100_000)
        except OSError:
            handler.close_connection = True

    file_server.answers = [endless]
    with pytest.raises(ResultRefused, match="max_file_size"):
        downloads(out, max_file_size=10_000_000).fetch({"report": file_server.url})
    assert sent < 100_000_000
    assert names_in(out) == []


def test_one_bad_url_and_nothing_is_fetched(file_server: FileServer, out: str) -> None:
    for bad in ("https://169.254.169.254/latest/meta-data/iam", "https://10.0.0.1/x", "http://example.com/x"):
        with pytest.raises(ResultRefused):
            downloads(out).fetch({"good": file_server.url, "assets": bad})
    assert file_server.seen == []


def test_a_redirect_leads_nowhere_that_a_url_could_not(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.status(302, Location="http://169.254.169.254/latest")]
    with pytest.raises(ResultRefused, match="https only"):
        downloads(out).fetch({"report": file_server.url})


def test_a_redirect_is_followed(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.status(307, Location="/bucket/there?X-Signature=other"), file_server.ranged]
    (file,) = downloads(out).fetch({"report": file_server.url})
    assert content_of(file["path"]) == file_server.content
    assert file_server.seen[1]["path"] == "/bucket/there?X-Signature=other"


def test_a_redirect_in_a_circle_ends(file_server: FileServer, out: str) -> None:
    file_server.answers = [file_server.status(302, Location="/again")]
    with pytest.raises(DownloadFailed, match="redirected"):
        downloads(out).fetch({"report": file_server.url})
    assert len(file_server.seen) < 10


@pytest.mark.parametrize("url", ["https://" + "a" * 70 + ".com/x", "https://a..b/x", "https://exa mple.com/x"])
def test_urls_that_are_none(out: str, url: str) -> None:
    if " " in url:
        assert downloads(out).fetch({"assets": url}) == []
    else:
        with pytest.raises((ResultRefused, DownloadFailed)):
            downloads(out).fetch({"assets": url})


# --- what it costs, and what is seen of it


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak(size: int) -> int:
        with FileServer(b"") as server:

            def stream(handler: BaseHTTPRequestHandler) -> None:
                handler.send_response(200)
                handler.send_header("Content-Length", str(size))
                handler.end_headers()
                for _ in range(size // 100_000):
                    handler.wfile.write(b"x" * 100_000)

            server.answers = [stream]
            tracemalloc.start()
            downloads(f"file://{tmp_path}/{size}").fetch({"report": server.url})
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return used

    peak(1_000_000)
    assert peak(60_000_000) < peak(6_000_000) + 2 * CHUNK


def test_no_more_than_a_few_at_once(file_server: FileServer, out: str) -> None:
    lock = threading.Lock()
    now = most = 0

    def watched(handler: BaseHTTPRequestHandler) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        file_server.send(handler, 200, b"x")

    file_server.answers = [watched]
    files = downloads(out, parallel=3).fetch({"f": [f"{file_server.url}&n={n}" for n in range(20)]})
    assert [file["name"] for file in files] == [f"f[{n}]" for n in range(20)]
    assert 1 < most <= 3


def test_when_one_fails_the_others_do_not_go_on(file_server: FileServer, out: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "n=0" in handler.path:
            file_server.send(handler, 404, b"")
        else:
            time.sleep(0.05)
            file_server.send(handler, 200, b"x")

    file_server.answers = [answer]
    with pytest.raises(FilesMissing):
        downloads(out, parallel=2).fetch({"files": [f"{file_server.url}&n={n}" for n in range(50)]})
    assert len(file_server.seen) < 10
    assert not [name for name in names_in(out) if name.startswith(".nenoa")]


def test_a_long_download_says_how_far_it_is(
    file_server: FileServer, out: str, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = iter(range(0, 10_000, 7))
    with caplog.at_level(logging.INFO):
        downloads(out, clock=lambda: float(next(ticks))).fetch({"report": file_server.url})
    lines = [record.message for record in caplog.records if "MiB" in record.message]
    assert "report: 2 of 3 MiB" in lines
    assert lines[-1] == f"Stored 1 files, 2.9 MiB, in {out}."


@pytest.mark.parametrize(
    ("ticks", "lines"),
    [
        ((0, 9.9, 10, 19.9), ["report: 2 of 3 MiB"]),
        ((0, 10, 19.9, 20), ["report: 1 of 3 MiB", "report: 3 of 3 MiB"]),
    ],
    ids=["ten seconds after the start", "ten seconds after the last line"],
)
def test_it_says_so_every_ten_seconds(
    file_server: FileServer, out: str, caplog: pytest.LogCaptureFixture, ticks: tuple[float, ...], lines: list[str]
) -> None:
    left = iter(ticks)  # as it begins, and after each of the three pieces
    with caplog.at_level(logging.INFO):
        downloads(out, clock=lambda: next(left)).fetch({"report": file_server.url})
    assert [record.message for record in caplog.records if " MiB" in record.message][:-1] == lines


def test_a_short_one_does_not(file_server: FileServer, out: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        downloads(out, clock=lambda: 0.0).fetch({"report": file_server.url})
    assert len([record for record in caplog.records if "MiB" in record.message]) == 1


def test_the_url_is_not_in_the_log(file_server: FileServer, out: str, caplog: pytest.LogCaptureFixture) -> None:
    file_server.answers = [
        file_server.breaking(100),
        file_server.status(503),
        file_server.status(302, Location="/there?X-Signature=" + SECRET),
        file_server.ranged,
    ]
    with caplog.at_level(logging.INFO):
        downloads(out).fetch({"report": file_server.url})
    assert "Going on at byte" in caplog.text
    assert SECRET not in caplog.text


def test_no_files_are_no_error(out: str) -> None:
    assert downloads(out).fetch({"status": "success"}) == []
