"""Result files behind presigned URLs."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.emulator import Control
from airflow_provider_nenoa.emulator.files import file_bytes, file_size
from airflow_provider_nenoa.emulator.settings import ResultFile

from .conftest import WORKFLOW_ID, Api, Receiver


def run(api: Api, receiver: Receiver, files: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The files of a run that succeeded, by name."""
    body = {
        "workflow_id": WORKFLOW_ID,
        "workflow_params": {"emulate": {"seconds": 0, "files": files}},
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
    whole = b"".join(file_bytes(file, 0, size))
    assert len(whole) == size == file_size(file)
    assert b"".join(file_bytes(file, start, end)) == whole[start:end]


def test_no_two_files_and_no_two_blocks_are_alike() -> None:
    size = 4 * 64 * 1024
    one = b"".join(file_bytes(ResultFile(name="one", size=size), 0, size))
    two = b"".join(file_bytes(ResultFile(name="two", size=size), 0, size))
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
    later = url.replace("X-Expires=", "X-Expires=9")
    other_file = url.replace("/x?", "/y?")
    for forged in (later, other_file, url.split("?")[0], url[:-1], url.split("?")[0] + "?X-Expires=²&X-Signature=ü"):
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
    assert "X-Signature" not in str(control.requests())
