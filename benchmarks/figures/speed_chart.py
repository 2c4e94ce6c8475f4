"""The pictures: seconds per epoch of every script, and how the cost of an epoch grows."""

from pathlib import Path
from statistics import median
from typing import Any

import altair as alt

from benchmarks.machine import in_a_line
from benchmarks.targets import OURS, SCRIPTS

KERAS_COLOR, LIGHTNING_COLOR, OTHER_COLOR = "#d55e00", "#0072b2", "#8a939c"
COLORS = {"Keras": KERAS_COLOR, "Lightning": LIGHTNING_COLOR}
"""Two colours of Okabe and Ito's palette, which the colour-blind tell apart."""

INK, PAPER = "#24292f", "#ffffff"
"""The paper is part of the picture: it must not vanish on a dark page."""


def draw_epochs(results: dict[str, Any], path: Path) -> None:
    """Writes one panel of bars for each device and number of threads: the median, with a dot for every round."""
    places = list(dict.fromkeys((run["device"], run["threads"]) for run in results["runs"]))
    panels = [_bars(results["runs"], device, threads) for device, threads in places]
    subtitle = [
        "An epoch of 60,000 digits, with validation, progress bar, logger and checkpoint; every run is a new process.",
        f"Bars: median of n = {results['repetitions']} rounds; dots: the rounds. {in_a_line(results['machine'])}",
    ]
    _styled(alt.vconcat(*panels, spacing=24), "Seconds per epoch", subtitle).save(path)


def _bars(runs: list[dict[str, Any]], device: str, threads: int) -> Any:
    here = [run for run in runs if (run["device"], run["threads"]) == (device, threads) and "seconds" in run]
    names = [name for name in SCRIPTS if any(run["script"] == name for run in here)]
    medians = [
        {"script": name, "seconds": seconds, "text": f"{seconds:.2f} s", "ours": name if name in OURS else "other"}
        for name in names
        for seconds in [median(run["seconds"] for run in here if run["script"] == name)]
    ]
    dots = [{"script": run["script"], "seconds": run["seconds"]} for run in here]
    y = alt.Y("script:N", sort=names, title=None, axis=alt.Axis(labelLimit=300))
    x = alt.X("seconds:Q", title="seconds per epoch")
    color = alt.Color(
        "ours:N",
        scale=alt.Scale(domain=[*COLORS, "other"], range=[*COLORS.values(), OTHER_COLOR]),
        legend=None,
    )
    base = alt.Chart(alt.InlineData(values=medians), title=f"{device.upper()}, {threads} thread{'s' * (threads > 1)}")
    return alt.layer(
        base.mark_bar(height=16).encode(x, y, color),
        alt.Chart(alt.InlineData(values=dots)).mark_point(size=18, color=INK, strokeWidth=1).encode(x, y),
        base.mark_text(align="left", dx=4, dy=-11, color=INK, fontSize=11).encode(x, y, text="text:N"),
    ).properties(width=560, height=32 * len(names))


def draw_growth(results: dict[str, Any], path: Path) -> None:
    """Writes a panel for each quantity, seconds above and peak memory below, a line for each side."""
    panels = []
    for key, title in (("seconds", "seconds per epoch"), ("peak_memory_mb", "peak memory, MB")):
        row = [_lines(results["points"], quantity, key, title) for quantity in ("batch size", "width", "threads")]
        panels.append(alt.hconcat(*row, spacing=28))
    a_point = f"n = {results['repetitions']}, the median of {results['epochs'] - 1} epochs"
    subtitle = [
        "Both sides as they run: progress bar, logger, validation and checkpoints on. The width is a multiple of",
        f"the hidden layers' 128, 256 and 512. A point: {a_point}.",
        in_a_line(results["machine"]),
    ]
    _styled(alt.vconcat(*panels, spacing=28), "How the cost of an epoch grows", subtitle).save(path)


def _lines(points: list[dict[str, Any]], quantity: str, key: str, title: str) -> Any:
    rows = [
        {"x": point["value"], "y": point[key], "side": point["side"]}
        for point in points
        if point["quantity"] == quantity
    ]
    ticks = sorted({row["x"] for row in rows})
    x = alt.X(
        "x:Q",
        title="width, times the recipe's" if quantity == "width" else quantity,
        scale=alt.Scale(type="log", base=2, nice=False, padding=12),
        axis=alt.Axis(values=ticks, format="~g", grid=False),
    )
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x,
        alt.Y("y:Q", title=title, scale=alt.Scale(zero=True)),
        alt.Color("side:N", scale=alt.Scale(domain=list(COLORS), range=list(COLORS.values())), title=None),
    )
    return alt.layer(base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=45)).properties(
        width=230, height=180
    )


def _styled(chart: alt.VConcatChart, title: str, subtitle: list[str]) -> Any:
    titled = chart.properties(
        title=alt.TitleParams(title, subtitle=subtitle, fontSize=17, subtitleFontSize=12, subtitleColor=INK, offset=14),
        background=PAPER,
        padding=14,
    )
    titled = titled.configure(font="Helvetica, Arial, sans-serif").configure_view(stroke=None)
    titled = titled.configure_title(color=INK, fontSize=13, anchor="start")
    titled = titled.configure_legend(orient="top", labelColor=INK, labelFontSize=12)
    return titled.configure_axis(
        labelColor=INK, titleColor=INK, gridColor="#e4e7eb", labelFontSize=11, titleFontWeight="normal"
    )
