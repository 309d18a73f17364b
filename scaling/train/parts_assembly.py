"""Builds everything that the training of a point on one rank needs, and restores its last checkpoint into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch.distributed as dist

from scaling.checkpoints.publishing import KeepRule
from scaling.cost import decay_step
from scaling.data.stream.training_stream import TrainingStream
from scaling.points import RunPoint
from scaling.processes.assignment import Assignment
from scaling.processes.heartbeat import HeartbeatWriter
from scaling.records import PlannedCost, RunDirectory
from scaling.train.accumulation import Accumulation
from scaling.train.assembly import assemble_engine, assemble_statistics, assemble_stream, augmentation_of
from scaling.train.branching import branch_off, without_the_trunks_account
from scaling.train.checkpoint import Checkpointer
from scaling.train.engines.protocol import Engine
from scaling.train.environment import environment
from scaling.train.evaluation import Evaluator
from scaling.train.goodput import Goodput
from scaling.train.idf import LabelStatistics
from scaling.train.journal import Journal
from scaling.train.ledger import SampleLedger
from scaling.train.meters import Meters
from scaling.train.parts import TrainingParts
from scaling.train.played_faults import faults_of
from scaling.train.preemption import Preemption
from scaling.train.progress import Progress
from scaling.train.random_state import seed_rank
from scaling.train.rank_group import RankGroup


class OpenStream(Protocol):
    """How a training stream is made; see assemble_stream."""

    def __call__(
        self, point: RunPoint, assignment: Assignment, barrier: Callable[[], None], *, pin_memory: bool
    ) -> TrainingStream: ...


def assemble_parts(
    point: RunPoint,
    assignment: Assignment,
    run: RunDirectory,
    goodput: Goodput,
    heart: HeartbeatWriter,
    preemption: Preemption,
    *,
    open_stream: OpenStream = assemble_stream,
) -> tuple[TrainingParts, Evaluator, Progress]:
    """The parts that train and evaluate the point, restored from its last checkpoint, and the progress in it."""
    science, rank, barrier = point.science, assignment.rank, _barrier_of(heart)
    seed_rank(science.seed, rank.rank)
    engine = assemble_engine(point)
    stream = open_stream(point, assignment, barrier, pin_memory=engine.device.type == "cuda")
    statistics = assemble_statistics(point, engine.device)
    group = RankGroup(rank=rank.rank, num_ranks=rank.num_ranks)
    checkpointer = _checkpointer(point, run, engine, statistics, group)
    group.rank_0_decides(lambda: branch_off(run, assignment.branches, science.global_batch))
    progress = without_the_trunks_account(checkpointer.restore(), run)
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
    point: RunPoint, run: RunDirectory, engine: Engine, statistics: LabelStatistics, group: RankGroup
) -> Checkpointer:
    return Checkpointer(
        run,
        engine,
        statistics,
        group=group,
        seed=point.science.seed,
        keep=KeepRule(
            latest=point.placement.keep_checkpoints,
            every_samples=point.placement.keep_every_samples,
            global_batch=point.science.global_batch,
            branch_step=None if point.trunk is None else decay_step(point.science),
        ),
        environment=environment,
    )


def _barrier_of(heart: HeartbeatWriter) -> Callable[[], None]:
    """A barrier of all ranks; getting past it is a sign of life, in setting up and evaluating too."""

    def barrier() -> None:
        dist.barrier()
        heart.beat_again()

    return barrier
