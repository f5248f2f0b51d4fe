"""Finding the files in a payload that nobody can vouch for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import ResultRefused
from airflow_provider_nenoa.payload_files import files_of, safe_name

S3 = "https://bucket.s3.amazonaws.com"


def test_every_url_counts_wherever_it_stands() -> None:
    payload = {
        "status": "success",
        "pdf": f"{S3}/a/report.pdf?sig=1",
        "results": {
            "files": [{"name": "x", "url": f"{S3}/b/rows.csv?sig=2"}, [f"{S3}/c"]],
            "odd key!": {"HTTP": "HTTPS://example.com/d.txt"},
        },
        "note": "see https://example.com for more",
        "none": None,
        "number": 1,
        "broken": "https://[::1/x",
        "no host": "https:///x",
        "ftp": "ftp://example.com/x",
        "split": "https://example.com/a\nb",
    }
    assert [(file.name, file.url, file.file_name) for file in files_of(payload)] == [
        ("pdf", f"{S3}/a/report.pdf?sig=1", "report.pdf"),
        ("results.files[0].url", f"{S3}/b/rows.csv?sig=2", "rows.csv"),
        ("results.files[1][0]", f"{S3}/c", "c"),
        ('results["odd key!"].HTTP', "HTTPS://example.com/d.txt", "d.txt"),
    ]


def test_a_url_that_is_repeated_is_one_file() -> None:
    files = files_of({"first": f"{S3}/a", "again": [f"{S3}/a"], "other": f"{S3}/a?version=2"})
    assert [(file.name, file.file_name) for file in files] == [("first", "a"), ("other", "a-2")]


def test_names_are_distinct_also_where_case_does_not_count() -> None:
    files = files_of([f"{S3}/{number}/{name}" for number, name in enumerate(["a.PDF", "A.pdf", "a-2.pdf", "b.pdf"])])
    assert [file.file_name for file in files] == ["a.PDF", "A-2.pdf", "a-2-2.pdf", "b.pdf"]


def test_keys_that_look_like_paths_are_told_apart() -> None:
    files = files_of({"a.b": f"{S3}/1", "a": {"b": f"{S3}/2"}, "a\nERROR forged": f"{S3}/3"})
    assert [file.name for file in files] == ['["a.b"]', "a.b", '["a\\nERROR forged"]']


def test_a_url_is_not_in_the_repr() -> None:
    assert "secret" not in repr(files_of([f"{S3}/a?sig=secret"]))


def test_ten_thousand_urls_are_too_many() -> None:
    payload = [f"{S3}/{number}" for number in range(10_000)]
    with pytest.raises(ResultRefused, match=r"10,000 URLs of files, more than max_files = 1,000"):
        files_of(payload)
    assert len(files_of(payload, max_files=10_000)) == 10_000


def test_depth_is_no_danger() -> None:
    payload: object = f"{S3}/deep"
    for _ in range(100_000):
        payload = [payload]
    (file,) = files_of(payload)
    assert len(file.name) == 200


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("Bericht für März (2).pdf", "Bericht für März (2).pdf"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\0b.txt", "a_b.txt"),
        ("..", "file"),
        (".bashrc", "bashrc"),
        ("", "file"),
        ("*?[a]#.csv", "___a__.csv"),
        ("x" * 300 + ".parquet", "x" * 172 + ".parquet"),
        ("ä" * 300, "ä" * 90),
    ],
)
def test_safe_names(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_a_url_without_a_last_part_is_named_by_its_place() -> None:
    assert [file.file_name for file in files_of({"main": {"doc": f"{S3}/"}})] == ["main.doc"]


def test_encoded_slashes_in_a_url_lead_nowhere() -> None:
    (file,) = files_of([f"{S3}/files/..%2F..%2F..%2Fetc%2Fcron.d%2Fjob"])
    assert file.file_name == "job"


@given(st.text(), st.text())
def test_no_name_leaves_its_directory(name: str, otherwise: str) -> None:
    safe = safe_name(name, otherwise)
    assert safe
    assert safe == safe.strip()
    assert not safe.startswith(".")
    assert not set(safe) & set("/\\\0*?[]#:%")
    assert safe.isprintable()
    assert len(safe.encode()) <= 200


json_values = st.recursive(
    st.none() | st.integers() | st.text() | st.builds("https://{}/{}?s=1".format, st.sampled_from("abc"), st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_whatever_the_payload_is_names_are_distinct_and_printable(payload: object) -> None:
    files = files_of(payload)
    assert len({file.file_name.casefold() for file in files}) == len(files)
    assert len({file.url for file in files}) == len(files)
    assert all(file.name.isprintable() for file in files)
