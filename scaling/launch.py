"""`deepspeed launch SWEEP`: train every pending point of a sweep, with the ranks that the launcher started."""

from __future__ import annotations

import argparse
import fnmatch
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scaling.launching.bookkeeping import say
from scaling.launching.parent import EXIT_TERMINATED, Parent
from scaling.launching.preflight import (
    check_data,
    check_output_folder,
    detect_accelerator,
    device_here,
    fetch_image_weights,
)
from scaling.launching.stop_request import StopRequest, Terminated
from scaling.plan import Plan, plan_sweep, write_plan
from scaling.planning.contract import plan_to_keep
from scaling.planning.holdout import sealed_runs
from scaling.points import RunPoint, resolve_points
from scaling.predicting.calibration import measure
from scaling.processes.assignment import EXIT_PREEMPTED
from scaling.processes.ranks import Rank, current_rank
from scaling.processes.residue import check_scratch_length
from scaling.spec import SweepError, load_sweep

EXIT_BAD_INPUT = 2


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line. No flag may be a prefix of a flag of DeepSpeed's launcher, which would refuse it."""
    parser = argparse.ArgumentParser(prog="deepspeed launch", description=__doc__)
    parser.add_argument("sweep", type=Path, help="sweep file, e.g. sweeps/quickstart.yaml")
    parser.add_argument("--only", metavar="GLOB", default="*", help="run ids to train, e.g. 'clip-*'")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change the sweep file"
    )
    parser.add_argument("--retry-failed", action="store_true", help="train failed points again, too")
    parser.add_argument(
        "--replan", action="store_true", help="agree to the sweep as it is now, whatever was planned"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run directories go")
    parser.add_argument(
        "--accelerator", metavar="NAME", help="price the plan for this device instead of the one here"
    )
    parser.add_argument("--drill", default="", help=argparse.SUPPRESS)  # a fault to play, see scaling drill
    # DeepSpeed inserts it before our arguments; the environment says the same.
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 when every point is done, 1 when some are not, 2 for bad input.

    Asked to stop: 75 when every rank wrote a checkpoint, so that nothing is lost, 143 when some were killed.
    """
    options = parse_arguments(arguments)
    stop = StopRequest()
    stop.listen()
    try:
        has_cuda = _has_cuda()
        rank = current_rank()
        points, plan = _prepare(options, rank, has_cuda)
    except ValueError as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", flush=True)
        return EXIT_BAD_INPUT
    except Terminated as error:
        print(f"{error} before any training; run the same command again to continue", flush=True)
        return EXIT_PREEMPTED
    folder = options.runs / plan.sweep
    try:
        return Parent(
            points,
            plan,
            folder,
            rank,
            stop,
            accelerator="cuda" if has_cuda else "cpu",
            retry_failed=options.retry_failed,
            drill=options.drill,
        ).run()
    except Terminated as error:
        say(f"rank {rank.rank}: {error}; run the same command again to continue")
        return EXIT_TERMINATED


def _prepare(options: argparse.Namespace, rank: Rank, has_cuda: bool) -> tuple[list[RunPoint], Plan]:
    """The points to train and the plan of all; everything that can be refused is refused here."""
    sweep = load_sweep(options.sweep, options.set)
    folder = options.runs / sweep.name
    name = options.accelerator or detect_accelerator(has_cuda)
    points = resolve_points(
        sweep,
        num_ranks=rank.num_ranks,
        ranks_per_node=rank.local_num_ranks,
        device=device_here(name, rank.local_num_ranks),
    )
    plan = plan_sweep(
        points,
        name,
        question=sweep.question,
        holdout=sealed_runs(sweep, points),
        sweep_file=str(sweep.path),
        settings=sweep.settings,
        calibration=measure(folder),
    )
    chosen = [point for point in points if fnmatch.fnmatch(point.run_id, options.only)]
    if not chosen:
        known = "\n  ".join(point.run_id for point in points)
        raise SweepError(
            f"--only {options.only!r} matches no point of {options.sweep}. Its points:\n  {known}"
        )
    agreed = plan_to_keep(plan, folder / "plan.json", replan=options.replan)
    check_output_folder(folder)
    check_scratch_length(Path(tempfile.gettempdir()))
    check_data(points, read_all=rank.is_main)
    if rank.is_local_leader:
        fetch_image_weights(points)
    if rank.is_main:
        write_plan(agreed, folder / "plan.json")
    return chosen, plan.model_copy(update={"holdout": agreed.holdout})


def _has_cuda() -> bool:
    """Whether this machine has a CUDA device; NVML answers without initialising CUDA in this process."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    return torch.cuda.is_available()
