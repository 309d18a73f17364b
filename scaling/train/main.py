"""One rank of one point, top to bottom: set up, continue, train, evaluate, record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator

from scaling.assignment import Assignment
from scaling.cost import num_steps
from scaling.lease import check_lease
from scaling.points import RunPoint
from scaling.records import RunDirectory, State, Status
from scaling.train.accumulation import Accumulation
from scaling.train.assembly import (
    assemble_engine,
    assemble_statistics,
    assemble_stream,
    augmentation_of,
)
from scaling.train.checkpoint import Checkpointer
from scaling.train.collectives import max_over_ranks
from scaling.train.evaluation import Evaluator
from scaling.train.ledger import SampleLedger
from scaling.train.loop import TrainingLoop, TrainingParts
from scaling.train.meters import Journal, peak_memory_bytes
from scaling.train.random_state import seed_rank
from scaling.train.recording import make_record, write_weights

PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)  # rank 0 may evaluate alone for a while


def run_point(assignment: Assignment) -> None:
    """Train, evaluate and record one point on this rank, continuing from its last checkpoint if there is one."""
    point = RunPoint.model_validate_json(assignment.point)
    run = RunDirectory(
        assignment.run_folder, lambda: check_lease(assignment.run_folder, assignment.lease_token)
    )
    with _process_group(assignment):
        seed_rank(point.science.seed, assignment.rank.rank)
        engine = assemble_engine(point)
        stream = assemble_stream(point, assignment, _barrier, pin_memory=engine.device.type == "cuda")
        statistics = assemble_statistics(point, engine.device)
        checkpointer = Checkpointer(
            run,
            engine,
            statistics,
            rank=assignment.rank.rank,
            num_ranks=assignment.rank.num_ranks,
            seed=point.science.seed,
            barrier=_barrier,
        )
        progress = checkpointer.restore()
        journal = Journal(
            run,
            is_main=assignment.rank.is_main,
            first_step=progress.step,
            first_sample=progress.step * point.science.global_batch,
        )
        evaluator = Evaluator(point, run, engine, statistics, rank=assignment.rank, barrier=_barrier)
        parts = TrainingParts(
            point=point,
            engine=engine,
            stream=stream,
            statistics=statistics,
            accumulation=Accumulation(
                engine,
                augmentation=augmentation_of(point.science),
                micro_batch=point.placement.micro_batch,
                num_ranks=assignment.rank.num_ranks,
            ),
            checkpointer=checkpointer,
            journal=journal,
            ledger=SampleLedger(
                run.samples, point.science.global_batch, engine.device, is_main=assignment.rank.is_main
            ),
            hold_out=evaluator.held_out_loss,
        )
        progress = TrainingLoop(parts, progress, assignment.attempt).run()
        trained = _status(point, assignment, "trained")
        weights = engine.weights()
        if assignment.rank.is_main:
            write_weights(run, weights)
        journal.status(trained)
        evaluator.run_missing_tasks(trained.samples_seen)
        peak_memory = max_over_ranks(peak_memory_bytes(engine.device), engine.device)
        journal.close()
        if assignment.rank.is_main:
            record = make_record(point, assignment, run, progress, stream.num_unique_samples, peak_memory)
            run.write_record(record)
            run.write_status(_status(point, assignment, "done"))
        _barrier()


@contextlib.contextmanager
def _process_group(assignment: Assignment) -> Iterator[None]:
    """The process group of this point's ranks, on the device of this rank."""
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


def _barrier() -> None:
    dist.barrier()


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
