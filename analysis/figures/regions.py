"""Stretches of compute in which a curve means something else: not identified, extrapolated, open at an end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.labels import Label
from analysis.forms.form import Floats

Mask = npt.NDArray[np.bool_]
HATCH = "////"
ARROWS = 4  # at most, along an open end
EXTRAPOLATED_ALPHA = 0.10
NAMED = 0.12  # share of the axes from which a stretch is wide enough for its name


def stretches(compute_M: Floats, mask_M: Mask) -> list[tuple[float, float]]:
    """First and last compute of every run of True, widened half way (in logarithms) to its neighbours."""
    log_M = np.log(compute_M)
    edge_M = np.concatenate([log_M[:1], (log_M[1:] + log_M[:-1]) / 2, log_M[-1:]])
    turns = np.diff(np.concatenate([[False], mask_M, [False]]).astype(int))
    starts, ends = np.flatnonzero(turns == 1), np.flatnonzero(turns == -1)
    return [(float(np.exp(edge_M[start])), float(np.exp(edge_M[end]))) for start, end in zip(starts, ends)]


def draw_unidentified(axes: Axes, compute_M: Floats, mask_M: Mask) -> list[Label]:
    """Hatch the stretches in which nothing bounds the curve, and name them, at least the widest."""
    labels, widths = [], []
    for low, high in stretches(compute_M, mask_M):
        axes.axvspan(
            low,
            high,
            facecolor="none",
            edgecolor="#bbbbbb",
            hatch=HATCH,
            linewidth=0,
            zorder=0.5,
            gid="not-identified",
        )
        labels.append(Label(text="not identified", anchors=_places(axes, low, high)))
        widths.append(_width(axes, low, high))
    return [label for label, width in zip(labels, widths) if width >= min(NAMED, max(widths))]


def draw_extrapolated(axes: Axes, compute_M: Floats, mask_M: Mask) -> list[Label]:
    """Shade the stretches that rest on a frontier beyond its runs, and name them."""
    labels = []
    for low, high in stretches(compute_M, mask_M):
        axes.axvspan(
            low, high, color=style.GREY, alpha=EXTRAPOLATED_ALPHA, linewidth=0, zorder=0.4, gid="extrapolated"
        )
        if _width(axes, low, high) >= NAMED:
            labels.append(Label(text="extrapolated", anchors=_places(axes, low, high), colour=style.GREY))
    return labels


def draw_open_ends(
    axes: Axes, compute_M: Floats, mask_M: Mask, page: style.Page, colour: str, *, up: bool
) -> None:
    """Arrows at the edge of the axes where a band has no end on that side."""
    for low, high in stretches(compute_M, mask_M):
        left, right = np.log(axes.get_xlim())
        count = int(np.clip(round(8 * (np.log(high) - np.log(low)) / (right - left)), 1, ARROWS))
        places = np.exp(np.linspace(np.log(low), np.log(high), count + 2)[1:-1])
        axes.plot(
            places,
            np.full(count, 0.97 if up else 0.03),
            "^" if up else "v",
            transform=axes.get_xaxis_transform(),
            color=colour,
            markersize=page.marker,
            clip_on=False,
            zorder=6,
            gid=f"open.{'up' if up else 'down'}",
        )


def _width(axes: Axes, low: float, high: float) -> float:
    """Width of a stretch as a share of the axes."""
    left, right = np.log(axes.get_xlim())
    return float((np.log(high) - np.log(low)) / (right - left))


def _places(axes: Axes, low: float, high: float) -> list[tuple[float, float]]:
    """Anchors for the name of a stretch: its middle, high up first."""
    centre = float(np.sqrt(low * high))
    inverted = axes.transData.inverted()
    heights = [
        inverted.transform(axes.transAxes.transform((0.5, share)))[1] for share in (0.9, 0.1, 0.75, 0.25, 0.5)
    ]
    return [(centre, float(height)) for height in heights]
