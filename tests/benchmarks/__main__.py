"""Run the benchmarks, all or those named: ``python -m tests.benchmarks [name ...]``.

The whole run writes ``docs/benchmarks.md`` with its plots; a part of it only prints.
"""

from __future__ import annotations

import datetime
import importlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.table import Row, tables, write

if TYPE_CHECKING:
    from tests.benchmarks.plots import Plot

BENCHMARKS = (
    "imports",
    "receiver",
    "strangers",
    "waiting",
    "downloads",
    "rows",
    "requests_spent",
    "workers",
    "polling",
    "growth",
    "triggerer",
)
DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def main(names: list[str]) -> int:
    """Run the named benchmarks, print their figures and, when all were run, write them down."""
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"No benchmark named {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    # For this process and all that it starts, before any of them loads Airflow: errors are shown, and nothing less.
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
    began, load = datetime.datetime.now(tz=datetime.UTC), os.getloadavg()[0]
    rows: list[Row] = []
    plots: list[Plot] = []
    for name in names or BENCHMARKS:
        print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
        begun = time.monotonic()
        benchmark = importlib.import_module(f"tests.benchmarks.{name}")
        rows += benchmark.rows()
        if hasattr(benchmark, "plots"):
            plots += benchmark.plots()
        print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    print(tables(rows, plots))
    if not names:
        write(rows, plots, DOCUMENT, began, load)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
