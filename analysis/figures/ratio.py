"""How much compute the studied objective needs, of what its rival needs, for the same error."""

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
from analysis.figures.layout import REFERENCE, compute_axis, reference_label
from analysis.figures.provenance import provenance
from analysis.figures.regions import Mask, draw_extrapolated, draw_open_ends, draw_unidentified
from analysis.filters import error_label

BAND_ALPHA = 0.22
NARROWEST, WIDEST = 2.0, 30.0  # factors about 1 that the axis shows at least, at most
COLUMNS = ["train_flops", "ratio", "lower", "upper", "extrapolated", "identified"]


def ratio_versus_compute(
    comparison: Comparison, looks: style.Looks, *, width: style.Width = "full"
) -> Drawing:
    """The equal-compute ratio with its band: open ends as arrows, unidentified hatched, extrapolation shaded."""
    page, data = style.PAGES[width], ratio_data(comparison)
    return Drawing(
        name=file_name(f"{comparison_name(comparison)}_ratio", width),
        title=f"Compute of {comparison.studied} / {comparison.rival} at equal {error_label(comparison.metric)}",
        caption=_caption(comparison, data),
        alt=_alt(comparison, data),
        figure=comparison_panel(comparison, data, looks, page, _draw, _entries),
        data=data,
        provenance=provenance(**comparison_facts(comparison)),
    )


def ratio_data(comparison: Comparison) -> pd.DataFrame:
    """train_flops of the rival, ratio, lower, upper (0 and infinity: open), extrapolated, identified."""
    frames = []
    for band in (comparison.ratio, comparison.ratio_beyond):
        if band is not None:
            columns = (
                band.compute_M,
                band.estimate_M,
                band.lower_M,
                band.upper_M,
                band.extrapolated_M,
                band.identified_M,
            )
            frames.append(pd.DataFrame(dict(zip(COLUMNS, columns))))
    if not frames:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(frames, ignore_index=True).drop_duplicates("train_flops", ignore_index=True)


def _draw(
    axes: Axes, comparison: Comparison, data: pd.DataFrame, looks: style.Looks, page: style.Page
) -> list[Label]:
    colour = looks.colours[comparison.studied]
    compute_M, beyond_M = data["train_flops"].to_numpy(), data["extrapolated"].to_numpy(dtype=bool)
    axes.set(
        xscale="log",
        yscale="log",
        xlim=style.padded_log_limits(list(compute_M), low=0.0, high=0.0, least_factor=2),
    )
    axes.set_ylim(*_limits(data))
    open_below, open_above = (data["lower"] <= 0).to_numpy(), np.isinf(data["upper"]).to_numpy()
    bounded = ~(open_below & open_above)
    lower, upper = data["lower"].clip(lower=1e-12), data["upper"].clip(upper=1e12)
    axes.fill_between(
        compute_M,
        lower,
        upper,
        where=bounded,
        color=colour,
        alpha=BAND_ALPHA,
        linewidth=0,
        zorder=1.5,
        gid="band",
    )
    for gid, mask, width, dashes in (
        ("ratio", bounded & ~beyond_M, 1.0, ()),
        ("ratio.extrapolated", bounded & beyond_M, 1.0, (2.5, 1.5)),
        ("ratio.unbounded", ~bounded, 0.5, (1.0, 1.0)),
    ):
        rows = data.where(_with_neighbours(mask) & np.isfinite(data["ratio"]))
        look: style.Look = {"color": colour, "linewidth": width * page.line, "zorder": 3, "gid": gid}
        axes.plot(compute_M, rows["ratio"], linestyle=(0, dashes) if dashes else "-", **look)
    axes.axhline(1.0, **REFERENCE)
    for mask, up in ((open_below & bounded, False), (open_above & bounded, True)):
        draw_open_ends(axes, compute_M, mask, page, colour, up=up)
    compute_axis(axes, page)
    axes.set_xlabel(axes.get_xlabel().replace("training FLOPs", f"training FLOPs of {comparison.rival}"))
    axes.set_ylabel(f"compute ratio\n{comparison.studied} / {comparison.rival}")
    style.label_log_axis(axes, "y", scientific=False, most=7)
    return [
        *draw_unidentified(axes, compute_M, ~bounded),
        *draw_extrapolated(axes, compute_M, beyond_M & bounded),
        reference_label(axes, "equal compute", 1.0),
        *_sides(axes, comparison.studied),
    ]


def _with_neighbours(mask_M: Mask) -> Mask:
    """The mask with the next compute, so that the parts of a curve meet."""
    return np.asarray(mask_M | np.append(False, mask_M[:-1]))


def _sides(axes: Axes, studied: str) -> list[Label]:
    """What it means to be above and below 1, near the left end of the axes."""
    low, high = np.log(axes.get_xlim())
    bottom, top = np.log(axes.get_ylim())
    labels = []
    for text, height in (("more", 0.8 * top), ("less", 0.75 * bottom)):
        places = [low + share * (high - low) for share in (0.2, 0.5, 0.75)]
        anchors = [(float(np.exp(place)), float(np.exp(height))) for place in places]
        labels.append(
            Label(text=f"{studied} needs {text} compute", anchors=anchors, colour=style.GREY, of_region=True)
        )
    return labels


def _limits(data: pd.DataFrame) -> tuple[float, float]:
    """The finite ratios with their ends and 1, no closer than NARROWEST and no farther than WIDEST."""
    ends = np.concatenate([data[name].to_numpy(dtype=float) for name in ("ratio", "lower", "upper")])
    finite = np.log(ends[np.isfinite(ends) & (ends > 0)])
    low = min(float(finite.min()) if len(finite) else 0.0, -np.log(NARROWEST))
    high = max(float(finite.max()) if len(finite) else 0.0, np.log(NARROWEST))
    low, high = max(1.12 * low, -np.log(WIDEST)), min(1.12 * high, np.log(WIDEST))
    return float(np.exp(low)), float(np.exp(high))


def _entries(
    comparison: Comparison, data: pd.DataFrame, looks: style.Looks, page: style.Page
) -> list[key.Entry]:
    """What the line and the band are; nothing is said of a band that is not there."""
    colour, found = looks.colours[comparison.studied], []
    bounded = bool(((data["lower"] > 0) | np.isfinite(data["upper"])).any())
    dashes, text = ((), "estimate") if bounded else ((1.0, 1.0), "estimate, not bounded")
    found.append(key.line_entry(page, text, colour=colour, dashes=dashes, width=1.0 if bounded else 0.5))
    if bounded:
        level = comparison.ratio.level if comparison.ratio is not None else 0.0
        found.append(key.band_entry(page, BAND_ALPHA, f"{level:.0%} at each compute", colour=colour))
    return found


def _caption(comparison: Comparison, data: pd.DataFrame) -> str:
    parts = [
        f"Training compute {comparison.studied} needs for the error that {comparison.rival} reaches with the "
        f"compute of the axis, as a ratio; below 1 {comparison.studied} needs less"
    ]
    if len(data):
        parts.append(
            "kinks: another tower of the menu becomes the best; arrows: the band has no end there; hatched: not "
            "identified; grey: beyond the runs of one of them"
        )
    return " ".join([*(words.sentence(part) for part in parts), words.sentence(comparison.sentence())])


def _alt(comparison: Comparison, data: pd.DataFrame) -> str:
    parts = [comparison.sentence()]
    if len(data):
        first, last = data.iloc[0], (
            data[~data["extrapolated"]].iloc[-1] if (~data["extrapolated"]).any() else data.iloc[-1]
        )
        parts.append(
            f"the ratio is {_told(first)} at {words.flops(first['train_flops'])} and {_told(last)} at "
            f"{words.flops(last['train_flops'])} training FLOPs of {comparison.rival}"
        )
        share = float(data["identified"].mean())
        parts.append(f"both ends of its interval are closed at {share:.0%} of the computes drawn")
    return " ".join(words.sentence(part) for part in parts)


def _told(row: pd.Series[float]) -> str:
    if not 0 < row["ratio"] < np.inf:
        return "out of reach" if row["ratio"] else "below every compute believed"
    lower = "0" if row["lower"] <= 0 else words.number(row["lower"])
    upper = "no upper end" if np.isinf(row["upper"]) else words.number(row["upper"])
    return f"{words.number(row['ratio'])} [{lower}, {upper}]"
