"""The plots of the report page, as SVG that the page's style sheet colours.

Altair draws and vl-convert renders them when the page is written, so that the page needs no script to
show them, prints as it looks, and takes the reader's dark or light scheme.
"""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import altair as alt
import numpy as np
import vl_convert
from numpy.typing import NDArray

from compare.ladder.trajectory import PARTED, loss_difference
from compare.statistics import Effect
from compare.study.findings import AttributionFindings, EquivalenceFindings

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, which the colour-blind tell apart; an implementation each."""

BAND = "#8a8f98"

_NUM_BUCKETS = 160
_WIDTH, _HEIGHT = 360, 210
_FULL_WIDTH = 800
"""The page's, but for an axis and its labels; two of the others stand side by side."""

_numbers = itertools.count()

Rows = list[list[str]]
Measure = Literal["test_accuracy", "test_loss"]


@dataclass(frozen=True)
class Plot:
    """A plot: `svg` for the page, `description` for those who do not see it, and its numbers as a table."""

    title: str
    svg: str
    description: str
    header: list[str]
    rows: Rows


def _render(chart: alt.Chart | alt.LayerChart | alt.FacetChart) -> str:
    # The reader's font may be wider than the one that the labels were measured in.
    padding = {"left": 24, "right": 16, "top": 4, "bottom": 4}
    chart = (
        chart.configure(font="system-ui, sans-serif", background="transparent", padding=padding)
        .configure_view(stroke=None)
        .configure_axis(labelFontSize=11, titleFontSize=12, titleFontWeight="normal", domain=False, tickSize=4)
        .configure_legend(
            labelFontSize=12,
            title=None,
            orient="top",
            symbolStrokeWidth=3,
            symbolOpacity=1,
            padding=6,
            columnPadding=36,
        )
    )
    svg = vl_convert.vegalite_to_svg(chart.to_dict())
    # Several drawings share one page, and with it one space of names.
    svg = re.sub(r'(id="|url\(#)', rf"\1plot{next(_numbers)}-", svg)
    return svg.replace("<svg ", '<svg aria-hidden="true" ', 1)


def _color(names: Sequence[str]) -> alt.Color:
    return alt.Color("name:N").scale(domain=list(names), range=[*COLORS[: len(names)]])


def _data(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=[dict(row) for row in rows])


def history(histories: Mapping[str, Mapping[str, list[float]]], quantity: str, title: str) -> Plot:
    """`loss` or `accuracy` by epoch: training dashed, validation solid, a colour each implementation."""
    parts = {"training": quantity, "validation": f"val_{quantity}"}
    values: list[dict[str, Any]] = [
        {"name": name, "epoch": epoch, "value": value, "part": part}
        for name, entry in histories.items()
        for part, key in parts.items()
        for epoch, value in enumerate(entry.get(key, []), start=1)
    ]
    epochs = max((row["epoch"] for row in values), default=1)
    percent = quantity == "accuracy"
    y = (
        alt.Y("value:Q", title=title)
        .scale(zero=False)
        .axis(format=".1%" if percent else "~g", tickCount=6, titlePadding=14)
    )
    ticks = list(range(1, epochs + 1, math.ceil(epochs / 10)))  # left to itself, Vega also marks half an epoch
    x = alt.X("epoch:Q", title="epoch").axis(values=ticks, format="d", grid=False)
    dash = alt.StrokeDash("part:N").scale(domain=list(parts), range=[[4, 3], [1, 0]])
    base = alt.Chart(_data(values), width=_WIDTH, height=_HEIGHT).encode(x=x, y=y, color=_color(list(histories)))
    chart = base.mark_line(strokeWidth=2).encode(strokeDash=dash) + base.mark_point(filled=True, size=28, opacity=1)
    form = "{:.2%}" if percent else "{:.4f}"
    header = ["epoch", *(f"{name}, {part}" for name in histories for part in parts)]
    rows = [
        [str(epoch), *(_at(entry.get(key, []), epoch, form) for entry in histories.values() for key in parts.values())]
        for epoch in range(1, epochs + 1)
    ]
    final = ", ".join(f"{name} {cell}" for name, cell in zip(header[1:], rows[-1][1:], strict=True))
    description = f"{title} over {epochs} epochs. After the last: {final}."
    return Plot(f"{title} by epoch", _render(chart), description, header, rows)


def _at(values: Sequence[float], epoch: int, form: str) -> str:
    return form.format(values[epoch - 1]) if epoch <= len(values) else ""


def horizon(losses: Mapping[str, NDArray[Any]], controls: Sequence[NDArray[Any]]) -> Plot:
    """|loss difference| of the two by step, on logarithmic axes, with the band of the A/A controls' pairs."""
    (first_name, first), (second_name, second) = losses.items()
    pair = f"{first_name} and {second_name}"
    steps = min(len(series) for series in (first, second, *controls))
    edges = np.unique(np.geomspace(1, steps + 1, _NUM_BUCKETS + 1).astype(int))
    line = _largest(first, second, edges)
    band = np.array([_largest(a, b, edges) for a, b in combinations(controls, 2)])
    values: list[dict[str, Any]] = [
        {"step": int(step), "difference": float(value), "name": pair}
        | ({"low": float(band[:, i].min()), "high": float(band[:, i].max())} if len(band) else {})
        for i, (step, value) in enumerate(zip(edges[:-1], line, strict=True))
    ]
    x = alt.X("step:Q", title="optimizer step").scale(type="log", nice=False).axis(grid=False, format="~s")
    y = alt.Y("difference:Q", title="|loss difference|").scale(type="log").axis(format=".0e", tickCount=8)
    base = alt.Chart(_data(values), width=_FULL_WIDTH, height=_HEIGHT + 40)
    names = [pair, "A/A controls, all pairs"]
    color = alt.Color("name:N").scale(domain=names, range=[COLORS[1], BAND])
    layers = [base.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=color)]
    if len(band):
        area = base.transform_calculate(name=f"'{names[1]}'").mark_area(opacity=0.35)
        layers.insert(0, area.encode(x=x, y=alt.Y("low:Q").scale(type="log"), y2="high:Q", color=color))
    parted = alt.Chart(_data([{"y": PARTED}])).mark_rule(strokeDash=[2, 3], color=BAND).encode(y="y:Q")
    chart = alt.layer(*layers, parted)
    shown = values[:: max(1, len(values) // 16)]
    columns = {"difference": pair} | ({"low": "lowest of the controls", "high": "highest"} if len(band) else {})
    rows = [[f"{row['step']:,}", *(f"{row[key]:.2g}" for key in columns)] for row in shown]
    header = ["from step", *columns.values()]
    description = (
        f"The largest difference of the losses of {pair} grows from {line[0]:.1g} in the first step to "
        f"{line.max():.1g}; the dashed line is {PARTED:g}, beyond which two runs count as parted."
    )
    return Plot("The rounding horizon", _render(chart), description, header, rows)


def _largest(first: NDArray[Any], second: NDArray[Any], edges: NDArray[Any]) -> NDArray[np.float64]:
    """The largest difference of two series in each bucket of steps."""
    difference = loss_difference(first, second)[: edges[-1] - 1]
    # A difference of nothing has no place on a logarithmic axis; this is less than a loss near 1 can show.
    return np.maximum(np.maximum.reduceat(difference, edges[:-1] - 1), np.finfo(first.dtype).eps / 16)


def ulps(forward: Mapping[str, float], backward: Mapping[str, float], pair: str) -> Plot:
    """Largest differences of two implementations' first step in ULPs: by layer, and by parameter's gradient."""
    parts = {"forward, pre-activations": forward, "backward, gradients": backward}
    values: list[dict[str, Any]] = [
        {"place": place, "ulps": value, "name": part}
        for part, entry in parts.items()
        for place, value in entry.items()
        if value is not None  # of what is not finite
    ]
    base = alt.Chart(_data(values), width=_FULL_WIDTH - 60, height=alt.Step(20))
    y = alt.Y("place:N", title=None, sort=None).axis(labelLimit=200)
    x = alt.X("ulps:Q", title="largest difference, ULP of the largest number").axis(tickCount=6)
    bars = base.mark_bar().encode(x=x, y=y, color=_color(list(parts)))
    text = base.mark_text(align="left", dx=4).encode(x=x, y=y, text=alt.Text("ulps:Q", format=",.3~g"))
    rows = [[row["name"], row["place"], f"{row['ulps']:,.3g}"] for row in values]
    largest = max(values, key=lambda row: float(row["ulps"]))
    description = (
        f"First step of {pair}: the largest difference is {largest['ulps']:,.3g} units in the last place, "
        f"in {largest['name']} of {largest['place']}."
    )
    return Plot(
        "How far rounding carries the first step", _render(bars + text), description, ["part", "place", "ULP"], rows
    )


def equivalence(entries: Sequence[EquivalenceFindings], margin: float) -> Plot:
    """The paired differences of accuracy, a dot a seed, with the mean's 90% interval and the margin."""
    labels = [_label(entry) for entry in entries]
    dots = [
        {"place": label, "value": 100 * value, "name": entry.verdict}
        for label, entry in zip(labels, entries, strict=True)
        for value in entry.differences
    ]
    means: list[dict[str, Any]] = [
        {
            "place": label,
            "value": 100 * entry.mean,
            "low": 100 * entry.interval_90[0],
            "high": 100 * entry.interval_90[1],
            "name": entry.verdict,
        }
        for label, entry in zip(labels, entries, strict=True)
        if entry.mean is not None and entry.interval_90 is not None
    ]
    color = alt.Color("name:N").scale(
        domain=["parity", "inconclusive", "not parity"], range=[COLORS[2], COLORS[4], COLORS[1]]
    )
    y = alt.Y("place:N", title=None, sort=labels).axis(labelLimit=220, grid=True)
    x = alt.X("value:Q", title="difference of test accuracy, percentage points").axis(grid=False, format="+~g")
    size: dict[str, Any] = {"width": 2 * _WIDTH - 120, "height": alt.Step(30)}
    seeds = alt.Chart(_data(dots), **size).mark_circle(size=45, opacity=0.55).encode(x=x, y=y, color=color)
    bars = alt.Chart(_data(means), **size).mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q", y=y, color=color)
    centers = alt.Chart(_data(means), **size).mark_point(filled=True, size=130, opacity=1, shape="diamond")
    edges = alt.Chart(_data([{"x": -100 * margin}, {"x": 100 * margin}]))
    lines = edges.mark_rule(strokeDash=[4, 3], color=BAND, strokeWidth=1.5).encode(x="x:Q")
    chart = alt.layer(lines, bars, seeds, centers.encode(x=x, y=y, color=color))
    rows = [
        [row["place"], f"{row['value']:+.3f}", f"{row['low']:+.3f} to {row['high']:+.3f}", row["name"]] for row in means
    ]
    description = "; ".join(f"{row[0]}: mean {row[1]}, 90% interval {row[2]}, {row[3]}" for row in rows)
    header = ["variant", "mean, points", "90% interval", "verdict"]
    return Plot(
        f"Equivalence within ±{100 * margin:g} percentage points", _render(chart), f"{description}.", header, rows
    )


def _label(entry: EquivalenceFindings) -> str:
    return f"{entry.variant}: {entry.other} - {entry.reference}"


def attribution(entries: Sequence[AttributionFindings], measure: Measure, title: str, scale: float) -> Plot:
    """What each variant changes against aligned, as a forest: the mean and its corrected 95% interval."""
    effects: list[tuple[AttributionFindings, Effect | None]] = [(entry, getattr(entry, measure)) for entry in entries]
    values: list[dict[str, Any]] = [
        {
            "variant": entry.variant,
            "name": entry.of,
            "value": scale * effect.mean,
            "low": scale * effect.interval[0],
            "high": scale * effect.interval[1],
        }
        for entry, effect in effects
        if effect is not None
    ]
    names = list(dict.fromkeys(row["name"] for row in values))
    variants = list(dict.fromkeys(row["variant"] for row in values))
    size: dict[str, Any] = {"width": 2 * _WIDTH - 160, "height": {"step": 16}}
    base = alt.Chart(_data(values), **size)
    y = alt.Y("variant:N", title=None, sort=variants).axis(labelLimit=200, grid=True).scale(paddingInner=0.35)
    offset = alt.YOffset("name:N", sort=names)
    x = alt.X("value:Q", title=title).axis(grid=False, format="+~g")
    bars = base.mark_rule(strokeWidth=2.5).encode(x="low:Q", x2="high:Q", y=y, yOffset=offset, color=_color(names))
    means = base.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, yOffset=offset, color=_color(names))
    zero = alt.Chart(_data([{"x": 0}])).mark_rule(strokeDash=[4, 3], color=BAND).encode(x="x:Q")
    rows = [
        [row["variant"], row["name"], f"{row['value']:+.4g}", f"{row['low']:+.4g} to {row['high']:+.4g}"]
        for row in values
    ]
    clear = [f"{row['variant']} ({row['name']}) {row['value']:+.3g}" for row in values if row["low"] * row["high"] > 0]
    description = f"Effects whose interval leaves out zero: {', '.join(clear) or 'none'}."
    header = ["variant", "of", "mean", "95% interval, corrected"]
    return Plot(
        f"What each difference costs: {title}", _render(alt.layer(zero, bars, means)), description, header, rows
    )
