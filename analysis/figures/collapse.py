"""Training curves, raw and collapsed: samples and reducible loss divided by those at the end of each run.

Curves of well-scaled runs fall on one another (Qiu 2025); a run that leaves the others was trained differently.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures import style, words
from analysis.figures.drawing import Drawing, file_name
from analysis.figures.labels import Label, place_labels
from analysis.figures.layout import REFERENCE, empty_panel, num_columns, panel_figure
from analysis.figures.lettering import room_beside, text_colour
from analysis.figures.provenance import provenance

NUM_BINS = 60  # along the logarithm of samples_seen: a training loss of one step is mostly noise
FIRST = 0.01  # share of a run from which curves are drawn collapsed
SETTLED = 0.2  # share of a run from which their spread is judged: warm-up is over
LEFT = 0.03  # of the range of the runs: free at the left of a panel
FINAL = 0.02  # share of a run whose mean loss is its final loss
COLUMNS = ["objective", "run_id", "samples_seen", "loss", "share", "normalised"]


def collapsed_training_curves(
    rows: pd.DataFrame,
    looks: style.Looks,
    *,
    floors: Mapping[str, float] | None = None,
    width: style.Width = "full",
) -> Drawing:
    """Per objective a panel of training losses and one of the same curves normalised.

    `rows`: objective, run_id, samples_seen, loss of the logged steps of finished runs (metrics.jsonl).  `floors`:
    the irreducible loss of each objective, taken off first; 0 where none is known.
    """
    page, data = style.PAGES[width], collapse_data(rows, floors or {})
    names = [name for name in looks.colours if name in set(data["objective"])]
    with style.house_style(page):
        figure, panels = panel_figure(page, max(2 * len(names), 1))
        if not names:
            empty_panel(panels[0], "no finished run has logged its losses", page)
        wanted = {}
        for rank, name in enumerate(names):
            own, colour = data[data["objective"] == name], looks.colours[name]
            raw, normalised = panels[2 * rank : 2 * rank + 2]
            wanted[raw] = _draw_raw(raw, own, name, colour, page)
            wanted[normalised] = _draw_collapsed(
                normalised, own, name, colour, page, (floors or {}).get(name, 0.0)
            )
        place_labels(figure, wanted)
    message = " ".join(words.sentence(_told(name, data, (floors or {}).get(name, 0.0))) for name in names)
    message = message or "No finished run has logged its losses."
    return Drawing(
        name=file_name("training_curves", width),
        title="Training curves, raw and collapsed",
        caption=(
            "Mean training loss in logarithmic bins of samples_seen, a line per run, dark for many samples. Collapsed: "
            f"samples and reducible loss as shares of those at the end of the run (Qiu et al. 2025). {message}"
        ),
        alt=message,
        figure=figure,
        data=data,
        provenance=provenance(
            floors=dict(floors or {}), num_bins=NUM_BINS, final_share=FINAL, settled_share=SETTLED
        ),
    )


def collapse_data(rows: pd.DataFrame, floors: Mapping[str, float]) -> pd.DataFrame:
    """objective, run_id, samples_seen, loss (means of bins), share of the run, normalised reducible loss."""
    frames = []
    for key, run in rows.dropna(subset=["loss"]).groupby(["objective", "run_id"]):
        objective, run_id = map(str, key)
        end = float(run["samples_seen"].max())
        final = float(run.loc[run["samples_seen"] >= (1 - FINAL) * end, "loss"].mean())
        floor = floors.get(objective, 0.0)
        if final <= floor:
            raise ValueError(
                f"{run_id}: its final loss {final:.4g} is not above the floor {floor:.4g} of {objective}; "
                "give a lower one."
            )
        edges = np.geomspace(float(run["samples_seen"].min()), end, NUM_BINS + 1)
        place = np.clip(np.searchsorted(edges, run["samples_seen"], side="right") - 1, 0, NUM_BINS - 1)
        binned = run.groupby(place)[["samples_seen", "loss"]].mean()
        normalised = (binned["loss"] - floor) / (final - floor)
        frames.append(
            binned.assign(
                objective=objective, run_id=run_id, share=binned["samples_seen"] / end, normalised=normalised
            )
        )
    return pd.concat(frames, ignore_index=True)[COLUMNS] if frames else pd.DataFrame(columns=COLUMNS)


def spread(data: pd.DataFrame) -> float | None:
    """Standard deviation across runs of the normalised curves, median over their settled part; None with one run."""
    runs = [run.sort_values("share") for _, run in data.groupby("run_id")]
    if len(runs) < 2:
        return None
    grid = np.geomspace(SETTLED, 1.0, NUM_BINS)
    curves = np.stack([np.interp(grid, run["share"], run["normalised"]) for run in runs])
    return float(np.median(curves.std(axis=0, ddof=1)))


def _draw_raw(axes: Axes, own: pd.DataFrame, name: str, colour: str, page: style.Page) -> list[Label]:
    axes.set(xscale="log", yscale="log", xlabel="samples_seen", ylabel="training loss (nats)")
    ends = _draw_runs(axes, own, "samples_seen", "loss", colour, page)
    axes.set_title(name, fontweight="bold", color=text_colour(colour))
    told = ends if len(ends) <= 3 else [ends[0], ends[-1]]
    totals = sorted(_total(run) for _, run in own.groupby("run_id"))
    seen = totals if len(ends) <= 3 else [totals[0], totals[-1]]
    labels = [
        Label(text=f"{words.short(total)} samples", anchors=[(samples, loss)], colour=text_colour(shade))
        for total, (samples, loss, shade) in zip(seen, told)
    ]
    room = room_beside([label.text for label in labels], page, num_columns(axes))
    high = (1 + LEFT) * room / (1 - room)
    axes.set_xlim(*style.padded_log_limits(list(own["samples_seen"]), low=LEFT, high=high, least_factor=10))
    axes.set_ylim(*style.padded_log_limits(list(own["loss"]), least_factor=1.15))
    style.label_quantity_axis(axes, most=5)
    style.label_log_axis(axes, "y", scientific=False)
    return labels


def _draw_collapsed(
    axes: Axes, own: pd.DataFrame, name: str, colour: str, page: style.Page, floor: float
) -> list[Label]:
    shown = own[own["share"] >= FIRST]
    what = "reducible loss" if floor else "loss"
    axes.set(xscale="log", yscale="log", xlabel="share of the run's samples", ylabel=f"{what} / final")
    _draw_runs(axes, shown, "share", "normalised", colour, page)
    axes.axhline(1.0, **REFERENCE)
    axes.set_xlim(*style.padded_log_limits([*shown["share"], 1.0], low=0.03, high=0.03, least_factor=10))
    axes.set_ylim(*style.padded_log_limits([*shown["normalised"], 1.0], least_factor=1.15))
    style.label_log_axis(axes, "x", scientific=False, most=5)
    style.label_log_axis(axes, "y", scientific=False)
    found = spread(own)
    text = "one run" if found is None else f"spread {found:.1%}"
    axes.set_title(f"{name}, collapsed: {text}")
    return []


def _draw_runs(
    axes: Axes, own: pd.DataFrame, x: str, y: str, colour: str, page: style.Page
) -> list[tuple[float, float, str]]:
    """A line per run; the end of each with its shade, fewest samples first."""
    order = own.groupby("run_id")["samples_seen"].max().sort_values(kind="stable").index
    ends = []
    for rank, run_id in enumerate(order):
        run = own[own["run_id"] == run_id]
        shade = style.paler(colour, 0.6 * (1 - rank / max(len(order) - 1, 1)))
        axes.plot(run[x], run[y], color=shade, linewidth=page.line * 0.55, zorder=3, gid=f"{y}.{run_id}")
        ends.append((float(run[x].iloc[-1]), float(run[y].iloc[-1]), shade))
    return ends


def _total(run: pd.DataFrame) -> float:
    """samples_seen of a whole run: the rows are means of bins, the last of which ends a little earlier."""
    last = run.iloc[-1]
    return float(last["samples_seen"] / last["share"])


def _told(name: str, data: pd.DataFrame, floor: float) -> str:
    own = data[data["objective"] == name]
    found, count = spread(own), own["run_id"].nunique()
    taken = f"after taking off a floor of {words.number(floor)}" if floor else "without a floor taken off"
    if found is None:
        return f"{name}: one run, so nothing to collapse onto"
    return (
        f"{name}: the normalised curves of {words.counted(count, 'run')} differ by {found:.1%} (standard deviation, "
        f"median over the last {1 - SETTLED:.0%} of the runs), {taken}"
    )
