"""Everything that the training of one point on one rank needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from scaling.data.stream.training_stream import TrainingStream
from scaling.points import RunPoint
from scaling.processes.heartbeat import HeartbeatWriter
from scaling.train.accumulation import Accumulation
from scaling.train.checkpoint import Checkpointer
from scaling.train.engines.protocol import Engine
from scaling.train.idf import LabelStatistics
from scaling.train.journal import Journal
from scaling.train.ledger import SampleLedger
from scaling.train.meters import Meters
from scaling.train.played_faults import Faults
from scaling.train.preemption import Preemption


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingParts:
    """The parts that the training loop and rollbacks work with."""

    point: RunPoint
    attempt: int
    engine: Engine
    stream: TrainingStream
    statistics: LabelStatistics
    accumulation: Accumulation
    checkpointer: Checkpointer
    journal: Journal
    ledger: SampleLedger
    meters: Meters
    heart: HeartbeatWriter
    preemption: Preemption
    faults: Faults
    hold_out: Callable[[int], float | None]  # samples seen -> held-out loss now, on rank 0
