"""Values as upstream tasks give them, and what JSON has for them."""

from __future__ import annotations

import datetime as dt
import enum
import json
from collections import ChainMap, OrderedDict, UserDict, UserList, UserString, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.exceptions import InvalidArgument
from airflow_provider_nenoa.vendors.arguments import (
    any_object,
    json_object,
    optional_object,
    plain,
    required,
    text_object,
)

Pair = namedtuple("Pair", "a b")


class Text(str):
    def __str__(self) -> str:
        return "another text"


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Point(enum.Enum):
    ORIGIN = (0, 0)


NOON = dt.datetime(2024, 1, 31, 12, 0, tzinfo=dt.timezone(dt.timedelta(hours=2)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (np.bool_(False), False),
        (7, 7),
        (np.int64(7), 7),
        (1.5, 1.5),
        (np.float64(1.5), 1.5),
        (np.float32(1.5), 1.5),
        ("text", "text"),
        (Text("text"), "text"),
        (np.str_("text"), "text"),
        (Colour.RED, "red"),
        (Level.LOW, 1),
        (Point.ORIGIN, [0, 0]),
        (Decimal("5"), 5),
        (Decimal("5.00"), 5),
        (Decimal("1E+3"), 1000),
        (Decimal("-0.1"), -0.1),
        (Decimal("1.10"), 1.1),
        (Decimal("12345678901234567.89"), "12345678901234567.89"),
        (Decimal("1E-400"), "1E-400"),
        (dt.date(2024, 1, 31), "2024-01-31"),
        (dt.time(12, 30), "12:30:00"),
        (NOON, "2024-01-31T12:00:00+02:00"),
        (pd.Timestamp("2024-01-31"), "2024-01-31T00:00:00"),
        (np.datetime64("2024-01-31"), "2024-01-31"),
        (np.datetime64("2024-01-31T12:00", "ns"), "2024-01-31T12:00:00"),
        (np.datetime64("2024-01-31T12:00:00.000000001"), "2024-01-31T12:00:00.000000001"),
        (np.datetime64("20000-01-31T12:00"), "20000-01-31T12:00"),
        (np.array("2024-01-31", "datetime64[ns]"), "2024-01-31T00:00:00"),
        (np.array([["2024-01-31"]], "datetime64[ns]"), [["2024-01-31T00:00:00"]]),
        (pd.Series(pd.to_datetime(["2024-01-31"], utc=True)), ["2024-01-31T00:00:00+00:00"]),
        (np.timedelta64(1_500, "ms"), 1.5),
        (np.array([1_500_000_000], "timedelta64[ns]"), [1.5]),
        (np.ma.masked, None),
        (dt.timedelta(minutes=1.5), 90.0),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (PurePosixPath("/a/b"), "/a/b"),
        ((1, (2,)), [1, [2]]),
        (Pair(1, 2), [1, 2]),
        (deque([1]), [1]),
        (UserList([1]), [1]),
        (UserString("a"), "a"),
        (range(3), [0, 1, 2]),
        ({"a": 1}.values(), [1]),
        (np.array([[1.5, 2]]), [[1.5, 2.0]]),
        (pd.Series([1, 2]), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (UserDict(a=UserDict(b=(1,))), {"a": {"b": [1]}}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (ChainMap({"a": 1}, {"b": 2}), {"a": 1, "b": 2}),
        ({1: "a", Colour.RED: "b", dt.date(2024, 1, 31): "c"}, {"1": "a", "red": "b", "2024-01-31": "c"}),
    ],
    ids=lambda value: f"{type(value).__name__} {value!r}"[:40],
)
def test_what_json_has_for_it(value: Any, expected: Any) -> None:
    found = plain("x", value)
    assert found == expected
    assert type(found) is type(expected)
    assert json.loads(json.dumps(found, allow_nan=False)) == expected


LOOP: dict[str, Any] = {}
LOOP["again"] = [LOOP]
DEEP: list[Any] = []
for _ in range(5_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (float("nan"), r"is nan"),
        (float("-inf"), r"is -inf"),
        (np.float32("nan"), r"is nan"),
        (Decimal("NaN"), r"is NaN"),
        (Decimal("sNaN"), r"is sNaN"),
        (Decimal("Infinity"), r"is Infinity"),
        (pd.NaT, r"is not a time"),
        (np.array(["NaT"], "datetime64[ns]"), r"\[0\] is not a time"),
        (np.timedelta64("NaT"), r"is not a time"),
        (np.timedelta64(1, "M"), r"months or years"),
        (pd.NA, r"of the class NAType"),
        (Decimal("1E+1000000"), r"too large a number"),
        (10**5_000, r"too large a number"),
        ({1, 2}, r"of the class set"),
        (frozenset(), r"of the class frozenset"),
        (b"bytes", r"of the class bytes.*decode it first"),
        (bytearray(b"x"), r"of the class bytearray"),
        (iter([1]), r"of the class list_iterator"),
        ((each for each in [1]), r"of the class generator"),
        (Fraction(1, 3), r"of the class Fraction"),
        (1 + 2j, r"of the class complex"),
        (object(), r"of the class object"),
        (dict, r"of the class type"),
        (np.ndarray, r"of the class type"),
        (pd.DataFrame({"a": [1]}), r"of the class DataFrame"),
        (LOOP, r"contains itself"),
        (DEEP, r"deeper than 100 levels"),
        ({None: 1}, r"has a key of the class NoneType"),
        ({1.5: 1}, r"has a key of the class float"),
        ({(1, 2): 1}, r"has a key of the class tuple"),
        ({1: "a", "1": "b"}, r"has the key '1' twice"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("wrap", [lambda value: {"rows": [0, {"n": value}]}], ids=["deep inside"])
def test_what_json_has_nothing_for(value: Any, where: str, wrap: Any) -> None:
    with pytest.raises(
        InvalidArgument, match=rf"'x' cannot be sent as JSON: x\['rows'\]\[1\]\['n'\].* ?{where}.*Nothing was sent"
    ) as caught:
        plain("x", wrap(value))
    assert len(str(caught.value)) < 500


def test_the_same_list_twice_is_not_itself() -> None:
    both = [1]
    assert plain("x", {"a": both, "b": [both, both]}) == {"a": [1], "b": [[1], [1]]}


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars | st.decimals(allow_nan=False, allow_infinity=False) | st.dates() | st.datetimes() | st.uuids(),
    lambda each: (
        st.lists(each) | st.dictionaries(st.text(), each) | st.tuples(each, each) | st.builds(UserList, st.lists(each))
    ),
    max_leaves=20,
)


@given(values)
def test_whatever_comes_json_can_carry_it_and_nothing_changes_twice(value: Any) -> None:
    found = plain("x", value)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert plain("x", found) == found


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_keeps_its_value(value: Decimal) -> None:
    found = plain("x", value)
    assert Decimal(found if isinstance(found, str) else repr(found)) == value


# Objects and their texts


@pytest.mark.parametrize("take", [json_object, any_object, optional_object, text_object])
def test_the_text_of_an_object_is_an_object(take: Any) -> None:
    assert take("x", ' {"a": "1"} ') == take("x", {"a": "1"}) == {"a": "1"}
    assert take("x", '\ufeff\n{"a": "1"}') == {"a": "1"}, "a byte order mark is let pass"
    for other in ("[1]", "1", "text", "{", "[" * 100_000, [1], 1, b"{}"):
        with pytest.raises(InvalidArgument, match=r"'x' (must be a dict|is not JSON)"):
            take("x", other)


def test_the_text_of_an_object_keeps_its_numbers() -> None:
    """As if they had been given as Decimals: see `test_what_json_has_for_it`."""
    assert json_object("x", '{"a": 12345678901234567.89, "b": 1.50, "c": 12345678901234567890}') == {
        "a": "12345678901234567.89",
        "b": 1.5,
        "c": 12345678901234567890,
    }
    for number in ("NaN", "-Infinity", "1e400"):
        with pytest.raises(InvalidArgument, match=r"'x' cannot be sent as JSON: a\[1\] is NaN, an infinity"):
            any_object("x", f'{{"a": [1, {number}]}}')


@pytest.mark.parametrize("value", [None, "", " \n", "null", " null "])
def test_an_object_that_may_be_missing(value: Any) -> None:
    assert optional_object("x", value) is None


def test_any_object_leaves_its_values_alone() -> None:
    value = UserDict(a=dt.date(2024, 1, 31))
    assert any_object("x", value) is value


def test_texts_and_numbers() -> None:
    assert text_object("x", UserDict(a=1234, b=1.5, c=Decimal("1.50"), d=UUID(int=7), e="t")) == {
        "a": "1234",
        "b": "1.5",
        "c": "1.5",
        "d": str(UUID(int=7)),
        "e": "t",
    }
    assert text_object("x", '{"a": 12345678901234567.89, "b": 1.50, "c": "\\ud83d"}') == {
        "a": "12345678901234567.89",
        "b": "1.5",
        "c": "\ufffd",
    }
    for text in ('{"pin": NaN}', '{"pin": hunter22}', '["hunter22"]'):
        with pytest.raises(InvalidArgument, match="'x' must be a dict whose keys and values are strings") as caught:
            text_object("x", text)
        assert "hunter22" not in str(caught.value)
        assert caught.value.__cause__ is None
    for value in (None, True, ["hunter22"], {"a": "hunter22"}, b"hunter22"):
        with pytest.raises(InvalidArgument, match="'x' must be a dict whose keys and values are strings") as caught:
            text_object("x", {"pin": value})
        assert "hunter22" not in str(caught.value)
    with pytest.raises(InvalidArgument):
        text_object("x", {1: "a"})


@pytest.mark.parametrize(
    ("value", "text"),
    [(" a ", "a"), (7, "7"), (np.int64(7), "7"), (Colour.RED, "red"), (UUID(int=7), str(UUID(int=7)))],
)
def test_a_number_is_a_text(value: Any, text: str) -> None:
    assert required("x", value) == text


@pytest.mark.parametrize("value", [None, "", " ", True, [], ["a"], b"a", float("nan"), {}])
def test_what_is_no_text(value: Any) -> None:
    with pytest.raises(InvalidArgument, match="'x'"):
        required("x", value)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("last", "too_much"),
    [
        (2**4096 - 1, 2**4096),
        (-(2**4096) + 1, -(2**4096)),
        (Decimal("9e1000"), Decimal("1e1001")),
        (nested(100), nested(101)),
    ],
    ids=["int", "negative", "Decimal", "levels"],
)
def test_how_much_is_taken(last: Any, too_much: Any) -> None:
    assert plain("x", last) == last
    with pytest.raises(InvalidArgument):
        plain("x", too_much)
