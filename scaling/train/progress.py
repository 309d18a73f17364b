"""How far a run is: the part of a checkpoint that is for the loop, the meters and the record."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(kw_only=True, slots=True)
class Progress:
    """Equal on all ranks but for the seconds, of which rank 0's are kept."""

    num_ranks: int
    step: int = 0
    train_seconds: float = 0.0
    device_seconds: float = 0.0  # train_seconds of every attempt x its ranks
    data_wait_seconds: float = 0.0  # of train_seconds
    undecodable_images: int = 0  # over all ranks
    empty_captions: int = 0  # over all ranks
    # over all ranks: masked samples by reason
    rejects: dict[str, int] = dataclasses.field(default_factory=dict)
    data_bytes: int | None = 0  # over all ranks, of stored samples; None: not counted from the start
    skipped_steps: int = 0
    last_loss: float = float("nan")  # mean of the last logged interval
    warnings: list[str] = dataclasses.field(default_factory=list)  # for the record, one sentence each
    skipped_batches: list[int] = dataclasses.field(default_factory=list)  # steps read but not trained on
    num_rollbacks: int = 0  # to an earlier checkpoint, after a non-finite loss or gradient
    # seconds of all attempts, by what they went on
    goodput: dict[str, float] = dataclasses.field(default_factory=dict)
