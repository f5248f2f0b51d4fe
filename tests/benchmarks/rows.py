"""Rows of a query into a Parquet file: ours, from the reply, against pyarrow, which holds all of them."""

from __future__ import annotations

import io
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.table import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.benchmarks.plots import Plot

COUNTS = (10, 10_000, 1_000_000, 10_000_000)
COMPARED = 1_000_000
FLAT = 150
"""MiB above a process that writes ten rows."""
BLOCK = 10_000

KINDS: dict[str, Callable[[int], dict[str, float]]] = {
    "short numbers": lambda number: {"n": number, "x": number / 8},
    "doubles of 16 and 17 digits": lambda number: {"n": number, "x": math.sqrt(number + 2)},
    "ids of 19 digits": lambda number: {"n": 10**18 + number * 123_456_789_012, "x": number / 8},
}
"""What the two last columns have. The first is what the number of rows grows with."""
PLAIN = next(iter(KINDS))

_measured: dict[int, tuple[float, float]] = {}


def _write_reply(path: Path, count: int, kind: str = PLAIN) -> None:
    """Write a reply with so many rows."""
    rows = [
        {
            "region": "South",
            "product": f"P{number % 40}",
            "day": f"2024-03-{number % 28 + 1:02}",
            **KINDS[kind](number),
        }
        for number in range(min(count, BLOCK))
    ]
    block = json.dumps(rows, separators=(",", ":"))[1:-1].encode()
    with path.open("wb") as file:
        file.write(b'{"status":"completed","columns":["region","product","day","n","x"],"rows":[')
        for number in range(max(1, count // BLOCK)):
            file.write((b"," if number else b"") + block)
        file.write(b'],"row_count":%d}' % count)


def _run(how: str, path: Path) -> tuple[float, float]:
    """Seconds, and peak memory in MiB, of a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.rows", how, str(path)]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return told["seconds"], told["peak"]


def rows() -> list[Row]:
    """The speed beside pyarrow's, and how memory grows."""
    compared: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "reply.json")
        for kind in KINDS:
            _write_reply(path, COMPARED, kind)
            compared[kind] = _run("ours", path)[0], _run("pyarrow", path)[0]
        for count in COUNTS:
            _write_reply(path, count)
            _measured[count] = _run("ours", path)
    growth = _measured[COUNTS[-1]][1] - _measured[COUNTS[0]][1]
    return [
        *(
            Row(
                f"{COMPARED:,} rows from a reply into a Parquet file, {kind}",
                "≥ 0.5 of pyarrow's speed",
                f"{COMPARED / ours:,.0f} rows/s; {theirs / ours:.2f} of pyarrow",
                f"pyarrow.json and pyarrow.parquet {COMPARED / theirs:,.0f} rows/s",
                theirs / ours >= 0.5,
                "from a file on the disk, a process each, imports not counted; ours checks every number's digits and "
                "takes the SHA-256",
            )
            for kind, (ours, theirs) in compared.items()
        ),
        Row(
            f"peak memory of {COUNTS[-1]:,} rows",
            f"flat (within {FLAT} MiB)",
            f"{growth:+.0f} MiB",
            f"{_measured[COUNTS[0]][1]:.0f} MiB with {COUNTS[0]} rows",
            growth <= FLAT,
            "peak resident set of the whole process",
        ),
    ]


def plots() -> list[Plot]:
    """How memory and time grow with the rows; after `rows`."""
    from tests.benchmarks.plots import COLOURS, Line, Panel, Plot  # not in the processes that are measured

    memory = {count: peak for count, (_, peak) in _measured.items()}
    seconds = {count: taken for count, (taken, _) in _measured.items()}
    return [
        Plot(
            "growth-rows",
            "With the number of rows",
            "Rows of a query, from the vendor's reply into a Parquet file.",
            [
                Panel("peak memory, MiB", "rows", COUNTS, [Line("ours", memory, COLOURS[0])]),
                Panel("seconds", "rows", COUNTS, [Line("ours", seconds, COLOURS[0])]),
            ],
            ("rows", "peak memory", "seconds"),
            [(f"{count:,}", f"{memory[count]:.0f} MiB", f"{seconds[count]:.2f}") for count in COUNTS],
        )
    ]


def _measure(how: str, path: str) -> None:
    import pyarrow
    from pyarrow import json as pyarrow_json
    from pyarrow import parquet

    from airflow_provider_nenoa.results.reply import LargeRows
    from airflow_provider_nenoa.results.rows import write_rows

    few = io.BytesIO(b'{"columns":["n"],"rows":[{"n":1}]}')
    write_rows(LargeRows(few), f"{path}.parquet")  # loads what is loaded at the first use
    with open(path, "rb") as file:
        began = time.perf_counter()
        if how == "ours":
            write_rows(LargeRows(file), f"{path}.parquet")
        else:
            raw = file.read()
            options = pyarrow_json.ReadOptions(block_size=len(raw) + 1024)
            found = pyarrow_json.read_json(io.BytesIO(raw), read_options=options)["rows"].chunks
            table = pyarrow.Table.from_struct_array(pyarrow.concat_arrays([chunk.flatten() for chunk in found]))
            parquet.write_table(table, f"{path}.parquet")
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    _measure(*sys.argv[1:])
