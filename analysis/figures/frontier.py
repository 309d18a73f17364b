"""The frontier of an objective inside axes: its line, its bands, its name."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import style
from analysis.figures.labels import Label
from analysis.figures.lettering import text_colour

MEAN_ALPHA, NEW_RUN_ALPHA = 0.30, 0.12
DASHES = (2.5, 1.5)
LABEL_PLACES = (0.93, 0.8, 0.6, 0.4, 0.2, 0.05)  # along a curve, preferred first


def draw_frontier(
    axes: Axes, name: str, curve: pd.DataFrame | None, page: style.Page, looks: style.Looks
) -> list[Label]:
    """The frontier of an objective: solid where runs were fitted, dashed and paler beyond; its name as a label."""
    if curve is None:
        return []
    colour = looks.colours[name]
    for beyond, part in (
        ("", ~curve["extrapolated"]),
        (".extrapolated", _with_neighbours(curve["extrapolated"])),
    ):
        pale = 0.55 if beyond else 1.0
        look: style.Look = {"color": colour, "linewidth": page.line, "zorder": 3.5}
        dashes = (0, DASHES) if beyond else "-"
        error = curve["error"].where(part)
        axes.plot(curve["train_flops"], error, linestyle=dashes, **look, gid=f"frontier.{name}{beyond}")
        for band, alpha in (("new_run", NEW_RUN_ALPHA), ("mean", MEAN_ALPHA)):
            _draw_band(axes, curve, part, band, colour, alpha * pale, f"{band}.{name}{beyond}")
    fitted = curve if curve["extrapolated"].all() else curve[~curve["extrapolated"]]
    places = [fitted.iloc[round(share * (len(fitted) - 1))] for share in LABEL_PLACES]
    anchors = [(float(row["train_flops"]), float(row["error"])) for row in places]
    return [Label(text=name, anchors=anchors, colour=text_colour(colour), weight="bold")]


def _draw_band(
    axes: Axes, curve: pd.DataFrame, part: pd.Series[bool], band: str, colour: str, alpha: float, gid: str
) -> None:
    """The band where it exists; an open side reaches the edge of the axes."""
    lower, upper = curve[f"{band}_lower"], curve[f"{band}_upper"]
    if lower[part].isna().all() or not part.any():
        return
    axes.fill_between(
        curve["train_flops"],
        lower.clip(lower=1e-9),
        upper.clip(upper=1e9),
        where=part.to_numpy(),
        color=colour,
        alpha=alpha,
        linewidth=0,
        gid=gid,
        zorder=1.5,
    )


def _with_neighbours(part: pd.Series[bool]) -> pd.Series[bool]:
    """The rows with one more on either side, so that the curve has no gap."""
    return part | part.shift(-1, fill_value=False) | part.shift(1, fill_value=False)
