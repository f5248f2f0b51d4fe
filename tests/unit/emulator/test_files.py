"""Result files behind presigned URLs."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.emulator import Control
from airflow_provider_nenoa.emulator.behaviour import ResultFile

from .conftest import WORKFLOW_ID, Api, Receiver


def run(api: Api, receiver: Receiver, files: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The files of a run that succeeded, by name."""
    body = {
        "workflow_id": WORKFLOW_ID,
        "workflow_params": {"emulate": {"seconds": 0, "files": files, "files_as": "urls"}},
        "webhook_callback": receiver.url,
    }
    api.post("/runs", json=body)
    return {file["name"]: file for file in receiver.wait_for(2)[1].body["results"]["files"]}


def fetch(url: str, asked: str | None = None) -> requests.Response:
    return requests.get(url, headers={"Range": asked} if asked else {}, timeout=10)


def read_into(got: bytearray, reply: requests.Response) -> None:
    for piece in reply.iter_content(1000):
        got += piece


def test_sizes_and_content_are_as_asked_for(nenai: Api, receiver: Receiver) -> None:
    files = run(
        nenai,
        receiver,
        [
            {"name": "big.bin", "size": 200_000},
            {"name": "empty.bin", "size": 0},
            {"name": "a b/../ü.csv", "content": "a,b\n1,ü\n"},
        ],
    )
    big = fetch(files["big.bin"]["url"])
    assert big.status_code == 200
    assert len(big.content) == files["big.bin"]["size"] == 200_000
    assert big.headers["Accept-Ranges"] == "bytes"
    assert big.content == fetch(files["big.bin"]["url"]).content
    assert fetch(files["empty.bin"]["url"]).content == b""
    assert fetch(files["a b/../ü.csv"]["url"]).content == "a,b\n1,ü\n".encode()


@given(size=st.integers(0, 200_000), data=st.data())
def test_any_part_is_the_same_as_that_part_of_the_whole(size: int, data: st.DataObject) -> None:
    file = ResultFile(name="x", size=size)
    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    whole = b"".join(file.pieces(0, size))
    assert len(whole) == size == file.length
    assert b"".join(file.pieces(start, end)) == whole[start:end]


def assets(api: Api, receiver: Receiver, **emulate: Any) -> str:
    """The URL of the zip of a run that succeeded."""
    body = {
        "workflow_id": WORKFLOW_ID,
        "workflow_params": {"emulate": {"seconds": 0, **emulate}},
        "webhook_callback": receiver.url,
    }
    api.post("/runs", json=body)
    return str(receiver.wait_for(2)[1].body["assets"])


def test_a_zip_of_all_files(nenai: Api, control: Control, receiver: Receiver) -> None:
    url = assets(
        nenai,
        receiver,
        files=[
            {"name": "invoices/one.bin", "size": 200_000},
            {"name": "../out.csv", "content": "ü,b\n"},
            {"name": "empty", "size": 0},
            {"name": "twice", "content": "1"},
            {"name": "twice", "content": "2"},
        ],
    )
    whole = fetch(url)
    assert whole.status_code == 200
    assert whole.headers["Content-Length"] == str(len(whole.content))
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert archive.namelist() == ["invoices/one.bin", "../out.csv", "empty", "twice", "twice"]
        members = [archive.read(member) for member in archive.infolist()]
    assert members[0] == b"".join(ResultFile(name="invoices/one.bin", size=200_000).pieces(0, 200_000))
    assert members[1:] == ["ü,b\n".encode(), b"", b"1", b"2"]
    assert fetch(url, "bytes=1000-1999").content == whole.content[1000:2000]
    assert control.counts()["GET /assets/{message_id}/assets.zip"] == 2
    assert "X-Amz-Signature" not in str(control.requests())


def test_a_zip_that_breaks_off_can_be_gone_on_with(nenai: Api, control: Control, receiver: Receiver) -> None:
    url = assets(nenai, receiver, files=[{"name": "big.bin", "size": 100_000}])
    control.fault("drop_body", path="/assets/*")
    got = bytearray()
    with (
        requests.get(url, stream=True, timeout=10) as reply,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        read_into(got, reply)
    rest = fetch(url, f"bytes={len(got)}-")
    assert rest.headers["ETag"] == reply.headers["ETag"]
    assert got + rest.content == fetch(url).content


def test_a_zip_that_expires_and_one_that_is_made_up(nenai: Api, control: Control, receiver: Receiver) -> None:
    control.clock(freeze=1_700_000_000)
    url = assets(nenai, receiver)
    assert fetch(url[:-1]).status_code == 403
    control.clock(advance=3600)
    assert "Request has expired" in fetch(url).text


def test_links_in_a_result_are_counted_when_somebody_follows_them(
    nenai: Api, control: Control, receiver: Receiver
) -> None:
    assets(nenai, receiver, links=3)
    pages = receiver.received[1].body["result"]["pages"]
    assert len(pages) == 3
    assert "?token=" in pages[1], "as if it were a file's"
    route = "GET /links/{message_id}/{number}"
    assert route not in control.counts()
    assert fetch(pages[0]).headers["Content-Type"].startswith("text/html")
    assert control.counts()[route] == 1


def test_no_two_files_and_no_two_blocks_are_alike() -> None:
    size = 4 * 64 * 1024
    one = b"".join(ResultFile(name="one", size=size).pieces(0, size))
    two = b"".join(ResultFile(name="two", size=size).pieces(0, size))
    assert one != two
    assert len({one[place : place + 64 * 1024] for place in range(0, size, 64 * 1024)}) == 4


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=70000-", slice(70_000, None)),
        ("bytes=-10", slice(-10, None)),
        ("bytes=99990-200000", slice(99_990, None)),
    ],
)
def test_ranges(nenai: Api, receiver: Receiver, asked: str, part: slice) -> None:
    url = run(nenai, receiver, [{"name": "big.bin", "size": 100_000}])["big.bin"]["url"]
    whole = fetch(url).content
    reply = fetch(url, asked)
    assert reply.status_code == 206
    assert reply.content == whole[part]
    start, end, _ = part.indices(100_000)
    assert reply.headers["Content-Range"] == f"bytes {start}-{end - 1}/100000"
    assert reply.headers["ETag"] == fetch(url).headers["ETag"]


def test_a_range_beyond_the_end(nenai: Api, receiver: Receiver) -> None:
    reply = fetch(run(nenai, receiver, [{"name": "x", "size": 10}])["x"]["url"], "bytes=10-")
    assert reply.status_code == 416
    assert reply.headers["Content-Range"] == "bytes */10"


@pytest.mark.parametrize("asked", ["bytes=a-b", "rows=1-2", "bytes=-", "bytes=1-2,4-5", "bytes=" + "9" * 5000 + "-"])
def test_a_range_that_makes_no_sense_is_ignored(nenai: Api, receiver: Receiver, asked: str) -> None:
    reply = fetch(run(nenai, receiver, [{"name": "x", "size": 10}])["x"]["url"], asked)
    assert (reply.status_code, len(reply.content)) == (200, 10)


def test_urls_expire(nenai: Api, control: Control, receiver: Receiver) -> None:
    control.settings(url_seconds=60)
    control.clock(freeze=1_700_000_000)
    url = run(nenai, receiver, [{"name": "x"}])["x"]["url"]
    control.clock(advance=59)
    assert fetch(url).status_code == 200
    control.clock(advance=1)
    reply = fetch(url)
    assert reply.status_code == 403
    assert reply.headers["Content-Type"] == "application/xml"
    assert "<Code>AccessDenied</Code><Message>Request has expired</Message>" in reply.text


def test_urls_cannot_be_made_up(nenai: Api, receiver: Receiver) -> None:
    url = run(nenai, receiver, [{"name": "x"}])["x"]["url"]
    later = url.replace("X-Amz-Expires=", "X-Amz-Expires=9")
    other_file = url.replace("/x?", "/y?")
    for forged in (
        later,
        other_file,
        url.split("?")[0],
        url[:-1],
        url.split("?")[0] + "?X-Amz-Date=20260101T000000Z&X-Amz-Expires=²&X-Amz-Signature=ü",
    ):
        reply = fetch(forged)
        assert reply.status_code == 403
        assert "SignatureDoesNotMatch" in reply.text


def test_files_of_a_forgotten_run(nenai: Api, control: Control, receiver: Receiver) -> None:
    url = run(nenai, receiver, [{"name": "x"}])["x"]["url"]
    control.reset()
    reply = fetch(url)
    assert reply.status_code == 404
    assert "NoSuchKey" in reply.text


def test_urls_begin_where_the_setting_says(nenai: Api, control: Control, receiver: Receiver) -> None:
    control.settings(public_url="https://files.example.com/")
    url = run(nenai, receiver, [{"name": "x"}])["x"]["url"]
    assert url.startswith("https://files.example.com/files/")


def test_a_download_can_break_off_and_go_on(nenai: Api, control: Control, receiver: Receiver) -> None:
    url = run(nenai, receiver, [{"name": "big.bin", "size": 100_000}])["big.bin"]["url"]
    whole = fetch(url).content
    control.fault("drop_body", path="/files/*")
    got = bytearray()
    with (
        requests.get(url, stream=True, timeout=10) as reply,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        read_into(got, reply)
    assert 0 < len(got) < 100_000
    assert got + fetch(url, f"bytes={len(got)}-").content == whole
    assert "X-Amz-Signature" not in str(control.requests())
