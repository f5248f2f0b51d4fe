from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.vendors.json_text import MAX_DEPTH, MAX_NAMED, read_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
HOSTILE = st.recursive(
    st.none()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([10**308, 10**309, -(10**400), "1e999", "[{"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def strictly(text: str) -> Any:
    """Read a text as a parser does that keeps to RFC 8259."""

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def nested(levels: int) -> bytes:
    return b'{"a": 1, "x": ' + b"[" * (levels - 1) + b"7" + b"]" * (levels - 1) + b', "b": 2}'


@given(JSON)
def test_json_is_read_as_it_is(value: Any) -> None:
    text = json.dumps(value)
    read = read_json(text.encode())
    assert (read.value, read.text, read.lost, read.warning) == (value, text, (), None)


@given(HOSTILE)
def test_what_cannot_be_kept_is_null_and_the_rest_is_as_it_was(value: Any) -> None:
    read = read_json(json.dumps(value).encode())

    def kept(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: kept(part) for key, part in value.items()}
        if isinstance(value, list):
            return [kept(part) for part in value]
        try:
            return value if not isinstance(value, (int, float)) or math.isfinite(float(value)) else None
        except OverflowError:
            return None

    assert read.value == kept(value) == strictly(read.text)
    assert bool(read.lost) == (kept(value) != value)


@given(st.binary() | st.text(alphabet='{}[]",:0123456789eE.+-NaIinfty\\ ').map(str.encode))
def test_any_bytes_are_read_as_standard_json_or_refused(body: bytes) -> None:
    try:
        read = read_json(body)
    except ValueError:
        # Nothing is refused that a parser takes which knows NaN and Infinity, and that is UTF-8.
        with pytest.raises(ValueError):
            json.loads(body.decode("utf-8-sig"))
    else:
        assert strictly(read.text) == read.value


@pytest.mark.parametrize(
    ("body", "value", "lost"),
    [
        (b"NaN", None, ("the top",)),
        (b"-Infinity", None, ("the top",)),
        (b'{"a": {"b": [1, NaN, Infinity]}}', {"a": {"b": [1, None, None]}}, ("a.b[1]", "a.b[2]")),
        (b'{"a": 1e999, "b": -1E+400, "c": 1e-400}', {"a": None, "b": None, "c": 0.0}, ("a", "b")),
        (b'{"a": 1' + b"0" * 308 + b"}", {"a": 10**308}, ()),
        (b'{"a": -1' + b"0" * 309 + b"}", {"a": None}, ("a",)),
        (b'{"a": ' + b"9" * 5000 + b"}", {"a": None}, ("a",)),
        (b'{"a": 0.' + b"9" * 5000 + b"}", {"a": 1.0}, ()),
        (b'{"a": "NaN", "b": "1e999 \\" Infinity [[", "Infinity": 1e5}', None, ()),
        (b'{"a b": {"\\n": NaN}}', {"a b": {"\n": None}}, ('"a b"."\\n"',)),
        (b'{"a": NaN, "a": 1}', {"a": 1}, ()),
        (b"\xef\xbb\xbf[9007199254740993]", [9007199254740993], ()),
        (b'"\\ud800\\u0000"', "\ufffd\x00", ()),
        (b'{"a\\uD83D": ["\\udc00\\ud83d\\ude00\\uD83Dx"]}', {"a\ufffd": ["\ufffd\U0001f600\ufffdx"]}, ()),
        (b'["\\\\ud83d", "\\\\\\ud83d"]', ["\\ud83d", "\\\ufffd"], ()),
    ],
)
def test_numbers_and_names(body: bytes, value: Any, lost: tuple[str, ...]) -> None:
    read = read_json(body)
    assert read.lost == lost
    assert read.value == (value if value is not None or lost else json.loads(body))
    assert strictly(read.text) == read.value


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 500, 990, 5_000, 200_000])
def test_what_is_nested_too_deep_is_null_and_what_stands_beside_it_is_read(levels: int) -> None:
    read = read_json(nested(levels))
    assert (read.value["a"], read.value["b"], read.lost_count) == (1, 2, 1)
    assert strictly(read.text) == read.value
    assert read.lost[0].startswith("x[0][0]")
    assert len(read.lost[0]) <= 200


def test_the_deepest_that_is_kept() -> None:
    assert read_json(nested(MAX_DEPTH)).lost == ()
    read = read_json(nested(MAX_DEPTH).replace(b"7", b"NaN"))
    assert (read.value["a"], read.value["b"], read.lost_count) == (1, 2, 1)
    assert read.text.count("null") == 1
    assert "NaN" not in read.text


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b" ", b"{", b"[1,]", b"nan", b"Inf", b"+1", b"01", b"-", b"1.", b"\xff\xfe[\x00]\x00", b'"\x80"'),
        *(b"[" * 100_000, b"[" * 200 + b"]" * 199, b"[" * 200 + b"]" * 201),
        *(b"[NaN", b'{"a": 1e999', b"9" * 400 + b".x", b'"\\', b"[] []"),
    ],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_json(body)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12345678901234567.89", Decimal("12345678901234567.89")),
        ("0.1", 0.1),
        ("100.000", 100.0),
        ("1.10000000000000008882", Decimal("1.10000000000000008882")),
        ("0.30000000000000004", 0.30000000000000004),
        ("1e-400", Decimal("1e-400")),
        ("0.0", 0.0),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_digits_are_kept_where_asked_for(text: str, number: Any) -> None:
    read = read_json(text, decimals=True)
    assert (read.value, type(read.value)) == (number, type(number))
    assert read.text == text
    assert isinstance(read_json(text).value, (int, float))


def test_an_exponent_beyond_all_measure_does_no_harm() -> None:
    assert read_json("[1e-99999999999999999999, 1e99999999999999999999]", decimals=True).value == [0, None]


def test_one_warning_names_the_first_of_many() -> None:
    read = read_json(b'{"price": [' + b"NaN," * 29_999 + b"NaN]}")
    assert (read.lost_count, len(read.lost)) == (30_000, MAX_NAMED)
    assert read.warning is not None
    assert "at price[0], price[1]," in read.warning
    assert "and 29,990 more places" in read.warning
    assert "\n" not in (read_json(b'{"a\\nb": NaN}').warning or "")
