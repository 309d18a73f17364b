"""One rank of one point, top to bottom: set up, continue, train, evaluate, record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import timedelta

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator

from scaling.cost import num_steps
from scaling.points import RunPoint
from scaling.processes.assignment import Assignment
from scaling.processes.heartbeat import HeartbeatWriter, heartbeat_file
from scaling.processes.lease import check_lease
from scaling.records import RunDirectory, State, Status
from scaling.train.collectives import max_over_ranks
from scaling.train.goodput import Goodput
from scaling.train.memory_meter import peak_memory_bytes
from scaling.train.parts import TrainingParts
from scaling.train.parts_assembly import assemble_parts, point_of
from scaling.train.preemption import Preemption
from scaling.train.progress import Progress
from scaling.train.recording import make_record, write_weights
from scaling.train.rollback import train

PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)  # rank 0 may evaluate alone for a while


def run_point(assignment: Assignment, preemption: Preemption) -> None:
    """Train, evaluate and record one point on this rank, continuing from its last checkpoint if there is one."""
    heart = HeartbeatWriter(heartbeat_file(assignment.scratch, assignment.rank.rank))
    run = RunDirectory(
        assignment.run_folder, lambda: check_lease(assignment.run_folder, assignment.lease_token)
    )
    goodput = Goodput(
        run,
        attempt=assignment.attempt,
        is_main=assignment.rank.is_main,
        seconds_before=None if assignment.started_at is None else time.time() - assignment.started_at,
    )
    with process_group(assignment):
        point = point_of(assignment)
        parts, evaluator, progress = assemble_parts(point, assignment, run, goodput, heart, preemption)
        progress = train(parts, progress)
        heart.beat(progress.step, "evaluating")
        _keep_weights(parts, run, is_main=assignment.rank.is_main)
        trained = _status(parts.point, assignment, "trained")
        parts.journal.status(trained)
        evaluator.run_missing_tasks(trained.samples_seen)
        _write_record(parts, progress, assignment, run)
        dist.barrier()


def _keep_weights(parts: TrainingParts, run: RunDirectory, *, is_main: bool) -> None:
    with parts.meters.phase("checkpoint"):
        weights = parts.engine.weights()
        if is_main:
            write_weights(run, weights)


def _write_record(
    parts: TrainingParts, progress: Progress, assignment: Assignment, run: RunDirectory
) -> None:
    device = parts.engine.device
    peak_memory = max_over_ranks(peak_memory_bytes(device), device)
    parts.journal.close()
    if assignment.rank.is_main:
        record = make_record(
            parts.point,
            assignment,
            run,
            progress,
            parts.meters,
            unique_samples=parts.stream.num_unique_samples,
            peak_memory=peak_memory,
        )
        run.write_record(record)
        run.write_status(_status(parts.point, assignment, "done"))


@contextlib.contextmanager
def process_group(assignment: Assignment) -> Iterator[None]:
    """The process group of this point's ranks, on the device of this rank, whichever engine trains."""
    if assignment.accelerator == "cuda":
        assert not torch.cuda._is_in_bad_fork(), "the fork server initialised CUDA: children cannot use it"
    torch.set_num_threads(assignment.num_threads)
    get_accelerator().set_device(assignment.rank.local_rank)
    deepspeed.init_distributed(timeout=PROCESS_GROUP_TIMEOUT, verbose=False)
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # a rank that failed cannot say goodbye to ranks that are gone
            dist.destroy_process_group()


def _status(point: RunPoint, assignment: Assignment, state: State) -> Status:
    steps = num_steps(point.science.samples_seen, point.science.global_batch)
    samples = steps * point.science.global_batch
    return Status(
        state=state,
        samples_seen=samples,
        samples_total=samples,
        num_ranks=assignment.rank.num_ranks,
        attempts=assignment.attempt,
    )
