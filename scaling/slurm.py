"""`scaling launch SWEEP --slurm FILE`: one Slurm job per pending point, requeued until its point is done."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaling.points import RunPoint, resolve_points
from scaling.processes.assignment import EXIT_PREEMPTED
from scaling.records import FAILURES, RunDirectory
from scaling.spec import SweepError, load_sweep
from scaling.sweep.sweep_file import parse_yaml
from scaling.trunks import branches_in_order

MINUTES_PER_HOUR = 60


class SlurmSettings(BaseModel):
    """What to ask Slurm for, for every point alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hours: Annotated[float, Field(gt=0)]  # time limit of one job; a point may take several, one after another
    nodes: Annotated[int, Field(gt=0)] = 1
    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    ranks_per_node: Annotated[int, Field(gt=0)] | None = None  # None: one per GPU, else one
    cpus_per_rank: Annotated[int, Field(gt=0)] = 1
    memory_gigabytes_per_node: Annotated[float, Field(gt=0)] | None = None  # None: the partition's default
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    setup: tuple[str, ...] = ()  # shell lines before the ranks start
    most_at_once: Annotated[int, Field(gt=0)] = 256  # jobs of this sweep
    warning_seconds: Annotated[int, Field(gt=0)] = 180
    """How long before the time limit Slurm asks the ranks to stop: enough for a step, grace_seconds and the end of all
    processes; Slurm may be a minute early or late."""
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)  # any further option, by its long name

    @property
    def local_num_ranks(self) -> int:
        return self.ranks_per_node or max(1, self.gpus_per_node)

    def parameters(self, name: str) -> dict[str, Any]:
        """The same in submitit's words."""
        asked = {
            "job_name": name,
            "time": max(1, round(self.hours * MINUTES_PER_HOUR)),
            "nodes": self.nodes,
            "ntasks_per_node": self.local_num_ranks,
            "cpus_per_task": self.cpus_per_rank,
            "gpus_per_node": self.gpus_per_node or None,
            "mem": (
                None if self.memory_gigabytes_per_node is None else f"{self.memory_gigabytes_per_node:g}GB"
            ),
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "setup": list(self.setup) or None,
            "array_parallelism": self.most_at_once,
            "signal_delay_s": self.warning_seconds,
            "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True, **self.sbatch},
        }
        return {key: value for key, value in asked.items() if value is not None}


def load_slurm_settings(path: Path) -> SlurmSettings:
    """The settings of a YAML file; SweepError names what is wrong in it."""
    if not path.exists():
        raise SweepError(f"{path} does not exist: --slurm takes a YAML file, with the key hours at least.")
    try:
        return SlurmSettings.model_validate(parse_yaml(path.read_text()) or {})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        known = ", ".join(SlurmSettings.model_fields)
        raise SweepError(f"{path}: {wrong}. Known keys: {known}.") from error


def submit_sweep(
    sweep_file: Path, slurm_file: Path, changes: Sequence[str], *, only: str, flags: Sequence[str], runs: Path
) -> dict[str, str]:
    """Job ids by run id, of a job for every point that has no record yet; logs go to RUNS/SWEEP/slurm.

    A point that branches from another of them waits in the queue until that one's job has ended. `flags`: of the
    launch, --retry-failed and --replan.
    """
    submitit = _submitit()
    settings = load_slurm_settings(slurm_file)
    sweep = load_sweep(sweep_file, changes)
    num_ranks = settings.nodes * settings.local_num_ranks
    points = resolve_points(sweep, num_ranks=num_ranks, ranks_per_node=settings.local_num_ranks)
    folder = (runs / sweep.name).absolute()
    pending = [point for point in points if _is_pending(point, folder, only, "--retry-failed" in flags)]
    if not pending:
        return {}
    executor = submitit.SlurmExecutor(folder / "slurm")
    parameters = settings.parameters(f"scaling-{sweep.name}")
    options = [f"--runs={runs.absolute()}", *(f"--set={change}" for change in changes), *flags]

    def submit(run_id: str) -> Any:
        return executor.submit(run_job, [str(sweep_file.absolute()), f"--only={run_id}", *options])

    branches = {run_id: branch.run_id for run_id, branch in branches_in_order(pending).items()}
    executor.update_parameters(**parameters)
    with executor.batch():
        jobs = {point.run_id: submit(point.run_id) for point in pending if point.run_id not in branches}
    for run_id, trunk in branches.items():
        after = {"dependency": f"afterany:{jobs[trunk].job_id}"}
        executor.update_parameters(additional_parameters={**parameters["additional_parameters"], **after})
        jobs[run_id] = submit(run_id)
    return {point.run_id: str(jobs[point.run_id].job_id) for point in pending}


def _is_pending(point: RunPoint, folder: Path, only: str, retry_failed: bool) -> bool:
    run = RunDirectory(folder / point.run_id)
    if not fnmatch.fnmatch(point.run_id, only) or run.read_record() is not None:
        return False
    return retry_failed or run.read_status().state not in FAILURES


def run_job(arguments: Sequence[str]) -> None:
    """What every task of a job does: one rank of one point. Ends with the launch's exit status if that is not 0.

    A job that was asked to stop in time goes back into the queue, where it starts with the same command.
    """
    from scaling.launch import main

    status = main(arguments)
    if status == EXIT_PREEMPTED and os.environ["SLURM_PROCID"] == "0":
        requeue(os.environ["SLURM_JOB_ID"])
    if status:
        raise SystemExit(status)


def requeue(job: str) -> None:
    """Put a job back into the queue; prints, and does not raise, if the cluster forbids it or did so itself."""
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True)
    if done.returncode:
        print(
            f"job {job} was not requeued ({done.stderr.strip()}); submit the sweep again to continue",
            flush=True,
        )


def _submitit() -> types.ModuleType:
    try:
        import submitit
    except ImportError as error:
        raise SweepError("--slurm needs submitit: pip install superclass-scaling[slurm].") from error
    module: types.ModuleType = submitit
    return module
