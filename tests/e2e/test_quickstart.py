"""The quick start of ``docs/quickstart.md``, as written: its DAG, and the commands that run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.local_airflow import free_port

PAGE = Path(__file__).parents[2] / "docs" / "quickstart.md"


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return text


def test_the_quick_start(tmp_path: Path) -> None:
    dag = block("python")
    name = dag.partition("\n")[0].removeprefix("# ")
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(dag)
    # Nothing of the environment in which this test runs shall make it work.
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTEST", "PYTHON"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    commands = block("sh").replace("8090", str(free_port()))
    # `bash -m`: job control, as in a terminal. The emulator ends whatever happens.
    done = subprocess.run(
        ["bash", "-m", "-e", "-c", f"trap 'kill %1 2>/dev/null || true' EXIT\n{commands}"],
        cwd=tmp_path,
        env={**ours, "PATH": path, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "by asking OpenAnalyst every 15 to 150 s" in said
    assert re.search(r"state=success|state: success|Marking run .* successful", said), said
