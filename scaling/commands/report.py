"""`scaling report`: the page of one or several sweeps, their figures as files, their runs in TensorBoard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scaling.commands.arguments import Runs
from scaling.commands.studied import (
    AtCompute,
    Between,
    MetricName,
    Refits,
    Sources,
    Unseal,
    folders_of,
    open_holdouts,
    options_of,
)


def report(
    sources: Sources,
    runs: Runs = Path("runs"),
    output: Annotated[Path | None, typer.Option(help="default: RUNS/<sweep>/report.html")] = None,
    metric: MetricName = None,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="save every figure as files beside the page")
    ] = True,
    unseal: Unseal = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="write hparams and custom scalars of the sweep as well")
    ] = False,
    between: Between = None,
    at: AtCompute = None,
    refits: Refits = 1000,
) -> None:
    """Write what the runs say as one self-contained HTML page, with every figure as files beside it."""
    from analysis.report.page import write_report

    folders, options = folders_of(sources, runs), options_of(refits, at, between)
    if metric is not None:
        _check_metric(folders, metric)
    if unseal:
        open_holdouts(folders)
    if tensorboard:
        for folder in folders:
            _write_tensorboard(folder)
    page = output or folders[0] / "report.html"
    written = write_report(folders, page, metric=metric, options=options, save_figures=figures)
    Console().print(f"report: {written}", soft_wrap=True)


def _check_metric(folders: list[Path], metric: str) -> None:
    """ValueError where the runs of a sweep recorded metrics, but not the one that is asked for."""
    from analysis.load import load_sweep
    from analysis.study.metrics import check_recorded

    for folder in folders:
        check_recorded(load_sweep(folder), metric)


def _write_tensorboard(folder: Path) -> None:
    """Write the runs of a sweep for TensorBoard, those of a closed holdout without their scores."""
    from analysis.load import load_sweep, read_plan
    from analysis.selection.holdout import blinded, sealed_runs
    from analysis.tensorboard import write_tensorboard

    table = load_sweep(folder)
    write_tensorboard(folder, blinded(table, sealed_runs(folder, read_plan(folder).holdout)))
    Console().print(f"tensorboard --logdir {folder}", soft_wrap=True)
