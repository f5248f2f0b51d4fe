"""The rows of the table, and how it is written down."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.benchmarks.plots import Plot

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


def markdown(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    cells = [headings, ["---"] * len(headings), *lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in cells)


def tables(rows: Sequence[Row], plots: Sequence[Plot]) -> str:
    """All figures, as Markdown tables."""
    parts = [markdown(HEADINGS, (row.cells() for row in rows))] if rows else []
    return "\n".join([*parts, *(f"{plot.title}\n\n{markdown(plot.headings, plot.figures)}" for plot in plots)])


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


def write(rows: Sequence[Row], plots: Sequence[Plot], path: Path, began: datetime.datetime, load: float) -> None:
    """
    Write the document, with all that one needs to judge the figures, and the plots beside it.

    :param rows: The rows of the table.
    :param plots: The plots.
    :param path: The document.
    :param began: When measuring began.
    :param load: The machine's load average at that time, over a minute.
    """
    missed = sum(not row.reached for row in rows)
    sections = []
    for plot in plots:
        path.with_name(f"{plot.name}.svg").write_text(plot.svg())
        shown = "; ".join(panel.title for panel in plot.panels)
        figures = markdown(plot.headings, plot.figures)
        sections.append(f"### {plot.title}\n\n{plot.text}\n\n![{shown}]({plot.name}.svg)\n\n{figures}")
    path.write_text(
        "# Benchmarks\n\n"
        "Written by `make bench`. Every figure is set against something measured in the same run. A row that missed\n"
        f"its target says so, and what limits it: {missed} of {len(rows)} did.\n\n"
        f"- Date: {began:%Y-%m-%d}\n- Machine: {machine()}\n"
        f"- Load average at the start: {load:.2f}\n- Versions: {versions()}\n\n"
        + markdown(HEADINGS, (row.cells() for row in rows))
        + "\n## How the cost grows\n\n"
        + "\n".join(sections)
    )
