"""
``python -m dev.pictures``: draw the pictures of docs/ as SVG. ``make pictures``.

The house is drawn from what is there: its floors are those of import-linter's contract in pyproject.toml, a room's line
is the first line of its docstring, and an arrow is an import. The other pictures say what is written below.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from html import escape
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).parent.parent
PACKAGE = "airflow_provider_nenoa"
PLACE = ROOT / "docs" / "pictures"

INK, LINE, FAINT, PAPER = "#1f2933", "#52606d", "#9aa5b1", "#ffffff"
WARM, COOL, GREEN, GREY = "#fdf0dc", "#e3ecfa", "#e2f3e6", "#f1f3f5"


class Drawing:
    """
    An SVG picture, on white paper so that it can be read in a dark page.

    :param width: Its width in pixels.
    :param height: Its height in pixels.
    :param title: What it shows, for those who cannot see it.
    """

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-size="13" '
            f'font-family="system-ui, sans-serif" fill="{INK}">',
            f"<title>{escape(title)}</title>",
            f'<defs><marker id="tip" markerWidth="9" markerHeight="9" refX="7" refY="4" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{LINE}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>',
        ]

    def box(self, x: float, y: float, width: float, height: float, name: str, lines: list[str], fill: str) -> None:
        """Draw a box with a name and lines of text."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" fill="{fill}" stroke="{FAINT}"/>'
        )
        self.text(x + 10, y + 20, name, weight="600")
        for number, line in enumerate(lines):
            self.text(x + 10, y + 38 + 15 * number, line, size=11)

    def text(
        self, x: float, y: float, words: str, *, size: int = 13, weight: str = "400", anchor: str = "start"
    ) -> None:
        """Write one line."""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
            f'paint-order="stroke" stroke="{PAPER}" stroke-width="{3 if anchor == "middle" else 0}">'
            f"{escape(words)}</text>"
        )

    def arrow(self, *points: tuple[float, float], dashed: bool = False) -> None:
        """Draw an arrow through points."""
        path = " ".join(f"{'L' if number else 'M'}{x:g},{y:g}" for number, (x, y) in enumerate(points))
        dashes = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(f'<path d="{path}" fill="none" stroke="{LINE}" marker-end="url(#tip)"{dashes}/>')

    def line(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """Draw a thin line."""
        self.parts.append(f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{FAINT}"/>')

    def svg(self) -> str:
        """Return the picture."""
        return "\n".join([*self.parts, "</svg>", ""])


def rooms() -> list[list[str]]:
    """Return the rooms of each floor, the highest first, as import-linter's contract has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[room.strip(" ()") for room in layer.split("|")] for layer in layers]


def line_of(room: str) -> str:
    """Return the first line of a room's docstring."""
    place = ROOT / PACKAGE / room
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return (ast.get_docstring(ast.parse(source.read_text())) or "").partition("\n")[0].replace("`", "")


def house() -> str:
    """Draw the rooms, floor above floor, and which floors each of them looks down to."""
    import grimp

    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    floors = rooms()
    width, room_height, gap = 1180, 92, 34
    drawing = Drawing(width, len(floors) * (room_height + gap) + 30, "The rooms of the house, floor above floor")
    drawing.text(20, 26, "An import never goes up. Under each room: the rooms whose code it uses.", size=12)
    for level, floor in enumerate(floors):
        y = 40 + level * (room_height + gap)
        each = (width - 40 - 14 * (len(floor) - 1)) / len(floor)
        for number, room in enumerate(floor):
            x = 20 + number * (each + 14)
            used = [
                other
                for below in floors[level + 1 :]
                for other in below
                if graph.direct_import_exists(
                    importer=f"{PACKAGE}.{room}", imported=f"{PACKAGE}.{other}", as_packages=True
                )
            ]
            is_package = (ROOT / PACKAGE / room).is_dir()
            lines = wrap(line_of(room), int(each / 6.2))[:3]
            drawing.box(
                x, y, each, room_height - 22, room + ("/" if is_package else ".py"), lines, COOL if is_package else GREY
            )
            below = wrap("→ " + ", ".join(used), int(each / 5.8))[:2] if used else []
            for number_of_line, text in enumerate(below):
                drawing.text(x + 10, y + room_height - 8 + 13 * number_of_line, text, size=10)
    return drawing.svg()


def overview() -> str:
    """Draw what it is, for those who see it for the first time."""
    drawing = Drawing(900, 210, "A task starts a job once, is free while it runs, and is told by webhook of its end")
    task = ["starts the job, once;", "is free while it runs;", "goes on with the result"]
    server = ["checks the signature, keeps", "the event, wakes the task"]
    vendor = ["run the workflow, the agent,", "the query; tell its end"]
    drawing.box(30, 60, 200, 100, "A task in your DAG", task, WARM)
    drawing.box(352, 80, 196, 80, "Airflow's API server", server, COOL)
    drawing.box(670, 60, 200, 100, "NenAI, OpenAnalyst", vendor, GREEN)
    drawing.arrow((130, 60), (130, 34), (770, 34), (770, 60))
    drawing.text(450, 28, "1. start, over REST", anchor="middle")
    drawing.arrow((670, 130), (548, 130))
    drawing.text(609, 120, "2. signed webhook", size=12, anchor="middle")
    drawing.arrow((352, 130), (230, 130))
    drawing.text(291, 120, "3. resume", size=12, anchor="middle")
    last = "No webhook can get in? Then the vendor is asked, within its rate limit."
    drawing.text(450, 192, last, size=12, anchor="middle")
    return drawing.svg()


def runtime() -> str:
    """Draw which process talks to which."""
    drawing = Drawing(1080, 560, "Which process talks to which at run time")
    drawing.box(
        40,
        60,
        250,
        120,
        "Worker",
        ["operator: adopt, check, start,", "remember; finish with the result.", "Free while the task is deferred."],
        WARM,
    )
    drawing.box(
        40,
        330,
        250,
        120,
        "Triggerer",
        ["one hub: ten thousand waits are", "one long poll for each connection,", "or one paced series of questions"],
        WARM,
    )
    drawing.box(
        430,
        60,
        270,
        120,
        "API server (or alone)",
        ["/nenoa, the receiver: checks the", "signature, stores, commits, then", "answers 200; the read API"],
        COOL,
    )
    drawing.box(
        430,
        330,
        270,
        120,
        "Database",
        ["Airflow's own, or another one:", "one row per run, payloads encrypted,", "kept for event_retention_days"],
        GREY,
    )
    drawing.box(
        820, 60, 220, 390, "NenAI, OpenAnalyst", ["run the job;", "POST its end to the receiver,", "signed"], GREEN
    )
    drawing.arrow((165, 60), (165, 30), (930, 30), (930, 60))
    drawing.text(540, 24, "start, once (with the callback URL); results, files", size=12, anchor="middle")
    drawing.arrow((820, 120), (700, 120))
    drawing.text(760, 110, "webhook", size=12, anchor="middle")
    drawing.arrow((560, 180), (560, 330))
    drawing.text(570, 260, "store, then answer", size=12)
    drawing.arrow((290, 100), (430, 100))
    drawing.text(360, 92, "ask", size=12, anchor="middle")
    drawing.arrow((230, 330), (430, 170))
    drawing.text(345, 275, "long poll (JWT)", size=12)
    drawing.arrow((165, 180), (165, 330), dashed=True)
    drawing.text(175, 260, "defer", size=12)
    drawing.arrow((115, 330), (115, 180), dashed=True)
    drawing.text(60, 260, "resume", size=12)
    drawing.arrow((165, 450), (165, 500), (930, 500), (930, 450))
    drawing.text(
        540,
        494,
        "polls within the rate limit, where no webhook tells (or as a rare safety poll)",
        size=12,
        anchor="middle",
    )
    drawing.text(
        40,
        540,
        "Workers and triggerers never touch the database: they talk to the API server, as Airflow 3 wants it.",
        size=12,
    )
    return drawing.svg()


ACTORS = ["Worker", "Task's note", "Vendor", "Receiver", "Triggerer"]
STEPS: list[tuple[str, str, str]] = [
    ("Worker", "Task's note", "did an earlier attempt leave a run? Then go on with it"),
    ("Worker", "Receiver", "can its end be learnt at all? If not: an error, nothing spent"),
    ("Worker", "Task's note", "intent with a fresh ref: the connection stands, nothing is sent yet"),
    ("Worker", "Vendor", "POST start, with the callback URL …?ref=…, at most once"),
    ("Vendor", "Worker", "the run's id"),
    ("Worker", "Task's note", "the id"),
    ("Worker", "Triggerer", "defer; the worker is free"),
    ("Triggerer", "Receiver", "has it ended already? Then one long poll for all"),
    ("Vendor", "Receiver", "signed webhook: the end"),
    ("Receiver", "Vendor", "200, once it is committed"),
    ("Receiver", "Triggerer", "it has ended"),
    ("Triggerer", "Worker", "resume"),
    ("Worker", "Receiver", "the payload; fetch files or rows"),
    ("Worker", "Task's note", "closed: who clears the task now gets a new run"),
]


def life() -> str:
    """Draw the life of a run as a sequence."""
    left, between, top, step = 90, 225, 70, 38
    x = {actor: left + between * number for number, actor in enumerate(ACTORS)}
    height = top + step * len(STEPS) + 50
    drawing = Drawing(left * 2 + between * (len(ACTORS) - 1), height, "The life of a deferred run, from start to end")
    for actor in ACTORS:
        drawing.box(x[actor] - 70, 18, 140, 32, actor, [], COOL)
        drawing.line(x[actor], 50, x[actor], height - 20)
    for number, (source, target, words) in enumerate(STEPS):
        y = top + step * number + 16
        drawing.arrow((x[source], y), (x[target], y))
        middle = (x[source] + x[target]) / 2
        words_width = 6.1 * len(words)
        middle = min(max(middle, words_width / 2 + 8), left * 2 + between * (len(ACTORS) - 1) - words_width / 2 - 8)
        drawing.text(middle, y - 6, words, size=12, anchor="middle")
    return drawing.svg()


PICTURES = {"overview": overview, "house": house, "runtime": runtime, "life": life}


def main() -> int:
    """Write the pictures; return 0."""
    PLACE.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        (PLACE / f"{name}.svg").write_text(draw())
    return 0


if __name__ == "__main__":
    sys.exit(main())
