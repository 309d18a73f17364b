"""One rank of the parity certificate: runs one engine after the other through the training loop."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable

from scaling.checkpoints.state_hash import state_hash, sum_of_hashes
from scaling.data.stream.training_stream import TrainingStream
from scaling.drill.parity_cases import TOLD, Job, Told, read_jobs
from scaling.points import RunPoint
from scaling.processes.assignment import Assignment
from scaling.processes.heartbeat import HeartbeatWriter, heartbeat_file
from scaling.records import RunDirectory
from scaling.train.assembly import assemble_stream
from scaling.train.goodput import Goodput
from scaling.train.main import process_group
from scaling.train.parts_assembly import assemble_parts
from scaling.train.preemption import Preemption
from scaling.train.rank_group import gather_over_ranks
from scaling.train.rollback import train


def train_all(assignment: Assignment) -> None:
    """Train every job that the group's folder lists, on this rank."""
    streams = _Streams()
    with process_group(assignment):
        for job in read_jobs(assignment.run_folder):
            print(f"{job.folder.name}", flush=True)
            _train(job, assignment, streams)
            gc.collect()  # engines are kept alive by reference cycles of hooks


class _Streams:
    """Training streams, one per objective, shared by its engines; each engine sets the position it starts from."""

    def __init__(self) -> None:
        self._opened: dict[str, TrainingStream] = {}

    def open(
        self, point: RunPoint, assignment: Assignment, barrier: Callable[[], None], *, pin_memory: bool
    ) -> TrainingStream:
        """As assemble_stream, with a folder of its own in the group's scratch to note its shared memory in."""
        objective = point.science.objective
        if objective not in self._opened:
            scratch = assignment.scratch / objective
            scratch.mkdir(exist_ok=True)
            own = dataclasses.replace(assignment, scratch=scratch)
            self._opened[objective] = assemble_stream(point, own, barrier, pin_memory=pin_memory)
        return self._opened[objective]


def _train(job: Job, assignment: Assignment, streams: _Streams) -> None:
    point = _point_of(job)
    micro_batch = point.placement.micro_batch
    own = dataclasses.replace(
        assignment, point=job.point, planned=job.planned, run_folder=job.folder, micro_batch=micro_batch
    )
    run, is_main = RunDirectory(job.folder), assignment.rank.is_main
    goodput = Goodput(run, attempt=1, is_main=is_main)
    heart = HeartbeatWriter(heartbeat_file(assignment.scratch, assignment.rank.rank))
    never_asked = Preemption(lambda reason: None)
    parts, _, progress = assemble_parts(
        point, own, run, goodput, heart, never_asked, open_stream=streams.open
    )
    start = sum_of_hashes(gather_over_ranks(state_hash(parts.engine.pieces())))
    train(parts, progress)
    parts.journal.close()
    if is_main:
        told = Told(state_at_start=start, optimizer_steps=parts.engine.optimizer_steps)
        (job.folder / TOLD).write_text(told.model_dump_json())
    parts.engine.close()


def _point_of(job: Job) -> RunPoint:
    """The point with the job's engine, which may be the reference that no sweep can ask for."""
    point = RunPoint.model_validate_json(job.point)
    engine = {"engine": job.engine, "zero_stage": job.zero_stage}
    return point.model_copy(update={"placement": point.placement.model_copy(update=engine)})
