"""Finding the files in a payload that nobody can vouch for."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import FilesMissing, InvalidArgument, ResultRefused
from airflow_provider_nenoa.results.names import Names, safe_name
from airflow_provider_nenoa.results.payload_files import FETCHED, files_of, without_urls
from airflow_provider_nenoa.vendors.key_paths import parse_key_paths
from airflow_provider_nenoa.vendors.presigned import expiry_of, is_presigned, without_queries

S3 = "https://bucket.s3.amazonaws.com"
SIGNED = "X-Amz-Signature=1"


def found(payload: dict[str, object], *named: str, max_files: int = 1_000) -> list[tuple[str, str]]:
    return [(file.name, file.url) for file in files_of(payload, max_files, parse_key_paths(named))]


def test_assets_are_files_and_so_is_what_looks_presigned() -> None:
    payload = {
        "status": "success",
        "assets": f"{S3}/assets.zip",
        "pdf": f"{S3}/a/report.pdf?{SIGNED}",
        "page": "https://app.getnen.ai/runs/1?tab=log",
        "results": {
            "files": [{"name": "x", "url": f"{S3}/b/rows.csv?{SIGNED}"}, [f"{S3}/c?{SIGNED}"], f"{S3}/d"],
            "odd key!": {"HTTP": f"HTTPS://example.com/d.txt?{SIGNED}"},
        },
        "note": f"see https://example.com?{SIGNED} for more",
        "none": None,
        "number": 1,
        "broken": f"https://[::1/x?{SIGNED}",
        "no host": f"https:///x?{SIGNED}",
        "ftp": f"ftp://example.com/x?{SIGNED}",
        "split": f"https://example.com/a\nb?{SIGNED}",
    }
    files = files_of(payload)
    assert [(file.name, file.url, file.last_part) for file in files] == [
        ("assets", f"{S3}/assets.zip", "assets.zip"),
        ("pdf", f"{S3}/a/report.pdf?{SIGNED}", "report.pdf"),
        ("results.files[0].url", f"{S3}/b/rows.csv?{SIGNED}", "rows.csv"),
        ("results.files[1][0]", f"{S3}/c?{SIGNED}", "c"),
        ('results["odd key!"].HTTP', f"HTTPS://example.com/d.txt?{SIGNED}", "d.txt"),
    ]
    assert [file.is_archive for file in files] == [True, False, False, False, False]


def test_what_the_workflow_returned_is_data() -> None:
    links = {
        "shop": f"{S3}/x?{SIGNED}",
        "deep": [{"result": [f"{S3}/y?sig=abc"]}],
        "metadata": "https://169.254.169.254/",
    }
    assert found({"result": links, "success": True}) == []
    assert found({"result": f"{S3}/x?{SIGNED}"}) == []
    assert found({"result": links, "assets": f"{S3}/z"}) == [("assets", f"{S3}/z")]
    assert found({"results": {"result": f"{S3}/x?{SIGNED}"}}) == [("results.result", f"{S3}/x?{SIGNED}")]


def test_assets_may_be_several() -> None:
    payload = {"assets": [f"{S3}/1.zip", {"zip": f"{S3}/2.zip"}], "assets2": f"{S3}/3", "asset.s": f"{S3}/4"}
    assert found(payload) == [("assets[0]", f"{S3}/1.zip"), ("assets[1].zip", f"{S3}/2.zip")]
    for nothing in (None, "", "assets.zip", 1, [], {}):
        assert found({"assets": nothing}) == []


@pytest.mark.parametrize("assets", ["s3://bucket/assets.zip", "ftp://files.example/a", " gs://a/b?x=y "])
def test_files_where_nobody_can_fetch_them_are_missing(assets: str) -> None:
    scheme = assets.partition(":")[0].strip()
    with pytest.raises(FilesMissing, match=rf"cannot be fetched: .* begins with {scheme}://") as caught:
        found({"assets": assets})
    assert assets not in str(caught.value)


@pytest.mark.parametrize(
    "assets", ["assets.zip", "none", "/results/assets.zip", "see s3://bucket", f"{S3}/a b.zip?{SIGNED}"]
)
def test_assets_that_are_no_url_are_told(assets: str, caplog: pytest.LogCaptureFixture) -> None:
    assert found({"assets": assets}) == []
    assert "'assets' is no http(s) URL" in caplog.text
    assert assets not in caplog.text


@pytest.mark.parametrize("assets", ["", " ", None, [], {}, [None], f"{S3}/a.zip"])
def test_assets_that_are_as_they_should_be_are_not(assets: object, caplog: pytest.LogCaptureFixture) -> None:
    found({"assets": assets})
    assert caplog.text == ""


@pytest.mark.parametrize(
    "query",
    [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=ab",
        "x-amz-signature=ab",
        "X-AMZ-SIGNATURE=ab",
        "X-Goog-Signature=ab",
        "x-goog-signature=ab",
        "X-Signature=ab",
        "AWSAccessKeyId=a&Signature=b&Expires=1",
        "AWSAccessKeyId=a&signature=b&expires=1",
        "GoogleAccessId=a&Expires=1&Signature=b",
        "Policy=a&Signature=b&Key-Pair-Id=c",
        "OSSAccessKeyId=a&Expires=1&Signature=b",
        "sv=2024-01-01&se=2026-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=ab%2Fc%3D",
        "SIG=ab",
        "token=ab",
        "Token=ab",
        "alt=media&token=ab",
    ],
)
def test_what_looks_presigned(query: str) -> None:
    assert is_presigned(f"{S3}/x?{query}")
    assert found({"a": {"b": f"{S3}/x?{query}"}}) == [("a.b", f"{S3}/x?{query}")]


@pytest.mark.parametrize(
    "query",
    [
        *("", "id=1", "Signature=b", "Expires=1", "X-Amz-Signature=", "sig=", "token", "q=sig", "design=1", "tokens=1"),
        *("X-Amz-Date=1&X-Amz-Expires=1", "#sig=1", "my-signature=1", "Signature=&Expires=1"),
    ],
)
def test_what_does_not(query: str) -> None:
    assert not is_presigned(f"{S3}/x?{query}")
    assert not is_presigned(f"{S3}/sig=1/token=2")


@pytest.mark.parametrize(
    ("query", "at"),
    [
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=60", 1767225660),
        ("x-goog-date=20260101T000000Z&x-goog-expires=0060", 1767225660),
        ("Expires=1767225660", 1767225660),
        ("se=2026-01-01T00%3A01%3A00Z", 1767225660),
        ("se=2026-01-01T01:01:00%2B01:00", 1767225660),
        ("se=2026-01-01", 1767225600),
        ("X-Amz-Date=20260101T000000Z", None),
        ("X-Amz-Date=20269901T000000Z&X-Amz-Expires=60", None),
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=" + "9" * 5_000, None),
        ("Expires=soon", None),
        ("Expires=" + "9" * 400, None),
        ("se=soon", None),
        ("", None),
    ],
)
def test_until_when_a_url_is_valid(query: str, at: float | None) -> None:
    assert expiry_of(f"{S3}/x?{query}") == at


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{S3}/x", f"{S3}/x"),
        (f"{S3}/x?", f"{S3}/x?"),
        (f"see {S3}/x?{SIGNED}, or '{S3}/y?a=b'", f"see {S3}/x?*** or '{S3}/y?***'"),
        (f'{{"url":"HTTPS://a.test/x?a=b\\u0026{SIGNED}"}}', '{"url":"HTTPS://a.test/x?***"}'),
        (f'{{"url":"https:\\/\\/a.test\\/x?{SIGNED}"}}', '{"url":"https:\\/\\/a.test\\/x?***"}'),
        (f"{S3}/{'long/' * 1_000}?{SIGNED}", f"{S3}/{'long/' * 1_000}?***"),
        (f"http://http://a.test/?b?{SIGNED}", "http://http://a.test/?***"),
    ],
)
def test_a_text_without_the_queries_of_its_urls(text: str, left: str) -> None:
    assert without_queries(text) == left


# --- named by the user

PAYLOAD = {
    "success": True,
    "result": {
        "report_url": f"{S3}/report.pdf",
        "pages": [{"url": f"{S3}/1.png"}, {"url": f"{S3}/2.png"}, {"title": "no picture"}],
        "by name": {"a": f"{S3}/a", "b": 7, "0": f"{S3}/zero"},
        "count": 3,
        "nothing": [],
        "null": None,
    },
    "assets": f"{S3}/assets.zip",
}


@pytest.mark.parametrize(
    ("named", "names"),
    [
        ("result.report_url", ["result.report_url"]),
        (" result . report_url ", ["result.report_url"]),
        ("result.pages.0.url", ["result.pages[0].url"]),
        ("result.pages[1].url", ["result.pages[1].url"]),
        ("result.pages.*.url", ["result.pages[0].url", "result.pages[1].url"]),
        ("result.pages[*].url", ["result.pages[0].url", "result.pages[1].url"]),
        ('result["by name"].a', ['result["by name"].a']),
        ("result.by name.0", ['result["by name"]["0"]']),
        ("result.by name.*", ['result["by name"].a', 'result["by name"]["0"]']),
        ("result.*", ["result.report_url"]),
        ("*.*.*.url", ["result.pages[0].url", "result.pages[1].url"]),
        ("result.nothing.*.url", []),
        ("assets", []),
    ],
)
def test_named_files_are_added(named: str, names: list[str]) -> None:
    assert [name for name, _ in found(PAYLOAD, named)] == ["assets", *names]


def test_several_names_and_each_url_once() -> None:
    urls = [url for _, url in found(PAYLOAD, "result.pages.*.url", "result.pages.0.url", "assets", "result.report_url")]
    assert urls == [f"{S3}/assets.zip", f"{S3}/1.png", f"{S3}/2.png", f"{S3}/report.pdf"]


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("result.report", "no 'report' at this place"),
        ("report_url", "no 'report_url' at this place"),
        ("result.pages[3].url", "no '3' at this place"),
        ("result.pages.url", "no 'url' at this place"),
        ("result.pages.*.link", "no 'link' at this place"),
        ("result.report_url.more", "no 'more' at this place"),
        ("result.pages[2].url", "no 'url' at this place"),
        ("result.pages.\u0663", "at this place"),
        ("result.count", r"no http\(s\) URL at this place"),
        ("result.null", r"no http\(s\) URL at this place"),
        ("result.pages", r"no http\(s\) URL at this place"),
        ("result.pages.*", r"no http\(s\) URL at this place"),
        ("*.count", r"no http\(s\) URL at this place"),
    ],
)
def test_a_name_that_is_not_there_is_said_with_those_that_are(named: str, why: str) -> None:
    with pytest.raises(FilesMissing, match=why) as caught:
        found(PAYLOAD, named)
    message = str(caught.value)
    assert repr(named) in message
    assert "URLs at result.report_url, result.pages[*].url, result" in message
    assert "bucket" not in message, "names of keys alone"


def test_a_payload_without_urls_is_shown_by_its_keys() -> None:
    with pytest.raises(FilesMissing, match=r"no URLs; its keys are a, b\[\*\]\.c\.") as caught:
        found({"a": "secret", "b": [{"c": 1}, {"c": 2}]}, "x")
    assert "secret" not in str(caught.value)
    with pytest.raises(FilesMissing, match="its keys are none"):
        found({}, "x")


def test_many_urls_are_not_all_told() -> None:
    with pytest.raises(FilesMissing) as caught:
        found({"result": {f"key{number}\n": f"{S3}/{number}" for number in range(500)}}, "x")
    assert len(str(caught.value)) < 1_000
    first, _, advice = str(caught.value).partition("\n")
    assert first.isprintable()
    assert advice.isprintable()


@pytest.mark.parametrize(
    "files",
    [
        *(
            "",
            " ",
            ".",
            "a.",
            ".a",
            "a..b",
            "a[",
            "a[]",
            "a[x]",
            "a]",
            'a["b',
            'a["b"]c',
            "a[1]b",
            "[",
            "a.[0]x",
            "a**",
        ),
        *(1, None, ["a", ""], ["a", 1], b"a", {"a": 1}, [["a"]], object()),
    ],
)
def test_what_is_no_key_path(files: object) -> None:
    if files is None:
        assert parse_key_paths(files) == ()
        return
    with pytest.raises(InvalidArgument, match="'files'"):
        parse_key_paths(files)


# --- hostile


def test_a_url_that_is_repeated_is_one_file() -> None:
    payload = {"a": {"first": f"{S3}/a?{SIGNED}", "again": [f"{S3}/a?{SIGNED}"]}, "other": f"{S3}/a?{SIGNED}&version=2"}
    assert [name for name, _ in found(payload)] == ["a.first", "other"]


def test_keys_that_look_like_paths_are_told_apart() -> None:
    payload = {"a.b": f"{S3}/1?{SIGNED}", "a": {"b": f"{S3}/2?{SIGNED}"}, "a\nERROR forged": f"{S3}/3?{SIGNED}"}
    assert [name for name, _ in found(payload)] == ['["a.b"]', "a.b", '["a\\nERROR forged"]']


def test_a_url_is_not_in_the_repr() -> None:
    assert "secret" not in repr(files_of({"a": f"{S3}/a?sig=secret"}))


def test_ten_thousand_urls_are_too_many() -> None:
    payload = {"files": [f"{S3}/{number}?{SIGNED}" for number in range(10_000)]}
    with pytest.raises(ResultRefused, match=r"10,000 URLs of files, more than max_files = 1,000"):
        files_of(payload)
    assert len(files_of(payload, max_files=10_000)) == 10_000


def test_depth_is_no_danger() -> None:
    value: object = f"{S3}/deep?{SIGNED}"
    for _ in range(20_000):
        value = [value]
    (file,) = files_of({"a": value})
    assert len(file.name) == 200


def test_names_are_distinct_also_where_case_does_not_count() -> None:
    names = Names()
    assert [names.file(name) for name in ("a.PDF", "A.pdf", "a-2.pdf", "b.pdf")] == [
        *("a.PDF", "A-2.pdf", "a-2-2.pdf", "b.pdf")
    ]


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
    (file,) = files_of({"main": {"doc": f"{S3}/?{SIGNED}"}})
    assert Names().file(file.last_part, file.name) == "main.doc"


def test_encoded_slashes_in_a_url_lead_nowhere() -> None:
    (file,) = files_of({"a": f"{S3}/files/..%2F..%2F..%2Fetc%2Fcron.d%2Fjob?{SIGNED}"})
    assert Names().file(file.last_part, file.name) == "job"


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
    st.none() | st.integers() | st.text() | st.builds("https://{}/{}?sig=1".format, st.sampled_from("abc"), st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text() | st.sampled_from(["assets", "result"]), json_values))
def test_whatever_the_payload_is_names_are_distinct_and_printable(payload: dict[str, object]) -> None:
    try:
        files = files_of(payload)
    except FilesMissing:
        assert "://" in str(payload["assets"])
        return
    names = Names()
    stored = [names.file(file.last_part, file.name) for file in files]
    assert len({name.casefold() for name in stored}) == len(files)
    assert len({file.url for file in files}) == len(files)
    assert all(file.name.isprintable() for file in files)
    assert not any(file.name.split(".")[0].split("[")[0] == "result" for file in files)


@given(st.text(), json_values)
def test_whatever_is_named_is_found_or_said(text: str, payload: object) -> None:
    try:
        paths = parse_key_paths(text)
    except InvalidArgument:
        return
    try:
        files_of({"a": payload}, 1_000, paths)
    except FilesMissing as error:
        assert "https://" not in str(error).replace(repr(text.strip()), "")  # noqa: PT017


def test_a_result_without_the_urls_of_its_files() -> None:
    zip_url, shot, page = "https://f.test/a.zip?x=1", "https://f.test/s.png?sig=abc", "https://shop.test/page"
    payload = {
        "message_id": "m",
        "assets": zip_url,
        "again": {"deep": [zip_url, {"shot": shot}], "none": None, "number": 1.5},
        "result": {"page": page, "report": "https://f.test/r.pdf", "copy": shot, "text": f"see {page}"},
    }
    before = copy.deepcopy(payload)
    assert without_urls(payload, parse_key_paths("result.report")) == {
        "message_id": "m",
        "assets": FETCHED,
        "again": {"deep": [FETCHED, {"shot": FETCHED}], "none": None, "number": 1.5},
        "result": {"page": page, "report": FETCHED, "copy": FETCHED, "text": f"see {page}"},
    }
    assert payload == before, "a copy"
    assert without_urls({"assets": ["https://f.test/1", "https://f.test/2"]}) == {"assets": [FETCHED, FETCHED]}
    deep: dict[str, Any] = {"assets": zip_url}
    for _ in range(500):
        deep = {"more": deep}
    bottom: Any = without_urls(deep)
    while "more" in bottom:
        bottom = bottom["more"]
    assert bottom == {"assets": zip_url}, "what stands so deep is no file, and no error"
