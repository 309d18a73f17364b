"""The batches that a profiled point trains on: the sweep's own where its training set is at hand, else synthetic."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch

from scaling.data.batches import Batch
from scaling.points import RunPoint
from scaling.processes.assignment import Assignment
from scaling.processes.ranks import Rank
from scaling.processes.residue import SCRATCH_PREFIX
from scaling.profile.reduced_point import synthetic_batch
from scaling.train.assembly import assemble_stream


@contextlib.contextmanager
def training_batches(point: RunPoint, num_steps: int, device: torch.device) -> Iterator[Iterator[Batch]]:
    """As many global batches as steps, or more.

    Of a provisional point, whose data are not here, the same synthetic batch again and again.  Streaming removes its
    shared memory itself when this process ends, which a child of a launch does not live to see.
    """
    if point.is_provisional:
        yield itertools.repeat(synthetic_batch(point.science))
        return
    with TemporaryDirectory(prefix=SCRATCH_PREFIX) as folder:
        assignment = _assignment(point, Path(folder), device)
        stream = assemble_stream(point, assignment, _alone, pin_memory=device.type == "cuda")
        with contextlib.closing(cast("Generator[Batch]", stream.batches(0, num_steps))) as batches:
            yield batches


def origin_of(point: RunPoint) -> str:
    """Where the pictures come from, in words."""
    return "synthetic pictures" if point.is_provisional else "the sweep's own pictures"


def _alone() -> None:
    """The barrier of one rank."""


def _assignment(point: RunPoint, scratch: Path, device: torch.device) -> Assignment:
    """What a stream is told by a launch; nothing is written to a run's folder."""
    rank = Rank(
        rank=0,
        num_ranks=1,
        local_rank=0,
        local_num_ranks=1,
        master_address=os.environ["MASTER_ADDR"],
        master_port=int(os.environ["MASTER_PORT"]),
    )
    return Assignment(
        point=point.model_dump_json(),
        planned="",
        run_folder=scratch,
        rank=rank,
        port=rank.master_port,
        scratch=scratch,
        accelerator=device.type,
        num_threads=torch.get_num_threads(),
        attempt=1,
        lease_token=0,
        micro_batch=point.placement.micro_batch,
    )
