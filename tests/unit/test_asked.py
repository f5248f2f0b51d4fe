"""Fingerprints of what is asked for: they tell what has changed, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_nenoa.operators.asked import changed, fingerprints

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
)


def marks(key: str = "api-key", ref: str = "ref", **arguments: Any) -> dict[str, str]:
    return fingerprints(arguments, key=key, ref=ref)


def many(keys: int, last: int = 0) -> dict[str, int]:
    return {str(number): last if number == keys - 1 else 0 for number in range(keys)}


@pytest.mark.parametrize(
    ("then", "now", "names"),
    [
        ({"task": "a"}, {"task": "a"}, []),
        ({"task": "a"}, {"task": "b"}, ["task"]),
        ({"task": "a"}, {"task": None}, ["task"]),
        ({}, {"context": {}}, []),
        ({"context": None}, {"context": {"x": 1}}, ["context['x']"]),
        ({"context": {"x": 1, "y": 2}}, {"context": {"y": 2, "x": 1}}, []),
        ({"context": {"x": 1, "y": 2}}, {"context": {"x": 1, "y": 3, "z": 4}}, ["context['y']", "context['z']"]),
        ({"context": {"x": [1, {"a": 2}]}}, {"context": {"x": [1, {"a": 3}]}}, ["context['x']"]),
        ({"context": {"x": (1,)}}, {"context": {"x": [1]}}, []),
        ({"context": '{"x": 1, "y": 2}'}, {"context": {"y": 2, "x": 1}}, []),
        ({"context": "{}"}, {}, []),
        ({"context": '{"x": 1, "y": 2}'}, {"context": '\ufeff{"x":1,"y":3}'}, ["context['y']"]),
        ({"task": "{x"}, {"task": "{y"}, ["task"]),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}, ["a", "b"]),
        ({"context": {"x": 1}}, {"context": [1]}, ["context", "context['x']"]),
        ({"context": dict.fromkeys(range(60))}, {"context": dict.fromkeys(range(61))}, ["context"]),
        ({"context": many(50)}, {"context": many(50, last=1)}, ["context['49']"]),
        ({"context": many(51)}, {"context": many(51, last=1)}, ["context"]),
        ({"x": object()}, {"x": object()}, []),
    ],
)
def test_what_has_changed(then: dict[str, Any], now: dict[str, Any], names: list[str]) -> None:
    assert changed(marks(**then), marks(**now)) == names


def test_what_cannot_be_told_is_no_change() -> None:
    assert changed({}, marks(task="a")) == [], "a note of an older version"
    assert changed(marks("old-key", task="a"), marks("new-key", task="b")) == []


@given(st.dictionaries(st.sampled_from(["context", "task"]), JSON), st.text(min_size=1))
def test_the_same_is_the_same(arguments: dict[str, Any], ref: str) -> None:
    found = marks(ref=ref, **arguments)
    assert changed(json.loads(json.dumps(found)), marks(ref=ref, **arguments)) == []


def test_a_short_secret_cannot_be_tried_without_the_key() -> None:
    found = marks(secure_workflow_params={"pin": "1234"})
    assert all("1234" not in name for name in found)
    assert (
        found["secure_workflow_params['pin']"]
        != marks("other", secure_workflow_params={"pin": "1234"})["secure_workflow_params['pin']"]
    )
    assert set(found.values()).isdisjoint(marks(ref="another", secure_workflow_params={"pin": "1234"}).values())


def test_a_note_of_today_is_read_by_later_versions() -> None:
    assert marks(task="a", context={"x": 1}) == {
        "": "69461019762bfd9b",
        "task": "244f940f977ac802",
        "context['x']": "55daeacb9181b62b",
    }
