"""The report of a sweep: one self-contained HTML page, and its figures as SVG, PNG and CSV beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis.efficiency import efficiency_table, warnings_of
from analysis.figures import files, style
from analysis.figures.drawing import Drawing
from analysis.figures.versus_compute import error_versus_compute, loss_panels, score_panels
from analysis.filters import error_label
from analysis.fit import GRADIENT_TOLERANCE, MIN_COMPUTE_VALUES
from analysis.load import SweepPlan, load_sweep, metric_columns, read_plan
from analysis.old_study import MetricStudy, study_metric
from analysis.plan_reality import plan_and_reality
from analysis.problem import IDENTIFICATION_LEVEL, FitOptions
from analysis.tables import (
    cost_table,
    environment_table,
    fit_table,
    ledger_table,
    score_table,
    varied_table,
)
from analysis.uncertainty import MIN_CELLS, NUM_REFITS
from analysis.varied import what_varied
from analysis.wording import headline, num_runs, protocols, share, standing
from scaling.records import WriteError, write_atomically

TEMPLATES = Path(__file__).parent / "templates"
LOSS = "held_out_loss.loss"


def write_report(
    runs: Path, output: Path, *, varied: list[dict[str, Any]] | None = None, metric: str = "linear_probe.top1"
) -> Path:
    """The path of the written page: what the runs below `runs` (runs/<sweep>) say, finished or not.

    `varied` holds rows with field, kind and values (scaling.confounds); left out, it is the plan's
    table or, without one, computed from the runs.  Figures go to `figures/` beside the page.  ValueError for
    a missing sweep folder or an output that is not .html, WriteError where nothing can be written.
    """
    if output.suffix != ".html":
        raise ValueError(f"{output}: the report is an HTML page; give a path that ends in .html.")
    table, plan = load_sweep(runs), read_plan(runs)
    figures = _make_folder(output.parent / "figures")
    studies = [study_metric(table, name) for name in dict.fromkeys((metric, LOSS))]
    drawings = draw(studies)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    page = environment.get_template("old_report.html").render(
        sweep=runs.resolve().name,
        question=plan.question,
        figures=[_figure(drawing) for drawing in drawings],
        **_findings(table, plan, studies),
        **_tables(table, studies, varied if varied is not None else _varied(table, plan)),
        **_method(),
    )
    for drawing in drawings:
        _save(drawing, figures)
    write_atomically(output, page)
    return output


def draw(studies: Sequence[MetricStudy]) -> list[Drawing]:
    """The figures of the report: the metric asked for, the held-out loss, other scores, plan and reality."""
    main, table = studies[0], studies[0].table
    drawings = [error_versus_compute(main)]
    if main.metric != LOSS:
        drawings.append(loss_panels(studies[-1]))
    others = [name for name in _summaries(metric_columns(table)) if name not in (main.metric, LOSS)]
    drawings += [score_panels(table, others)] if others else []
    reality = plan_and_reality(table)
    return drawings if reality is None else [*drawings, reality]


def _summaries(metrics: Sequence[str]) -> list[str]:
    """Metrics worth a panel: of recalls at several ranks the most forgiving one; the table holds all."""
    return [name for name in metrics if not name.endswith(("_recall_at_1", "_recall_at_5"))]


def _findings(table: pd.DataFrame, plan: SweepPlan, studies: Sequence[MetricStudy]) -> dict[str, Any]:
    main = studies[0]
    counts = table["status"].value_counts()
    colours = style.objective_colours(list(main.laws))
    finished = table["finished_at"].dropna().max() if "finished_at" in table else ""
    return {
        "counts": ", ".join(f"{count} {status}" for status, count in counts.items()) or "none yet",
        "num_runs": num_runs(len(table)),
        "last_finished": finished,
        "metric": error_label(main.metric),
        "headlines": [(name, colours[name], headline(main, law)) for name, law in main.laws.items()],
        "missing": standing(table, len(plan.costs.keys() - set(table["run_id"]))),
    }


def _tables(
    table: pd.DataFrame, studies: Sequence[MetricStudy], varied: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "fits": fit_table(studies),
        "costs": cost_table(table),
        "efficiency": efficiency_table(table),
        "warnings": warnings_of(table),
        "scores": score_table(table),
        "varied": varied_table(varied, constant=False),
        "constant": varied_table(varied, constant=True),
        "ledger": ledger_table(studies),
        "environment": environment_table(table),
        "protocols": "; ".join(f"{task}: {', '.join(names)}" for task, names in protocols(table).items()),
    }


def _varied(table: pd.DataFrame, plan: SweepPlan) -> Sequence[Mapping[str, Any]]:
    """The planner's table, which knows the declared axes, if the plan covers all runs; else the runs' own."""
    return plan.varied if plan.varied and set(table["run_id"]) <= plan.costs.keys() else what_varied(table)


def _method() -> dict[str, Any]:
    """The constants that the method section states."""
    return {
        "num_starts": FitOptions().num_starts,
        "min_compute_values": MIN_COMPUTE_VALUES,
        "identification_level": share(IDENTIFICATION_LEVEL),
        "gradient_tolerance": f"{GRADIENT_TOLERANCE:.0e}",
        "num_refits": NUM_REFITS,
        "min_cells": MIN_CELLS,
    }


def _figure(drawing: Drawing) -> dict[str, Any]:
    csv = base64.b64encode(drawing.data.to_csv(index=False).encode()).decode()
    svg = files.inline_svg(files.svg_text(drawing.figure), drawing.name, drawing.title)
    return {
        "name": drawing.name,
        "title": drawing.title,
        "caption": drawing.caption,
        "svg": Markup(svg),
        "data": f"data:text/csv;base64,{csv}",
    }


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{folder}: cannot be created ({error.strerror}); choose another folder.") from error
    return folder


def _save(drawing: Drawing, folder: Path) -> None:
    write_atomically(folder / f"{drawing.name}.svg", files.svg_text(drawing.figure))
    write_atomically(folder / f"{drawing.name}.csv", drawing.data.to_csv(index=False))
    try:
        (folder / f"{drawing.name}.png").write_bytes(files.png_bytes(drawing.figure))
    except OSError as error:
        raise WriteError(f"{folder / drawing.name}.png: not written ({error.strerror}).") from error
