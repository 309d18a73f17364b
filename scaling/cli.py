"""The `scaling` command: one verb per artefact."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scaling.commands.arguments import Runs, Settings, SweepFile, wide_console
from scaling.commands.data import data_app
from scaling.commands.plan import plan, profile
from scaling.commands.report import report
from scaling.commands.verdict import compare, design, fit
from scaling.records import WriteError
from scaling.spec import SweepError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(data_app, name="data")

for command in (plan, profile, fit, compare, design, report):
    app.command()(command)


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
    from scaling.launching.supervise import supervise

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
    from scaling.commands.tables import status_table
    from scaling.plan import read_plan_points
    from scaling.spec import sweep_name

    folder = runs / sweep_name(sweep)
    wide_console().print(status_table(folder, read_plan_points(folder / "plan.json")))


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

    raise typer.Exit(0 if run_drills(name, keep=keep, console=wide_console()) else 1)


def main() -> None:
    """Run the command; what the user can mend is one clear message and exit status 2."""
    try:
        app()
    except (SweepError, ValueError, OSError, WriteError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)
