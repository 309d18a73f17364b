"""The `scaling` command: one verb per artefact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scaling.cli_data import data_app
from scaling.spec import SweepError

if TYPE_CHECKING:
    from scaling.plan import Plan

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
    devices: Annotated[int, typer.Option(min=1, help="number of devices (ranks)")] = 8,
    accelerator: Annotated[str, typer.Option(help="named device, see scaling/hardware.py")] = "h100_sxm",
    accelerators: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file that describes devices of your own")
    ] = None,
    price: Annotated[float | None, typer.Option(help="US dollars of one device for an hour")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="runs that train at once, each on all devices")] = 1,
    budget: Annotated[str | None, typer.Option(help='"500 device-hours" or "1000 usd"')] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="calibration.json of another sweep's runs")
    ] = None,
    runs: Runs = Path("runs"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "--json", metavar="FILE", help="default: RUNS/<sweep>/plan.json"),
    ] = None,
) -> None:
    """Print what a sweep will cost (FLOPs, device-hours, memory, bytes, money, per run and in all); write plan.json."""
    from scaling.requested_plan import PlanRequest, requested_plan
    from scaling.spec import load_sweep

    request = PlanRequest(
        num_devices=devices,
        accelerator=accelerator,
        accelerators=accelerators,
        usd_per_hour=price,
        jobs=jobs,
        budget=budget,
        calibration=calibration,
        runs=runs,
    )
    planned = requested_plan(load_sweep(sweep, changes), request)
    _show_plan(planned)
    _write_plan(planned, runs, output)


def _show_plan(planned: Plan) -> None:
    from scaling.plan_notes import plan_notes
    from scaling.plan_table import plan_tables

    console = _wide_console()
    for table in plan_tables(planned):
        console.print(table)
    for note in plan_notes(planned):
        console.print(note, highlight=False, markup=False)


def _write_plan(planned: Plan, runs: Path, output: Path | None) -> None:
    """plan.json, and beside the runs what was measured of them."""
    from scaling.calibration import CALIBRATION_FILE, measure, write_calibration
    from scaling.plan import write_plan
    from scaling.preflight import check_output_folder

    folder = runs / planned.sweep
    path = output or folder / "plan.json"
    check_output_folder(path.parent)
    write_plan(planned, path)
    Console().print(f"plan: {path} (contract {planned.contract_hash})", soft_wrap=True)
    measured = measure(folder)
    if measured.rows:
        write_calibration(measured, folder / CALIBRATION_FILE)
        Console().print(f"calibration: {folder / CALIBRATION_FILE}", soft_wrap=True)


@app.command()
def launch(
    sweep: SweepFile,
    changes: Settings = [],
    nproc: Annotated[
        int | None, typer.Option(help="ranks on this machine; default: one per GPU, else one")
    ] = None,
    only: Annotated[str, typer.Option(metavar="GLOB", help="run ids to train")] = "*",
    retry_failed: Annotated[bool, typer.Option(help="train failed points again, too")] = False,
    replan: Annotated[
        bool, typer.Option(help="agree to the sweep as it is now, whatever was planned")
    ] = False,
    slurm: Annotated[
        Path | None, typer.Option(metavar="FILE", help="submit a Slurm job per point instead, as FILE says")
    ] = None,
    runs: Runs = Path("runs"),
    drill: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Run `deepspeed launch SWEEP` under supervision: no orphans, and success means that every record exists."""
    flags = [*(["--retry-failed"] if retry_failed else []), *(["--replan"] if replan else [])]
    if slurm is not None:
        _submit(sweep, slurm, changes, nproc, only, flags, runs)
        return
    from scaling.supervise import supervise

    options = [f"--only={only}", f"--runs={runs}", *(f"--set={change}" for change in changes), *flags]
    raise typer.Exit(supervise(sweep, nproc, [*options, *([f"--drill={drill}"] if drill else [])]))


def _submit(
    sweep: Path,
    slurm: Path,
    changes: list[str],
    nproc: int | None,
    only: str,
    flags: list[str],
    runs: Path,
) -> None:
    from scaling.slurm import submit_sweep

    if nproc is not None:
        raise ValueError("--nproc and --slurm exclude each other: FILE says how many ranks a node has.")
    jobs = submit_sweep(sweep, slurm, changes, only=only, flags=flags, runs=runs)
    for run_id, job in jobs.items():
        Console().print(f"{run_id}: job {job}", soft_wrap=True)
    if not jobs:
        Console().print("nothing to submit: every chosen point is done, or failed before (--retry-failed)")


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
    run: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run, runs/SWEEP/RUN_ID")],
    format: Annotated[str, typer.Option(help="timm, open_clip or transformers")],
    output: Annotated[Path, typer.Option(help="folder to write; must not exist")],
    checkpoint: Annotated[
        int | None, typer.Option(metavar="STEP", help="of an unfinished run, the checkpoint to take")
    ] = None,
) -> None:
    """Write the weights of a run as a folder that timm, open_clip or transformers loads."""
    from scaling.export import export_run

    export_run(run, output, format=format, checkpoint=checkpoint)
    Console().print(f"{format}: {output} (how to load it: {output / 'README.md'})", soft_wrap=True)


@app.command()
def drill(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="all, parity, or a fault; anything else lists them")
    ],
    keep: Annotated[bool, typer.Option(help="keep the folder of the runs")] = False,
) -> None:
    """Play faults on a tiny sweep, through the real launcher, and tell what came of them; exit 1 if not as expected."""
    from scaling.drill.drills import run_drills

    raise typer.Exit(0 if run_drills(name, keep=keep, console=_wide_console()) else 1)


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
