"""How every figure looks: pages, colours, markers and readable ticks."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.colors
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullFormatter, NullLocator

from scaling.units import format_quantity

FLOPS_LABEL = "training FLOPs (model, 2 x multiply-adds, forward + backward)"

Width = Literal["full", "column"]
Look = Mapping[str, Any]
"""Keyword arguments of a drawing method."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """Sizes for one width of print: inches, and points for type, lines and markers."""

    inches: float
    text: float  # axis labels, notes and direct labels
    ticks: float
    line: float
    marker: float
    panel_columns: int  # of small panels side by side
    most_ticks: int  # labelled, on a horizontal axis over the whole width

    def panel_height(self, columns: int, rows: int = 1) -> float:
        """Height in inches of one of so many panels side by side and above each other, its labels included."""
        shape = (
            {1: 0.58, 2: 0.44}.get(columns, 0.36) if self.panel_columns > 1 else {1: 0.72}.get(columns, 0.46)
        )
        return self.inches * shape * (0.78 if rows > 1 and columns == 1 else 1.0)


# widths of a two-column proceedings page (CVPR author kit: 6.875 in of text, columns of 3.25 to 3.35 in)
PAGES: dict[Width, Page] = {
    "full": Page(inches=6.9, text=9.0, ticks=9.0, line=2.0, marker=6.0, panel_columns=2, most_ticks=9),
    "column": Page(inches=3.35, text=7.5, ticks=7.0, line=1.5, marker=4.2, panel_columns=1, most_ticks=5),
}

# Okabe & Ito, "Color Universal Design" (2008): distinguishable with every common colour vision; those after the sixth
# are of Tol, "Colour Schemes" (2021), muted
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933", "#332288")
_COLOUR_OF = dict(zip(("superclass", "clip", "siglip", "superclip", "lit"), _PALETTE))
INK, GREY, PALE = "#222222", "#666666", "#e4e4e4"  # words, reference lines, grid
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
_MANTISSAS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(range(1, 10)))
BAND_ALPHA = 0.16
_MIN_TICKS, _MAX_TICKS = 4, 9

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": PALE,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
}


@contextmanager
def house_style(page: Page = PAGES["full"]) -> Iterator[None]:
    """Drawing inside looks alike, whatever the user's matplotlib settings are."""
    sizes = {"font.size": page.text, "axes.labelsize": page.text, "axes.titlesize": page.text}
    sizes |= {"legend.fontsize": page.text, "xtick.labelsize": page.ticks, "ytick.labelsize": page.ticks}
    with mpl.style.context(["default", _RC | sizes]):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of the given size in inches, laid out so that nothing overlaps; no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def objective_colours(objectives: Sequence[str]) -> dict[str, str]:
    """A colour per objective; those of this project have theirs in every figure of every sweep.

    Any other has the one its name hashes to, or the next free one: it rarely depends on what else is drawn.
    """
    free = [colour for colour in _PALETTE if colour not in _COLOUR_OF.values()]
    chosen = {name: _COLOUR_OF[name] for name in objectives if name in _COLOUR_OF}
    for name in sorted(set(objectives) - set(chosen)):
        start = zlib.crc32(name.encode()) % len(free)
        order = [*free[start:], *free[:start]]
        chosen[name] = next((one for one in order if one not in chosen.values()), order[0])
    return {name: chosen[name] for name in objectives}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Looks:
    """Colours of the objectives and markers of the towers of one study, the same in all its figures."""

    colours: Mapping[str, str]
    markers: Mapping[str, str]


def looks_of(table: pd.DataFrame, objectives: Sequence[str]) -> Looks:
    """The looks of every figure of a study: `table` and `objectives` are those of the whole study."""
    return Looks(colours=objective_colours(objectives), markers=tower_markers(table))


def paler(colour: str, share: float) -> str:
    """The colour mixed with so much white."""
    red, green, blue = ((1 - share) * part + share for part in mpl.colors.to_rgb(colour))
    return str(mpl.colors.to_hex((red, green, blue)))


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


def log_ticks(low: float, high: float, most: int = _MAX_TICKS) -> list[float]:
    """Four to `most` round numbers between two positive ones, evenly spread where these are close together."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in _MANTISSAS:
        candidates = [float(f"{mantissa * 10.0**decade:.6g}") for decade in decades for mantissa in mantissas]
        ticks = [tick for tick in candidates if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        if len(ticks) >= _MIN_TICKS:
            return ticks[:: math.ceil(len(ticks) / most)]
    evenly = MaxNLocator(nbins=min(6, most), steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(f"{tick:.6g}") for tick in evenly if low <= tick <= high]


def label_log_axis(axes: Axes, which: str, *, scientific: bool, most: int = _MAX_TICKS) -> None:
    """Fix labelled ticks on a logarithmic x or y axis: 0.2, 0.3 or, if scientific, powers of ten."""
    _fix_ticks(axes, which, most, power_text if scientific else "{:g}".format)


def label_quantity_axis(axes: Axes, *, most: int = _MAX_TICKS) -> None:
    """Fix labelled ticks on a logarithmic x axis of samples or parameters: 500K, 1M, 2M."""
    _fix_ticks(axes, "x", most, lambda tick: format_quantity(round(tick)))


def _fix_ticks(axes: Axes, which: str, most: int, text: Callable[[float], str]) -> None:
    axis, limits = (axes.xaxis, axes.get_xlim()) if which == "x" else (axes.yaxis, axes.get_ylim())
    ticks = log_ticks(*limits, most)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([text(tick) for tick in ticks]))
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
