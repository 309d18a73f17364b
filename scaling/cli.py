"""The `scaling` command: one verb per artefact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scaling.cli_data import data_app
from scaling.spec import SweepError

TABLE_WIDTH = 100  # columns that our tables need

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(data_app, name="data")

SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP", help="sweep file, e.g. sweeps/quickstart.yaml")]
Settings = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="change the sweep file")]
Runs = Annotated[Path, typer.Option(help="where run directories are")]


@app.command()
def plan(
    sweep: SweepFile,
    changes: Settings = [],
    devices: Annotated[int, typer.Option(help="number of devices (ranks)")] = 8,
    accelerator: Annotated[str, typer.Option(help="named device, see scaling/hardware.py")] = "h100_sxm",
    runs: Runs = Path("runs"),
    output: Annotated[Path | None, typer.Option(help="default: RUNS/<sweep>/plan.json")] = None,
) -> None:
    """Print what a sweep will cost, parameters, training FLOPs, steps and device-hours per run; write plan.json."""
    from scaling.plan import plan_sweep, write_plan
    from scaling.points import resolve_points
    from scaling.preflight import check_output_folder
    from scaling.spec import load_sweep
    from scaling.tables import plan_table

    loaded = load_sweep(sweep, changes)
    points = resolve_points(loaded, num_ranks=devices, require_data=False)
    planned = plan_sweep(points, accelerator, question=loaded.question)
    console = _wide_console()
    console.print(plan_table(planned))
    if planned.is_provisional:
        console.print(
            "run ids are provisional: they will hold the digest of the training set once data.train exists"
        )
    path = output or runs / planned.sweep / "plan.json"
    check_output_folder(path.parent)
    write_plan(planned, path)
    console.print(f"plan: {path} (contract {planned.contract_hash})", soft_wrap=True)


@app.command()
def launch(
    sweep: SweepFile,
    changes: Settings = [],
    nproc: Annotated[
        int | None, typer.Option(help="ranks on this machine; default: one per GPU, else one")
    ] = None,
    only: Annotated[str, typer.Option(metavar="GLOB", help="run ids to train")] = "*",
    retry_failed: Annotated[bool, typer.Option(help="train failed points again, too")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Run `deepspeed launch SWEEP` under supervision: no orphans, and success means that every record exists."""
    from scaling.supervise import supervise

    options = [f"--only={only}", f"--runs={runs}", *(f"--set={change}" for change in changes)]
    raise typer.Exit(supervise(sweep, nproc, [*options, *(["--retry-failed"] if retry_failed else [])]))


@app.command()
def status(sweep: SweepFile, runs: Runs = Path("runs")) -> None:
    """Print where every run of a sweep stands: done, running, failed and why, pending."""
    from scaling.plan import read_plan_points
    from scaling.spec import sweep_name
    from scaling.tables import status_table

    folder = runs / sweep_name(sweep)
    _wide_console().print(status_table(folder, read_plan_points(folder / "plan.json")))


@app.command()
def report(
    sweep: SweepFile,
    runs: Runs = Path("runs"),
    output: Annotated[Path | None, typer.Option(help="default: RUNS/<sweep>/report.html")] = None,
    metric: Annotated[str, typer.Option(help="the score of the main figure")] = "linear_probe.top1",
) -> None:
    """Fit the scaling law of every objective and write a self-contained HTML report."""
    from analysis.report import write_report
    from scaling.spec import sweep_name

    folder = runs / sweep_name(sweep)
    written = write_report(folder, output or folder / "report.html", metric=metric)
    Console().print(f"report: {written}", soft_wrap=True)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run, runs/SWEEP/RUN_ID")],
    format: Annotated[str, typer.Option(help="timm, open_clip or transformers")],
    output: Annotated[Path, typer.Option(help="folder to write; must not exist")],
) -> None:
    """Write the weights of a run as a folder that timm, open_clip or transformers loads."""
    from scaling.export import export_run

    export_run(run, output, format=format)
    Console().print(f"{format}: {output} (how to load it: {output / 'README.md'})", soft_wrap=True)


def _wide_console() -> Console:
    """A console for tables: in a pipe or a narrow terminal lines may wrap, but no figure is cut off."""
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    return console


def main() -> None:
    """Run the command; what the user can mend is one clear message and exit status 2."""
    try:
        app()
    except (SweepError, ValueError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
