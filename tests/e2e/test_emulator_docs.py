"""The pytest example of ``docs/emulator.md``, as written: its files, and the commands that run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "emulator.md"


def blocks(language: str) -> list[str]:
    """The fenced blocks of the section about pytest."""
    section = PAGE.read_text().split("## Test your DAGs with pytest")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def test_the_pytest_example(tmp_path: Path) -> None:
    plugin, dag, tests = blocks("python")[:3]
    for name, content in {"conftest.py": plugin, "dags/report.py": dag, "tests/test_report.py": tests}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        assert name == "conftest.py" or content.startswith(f"# {name}\n")
    # Nothing of the environment in which this test runs shall make it work.
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST", "PYTHON"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (commands,) = blocks("sh")
    done = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=tmp_path,
        env={**ours, "PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
