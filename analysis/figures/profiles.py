"""Profile likelihoods: how much worse the best law becomes when one parameter is held elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import lettering, style, words
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.labels import place_labels
from analysis.figures.layout import REFERENCE, empty_panel, hide_inner_labels, panel_figure, reference_label
from analysis.figures.provenance import fit_facts, provenance
from analysis.fitting.fit import Fit
from analysis.forms.form import Floats
from analysis.intervals.profile import Profile

TOP = 2.6  # of the threshold: how far up a panel shows
OPEN_ALPHA, CLOSED_ALPHA = 0.10, 0.18


def profile_panels(
    profiles: Sequence[Profile],
    fit: Fit,
    objective: str,
    metric: str,
    looks: style.Looks,
    *,
    width: style.Width = "full",
) -> Drawing:
    """A panel per parameter: the objective's rise over the threshold's; the interval shaded, open sides as arrows."""
    page, colour = style.PAGES[width], looks.colours[objective]
    with style.house_style(page):
        most = 2 if len(profiles) == 4 else 3  # no row of one
        figure, panels = panel_figure(page, max(len(profiles), 1), most=most, most_in_column=2, share_y=True)
        if not profiles:
            empty_panel(panels[0], f"{objective}: no law, so no parameter to profile", page)
        for axes, one in zip(panels, profiles):
            _draw(axes, one, colour, page)
        hide_inner_labels(panels, below=False)
        threshold = [reference_label(panels[0], f"{profiles[0].interval.level:.0%}", 1.0)] if profiles else []
        place_labels(figure, {panels[0]: threshold})
    told = [f"{readable(one.parameter)} {words.interval(one.interval)}" for one in profiles]
    level = f" ({profiles[0].interval.level:.0%})" if profiles else ""
    message = f"Profile intervals{level} of {objective}: {'; '.join(told) or 'none, as no law is stated'}."
    return Drawing(
        name=file_name(f"{metric.replace('.', '_')}_profiles_{objective}", width),
        title=f"Profile likelihood of the law of {objective}",
        caption=(
            "Least objective with one parameter held at each value and all others refitted, in units of the threshold. "
            "Shaded: where it stays below. A side that never rises above the threshold is open: the runs do not bound "
            f"the parameter there. {message}"
        ),
        alt=message,
        figure=figure,
        data=profile_data(profiles),
        provenance=provenance(
            metric=metric,
            objective=objective,
            fit=fit_facts(fit),
            intervals={p.parameter: p.interval for p in profiles},
        ),
    )


def profile_data(profiles: Sequence[Profile]) -> pd.DataFrame:
    """parameter, value, objective, threshold, rise (in units of the threshold's)."""
    columns = ["parameter", "value", "objective", "threshold", "rise"]
    frames = [
        pd.DataFrame({"value": one.grid_G, "objective": one.objective_G, "rise": _rise(one)}).assign(
            parameter=one.parameter, threshold=one.threshold
        )
        for one in profiles
    ]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def readable(parameter: str) -> str:
    """exponent_samples_seen -> "exponent of samples_seen"."""
    kind, _, covariate = parameter.partition("_")
    return f"{kind} of {covariate}" if covariate else kind


def _rise(profile: Profile) -> Floats:
    least = profile.objective_G.min()
    return np.asarray((profile.objective_G - least) / max(profile.threshold - least, 1e-300))


def _draw(axes: Axes, profile: Profile, colour: str, page: style.Page) -> None:
    interval, rise_G = profile.interval, _rise(profile)
    logarithmic = bool(np.all(profile.grid_G > 0)) and profile.parameter != "floor"
    if logarithmic:
        axes.set_xscale("log")
    axes.plot(
        profile.grid_G,
        rise_G,
        color=colour,
        linewidth=page.line,
        zorder=3,
        gid=f"profile.{profile.parameter}",
    )
    axes.axhline(1.0, **REFERENCE)
    axes.axvline(interval.estimate, color=colour, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=2)
    low, high = _limits(profile, rise_G, logarithmic)
    axes.set(xlim=(low, high), ylim=(-0.12, TOP), xlabel=readable(profile.parameter))
    lower = low if interval.lower is None else interval.lower
    upper = high if interval.upper is None else interval.upper
    axes.axvspan(
        lower, upper, color=colour, alpha=CLOSED_ALPHA if interval.identified else OPEN_ALPHA, linewidth=0
    )
    axes.set_ylabel("rise / threshold")
    if logarithmic:
        style.label_log_axis(axes, "x", scientific=low < 1e-3 or high > 1e4, most=4)
    for end, place, arrow in ((interval.lower, low, "<"), (interval.upper, high, ">")):
        if end is None:
            axes.plot(
                place, 0.0, arrow, color=colour, markersize=page.marker, clip_on=False, zorder=6, gid="open"
            )
    axes.set_title(
        lettering.wrapped(words.interval(interval), page, share=0.42 if page.panel_columns == 1 else 0.3),
        color=style.INK,
    )


def _limits(profile: Profile, rise_G: Floats, logarithmic: bool) -> tuple[float, float]:
    """The values where the rise is in view; on an open side a while on, as nothing changes there."""
    interval = profile.interval
    shown = profile.grid_G[rise_G <= TOP]
    if not logarithmic:
        span = float(np.ptp(shown)) or abs(interval.estimate) or 1.0
        return float(shown.min()) - 0.04 * span, float(shown.max()) + 0.04 * span
    ends = [float(shown.min()), float(shown.max())]
    inner = [end for end in (interval.lower, interval.upper, interval.estimate) if end is not None]
    if interval.lower is None:
        ends[0] = max(ends[0], min(inner) / 8)
    if interval.upper is None:
        ends[1] = min(ends[1], max(inner) * 8)
    return style.padded_log_limits(ends, low=0.04, high=0.04, least_factor=1.1)
