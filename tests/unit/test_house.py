from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from importlinter.application.use_cases import lint_imports
from importlinter.configuration import configure

from dev import pictures

ROOT = Path(__file__).parents[2]


def test_no_import_goes_up_or_round_in_a_circle(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    kept = lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)
    assert kept, capsys.readouterr().out


def test_every_module_about_a_vendor_is_kept_apart_from_the_other() -> None:
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    apart = [contract for contract in linter["contracts"] if "know each other" in contract["name"]]
    room = f"{pictures.PACKAGE}.vendors"
    vendors = [
        {f"{room}.{path.stem}" for path in (ROOT / pictures.PACKAGE / "vendors").glob(f"{vendor}*.py")}
        for vendor in ("nenai", "openanalyst")
    ]
    named = [tuple(set(contract[f"{side}_modules"]) for side in ("source", "forbidden")) for contract in apart]
    assert named == [tuple(vendors), tuple(reversed(vendors))]


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_the_pictures_show_what_is_there(name: str) -> None:
    drawn = (pictures.PLACE / f"{name}.svg").read_text()
    assert pictures.PICTURES[name]() == drawn, "run `make pictures`"


def test_every_room_is_named_in_the_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    for room in {room for floor in pictures.rooms() for room in floor}:
        is_package = (ROOT / pictures.PACKAGE / room).is_dir()
        assert f"`{room}{'/' if is_package else '.py'}`" in page, room
        assert pictures.line_of(room), f"{room} does not say in its docstring what it is for"


def test_the_source_distribution_has_what_the_makefile_names() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    named = set(re.findall(r"(?:constraints|dev|docs|tests|example_dags)\b", (ROOT / "Makefile").read_text()))
    assert named >= {"constraints", "dev", "docs", "tests"}
    assert named <= set(hatch["sdist"]["include"])
