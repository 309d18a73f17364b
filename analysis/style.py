"""How every figure looks: colours, markers, readable ticks, and files without outside references."""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullFormatter, NullLocator

FLOPS_LABEL = "training FLOPs (model, 2 x multiply-adds, forward + backward)"

# Okabe & Ito, "Color Universal Design" (2008): distinguishable with every common colour vision.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_COLOUR_OF = dict(zip(("superclass", "clip", "siglip", "superclip", "lit"), _PALETTE))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
_MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(range(1, 10)))
BAND_ALPHA = 0.16
_MIN_TICKS, _MAX_TICKS = 4, 9
PIXELS_PER_POINT = 1.65  # a figure of 9.2 inches fills the column of the report
_PNG_DOTS_PER_INCH = 200

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.0,
    "axes.labelsize": 10.5,
    "axes.titlesize": 10.5,
    "legend.fontsize": 9.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": "#222222",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "svg.fonttype": "path",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Drawing inside looks alike, whatever the user's matplotlib settings are."""
    with mpl.style.context(["default", _RC]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches, laid out so that nothing overlaps; no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def objective_colours(objectives: Sequence[str]) -> dict[str, str]:
    """A colour per objective; those of this project have theirs in every figure of every sweep."""
    free = iter([colour for colour in _PALETTE if colour not in _COLOUR_OF.values()] * len(objectives))
    return {name: _COLOUR_OF[name] if name in _COLOUR_OF else next(free) for name in objectives}


def tower_markers(table: pd.DataFrame) -> dict[str, str]:
    """A marker per image tower, smaller towers first where their planned parameters are known."""
    if "image_tower" not in table:
        return {}
    named = table.dropna(subset=["image_tower"])
    column = "parameters.image_tower" if "parameters.image_tower" in named else "image_tower"
    sizes = named.groupby("image_tower")[column].min().sort_values(na_position="last")
    return {str(tower): _MARKERS[rank % len(_MARKERS)] for rank, tower in enumerate(sizes.index)}


def marker_scale(marker: str) -> float:
    """Factor on the marker size that makes all shapes look equally large."""
    return {"o": 1.0, "s": 0.92, "D": 0.85, "^": 1.15, "v": 1.15}.get(marker, 1.1)


def log_ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers between two positive ones, evenly spread where these are close together."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in _MANTISSAS:
        candidates = [float(f"{mantissa * 10.0**decade:.6g}") for decade in decades for mantissa in mantissas]
        ticks = [tick for tick in candidates if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) >= _MIN_TICKS:
            return ticks[:: math.ceil(len(ticks) / _MAX_TICKS)]
    evenly = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(f"{tick:.6g}") for tick in evenly if low <= tick <= high]


def label_log_axis(axes: Axes, which: str, *, scientific: bool) -> None:
    """Fix labelled ticks on a logarithmic x or y axis: 0.2, 0.3 or, if scientific, powers of ten."""
    axis, limits = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    ticks = log_ticks(*limits)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(
        FixedFormatter([power_text(tick) if scientific else f"{tick:g}" for tick in ticks])
    )
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def power_text(number: float) -> str:
    """A number as matplotlib mathematics: 2e13 -> 2 x 10^13, 1e13 -> 10^13."""
    exponent = math.floor(math.log10(number) + 1e-9)
    mantissa = number / 10.0**exponent
    head = "" if math.isclose(mantissa, 1, rel_tol=1e-6) else rf"{mantissa:.3g}{{\times}}"
    return rf"${head}10^{{{exponent}}}$"


def padded_log_limits(
    values: Sequence[float], *, low: float = 0.06, high: float = 0.06, least_factor: float
) -> tuple[float, float]:
    """Limits around positive values with a share of their logarithmic range free on either side.

    They span at least `least_factor`, also around a single value; without any value they stand around 1.
    """
    logs = np.log(np.asarray(values if len(values) else [1.0], dtype=float))
    missing = max(math.log(least_factor) - float(np.ptp(logs)), 0.0) / 2
    bottom, top = float(logs.min()) - missing, float(logs.max()) + missing
    return math.exp(bottom - low * (top - bottom)), math.exp(top + high * (top - bottom))


def svg_text(figure: Figure) -> str:
    """The figure as an <svg> element, text as outlines, no metadata: the same bytes for the same drawing."""
    buffer = io.StringIO()
    absent = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": "", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata=absent)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def inline_svg(svg: str, name: str, label: str) -> str:
    """The element made part of an HTML page: it scales, has a text alternative and names no outside address.

    `name` prefixes every identifier, so that several figures can share the page.
    """
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None, head
    body = re.sub(r'\bid="', f'id="{name}-', body).replace("xlink:href", "href")
    body = body.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    width = float(box.group().split()[2]) * PIXELS_PER_POINT
    size = f'style="max-width: {width:.0f}px"'
    return f'<svg class="figure" role="img" aria-label="{html.escape(label)}" {size} {box.group()}>{body}'


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG for slides and README."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_PNG_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()
