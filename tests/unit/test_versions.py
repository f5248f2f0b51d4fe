"""What is said of Airflow's versions is true of the one that is installed, and is what the documentation says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.versions import FEATURES, SUPPORTED, VERSION, has, table

ROOT = Path(__file__).parents[2]
SEEN = [name for name, feature in FEATURES.items() if feature.is_here]


@pytest.mark.parametrize("name", SEEN)
def test_the_installed_airflow_has_what_it_is_said_to_have(name: str) -> None:
    is_here = FEATURES[name].is_here
    assert is_here is not None
    assert is_here() is has(name), f"Airflow {VERSION}"


def test_the_newest_has_all_and_the_oldest_lacks_all() -> None:
    assert all(has(name, SUPPORTED[-1]) and not has(name, SUPPORTED[0]) for name in FEATURES)


def test_each_has_its_constraints() -> None:
    files = {path.stem.removeprefix("constraints-") for path in (ROOT / "constraints").glob("constraints-?.?.txt")}
    assert files == set(SUPPORTED)


def test_the_documentation_has_the_table() -> None:
    assert table() in (ROOT / "docs" / "versions.md").read_text(), f"put this there:\n{table()}"
