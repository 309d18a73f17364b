"""Handles losses and gradients that are not finite: ends the run, or rolls it back and skips the batch.

Either way, what was trained since the last checkpoint is discarded, so a non-finite update never lasts. A rollback
takes place within the process: all ranks restore, and read the offending batch again without training on it.
"""

from __future__ import annotations

from scaling.train.loop import TrainingLoop
from scaling.train.non_finite import Diverged, NonFinite, describe_non_finite, names_of_non_finite
from scaling.train.parts import TrainingParts
from scaling.train.progress import Progress


def train(parts: TrainingParts, progress: Progress) -> Progress:
    """Train to the end of the point, going back as often as its `most_rollbacks` allows.

    Raises Diverged when it goes on no further, Preempted after a checkpoint, and what the parts raise.
    """
    if parts.point.science.non_finite == "rollback" and progress.step == 0:
        parts.checkpointer.save(progress)  # what to go back to before the first checkpoint that is due
    while True:
        try:
            return TrainingLoop(parts, progress).run()
        except NonFinite as fault:
            progress = _go_back(parts, progress, fault)


def _go_back(parts: TrainingParts, progress: Progress, fault: NonFinite) -> Progress:
    """The progress at the last checkpoint, restored, with the step of `fault` to be left out; else Diverged."""
    parts.heart.beat(progress.step, "starting")
    parts.checkpointer.finish()
    science = parts.point.science
    if science.non_finite == "stop" or progress.num_rollbacks >= science.most_rollbacks:
        raise _diverged(parts, progress, fault) from fault
    restored = parts.checkpointer.restore()
    restored.skipped_batches = sorted({*progress.skipped_batches, fault.step})
    restored.num_rollbacks = progress.num_rollbacks + 1
    samples_seen = restored.step * science.global_batch
    told = f"{fault}: went back to the checkpoint at {samples_seen:,} samples and left that step's batch out"
    restored.warnings = list(dict.fromkeys([*restored.warnings, *progress.warnings, told]))
    parts.meters.rolled_back(restored)
    parts.journal.go_back(first_step=restored.step, first_sample=samples_seen)
    parts.ledger.forget()
    return restored


def _diverged(parts: TrainingParts, progress: Progress, fault: NonFinite) -> Diverged:
    science, saved_step = parts.point.science, parts.checkpointer.saved_step
    first = fault.step * science.global_batch
    known = (
        "there is no checkpoint" if saved_step is None else f"the last checkpoint is of step {saved_step:,}"
    )
    gone_back = f" after {progress.num_rollbacks} rollbacks" if progress.num_rollbacks else ""
    return Diverged(
        f"{fault}{gone_back} (samples {first:,} to {first + science.global_batch - 1:,}); "
        f"{describe_non_finite(names_of_non_finite(parts.engine.pieces()))}; {known}",
        {"step": fault.step, "what": fault.what, "checkpoint": saved_step},
    )
