"""A zip that nobody can vouch for is unpacked into its place, within its limits, or not at all."""

from __future__ import annotations

import hashlib
import io
import logging
import stat
import struct
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import DownloadFailed, ResultRefused
from airflow_provider_nenoa.results import archive as archive_module
from airflow_provider_nenoa.results.addresses import Guard
from airflow_provider_nenoa.results.archive import HARMLESS, MAX_RATIO, Archive, Spool
from airflow_provider_nenoa.results.download import Downloads
from airflow_provider_nenoa.results.names import Names
from airflow_provider_nenoa.results.storage import Place
from tests.unit.results.conftest import FileServer, content_of, names_in

Members = list[tuple[str | zipfile.ZipInfo, bytes]]


@pytest.fixture
def out(tmp_path: Path) -> str:
    return f"file://{tmp_path}/out"


def zipped(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content, method)
    return buffer.getvalue()


def unpack(content: bytes, out: str, **limits: int) -> list[Any]:
    with Spool() as spool:
        spool.write(content)
        with Archive(spool, "assets", **{"max_files": 100, "max_size": 10**9, **limits}) as archive:
            return archive.unpack(Place(out), Names(), 2, threading.Event())


def paths(files: list[Any], out: str) -> list[str]:
    return [file["path"].removeprefix(f"{out}/") for file in files]


def on_disk(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


# --- by way of a download


def fetch(server: FileServer, out: str, content: bytes, **options: Any) -> list[Any]:
    server.content = content
    server.answers = [server.ranged]
    payload = {"assets": server.url.replace("report.pdf", "assets.zip")}
    return Downloads(out, Guard(loopback=True), sleep=lambda seconds: None, **options).fetch(payload)


def test_members_are_stored_in_every_store(file_server: FileServer, directory: str) -> None:
    members: Members = [("a.txt", b"one"), ("sub/dir/b.bin", bytes(3_000_000)), ("empty", b"")]
    files = fetch(file_server, directory, zipped(members))
    assert [(file["name"], file["path"], file["size"], file["sha256"]) for file in files] == [
        (name, f"{directory}/{name}", len(content), hashlib.sha256(content).hexdigest()) for name, content in members
    ]
    assert [content_of(file["path"]) for file in files] == [content for _, content in members]
    assert len(file_server.seen) == 1


def test_without_unpacking_the_zip_is_kept(file_server: FileServer, out: str) -> None:
    content = zipped([("a.txt", b"one")])
    (file,) = fetch(file_server, out, content, unpack=False)
    assert (file["name"], file["path"]) == ("assets", f"{out}/assets.zip")
    assert content_of(file["path"]) == content


def test_a_broken_connection_is_resumed(file_server: FileServer, out: str) -> None:
    file_server.content = zipped([("a.bin", hashlib.shake_128(b"").digest(3_000_000))])
    file_server.answers = [file_server.breaking(2_000_000), file_server.changed]
    (file,) = Downloads(out, Guard(loopback=True), sleep=lambda seconds: None).fetch({"assets": file_server.url})
    assert file["sha256"] == hashlib.sha256(hashlib.shake_128(b"").digest(3_000_000)).hexdigest()


def test_what_is_no_zip_is_stored_as_it_is(file_server: FileServer, out: str, caplog: pytest.LogCaptureFixture) -> None:
    (file,) = fetch(file_server, out, b"%PDF-1.7")
    assert (file["name"], file["path"], file["size"]) == ("assets", f"{out}/assets.zip", 8)
    assert "assets is no zip" in caplog.text


def test_members_do_not_take_the_names_of_other_files(file_server: FileServer, out: str) -> None:
    file_server.content = zipped([("report.pdf", b"member"), ("Report.pdf/x", b"below")])
    bare = {"other": file_server.url, "assets": file_server.url + "&n=2"}
    files = Downloads(out, Guard(loopback=True)).fetch(bare)
    assert paths(files, out) == ["report.pdf", "report-2.pdf", "Report-3.pdf/x"]
    assert content_of(files[1]["path"]) == b"member"


def test_too_large_an_archive_is_not_fetched(file_server: FileServer, out: str) -> None:
    with pytest.raises(ResultRefused, match="max_file_size"):
        fetch(file_server, out, bytes(1_000), max_file_size=999)


# --- what is in it


def test_no_members_are_no_files(out: str) -> None:
    assert unpack(zipped([]), out) == []
    assert unpack(zipped([("a/", b""), ("a/b/", b"")]), out) == []


def test_large_archives_and_streamed_ones(out: str) -> None:
    """zip64, sizes behind the data, stored and deflated, a comment."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.written += data
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:  # type: ignore[arg-type]
        archive.comment = b"a comment"
        for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, "w", force_zip64=True) as member:
                member.write(name.encode() * 1_000)
    assert b"PK\x07\x08" in pipe.written, "data descriptors"
    files = unpack(bytes(pipe.written), out)
    assert [content_of(file["path"]) for file in files] == [b"stored" * 1_000, b"deflated" * 1_000]


def test_more_members_than_a_small_zip_can_count(out: str) -> None:
    count = 65_600
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(zipfile.ZipInfo(str(number)), b"")
    with pytest.raises(ResultRefused, match="has 65,600 files, more than max_files = 65,599"):
        unpack(buffer.getvalue(), out, max_files=count - 1)
    with Spool() as spool:
        spool.write(buffer.getvalue())
        assert len(Archive(spool, "assets", max_files=count, max_size=1).members) == count


def test_a_zip_in_a_zip_is_a_file(out: str) -> None:
    inner = zipped([("../../x", b"x")])
    (file,) = unpack(zipped([("inner.zip", inner)]), out)
    assert content_of(file["path"]) == inner


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("a/../../../b", "a/b"),
        ("C:/Windows/x.dll", "Windows/x.dll"),
        ("C:x.dll", "C_x.dll"),
        ("..\\..\\x", "x"),
        ("\\\\server\\share\\x", "server/share/x"),
        ("a\\b/c", "a/b/c"),
        ("a//b/./c", "a/b/c"),
        ("a/..", "a"),
        (". /x", "x"),
        (".. /x", "x"),
        ("~/x", "file/x"),
        ("a*[b]?/c#d%2e", "a__b__/c_d_2e"),
        (".git/config", "git/config"),
        ("a\u202etxt.exe", "a_txt.exe"),
        ("Übersicht für März/ä.pdf", "Übersicht für März/ä.pdf"),
        ("x" * 300, "x" * 180),
    ],
)
def test_a_member_stays_in_its_place(name: str, path: str, out: str, tmp_path: Path) -> None:
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    (file,) = unpack(zipped([(info, b"x")]), out)
    assert paths([file], out) == [path]
    assert on_disk(tmp_path) == [f"out/{path}"]
    assert file["name"].isprintable()


def test_names_that_are_alike_are_made_distinct(out: str) -> None:
    names = ["a.txt", "A.TXT", "b/c", "B/C", "a.txt/d", "e\u0301", "\u00e9", "b", "x/../a.txt", "f", "f/g/h", "f/g"]
    files = unpack(zipped([(name, name.encode()) for name in names]), out)
    assert [content_of(file["path"]).decode() for file in files] == names
    found = paths(files, out)
    assert len({path.casefold() for path in found}) == len(names)
    assert found[:4] == ["a.txt", "A-2.TXT", "b/c", "b/C-2"]


def test_the_same_name_twice(out: str) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped([("a.txt", b"one"), ("a.txt", b"two")])
    files = unpack(content, out)
    assert [(path, content_of(file["path"])) for path, file in zip(paths(files, out), files, strict=True)] == [
        ("a.txt", b"one"),
        ("a-2.txt", b"two"),
    ]


def test_a_very_deep_path(out: str, tmp_path: Path) -> None:
    (file,) = unpack(zipped([("d/" * 5_000 + "x.txt", b"x")]), out)
    assert file["path"].endswith("/x.txt")
    assert len(file["path"]) < 1_000 + len(str(tmp_path))
    assert len(file["name"]) <= 200


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFBLK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_left_out_and_named(
    kind: int, out: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    info = zipfile.ZipInfo("lin\nk")
    info.external_attr = (kind | 0o777) << 16
    info.create_system = 3
    with caplog.at_level(logging.WARNING):
        files = unpack(zipped([(info, b"/etc/passwd"), ("file", b"x")]), out)
    assert paths(files, out) == ["file"]
    assert on_disk(tmp_path) == ["out/file"]
    assert "lin?k in assets is no file" in caplog.text


# --- what is refused, before anything is stored


def patched(content: bytes, *changes: tuple[bytes, int, str, int]) -> bytes:
    """Write numbers into headers: after each of a mark, at an offset from it."""
    data = bytearray(content)
    for mark, offset, form, value in changes:
        at = data.find(mark)
        while at >= 0:
            struct.pack_into(form, data, at + offset, value)
            at = data.find(mark, at + 4)
    return bytes(data)


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"


def encrypted(content: bytes) -> bytes:
    return patched(content, (LOCAL, 6, "<H", 0x1), (CENTRAL, 8, "<H", 0x1))


def compressed_by(method: int) -> Callable[[bytes], bytes]:
    return lambda content: patched(content, (LOCAL, 8, "<H", method), (CENTRAL, 10, "<H", method))


def overlapping(content: bytes) -> bytes:
    """Let each member but the first begin inside the one before it."""
    return patched(content, (CENTRAL, 20, "<I", 200), (LOCAL, 18, "<I", 200), (CENTRAL, 24, "<I", 200))


def the_same_bytes(content: bytes) -> bytes:
    """Let all members be the first."""
    return patched(content, (CENTRAL, 42, "<I", 0))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (encrypted, "is encrypted"),
        (compressed_by(9), "method 9"),
        (compressed_by(12), "method 12"),
        (compressed_by(14), "method 14"),
        (compressed_by(99), "method 99"),
        (overlapping, "overlap"),
        (the_same_bytes, "overlap"),
    ],
)
def test_what_is_refused(damage: Callable[[bytes], bytes], why: str, out: str, tmp_path: Path) -> None:
    content = damage(zipped([(f"{number}.txt", b"x" * 100) for number in range(3)], zipfile.ZIP_STORED))
    with pytest.raises(ResultRefused, match=rf"archive assets .*{why}.*\n.*unpack=False"):
        unpack(content, out)
    assert on_disk(tmp_path) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_cannot_be_bounded_are_refused(method: int, out: str) -> None:
    with pytest.raises(ResultRefused, match=f"method {method}"):
        unpack(zipped([("a", b"x")], method), out)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_files": 2}, "has 3 files, more than max_files = 2"),
        ({"max_size": 299}, "files of 300 bytes in all, more than max_file_size = 299"),
    ],
)
def test_limits(limits: dict[str, int], why: str, out: str, tmp_path: Path) -> None:
    content = zipped([(f"{number}.txt", b"x" * 100) for number in range(3)])
    with pytest.raises(ResultRefused, match=why):
        unpack(content, out, **limits)
    assert on_disk(tmp_path) == []
    assert len(unpack(content, out, **{name: limit + 1 for name, limit in limits.items()})) == 3


def test_a_bomb(out: str, tmp_path: Path) -> None:
    with pytest.raises(ResultRefused, match=f"more than {MAX_RATIO} times"):
        unpack(zipped([("zeros", bytes(HARMLESS + 1))]), out)
    assert on_disk(tmp_path) == []
    assert len(unpack(zipped([("zeros", bytes(HARMLESS))]), out)) == 1, "a small one does no harm"


def test_a_bomb_that_lies_about_its_size(out: str, tmp_path: Path) -> None:
    content = zipped([("zeros", bytes(50_000_000))])
    lying = patched(content, (LOCAL, 22, "<I", 1_000), (CENTRAL, 24, "<I", 1_000))
    tracemalloc.start()
    with pytest.raises(DownloadFailed, match="damaged"):
        unpack(lying, out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
    assert on_disk(tmp_path) == []


def test_a_directory_that_would_fill_the_memory_is_not_read(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "_CHUNK", 1_000)
    content = zipped([("x" * 60_000 + str(number), b"") for number in range(2)])
    with pytest.raises(ResultRefused, match=r"directory of 120,\d\d\d bytes"):
        unpack(content, out, max_files=10)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(5),
        zipped([("a.txt", b"x" * 5_000)])[:-30],
        zipped([("a.txt", b"x" * 5_000)])[:60],
        patched(zipped([("a.txt", b"x")]), (CENTRAL, 16, "<I", 7)),
        patched(zipped([("a.txt", b"x")]), (LOCAL, 26, "<H", 3)),
        patched(zipped([("a.txt", b"x" * 900)]), (CENTRAL, 24, "<I", 901), (LOCAL, 22, "<I", 901)),
        patched(zipped([("a.txt", b"x" * 900)]), (CENTRAL, 42, "<I", 2**31)),
        patched(zipped([("a.txt", b"x")]), (b"PK\x05\x06", 16, "<I", 2**32 - 2)),
    ],
    ids=range(9),
)
def test_damage_is_said(content: bytes, out: str, tmp_path: Path) -> None:
    with pytest.raises((DownloadFailed, ResultRefused), match="archive assets") as caught:
        unpack(content, out)
    first, _, advice = str(caught.value).partition("\n")
    assert first.isprintable()
    assert advice.isprintable()
    assert on_disk(tmp_path) == []


SAMPLE = zipped([("a.txt", b"x" * 500), ("b/c.bin", bytes(range(256)))])


def is_unpacked(content: bytes) -> bool:
    """Whether it is; what comes out of it is then what was packed, where it belongs."""
    place = "memory://hypothesis/archive/"
    try:
        files = unpack(content, place)
    except (DownloadFailed, ResultRefused):
        return False
    for file in files:
        assert file["path"].startswith(place)
        assert not {"", ".", ".."} & set(file["path"].removeprefix(place).split("/"))
        assert content_of(file["path"]) in (b"x" * 500, bytes(range(256)))
    return True


@given(
    st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    st.just(len(SAMPLE)) | st.integers(0, len(SAMPLE)),
)
@example([(len(SAMPLE) - 6, 255)], len(SAMPLE))
@settings(max_examples=300)
def test_whatever_is_damaged_nothing_escapes(changes: list[tuple[int, int]], length: int) -> None:
    content = bytearray(SAMPLE)
    for at, value in changes:
        content[at] = value
    is_unpacked(bytes(content[:length]))


def test_one_wrong_bit_anywhere_is_said_or_changes_nothing() -> None:
    unpacked = 0
    for at in range(len(SAMPLE)):
        content = bytearray(SAMPLE)
        content[at] ^= 1
        unpacked += is_unpacked(bytes(content))
    assert 0 < unpacked < len(SAMPLE) / 2, "a date may be another one, a content may not"


@given(st.lists(st.text(max_size=40), max_size=20))
@example(["a", "a/b", "A", "a/b/c"])
def test_whatever_members_are_called_they_have_paths_of_their_own(given: list[str]) -> None:
    names = Names()
    found = [names.path(name) for name in given]
    assert len({path.casefold() for path in found}) == len(found)
    parts = [path.casefold().split("/") for path in found]
    directories = {"/".join(path[:end]) for path in parts for end in range(1, len(path))}
    assert not directories & {path.casefold() for path in found}
    for path in found:
        assert not set(path.split("/")) & {"", ".", ".."}
        assert path.isprintable()
        assert len(path.encode()) < 800


# --- what it costs


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    def peak(size: int) -> int:
        content = zipped([("large.bin", hashlib.shake_128(b"").digest(size))], zipfile.ZIP_STORED)
        with FileServer(content) as server:

            def stream(handler: BaseHTTPRequestHandler) -> None:
                server.send(handler, 200, content)

            server.answers = [stream]
            tracemalloc.start()
            Downloads(f"file://{tmp_path}/{size}", Guard(loopback=True)).fetch({"assets": server.url})
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return used

    peak(1_000_000)
    assert peak(40_000_000) < peak(8_000_000) + 4_000_000


def test_when_a_member_fails_the_others_do_not_go_on(out: str) -> None:
    content = zipped([(f"{number:04}.txt", b"x" * 100) for number in range(500)], zipfile.ZIP_STORED)
    content = content.replace(b"x" * 100, b"y" * 100, 1)
    with pytest.raises(DownloadFailed, match=r"damaged \(0000\.txt: Bad CRC"):
        unpack(content, out, max_files=500)
    assert len(names_in(out)) < 400
    assert "0000.txt" not in names_in(out)
    assert not [name for name in names_in(out) if name.startswith(".nenoa")]


def test_a_spool_that_starts_anew_has_what_came_since() -> None:
    with Spool() as spool:
        for data in (b"PK\x03\x04, and more", b"second"):
            spool.restart()
            assert spool.write(data) == spool.size == len(data)
            assert b"".join(spool.chunks()) == data
            assert spool.is_zip == data.startswith(b"PK")
