"""Studied minus rival error at equal compute, with the band that holds for the whole range at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.comparison.compare import Comparison
from analysis.figures import key, style, words
from analysis.figures.comparison_panel import comparison_panel
from analysis.figures.comparison_words import comparison_facts, comparison_name
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.labels import Label
from analysis.figures.layout import REFERENCE, compute_axis
from analysis.figures.lettering import text_colour
from analysis.figures.provenance import provenance
from analysis.figures.regions import draw_unidentified
from analysis.filters import error_label

BAND_ALPHA = 0.22
COLUMNS = [
    "train_flops",
    "studied_error",
    "rival_error",
    "difference",
    "lower",
    "upper",
    "probability_better",
]


def difference_versus_compute(
    comparison: Comparison, looks: style.Looks, *, width: style.Width = "full"
) -> Drawing:
    """The difference of errors at equal compute with its simultaneous band, and where the frontiers may cross."""
    page, data = style.PAGES[width], difference_data(comparison)
    message = _message(comparison, data)
    return Drawing(
        name=file_name(f"{comparison_name(comparison)}_difference", width),
        title=f"Difference of {error_label(comparison.metric)} at equal training compute",
        caption=words.sentence(
            f"{error_label(comparison.metric)} of {comparison.studied} minus that of {comparison.rival} on their "
            f"frontiers; below 0 {comparison.studied} is better. The band holds for all computes at once. {message}"
        ),
        alt=message,
        figure=comparison_panel(comparison, data, looks, page, _draw, _entries),
        data=data,
        provenance=provenance(**comparison_facts(comparison)),
    )


def difference_data(comparison: Comparison) -> pd.DataFrame:
    """train_flops, errors of both, difference with its ends (infinite: open), P(studied is better)."""
    band = comparison.difference
    if band is None:
        return pd.DataFrame(columns=COLUMNS)
    better_M = comparison.probability_better_M
    better_M = better_M if len(better_M) else np.full(len(comparison.compute_M), np.nan)
    columns = (
        comparison.compute_M,
        comparison.studied_error_M,
        comparison.rival_error_M,
        band.estimate_M,
        band.lower_M,
        band.upper_M,
        better_M,
    )
    return pd.DataFrame(dict(zip(COLUMNS, columns)))


def _draw(
    axes: Axes, comparison: Comparison, data: pd.DataFrame, looks: style.Looks, page: style.Page
) -> list[Label]:
    colour, compute_M = looks.colours[comparison.studied], data["train_flops"].to_numpy()
    bounded = (np.isfinite(data["lower"]) & np.isfinite(data["upper"])).to_numpy()
    axes.set(xscale="log", xlim=style.padded_log_limits(list(compute_M), low=0.02, high=0.02, least_factor=2))
    axes.fill_between(
        compute_M,
        data["lower"],
        data["upper"],
        where=bounded,
        color=colour,
        alpha=BAND_ALPHA,
        linewidth=0,
        gid="band",
    )
    dashes, thin = ("-", 1.0) if bounded.any() else ((0, (1.0, 1.0)), 0.5)
    look: style.Look = {"color": colour, "linewidth": thin * page.line, "linestyle": dashes, "zorder": 3}
    axes.plot(compute_M, data["difference"], **look, gid="difference")
    axes.axhline(0.0, **REFERENCE)
    ends = np.concatenate([data["difference"], data["lower"][bounded], data["upper"][bounded], [0.0]])
    span = max(float(np.ptp(ends)), 1e-9)
    axes.set_ylim(float(ends.min()) - 0.22 * span, float(ends.max()) + 0.22 * span)
    compute_axis(axes, page)
    axes.set_ylabel(f"difference of error\n{comparison.studied} - {comparison.rival}")
    return [
        *draw_unidentified(axes, compute_M, ~bounded),
        *_sides(axes, comparison, looks),
        *_draw_crossing(axes, comparison, page),
    ]


def _sides(axes: Axes, comparison: Comparison, looks: style.Looks) -> list[Label]:
    """Who is better above and below 0, at the left."""
    low, high = np.log(axes.get_xlim())
    bottom, top = axes.get_ylim()
    labels = []
    for name, height in ((comparison.rival, 0.8 * top), (comparison.studied, 0.88 * bottom)):
        anchors = [(float(np.exp(low + share * (high - low))), height) for share in (0.12, 0.85, 0.5)]
        colour = text_colour(looks.colours[name])
        labels.append(Label(text=f"{name} better", anchors=anchors, colour=colour, of_region=True))
    return labels


def _draw_crossing(axes: Axes, comparison: Comparison, page: style.Page) -> list[Label]:
    """A thick line on 0 where the errors cannot be told apart, a dot where the frontiers cross."""
    crossing = comparison.crossing
    if crossing is None:
        return []
    labels = []
    for one in crossing.intervals:
        low, high = one.lower or crossing.compute_range[0], one.upper or crossing.compute_range[1]
        axes.plot(
            [low, high],
            [0, 0],
            color=style.INK,
            linewidth=page.line * 1.5,
            solid_capstyle="butt",
            gid="crossing",
        )
        middle = float(np.sqrt(low * high))
        labels.append(Label(text="not told apart", anchors=[(middle, 0.0), (low, 0.0), (high, 0.0)]))
    for place in crossing.estimates:
        axes.plot(
            place, 0.0, "o", color=style.INK, markersize=page.marker * 0.8, zorder=5, gid="crossing.estimate"
        )
    return labels


def _entries(
    comparison: Comparison, data: pd.DataFrame, looks: style.Looks, page: style.Page
) -> list[key.Entry]:
    colour = looks.colours[comparison.studied]
    if comparison.difference is None or not np.isfinite(data["lower"]).any():
        return [key.line_entry(page, "estimate, not bounded", colour=colour, dashes=(1.0, 1.0), width=0.5)]
    band = key.band_entry(
        page, BAND_ALPHA, f"{comparison.difference.level:.0%} for the whole range", colour=colour
    )
    return [key.line_entry(page, "estimate", colour=colour), band]


def _message(comparison: Comparison, data: pd.DataFrame) -> str:
    if data.empty:
        return words.sentence(
            f"{comparison.studied} and {comparison.rival} cannot be compared: {comparison.reason}"
        )
    parts = []
    for row in (data.iloc[0], data.iloc[-1]):
        text = f"at {words.flops(row['train_flops'])} training FLOPs the difference is "
        text += words.number(row["difference"])
        if np.isfinite(row["lower"]) and np.isfinite(row["upper"]):
            text += f" [{words.number(row['lower'])}, {words.number(row['upper'])}]"
        parts.append(text)
    if comparison.reason:
        parts.append(f"no band: {comparison.reason}")
    if comparison.crossing is not None:
        none = words.probability(comparison.crossing.probability_none)
        parts.append(f"the probability that the frontiers do not cross in this range is {none}")
    return " ".join(words.sentence(part) for part in parts)
