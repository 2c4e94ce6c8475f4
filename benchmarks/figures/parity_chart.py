"""The chart of the rounding horizon: by how much the losses of two runs differ, step by step."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
from numpy.typing import NDArray

COLORS = {"Lightning – Lightning": "#009e73", "Keras – Keras": "#0072b2", "Keras – Lightning": "#d55e00"}
"""Okabe and Ito's palette, which the colour-blind tell apart; the last is drawn on top."""

INK, PAPER = "#24292f", "#ffffff"
"""The paper is part of the picture: transparent, one of the two would vanish on a dark page."""

ON_TOP = list(COLORS)[-1]
WIDTH, HEIGHT_OF_TEN = 680, 14
HIGHEST = 10.0
ZOOM = 600
NUM_BUCKETS = 200


class Line(NamedTuple):
    """One line: two runs of a dtype, and the difference of their losses at every step, shape (steps,)."""

    dtype: str
    pair: str
    difference: NDArray[np.float64]


class Axis(NamedTuple):
    """What the x axis counts, how many steps that is, and how many of it there are."""

    title: str
    steps_per_tick: int
    num_ticks: int


def draw(lines: Sequence[Line], path: Path, *, parted: float, steps_per_epoch: int) -> None:
    """Writes the chart as SVG, or as PNG where the path ends so."""
    on_top_last = sorted(lines, key=lambda line: list(COLORS).index(line.pair))
    float32, float64 = ([line for line in on_top_last if line.dtype == dtype] for dtype in ("float32", "float64"))
    beginnings = [line._replace(difference=line.difference[:ZOOM]) for line in float32]
    epochs = Axis("epoch", steps_per_epoch, len(lines[0].difference) // steps_per_epoch)
    panels = [
        _panel(beginnings, f"float32, the first {ZOOM} steps", Axis("step", 1, ZOOM), parted, lowest=1e-10),
        _panel(float32, "float32, all epochs", epochs, parted, lowest=1e-10),
        _panel(float64, "float64, all epochs", epochs, parted, lowest=1e-17),
    ]
    title = alt.TitleParams(
        "The rounding horizon",
        subtitle=[
            "By how much the losses of two runs of one training differ, step by step (the largest of several steps).",
            "Keras against Lightning; and each against itself, from initial weights one unit in the last place away.",
        ],
        fontSize=17,
        subtitleFontSize=12,
        subtitleColor=INK,
        subtitlePadding=6,
        offset=12,
    )
    chart = alt.vconcat(*panels, spacing=18, background=PAPER, padding=14, title=title)
    chart = chart.configure(font="Helvetica, Arial, sans-serif").configure_view(stroke=None)
    chart = chart.configure_title(color=INK, fontSize=13, anchor="start")
    chart = chart.configure_axis(
        labelColor=INK,
        titleColor=INK,
        domainColor=INK,
        tickColor=INK,
        gridColor="#e4e7eb",
        labelFontSize=11,
        titleFontWeight="normal",
        titleFontSize=12,
    )
    chart = chart.configure_legend(
        labelColor=INK,
        labelFontSize=12,
        symbolType="stroke",
        symbolStrokeWidth=3,
        symbolSize=300,
        columnPadding=20,
        orient="top",
        title=None,
    )
    chart.save(path)


def _panel(lines: Sequence[Line], title: str, axis: Axis, parted: float, *, lowest: float) -> alt.LayerChart:
    """One panel; the orders of magnitude are as tall in all of them."""
    curves = [row | {"line": number} for number, line in enumerate(lines) for row in _rows(line, axis, lowest)]
    points = [point for line in lines if (point := _parting(line, axis, parted)) is not None]
    x = alt.X(
        "x:Q",
        title=axis.title,
        scale=alt.Scale(domain=[0, axis.num_ticks], nice=False),
        axis=alt.Axis(tickCount=10, labelFlush=False),
    )
    y = alt.Y(
        "y:Q",
        title="difference of the losses",
        scale=alt.Scale(type="log", domain=[lowest, HIGHEST], nice=False, clamp=True),
        axis=alt.Axis(
            values=[10.0**exponent for exponent in range(-16, 1, 2) if 10.0**exponent >= lowest],
            labelExpr="datum.value == 1 ? '1' : format(datum.value, '.0e')",
        ),
    )
    pair = alt.Color("pair:N", scale=alt.Scale(domain=list(COLORS)[::-1], range=list(COLORS.values())[::-1]))
    limit = alt.Chart(alt.InlineData(values=[{"y": parted, "text": f"parted: {parted:g}"}]))
    layers = [
        alt.Chart(alt.InlineData(values=curves))
        .mark_line(strokeJoin="round")
        .encode(
            x,
            y,
            pair,
            detail="line:N",
            strokeWidth=alt.condition(f"datum.pair == '{ON_TOP}'", alt.value(1.8), alt.value(1)),
        ),
        limit.mark_rule(color=INK, strokeDash=[5, 4]).encode(y="y:Q"),
        limit.mark_text(color=INK, align="left", fontSize=12).encode(y="y:Q", x=alt.value(WIDTH + 6), text="text:N"),
        alt.Chart(alt.InlineData(values=points))
        .mark_point(filled=True, size=70, opacity=1, stroke=PAPER, strokeWidth=1)
        .encode(x, y, pair),
    ]
    height = round(HEIGHT_OF_TEN * np.log10(HIGHEST / lowest))
    return alt.LayerChart(layer=layers, title=title, width=WIDTH, height=height)


def _rows(line: Line, axis: Axis, lowest: float) -> list[dict[str, Any]]:
    """The largest difference of each bucket of steps, so that the picture stays small.

    A bucket whose losses are all the same has no place on a logarithmic scale and is left out.
    """
    edges = np.unique(np.linspace(0, len(line.difference), NUM_BUCKETS + 1).astype(int)).tolist()
    buckets = [(start, end, line.difference[start:end].max()) for start, end in pairwise(edges)]
    return [
        {
            "x": round((start + end + 1) / 2 / axis.steps_per_tick, 4),
            "y": float(f"{max(largest, lowest):.3g}"),
            "pair": line.pair,
        }
        for start, end, largest in buckets
        if largest > 0
    ]


def _parting(line: Line, axis: Axis, parted: float) -> dict[str, Any] | None:
    """A point where the line first passes the limit, if it does."""
    above = np.flatnonzero(line.difference > parted)
    if not above.size:
        return None
    return {"x": (int(above[0]) + 1) / axis.steps_per_tick, "y": parted, "pair": line.pair}
