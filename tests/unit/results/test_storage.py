"""A stored file is there whole or not at all, in every kind of store."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from airflow.sdk import ObjectStoragePath
from s3fs import S3FileSystem
from s3fs.core import S3File

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.storage import PART_SIZE, NewFile, Place
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


def test_a_large_file_is_uploaded_in_parts(s3: S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[int] = []
    upload = S3File._upload_chunk

    def count(self: S3File, final: bool = False) -> object:
        parts.append(self.buffer.tell())
        return upload(self, final)

    monkeypatch.setattr(S3File, "_upload_chunk", count)
    with NewFile(Place(f"s3://{BUCKET}/large.bin"), "") as file:
        for _ in range(5):
            file.write(os.urandom(PART_SIZE // 2))
    assert len(parts) > 1
    assert max(parts) <= PART_SIZE * 3 // 2
    assert hashlib.sha256(content_of(f"s3://{BUCKET}/large.bin")).hexdigest() == file.stored["sha256"]


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
