"""One rank of one point, top to bottom: set up, continue, train, evaluate, record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator

from model_zoo.build import build_objective
from scaling.assignment import Assignment
from scaling.cost import num_steps
from scaling.data.stream import (
    StreamSettings,
    TrainingStream,
    machine_lock,
    one_at_a_time_on_this_machine,
)
from scaling.data.tokenizers import load_tokenizer
from scaling.lease import check_lease
from scaling.points import RunPoint
from scaling.records import RunDirectory, State, Status
from scaling.residue import note_streaming_segments
from scaling.train.checkpoint import Checkpointer
from scaling.train.collectives import max_over_ranks
from scaling.train.engines import build_engine
from scaling.train.engines.protocol import Engine, EngineSettings
from scaling.train.evaluation import Evaluator
from scaling.train.idf import build_statistics
from scaling.train.ledger import SampleLedger
from scaling.train.loop import TrainingLoop, TrainingParts
from scaling.train.meters import Journal, peak_memory_bytes
from scaling.train.recording import make_record

PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)  # rank 0 may evaluate alone for a while

LABEL_KINDS = {"superclass": "labels", "clip": "tokens"}
"""What each objective is asked to predict: sets of token ids, or rows of them."""


def run_point(assignment: Assignment) -> None:
    """Train, evaluate and record one point on this rank, continuing from its last checkpoint if there is one."""
    point = RunPoint.model_validate_json(assignment.point)
    run = RunDirectory(
        assignment.run_folder, lambda: check_lease(assignment.run_folder, assignment.lease_token)
    )
    with _process_group(assignment):
        engine = _engine(point)
        stream = _stream(point, assignment, pin_memory=engine.device.type == "cuda")
        statistics = build_statistics(
            point.science.idf,
            point.science.vocabulary_size,
            LABEL_KINDS[point.science.objective],
            engine.device,
        )
        checkpointer = Checkpointer(
            run,
            engine,
            statistics,
            rank=assignment.rank.rank,
            num_ranks=assignment.rank.num_ranks,
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
            checkpointer=checkpointer,
            journal=journal,
            ledger=SampleLedger(
                run.samples, point.science.global_batch, engine.device, is_main=assignment.rank.is_main
            ),
            hold_out=evaluator.held_out_loss,
        )
        progress = TrainingLoop(parts, progress, assignment.attempt).run()
        trained = _status(point, assignment, "trained")
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


def _engine(point: RunPoint) -> Engine:
    science, placement = point.science, point.placement
    objective = build_objective(
        objective=science.objective,
        image_tower=science.image_tower,
        text_tower=science.text_tower,
        image_size=science.image_size,
        vocabulary_size=science.vocabulary_size,
        context_length=science.context_length,
        logit_scale_init=science.logit_scale_init,
        logit_scale_max=science.logit_scale_max,
        seed=science.seed,
        activation_checkpointing=placement.activation_checkpointing,
    )
    per_rank = science.global_batch // placement.num_ranks
    settings = EngineSettings(
        global_batch=science.global_batch,
        micro_batch=placement.micro_batch,
        num_micro_batches=per_rank // placement.micro_batch,
        zero_stage=placement.zero_stage,
        learning_rate=science.learning_rate,
        weight_decay=science.weight_decay,
        adam_beta1=science.adam_beta1,
        adam_beta2=science.adam_beta2,
        adam_epsilon=science.adam_epsilon,
        gradient_clipping=science.gradient_clipping,
        bf16_autocast=science.precision == "bf16_autocast",
    )
    return build_engine(placement.engine, objective, settings)


def _stream(point: RunPoint, assignment: Assignment, *, pin_memory: bool) -> TrainingStream:
    science = point.science
    assert point.data.train is not None
    settings = StreamSettings(
        folder=point.data.train,
        seed=science.seed,
        global_batch=science.global_batch,
        image_size=science.image_size,
        crop_scale_min=science.crop_scale_min,
        crop_scale_max=science.crop_scale_max,
        context_length=science.context_length,
        label_kind=LABEL_KINDS[science.objective],
    )
    rank = assignment.rank
    with one_at_a_time_on_this_machine(rank.is_local_leader, _barrier, machine_lock(assignment.scratch)):
        stream = TrainingStream(
            settings,
            load_tokenizer(science.tokenizer),
            num_ranks=rank.num_ranks,
            num_workers=point.placement.num_workers,
            pin_memory=pin_memory,
        )
    if rank.is_local_leader:
        note_streaming_segments(assignment.scratch, stream.shared_memory_prefix)
    return stream


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
