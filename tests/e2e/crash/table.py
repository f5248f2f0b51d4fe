"""The table of all situations in the documentation: written by the full suite, checked by every run of a part of it."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

from tests.e2e.crash.stage import KINDS, MODES, Outcome

PATH = Path(__file__).parents[3] / "docs" / "what-happens-when.md"

Key = tuple[str, str, str, str]
"""Section, words of the situation, kind, mode."""

INTRODUCTION = """\
# What happens when…

Made by the tests in `tests/e2e/crash`, which do to a real Airflow (PostgreSQL, LocalExecutor, API server, scheduler,
DAG processor and triggerer as processes) what each row says, with the emulator in the vendor's place. `make crash-test`
plays all of it and writes this page anew; `make test` plays a part and fails if a row is no longer true.

*Starts sent* are the POSTs that the vendor received, *runs started* what it made of them. The tasks have `retries=3`,
and where a row does not say otherwise, `on_lost_start="fail"` and a connection with a `webhook_secret`. A result that
arrives is checked to be that of the run. {cases} cases were played on Airflow {airflow}.
"""

_CELLS = re.compile(r"\| (.+?) \| (.+?) \| (\d+) \| (\d+) \| (\d+) \| (.+?) \|")


def read(text: str) -> dict[Key, Outcome]:
    """Return the outcomes that a table documents."""
    section, words, found = "", "", {}
    for line in text.splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif cells := _CELLS.fullmatch(line):
            words = words if cells[1] == "″" else cells[1]
            outcome = Outcome(*(int(cells[n]) for n in (3, 4, 5)), cells[6])
            for kind, mode in _unfold(cells[2]):
                found[section, words, kind, mode] = outcome
    return found


def write(outcomes: dict[Key, Outcome], words_of_sections: dict[str, str]) -> str:
    """Return the page."""
    rows: dict[str, dict[str, dict[Outcome, list[tuple[str, str]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for (section, words, kind, mode), outcome in outcomes.items():
        rows[section][words][outcome].append((kind, mode))
    lines = [INTRODUCTION.format(cases=len(outcomes), airflow=version("apache-airflow"))]
    for section, about in words_of_sections.items():
        lines += [f"## {section}", "", about, ""]
        lines += [
            "| what happens | to | starts sent | runs started | attempts | the task's end |",
            "|---|---|--:|--:|--:|---|",
        ]
        for words, by_outcome in rows[section].items():
            for number, (outcome, who) in enumerate(by_outcome.items()):
                cells = (words if number == 0 else "″", _fold(who), *outcome)
                lines.append("| " + " | ".join(map(str, cells)) + " |")
        lines.append("")
    return "\n".join(lines)


def _fold(who: list[tuple[str, str]]) -> str:
    """Name those concerned: ``all``, or each kind, with its mode unless both are meant."""
    if len(who) == len(KINDS) * len(MODES):
        return "all"
    modes = {kind: [mode for other, mode in who if other == kind] for kind in KINDS}
    for mode in MODES:
        if all(found == [mode] for found in modes.values()):
            return f"all, {mode}"
    return ", ".join(
        kind if len(found) == len(MODES) else f"{kind} ({found[0]})" for kind, found in modes.items() if found
    )


def _unfold(text: str) -> list[tuple[str, str]]:
    if text == "all":
        return [(kind, mode) for kind in KINDS for mode in MODES]
    if text.startswith("all, "):
        return [(kind, text.removeprefix("all, ")) for kind in KINDS]
    found = []
    for name in text.split(", "):
        kind, _, mode = name.partition(" ")
        found += [(kind, one) for one in ([mode.strip("()")] if mode else MODES)]
    return found
