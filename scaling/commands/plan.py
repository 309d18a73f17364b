"""`scaling plan` and `scaling profile`: what a sweep will take, and what a few of its steps took."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from scaling.commands.arguments import Runs, Settings, SweepFile, wide_console
from scaling.sweep.sweep_file import SweepError

if TYPE_CHECKING:
    from scaling.plan import Plan

STANDARD_OUTPUT = Path("-")


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
        typer.Option(
            "--output",
            "--json",
            metavar="FILE",
            help="default: RUNS/<sweep>/plan.json; -: to standard output",
        ),
    ] = None,
) -> None:
    """Print what a sweep will cost (FLOPs, device-hours, memory, bytes, money, per run and in all); write plan.json."""
    from scaling.planning.requested_plan import PlanRequest, requested_plan
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
    _check_output(output)
    planned = requested_plan(load_sweep(sweep, changes), request)
    is_piped = output == STANDARD_OUTPUT
    console = wide_console(stderr=is_piped)
    _show_plan(planned, console)
    if is_piped:
        typer.echo(planned.model_dump_json(indent=1))
    else:
        _write_plan(planned, runs, output)


def _check_output(output: Path | None) -> None:
    """ValueError for a path that stands for something else than a file: writing would put a file in its place."""
    if output is not None and output.exists() and not output.is_file():
        raise ValueError(f"--json {output} is no file: name one, or - for standard output.")


def _show_plan(planned: Plan, console: Console) -> None:
    from scaling.plan import cost_summary
    from scaling.planning.plan_notes import plan_notes
    from scaling.planning.plan_table import plan_tables

    for table in plan_tables(planned, console.width):
        console.print(table)
    console.print(cost_summary(planned), highlight=False)
    for note in plan_notes(planned):
        console.print(note, highlight=False, markup=False)


def _write_plan(planned: Plan, runs: Path, output: Path | None) -> None:
    """Write plan.json, and calibration.json if runs of the sweep were measured."""
    from scaling.launching.preflight import check_output_folder
    from scaling.plan import write_plan
    from scaling.predicting.calibration import CALIBRATION_FILE, measure, write_calibration

    folder = runs / planned.sweep
    path = output or folder / "plan.json"
    check_output_folder(path.parent)
    write_plan(planned, path)
    Console().print(f"plan: {path} (contract {planned.contract_hash})", soft_wrap=True)
    measured = measure(folder)
    if measured.rows:
        write_calibration(measured, folder / CALIBRATION_FILE)
        Console().print(f"calibration: {folder / CALIBRATION_FILE}", soft_wrap=True)


def profile(
    sweep: Annotated[
        Path | None, typer.Argument(metavar="[SWEEP]", help="sweep file; its points run a few real steps")
    ] = None,
    changes: Settings = [],
    counters: Annotated[
        bool, typer.Option("--counters", help="compare four counters of FLOPs on every tower instead")
    ] = False,
    point: Annotated[str | None, typer.Option(metavar="ID", help="one point of the sweep")] = None,
    steps: Annotated[int, typer.Option(min=1, help="steps to time")] = 3,
    output: Annotated[Path | None, typer.Option(help="default: runs/<sweep>/profile.html")] = None,
) -> None:
    """Run a few real steps and write where time, FLOPs and memory go; or compare counters of FLOPs."""
    if counters:
        from scaling.profile.counters import print_counters

        raise typer.Exit(print_counters(wide_console()))
    if sweep is None:
        raise SweepError("scaling profile takes a sweep file, or --counters.")
    from scaling.profile.report import profile_sweep
    from scaling.spec import load_sweep

    raise typer.Exit(profile_sweep(load_sweep(sweep, changes), point, steps, output, wide_console()))
