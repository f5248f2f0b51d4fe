"""
Change the code in small ways, one at a time, and see whether the tests notice: ``make mutation``.

Each mutant is one change in one place: a comparison, a boolean, a number, a return value, a keyword argument that is
left out. They are drawn by a seed from the rooms in `TESTS`, and run in a copy of the package. The unit and integration
tests run once without a mutant, and must pass; by what they ran through, a mutant is tried with the tests that run its
line; one of a line that runs while the module is imported, with those that run any other line of the module. A module
that no test is known to run, for it runs in another process, is tried with the test files that import it, and those of
its room. What survives is printed as a diff: a test is missing, or the change changes nothing that anybody could see.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from coverage import CoverageData

ROOT = Path(__file__).parents[1]
PACKAGE = "airflow_provider_nenoa"
COVERAGE = ROOT / ".nenoa" / "mutation" / "coverage"

TESTS = {
    "http": "unit/test_http.py unit/test_wire.py unit/test_sessions.py unit/test_turns.py unit/test_retries.py "
    "unit/test_mcp.py unit/test_hooks_openanalyst.py",
    "operators": "unit/test_operators.py unit/test_lost_start.py unit/test_memory.py unit/test_secrets.py "
    "unit/test_mapped_secrets.py unit/test_decorators.py unit/test_links.py unit/test_retries.py "
    "unit/test_openanalyst_server.py unit/results/test_operators.py unit/lineage integration",
    "results": "unit/results unit/lineage unit/test_openanalyst_server.py",
    "sql": "unit/results unit/lineage",
    "vendors": "unit/test_hooks_nenai.py unit/test_hooks_openanalyst.py unit/test_openanalyst_forms.py "
    "unit/test_openanalyst_server.py unit/test_agents.py unit/webhooks unit/results integration/test_forms.py",
    "waiting": "unit/test_asking.py unit/test_hub.py unit/test_learnt_pace.py unit/test_metrics.py "
    "unit/test_sensors.py unit/test_triggers.py unit/test_start_from_trigger.py unit/test_end_from_trigger.py "
    "unit/test_wait_report.py integration",
    "webhooks": "unit/webhooks unit/test_wait_report.py integration/webhooks",
}
"""The rooms that are mutated, and the tests of each, for lines that no test is known to run."""

FEW = 12
"""How many tests are tried first: most mutants are noticed by any of those that run their line."""

PATIENCE = 600.0
"""Seconds for the tests of a mutant, at most."""

VERDICTS = ("noticed", "survived", "took too long")
"""What may come of a mutant. One whose tests take too long goes on for ever, or the machine is busy."""

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def changes(node: ast.AST) -> Iterator[Callable[[], None]]:
    """Give what can be done to a node, each as a function that does it."""
    if isinstance(node, ast.Compare):
        for index, operation in enumerate(node.ops):
            yield partial(node.ops.__setitem__, index, COMPARISONS[type(operation)]())
    elif isinstance(node, ast.BoolOp):
        new = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield lambda: setattr(node, "op", new)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        yield lambda: setattr(node, "value", value)
    elif isinstance(node, ast.Return) and not (
        node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
    ):
        yield lambda: setattr(node, "value", ast.Constant(None))
    elif isinstance(node, ast.Call):
        for index in range(len(node.keywords)):
            yield partial(node.keywords.__delitem__, index)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))


def places(tree: ast.Module) -> list[ast.AST]:
    """Return the nodes of a module that run: no annotations, no blocks for type checkers."""
    found: list[ast.AST] = []
    open_ends: list[ast.AST] = [tree]
    while open_ends:
        node = open_ends.pop()
        found.append(node)
        for name, field in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list"):
                continue
            parts = field if isinstance(field, list) else [field]
            open_ends += [part for part in parts if isinstance(part, ast.AST) and not _is_for_types(part)]
    return found


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def count(path: Path) -> int:
    """Return how many changes can be made to a module."""
    return sum(1 for node in places(ast.parse(path.read_text())) for _ in changes(node))


def mutant(path: Path, number: int) -> tuple[str, range]:
    """Return the module's text with one of the changes that can be made to it, and the lines that it was made in."""
    tree = ast.parse(path.read_text())
    node, change = [(node, change) for node in places(tree) for change in changes(node)][number]
    lines = lines_of(tree, node)
    change()
    return ast.unparse(tree), lines


def lines_of(tree: ast.Module, node: ast.AST) -> range:
    """Return the lines of the statement in which a node stands; of one with a block, those of its head."""
    inside = [
        statement
        for statement in ast.walk(tree)
        if isinstance(statement, ast.stmt) and statement.lineno <= node.lineno <= (statement.end_lineno or 0)
    ]
    statement = max(inside, key=lambda statement: statement.lineno)
    block = getattr(statement, "body", None)
    end = block[0].lineno - 1 if block else statement.end_lineno
    return range(statement.lineno, max(end or 0, statement.lineno) + 1)


def measure() -> CoverageData:
    """Run the tests without a mutant, if anything has changed since; return which of them ran which line."""
    sources = [path for name in (PACKAGE, "tests") for path in (ROOT / name).rglob("*.py")]
    if not COVERAGE.exists() or max(path.stat().st_mtime for path in sources) > COVERAGE.stat().st_mtime:
        print("Running the tests without a mutant", flush=True)
        COVERAGE.unlink(missing_ok=True)
        command = (
            f"-q -p no:cacheprovider -n 2 --cov={PACKAGE} --cov-context=test --cov-report= tests/unit tests/integration"
        )
        done = run_pytest(ROOT, command.split(), COVERAGE_FILE=str(COVERAGE))
        if done.returncode != 0:
            COVERAGE.unlink(missing_ok=True)
            sys.exit(f"Without a mutant, the tests do not pass:\n{done.stdout[-5000:]}")
    data = CoverageData(str(COVERAGE))
    data.read()
    return data


def tests_of(path: Path, lines: range, data: CoverageData) -> list[list[str]]:
    """
    Return the tests to run, in sets: the next one only if the last has passed.

    :param path: The module.
    :param lines: The lines that are changed.
    :param data: Which tests ran which lines.
    """
    contexts = data.contexts_by_lineno(str(path))
    for looked_at in (lines, contexts):  # what runs while the module is imported matters wherever it is used
        ran = {context.rpartition("|")[0].partition("[")[0] for line in looked_at for context in contexts.get(line, ())}
        ran.discard("")
        if ran:
            break
    if ran:
        # Unit tests are quicker. The order among them is a matter of chance, but always the same.
        unit = sorted(test for test in ran if test.startswith("tests/unit"))
        random.Random(0).shuffle(unit)
        return [each for each in (unit[:FEW], unit[FEW : 6 * FEW], unit[6 * FEW :], sorted(ran - {*unit})) if each]
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    parent, _, name = module.rpartition(".")
    room = path.relative_to(ROOT / PACKAGE).parts[0]
    imports = re.compile(rf"\b{module}\b(?!\.)|from {parent} import (\([^)]*|.*)\b{name}\b")
    files = [file for kind in ("unit", "integration") for file in sorted((ROOT / "tests" / kind).rglob("test_*.py"))]
    importing = [str(file.relative_to(ROOT)) for file in files if imports.search(file.read_text())]
    return [each for each in (importing, [f"tests/{name}" for name in TESTS[room].split()]) if each]


def run_pytest(directory: Path, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a copy of the project."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE if directory != ROOT else None,
        env={**os.environ, "PYTHONPATH": str(directory), **environment},
    )


def verdict(path: Path, text: str, sets: list[list[str]]) -> str:
    """
    Return what tests say with a mutant in the module's place, in a copy: see `VERDICTS`.

    A test that fails is run again by itself: one that a busy machine made fail has noticed nothing.

    :param path: The module.
    :param text: The mutant.
    :param sets: The tests to run; the next set only if the last have passed.
    """
    with tempfile.TemporaryDirectory(prefix="nenoa-mutant-") as directory:
        copy = Path(directory)
        for name in (PACKAGE, "tests", "example_dags", "docs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for file in (ROOT / "pyproject.toml", ROOT / "Makefile", *ROOT.glob("*.md")):
            shutil.copy(file, copy)
        (copy / path.relative_to(ROOT)).write_text(text)
        quickly = ["-x", "-q", "-p", "no:cacheprovider"]
        try:
            for tests in sets:
                left_out: list[str] = []
                while (done := run_pytest(copy, [*quickly, *tests, *left_out])).returncode != 0:
                    failed = re.search(r"^FAILED (\S+?::\w+)", done.stdout, re.MULTILINE)
                    if failed is None or run_pytest(copy, [*quickly, failed[1]]).returncode != 0:
                        return "noticed"
                    left_out += ["--deselect", failed[1]]
        except subprocess.TimeoutExpired:
            return "took too long"
    return "survived"


def main() -> None:
    """Draw mutants and judge them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=60, help="how many mutants (default: 60)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default: 1)")
    parser.add_argument("--at-once", type=int, default=2, help="how many at the same time (default: 2)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no mutant after that time")
    parser.add_argument("--only", default="", help="modules whose path has this in it")
    options = parser.parse_args()
    modules = [
        path for room in TESTS for path in sorted((ROOT / PACKAGE / room).rglob("*.py")) if options.only in str(path)
    ]
    every = [(path, number) for path in modules for number in range(count(path))]
    drawn = random.Random(options.seed).sample(every, min(options.sample, len(every)))
    data = measure()
    until = time.monotonic() + options.minutes * 60
    tally = dict.fromkeys(VERDICTS, 0)

    def judge(place: tuple[Path, int]) -> None:
        if time.monotonic() > until:
            return
        path, (text, lines) = place[0], mutant(*place)
        word = verdict(path, text, tests_of(path, lines, data))
        tally[word] += 1
        if word != "noticed":
            name, before = str(path.relative_to(ROOT)), ast.unparse(ast.parse(path.read_text()))
            change = difflib.unified_diff(before.split("\n"), text.split("\n"), name, word, lineterm="", n=2)
            print("\n".join(change))
        print(", ".join(f"{number} {word}" for word, number in tally.items()), f"of {len(drawn)}", flush=True)

    with ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(judge, drawn))


if __name__ == "__main__":
    main()
