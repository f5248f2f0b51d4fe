"""Run the benchmarks, all or those named: ``python -m tests.benchmarks [name ...]``.

The whole run writes ``docs/benchmarks.md``; a part of it only prints.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from pathlib import Path

from tests.benchmarks.table import Row, markdown, write

BENCHMARKS = ("imports", "receiver", "waiting", "downloads", "requests_spent", "polling")
DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def main(names: list[str]) -> int:
    """Run the named benchmarks, print their table and, when all were run, write it down."""
    unknown = set(names) - set(BENCHMARKS)
    if unknown:
        print(f"No benchmark named {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    logging.disable(logging.WARNING)
    rows: list[Row] = []
    for name in names or BENCHMARKS:
        begun = time.monotonic()
        rows += importlib.import_module(f"tests.benchmarks.{name}").rows()
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        if not names:
            write(rows, DOCUMENT)
    print(markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
