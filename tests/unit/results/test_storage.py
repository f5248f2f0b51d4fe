"""A stored file is there whole or not at all, in every kind of store."""

from __future__ import annotations

import gc
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from fsspec.implementations.memory import MemoryFileSystem
from s3fs import S3FileSystem
from s3fs.core import S3File

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.results.storage import PART_SIZE, NewFile, Place
from tests.unit.results.conftest import BUCKET, content_of, names_in


def test_a_file_comes_into_its_place_when_it_is_whole(directory: str) -> None:
    place = Place(directory).file("out.bin")
    with NewFile(place, "the name") as file:
        file.write(b"one ")
        file.write(b"two")
        assert "out.bin" not in names_in(directory)
    assert names_in(directory) == ["out.bin"]
    assert file.stored == {
        "name": "the name",
        "path": f"{directory}/out.bin",
        "size": 7,
        "sha256": hashlib.sha256(b"one two").hexdigest(),
    }
    assert content_of(file.stored["path"]) == b"one two"


def test_an_older_file_stays_until_it_is_replaced(directory: str) -> None:
    place = Place(directory).file("out.bin")
    with NewFile(place, "") as file:
        file.write(b"old")
    with NewFile(place, "") as file:
        file.write(b"new")
        assert content_of(str(place)) == b"old"
    assert content_of(str(place)) == b"new"
    assert names_in(directory) == ["out.bin"]


def test_nothing_stays_of_a_file_that_failed(directory: str) -> None:
    def die_half_way() -> None:
        with NewFile(Place(directory).file("out.bin"), "") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die_half_way()
    assert names_in(directory) == []


def test_restarting_forgets_what_was_written(directory: str) -> None:
    with NewFile(Place(directory).file("out.bin"), "") as file:
        file.write(b"in vain")
        file.restart()
        file.write(b"right")
    assert content_of(file.stored["path"]) == b"right"
    assert file.stored["sha256"] == hashlib.sha256(b"right").hexdigest()
    assert file.stored["size"] == 5


def test_an_empty_file(directory: str) -> None:
    with NewFile(Place(directory).file("empty"), "") as file:
        pass
    assert content_of(file.stored["path"]) == b""
    assert file.stored["sha256"] == hashlib.sha256().hexdigest()


@pytest.fixture
def s3_calls(s3: S3FileSystem) -> Iterator[list[str]]:
    """The S3 operations that were asked for, in order."""
    calls: list[str] = []

    def note(model: Any, **kwargs: Any) -> None:
        calls.append(model.name)

    s3.connect()
    s3.s3.meta.events.register("before-call.s3", note)
    yield calls
    s3.s3.meta.events.unregister("before-call.s3", note)


def fresh_key() -> str:
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


def is_there(key: str) -> bool:
    return key.rpartition("/")[2] in names_in(f"s3://{BUCKET}")


@pytest.mark.parametrize("content", [b"", b"x", b"x" * (PART_SIZE - 1)], ids=len)
def test_what_fits_into_one_request_is_one(s3_calls: list[str], content: bytes) -> None:
    key = fresh_key()
    with NewFile(Place(key), "") as file:
        file.write(content)
        assert s3_calls == []
    assert s3_calls == ["PutObject"]
    assert content_of(key) == content


@pytest.mark.parametrize("pieces", [[PART_SIZE], [PART_SIZE // 2] * 5, [1, PART_SIZE * 3, 1]], ids=str)
def test_a_large_file_is_uploaded_once_in_parts(s3: S3FileSystem, s3_calls: list[str], pieces: list[int]) -> None:
    key = fresh_key()
    content = [os.urandom(size) for size in pieces]
    with NewFile(Place(key), "") as file:
        for piece in content:
            file.write(piece)
        assert "UploadPart" in s3_calls
        assert not is_there(key)
        s3_calls[:] = [call for call in s3_calls if "Upload" in call]  # without our own question
    assert s3_calls[0] == "CreateMultipartUpload"
    assert s3_calls[-1] == "CompleteMultipartUpload"
    assert set(s3_calls[1:-1]) == {"UploadPart"}
    assert hashlib.sha256(content_of(key)).hexdigest() == file.stored["sha256"]
    assert content_of(key) == b"".join(content)


@pytest.mark.parametrize("size", [10, PART_SIZE * 2])
def test_an_upload_that_failed_leaves_nothing_at_the_store(s3: S3FileSystem, s3_calls: list[str], size: int) -> None:
    key = fresh_key()

    def die_half_way() -> None:
        with NewFile(Place(key), "") as file:
            file.write(b"x" * size)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die_half_way()
    gc.collect()  # what fsspec forgets to throw away it uploads when its memory is freed
    assert s3_calls == ([] if size == 10 else ["CreateMultipartUpload", "UploadPart", "AbortMultipartUpload"])
    assert not is_there(key)


def test_an_upload_that_starts_anew_is_uploaded_once(s3_calls: list[str]) -> None:
    key = fresh_key()
    with NewFile(Place(key), "") as file:
        file.write(b"x" * PART_SIZE)
        file.restart()
        file.write(b"right")
    assert s3_calls == ["CreateMultipartUpload", "UploadPart", "AbortMultipartUpload", "PutObject"]
    assert content_of(key) == b"right"


def test_a_store_that_refuses_the_last_step_keeps_nothing(
    s3: S3FileSystem, s3_calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: S3File) -> None:
        raise OSError("Slow down")

    monkeypatch.setattr(S3File, "commit", fail)
    key = fresh_key()
    with pytest.raises(OSError, match="Slow down"), NewFile(Place(key), "") as file:
        file.write(b"x" * PART_SIZE)
    assert s3_calls[-1] == "AbortMultipartUpload"
    assert not is_there(key)


def test_nobody_elses_transaction_gets_our_files(s3: S3FileSystem) -> None:
    key = fresh_key()
    with NewFile(Place(key), "") as file:
        file.write(b"x" * PART_SIZE)
        assert not s3.transaction.files
    assert not s3.transaction.files


class Renaming(MemoryFileSystem):
    """A file system that can rename, as SFTP can."""

    store: dict[str, Any] = {}
    pseudo_dirs = [""]
    moves: list[str] = []

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        self.moves.append(path2)
        self.store[path2] = self.store.pop(path1)

    def cp_file(self, path1: str, path2: str, **kwargs: Any) -> None:
        raise NotImplementedError


def test_where_files_can_be_renamed_they_are() -> None:
    place = Place("memory://host/a/out")
    place.fs = fs = Renaming()
    with NewFile(place, "") as file:
        file.write(b"x")
        assert not [name for name in fs.store if name.endswith("out")]
    assert [name.rpartition("/")[2] for name in fs.moves] == ["out"]
    assert [name.rpartition("/")[2] for name in fs.store] == ["out"]


@pytest.mark.parametrize("output_path", ["~", "~/out", "~me/out", "file://~/out", "local://~/out"])
def test_nobodys_home_is_meant(output_path: str) -> None:
    with pytest.raises(InvalidArgument, match=r"begins with '~'.*\nWrite the whole path"):
        Place(output_path)


@pytest.mark.parametrize(
    ("given", "directory"),
    [
        ("a file/x", False),
        ("a file/deeper/x.csv", False),
        ("a file/", False),
        ("a file", True),
        ("a file/x", True),
        ("leads nowhere", True),
        ("leads nowhere/x", False),
    ],
)
def test_a_file_where_a_directory_should_be_is_told_before_anything_is_stored(
    tmp_path: Path, given: str, directory: bool
) -> None:
    (tmp_path / "a file").write_bytes(b"")
    (tmp_path / "leads nowhere").symlink_to(tmp_path / "gone")
    for place in (Place(f"{tmp_path}/{given}"), Place(f"file://{tmp_path}/{given}")):
        with pytest.raises(InvalidArgument, match=r"'output_path' .*: .*/(a file|leads nowhere) is no directory.*\n"):
            place.check(directory=directory)


@pytest.mark.parametrize(
    ("given", "directory", "where"),
    [
        ("locked", True, "locked"),
        ("locked", False, "locked"),
        ("locked/", False, "locked"),
        ("locked/new", True, "locked"),
        ("locked/new/deep/x.csv", False, "locked"),
        ("locked/old.csv", False, "locked"),
        ("new", True, None),
        ("new.csv", False, None),
        ("old.csv", False, None),
        ("new/deep/x.csv", False, None),
    ],
)
def test_a_directory_that_may_not_be_written_to_is_told_before_anything_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, directory: bool, where: str | None
) -> None:
    (tmp_path / "locked").mkdir()
    for name in ("old.csv", "locked/old.csv"):
        (tmp_path / name).write_bytes(b"")
    locked = str(tmp_path / "locked")
    # Whoever runs the tests as root may write anywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: path != locked or not mode & os.W_OK)
    before = sorted(tmp_path.rglob("*"))
    place = Place(f"file://{tmp_path}/{given}")
    if where is None:
        place.check(directory=directory)
    else:
        with pytest.raises(InvalidArgument, match=rf"nothing may be written into {tmp_path}/{where}, "):
            place.check(directory=directory)
    assert sorted(tmp_path.rglob("*")) == before, "it only looks"


def test_what_may_be_written_elsewhere_is_not_known_before(s3: S3FileSystem) -> None:
    for output_path in ("memory:///a/b", f"s3://{BUCKET}/x", "s3://no-such-bucket/x"):
        Place(output_path).check()


def test_a_tilde_elsewhere_is_a_letter(tmp_path: Path, s3: S3FileSystem) -> None:
    for directory in (f"{tmp_path}/~a", f"file://{tmp_path}/~", f"s3://{BUCKET}/~me"):
        with NewFile(Place(directory).file("x~"), "") as file:
            file.write(b"x")
        assert content_of(file.stored["path"]) == b"x"


def test_wildcards_in_a_path_are_only_characters(s3: S3FileSystem, tmp_path: Path) -> None:
    for directory in (f"s3://{BUCKET}/a*[b]?", f"file://{tmp_path}/a*[b]"):
        with NewFile(Place(directory).file("x"), "") as file:
            file.write(b"x")
        assert names_in(directory) == ["x"]


def test_a_directory_in_the_way_is_not_moved_into(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(IsADirectoryError), NewFile(Place(f"file://{tmp_path}/out"), "") as file:
        file.write(b"x")
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_a_failing_rename_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"), NewFile(Place(f"file://{tmp_path}/out"), "") as file:
        file.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_file_or_directory(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for given, meant in (("new.csv", "new.csv"), ("new/", "new/rows.csv"), ("there", "there/rows.csv")):
        assert str(Place(f"file://{tmp_path}/{given}").file_or_in("rows.csv")) == f"file://{tmp_path}/{meant}"


def test_a_plain_path_and_a_path_object(tmp_path: Path) -> None:
    for output_path in (str(tmp_path), ObjectStoragePath(f"file://{tmp_path}")):
        with NewFile(Place(output_path).file("x"), "") as file:
            file.write(b"x")
        assert content_of(file.stored["path"]) == b"x"


@pytest.mark.parametrize("output_path", ["", "  ", None, 1, "file:///tmp/a\0b", "nope://bucket/x"])
def test_what_is_no_place(output_path: object) -> None:
    with pytest.raises(InvalidArgument, match="output_path"):
        Place(output_path)  # type: ignore[arg-type]


def test_a_connection_for_a_store_without_its_provider() -> None:
    with pytest.raises(InvalidArgument, match="Install the provider"):
        Place("gs://google_default@bucket/x")
