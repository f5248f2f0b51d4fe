"""Plots for the docs: SVG files that are the same for the same figures, readable on light and on dark pages."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

GREY = "#777777"
"""Of medium brightness, as all colours here: what is behind the plot may be white or nearly black."""
COLOURS = ("#2f7fd6", "#d9730d", "#2f9e5f", "#a35fd0", "#c9485b", "#8a8a2a")
WIDTH, HEIGHT = 4.4, 3.1
"""Of one panel, in inches."""
APART = 0.075
"""Of a panel's height: how far labels are from each other at least."""
STYLE: dict[str, Any] = {
    "svg.hashsalt": "nenoa",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True)
class Line:
    """
    A line in a panel, with its name at its end.

    :param name: What it shows.
    :param points: Its points.
    :param colour: Its colour.
    :param dashed: Whether it is dashed, and without marks: for what is reckoned or secondary.
    """

    name: str
    points: Mapping[int, float]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """
    One pair of axes.

    :param title: What the vertical axis shows, with its unit.
    :param x: What the horizontal axis shows.
    :param ticks: Where the horizontal axis, which is logarithmic, has numbers.
    :param lines: What is drawn.
    :param log: Whether the vertical axis is logarithmic; a value of 0 is then drawn at the bottom.
    """

    title: str
    x: str
    ticks: Sequence[int]
    lines: Sequence[Line]
    log: bool = True


@dataclass(frozen=True)
class Plot:
    """
    A section of the docs: a plot, and its figures.

    :param name: Of the file, without ``.svg``.
    :param title: The section's title.
    :param text: What one sees.
    :param panels: What is drawn, two in a row.
    :param headings: Of the table of figures.
    :param figures: Its rows.
    """

    name: str
    title: str
    text: str
    panels: Sequence[Panel]
    headings: Sequence[str]
    figures: Sequence[Sequence[str]]

    def svg(self) -> str:
        """Draw it."""
        with mpl.rc_context(STYLE):
            rows = (len(self.panels) + 1) // 2
            figure = Figure(figsize=(2 * WIDTH, rows * HEIGHT), layout="constrained")
            for axes, panel in zip(figure.subplots(rows, 2).flat, self.panels, strict=True):
                _draw(axes, panel)
            file = io.StringIO()
            figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_xlabel(panel.x)
    axes.set_xscale("log")
    axes.set_xticks(panel.ticks, [f"{tick:,}" for tick in panel.ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(panel.ticks[0] / 1.15, panel.ticks[-1] * 1.15)
    values = [value for line in panel.lines for value in line.points.values()]
    if panel.log:
        lowest, highest = min(value for value in values if value > 0), max(values)
        first, last = floor(log10(lowest)), ceil(log10(highest))
        steps = (1, 2, 5) if highest < 100 * lowest else (1,)
        ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
        if 0 in values:
            axes.set_yscale("symlog", linthresh=10.0**first, linscale=0.5)
            axes.set_ylim(0, highest * 2)
            ticks.append(0)
        else:
            axes.set_yscale("log")
            axes.set_ylim(lowest / 2, highest * 2)
        bottom, top = axes.get_ylim()
        axes.set_yticks([tick for tick in ticks if bottom <= tick <= top])
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, max(values) * 1.15)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.grid(color=GREY, alpha=0.25, linewidth=0.6)
    for line in panel.lines:
        axes.plot(
            list(line.points),
            list(line.points.values()),
            color=line.colour,
            linestyle="--" if line.dashed else "-",
            marker=None if line.dashed else "o",
            markersize=4,
            clip_on=False,
        )
    _label(axes, panel.lines)


def _label(axes: Axes, lines: Sequence[Line]) -> None:
    """Write each line's name to the right of its end; of names that would overlap, the upper one higher."""
    to_axes = axes.transData + axes.transAxes.inverted()
    taken: dict[float, float] = {}
    ends = [(line, *to_axes.transform((max(line.points), line.points[max(line.points)]))) for line in lines]
    for line, x, y in sorted(ends, key=lambda end: end[2]):
        taken[x] = max(y, taken.get(x, -1.0) + APART)
        axes.annotate(
            line.name,
            (x, taken[x]),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=line.colour,
            annotation_clip=False,
        )
