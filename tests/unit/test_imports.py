"""A DAG file that imports this provider loads nothing that it does not need."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_nenoa

ROOT = Path(airflow_provider_nenoa.__file__).parent
HEAVY = {
    "cryptography",
    "fastapi",
    "httpx",
    "jwt",
    "pandas",
    "pyarrow",
    "requests",
    "sqlalchemy",
    "starlette",
    "tenacity",
    "urllib3",
    "uvicorn",
    "wtforms",
}
LIGHT = sorted(
    path.relative_to(ROOT.parent).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if path.relative_to(ROOT).parts[0] in ("operators", "sensors", "triggers", "decorators", "links")
    or path.relative_to(ROOT).as_posix()
    in ("__init__.py", "get_provider_info.py", "runs.py", "exceptions.py", "webhooks/plugin.py")
)

SCRIPT = """
import sys
# What every DAG file with operators, sensors and triggers loads, and every process that reads plugins.
import airflow.sdk
from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk import DAG, BaseOperator, BaseOperatorLink, BaseSensorOperator, PokeReturnValue
from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent
try:
    import airflow.sdk.exceptions
except ImportError:
    import airflow.exceptions
before = set(sys.modules)
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*sorted(set(sys.modules) - before))
"""


def test_there_is_something_to_look_at() -> None:
    assert {
        "airflow_provider_nenoa",
        "airflow_provider_nenoa.get_provider_info",
        "airflow_provider_nenoa.operators.nenai",
        "airflow_provider_nenoa.operators.openanalyst",
        "airflow_provider_nenoa.sensors.openanalyst",
        "airflow_provider_nenoa.triggers.openanalyst",
        "airflow_provider_nenoa.links.nenai",
        "airflow_provider_nenoa.webhooks.plugin",
    } <= set(LIGHT)


def test_an_import_loads_nothing_heavy() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT, *LIGHT], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    loaded = set(ran.stdout.split())
    # Airflow itself reads the metadata, wherever it is imported.
    assert set(LIGHT) - loaded <= {"airflow_provider_nenoa", "airflow_provider_nenoa.get_provider_info"}
    assert {name.partition(".")[0] for name in loaded} & HEAVY == set()
    # sqlalchemy_jsonfield: by Airflow 3.0 itself.
    ours = {*sys.stdlib_module_names, "airflow", "airflow_provider_nenoa", "sqlalchemy_jsonfield"}
    assert {name for name in loaded if name.partition(".")[0] not in ours} == set()


def imported_at_once(tree: ast.Module) -> Iterator[str]:
    """The modules that a module's import imports: not those in functions, nor those for the type checker."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def path_of(module: str) -> Path | None:
    path = ROOT.parent.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.exists()), None)


@pytest.mark.parametrize("module", LIGHT)
def test_no_module_imports_anything_heavy_by_whatever_way(module: str) -> None:
    """Whatever Airflow itself may have loaded before."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = path_of(name) if name.startswith("airflow_provider_nenoa") else None
        if path is None or name in seen:
            continue
        seen.add(name)
        for imported in imported_at_once(ast.parse(path.read_text())):
            assert imported.partition(".")[0] not in HEAVY, f"{name} imports {imported}"
            waiting.append(imported)


def test_the_vendors_do_not_import_each_other() -> None:
    for one, other in (("nenai", "openanalyst"), ("openanalyst", "nenai")):
        modules = [path for path in ROOT.rglob(f"{one}*.py") if "emulator" not in path.parts]
        assert len(modules) > 5
        for path in modules:
            assert other not in " ".join(imported_at_once(ast.parse(path.read_text()))), path
