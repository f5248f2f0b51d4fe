"""The rows of the table, and how it is written down."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MEASURED_PACKAGES = (
    "apache-airflow",
    "apache-airflow-providers-airbyte",
    "apache-airflow-providers-anthropic",
    "apache-airflow-providers-databricks",
    "apache-airflow-providers-dbt-cloud",
    "apache-airflow-providers-http",
    "fastapi",
    "starlette",
    "uvicorn",
)


@dataclass(frozen=True)
class Row:
    """One measured line.

    :param what: What was measured, with its unit.
    :param target: What it must reach, in words.
    :param figure: What it came to.
    :param reference: What it is set against, measured in the same run.
    :param reached: Whether the target was met.
    :param note: How it was measured; what limits it where the target was missed.
    """

    what: str
    target: str
    figure: str
    reference: str
    reached: bool
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """The row as the cells of a Markdown table."""
        return self.what, self.target, self.figure, self.reference, "yes" if self.reached else "**no**", self.note


HEADINGS = ("what", "target", "figure", "reference", "reached", "how, and what limits it")


def markdown(rows: Iterable[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def machine() -> str:
    """The machine in one line: cores, memory, processor, Python."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"{cores} cores ({_processor()}), {gigabytes:.0f} GiB, {platform.system()}, Python {python}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def versions() -> str:
    """The versions of Airflow, of the peers and of the server, as far as they are installed."""
    found = []
    for package in MEASURED_PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{package} (not installed)")
    return ", ".join(found)


def write(rows: list[Row], path: Path) -> None:
    """Write the table with all that one needs to judge it."""
    today = datetime.datetime.now(tz=datetime.UTC).date()
    path.write_text(
        "# Benchmarks\n\n"
        "Written by `make bench`. Every figure is a ratio against something measured in the same run; pairs are\n"
        "repeated A B A B and the median is quoted. A row that missed its target says so, and what limits it.\n\n"
        f"- Date: {today}\n- Machine: {machine()}\n- Versions: {versions()}\n\n" + markdown(rows)
    )
