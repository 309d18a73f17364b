"""One rank of one point, top to bottom: set up, continue, train, evaluate, record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator

from scaling.assignment import Assignment
from scaling.checkpoints.publishing import KeepRule
from scaling.cost import num_steps
from scaling.heartbeat import HeartbeatWriter, heartbeat_file
from scaling.lease import check_lease
from scaling.points import RunPoint
from scaling.records import PlannedCost, RunDirectory, State, Status
from scaling.train.accumulation import Accumulation
from scaling.train.assembly import (
    assemble_engine,
    assemble_statistics,
    assemble_stream,
    augmentation_of,
)
from scaling.train.checkpoint import Checkpointer
from scaling.train.collectives import max_over_ranks
from scaling.train.engines.protocol import Engine
from scaling.train.environment import environment
from scaling.train.evaluation import Evaluator
from scaling.train.goodput import Goodput
from scaling.train.idf import LabelStatistics
from scaling.train.journal import Journal
from scaling.train.ledger import SampleLedger
from scaling.train.memory_meter import peak_memory_bytes
from scaling.train.meters import Meters
from scaling.train.parts import TrainingParts
from scaling.train.played_faults import faults_of
from scaling.train.preemption import Preemption
from scaling.train.progress import Progress
from scaling.train.random_state import seed_rank
from scaling.train.rank_group import RankGroup
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
        run.path,
        attempt=assignment.attempt,
        is_main=assignment.rank.is_main,
        seconds_before=None if assignment.started_at is None else time.time() - assignment.started_at,
    )
    with _process_group(assignment):
        parts, evaluator, progress = _assemble(assignment, run, goodput, heart, preemption)
        progress = train(parts, progress)
        heart.beat(progress.step, "evaluating")
        _keep_weights(parts, run, is_main=assignment.rank.is_main)
        trained = _status(parts.point, assignment, "trained")
        parts.journal.status(trained)
        evaluator.run_missing_tasks(trained.samples_seen)
        _write_record(parts, progress, assignment, run)
        dist.barrier()


def _assemble(
    assignment: Assignment,
    run: RunDirectory,
    goodput: Goodput,
    heart: HeartbeatWriter,
    preemption: Preemption,
) -> tuple[TrainingParts, Evaluator, Progress]:
    """What trains and evaluates the point, and the progress of its last checkpoint, which is restored into it."""
    point, rank, barrier = point_of(assignment), assignment.rank, _barrier_of(heart)
    science = point.science
    seed_rank(science.seed, rank.rank)
    engine = assemble_engine(point)
    stream = assemble_stream(point, assignment, barrier, pin_memory=engine.device.type == "cuda")
    statistics = assemble_statistics(point, engine.device)
    checkpointer = _checkpointer(point, assignment, run, engine, statistics)
    progress = checkpointer.restore()
    first_sample = progress.step * science.global_batch
    evaluator = Evaluator(point, run, engine, statistics, rank=rank, barrier=barrier)
    planned = PlannedCost.model_validate_json(assignment.planned)
    parts = TrainingParts(
        point=point,
        attempt=assignment.attempt,
        engine=engine,
        stream=stream,
        statistics=statistics,
        accumulation=Accumulation(
            engine,
            augmentation=augmentation_of(science),
            micro_batch=point.placement.micro_batch,
            num_ranks=rank.num_ranks,
        ),
        checkpointer=checkpointer,
        journal=Journal(run, is_main=rank.is_main, first_step=progress.step, first_sample=first_sample),
        ledger=SampleLedger(run, science.global_batch, engine.device, is_main=rank.is_main),
        meters=Meters(point, planned, engine, statistics, goodput, progress),
        heart=heart,
        preemption=preemption,
        faults=faults_of(assignment, engine.objective, preemption),
        hold_out=evaluator.held_out_loss,
    )
    return parts, evaluator, progress


def point_of(assignment: Assignment) -> RunPoint:
    """The point as it is trained: with fewer samples per forward where its own number ran out of memory."""
    point = RunPoint.model_validate_json(assignment.point)
    placement = point.placement.model_copy(update={"micro_batch": assignment.micro_batch})
    return point.model_copy(update={"placement": placement})


def _checkpointer(
    point: RunPoint, assignment: Assignment, run: RunDirectory, engine: Engine, statistics: LabelStatistics
) -> Checkpointer:
    return Checkpointer(
        run,
        engine,
        statistics,
        group=RankGroup(rank=assignment.rank.rank, num_ranks=assignment.rank.num_ranks),
        seed=point.science.seed,
        keep=KeepRule(
            latest=point.placement.keep_checkpoints,
            every_samples=point.placement.keep_every_samples,
            global_batch=point.science.global_batch,
        ),
        environment=environment,
    )


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
def _process_group(assignment: Assignment) -> Iterator[None]:
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


def _barrier_of(heart: HeartbeatWriter) -> Callable[[], None]:
    """A barrier of all ranks; getting past it is a sign of life, in setting up and evaluating too."""

    def barrier() -> None:
        dist.barrier()
        heart.beat_again()

    return barrier


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
