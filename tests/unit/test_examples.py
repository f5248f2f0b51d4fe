"""The example DAGs: Airflow finds them in the package, and each says what it shows."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.support.dag_tests import dags_in

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "example_dags").glob("*.py"))
NEEDS = {"openanalyst_agent_as_tool": [pytest.mark.needs("common_ai")]}


def test_there_are_some_where_airflow_looks_for_them() -> None:
    assert len(EXAMPLES) > 8
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"example_dags": "airflow_provider_nenoa/example_dags"}


@pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.stem, marks=NEEDS.get(path.stem, [])) for path in EXAMPLES]
)
def test_it_is_a_dag_and_says_what_it_shows(path: Path) -> None:
    found = dags_in(path)
    assert found
    for dag in found:
        assert dag.doc_md, dag.dag_id
        assert "example" in dag.tags
        assert dag.tasks
