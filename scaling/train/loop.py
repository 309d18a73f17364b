"""The training loop."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import cast

from scaling.cost import decay_step, num_steps
from scaling.data.batches import Batch
from scaling.records import Status
from scaling.train.collectives import sum_over_ranks
from scaling.train.masked_samples import MaskedSamples, check_bad_samples
from scaling.train.non_finite import NonFinite, names_of_non_finite
from scaling.train.optim import learning_rate_of_step
from scaling.train.parts import TrainingParts
from scaling.train.preemption import Preempted
from scaling.train.progress import Progress
from scaling.train.step_verdicts import StepVerdicts

LOG_ROWS = 200
"""A run writes about this many rows of metrics, whatever its length: enough for a smooth curve."""


class TrainingLoop:
    """Trains one point from a position to its end."""

    def __init__(self, parts: TrainingParts, progress: Progress) -> None:
        self._parts = parts
        self._progress = progress
        self._science = parts.point.science
        self._num_steps = num_steps(self._science.samples_seen, self._science.global_batch)
        self._decay_step = decay_step(self._science)
        self._verdicts = StepVerdicts(parts.engine.device)
        self._masked = MaskedSamples()  # since the last row of metrics, as what follows
        self._data_bytes = 0  # that this rank read
        self._is_stopping = False
        self._num_trained = 0
        self._learning_rate = 0.0  # of the last step

    def run(self) -> Progress:
        """Train to the end of the point.

        The order within a step matters: labels are counted once per global batch, before its first forward, and
        a checkpoint holds exactly the steps that the ledger and the metrics hold.  Raises NonFinite on all ranks after
        the same step, Preempted once a checkpoint is written, and TooManyBadSamples.
        """
        parts, progress = self._parts, self._progress
        log_every = max(1, self._num_steps // LOG_ROWS) * self._science.global_batch
        batches = cast("Generator[Batch]", parts.stream.batches(progress.step, self._num_steps))
        with parts.preemption.heeded(), contextlib.closing(batches):
            for batch in parts.meters.batches(batches):
                self._data_bytes += batch.num_bytes
                if progress.step in progress.skipped_batches:
                    self._leave_out()
                else:
                    self._train(batch)
                parts.heart.beat(progress.step, "training")
                is_checkpoint_due = self._is_checkpoint_due()
                if is_checkpoint_due or self._is_stopping or self._is_due(log_every):
                    self._log()
                if self._is_due(parts.point.evaluation.held_out_every_samples):
                    self._hold_out()
                if is_checkpoint_due or self._is_stopping:
                    self._save(wait=self._is_stopping or progress.step == self._num_steps)
                if self._is_stopping:
                    raise Preempted(progress.step, self._samples_seen)
        return progress

    def _train(self, batch: Batch) -> None:
        parts, step = self._parts, self._progress.step
        parts.faults.before_step(step)
        targets = batch.targets.to(parts.engine.device)
        counts = parts.statistics.observe(targets)
        losses = parts.accumulation.forward_backward(batch, targets, counts)
        self._learning_rate = self._scheduled_learning_rate()
        report = parts.engine.step(self._learning_rate)
        self._judge()  # the step before: by now it is known, and asking waits for nothing
        self._verdicts.ask(step, losses, report, stop=parts.preemption.is_asked)
        parts.meters.step_done(losses, report)
        parts.ledger.note(step, batch.sample_ids_B)
        self._masked.note(batch)
        self._num_trained += 1
        self._progress.step += 1

    def _leave_out(self) -> None:
        """Pass over a batch that a rollback set aside."""
        self._progress.step += 1
        self._progress.skipped_steps += 1

    def _judge(self) -> None:
        """Raise NonFinite, or note that a stop is asked for, as the last verdict says; the same on all ranks."""
        verdict = self._verdicts.answer()
        if verdict is not None and verdict.non_finite is not None:
            raise NonFinite(verdict.step, verdict.non_finite)
        self._is_stopping |= verdict is not None and verdict.is_stop_asked

    @property
    def _samples_seen(self) -> int:
        return self._progress.step * self._science.global_batch

    def _scheduled_learning_rate(self) -> float:
        return learning_rate_of_step(
            self._samples_seen,
            self._science.global_batch,
            peak=self._science.learning_rate,
            warmup_samples=self._science.warmup_samples,
            total_samples=self._science.samples_seen,
            schedule=self._science.schedule,
            decay_from=self._decay_step * self._science.global_batch,
            decay_shape=self._science.decay_shape,
        )

    def _is_checkpoint_due(self) -> bool:
        """At intervals, before the decay, where other runs may branch, and at the end."""
        every = self._parts.point.placement.checkpoint_every_samples
        return self._is_due(every) or self._progress.step in (self._decay_step, self._num_steps)

    def _is_due(self, every_samples: int) -> bool:
        """Whether the step just done crossed a multiple of `every_samples` (0: never)."""
        before = self._samples_seen - self._science.global_batch
        return every_samples > 0 and self._samples_seen // every_samples > before // every_samples

    def _log(self) -> None:
        parts, progress = self._parts, self._progress
        # this very step, at the price of waiting for it: what is written down has been looked at
        self._judge()
        self._masked.add_to(progress, parts.engine.device)
        self._add_data_bytes()
        check_bad_samples(progress, self._samples_seen, parts.point.placement.bad_samples_limit)
        if not self._num_trained:  # all batches since the last row were left out
            parts.meters.note_times(progress)
            return
        row = parts.meters.row(progress, self._learning_rate)
        counts = {"skipped_steps": progress.skipped_steps, "num_rollbacks": progress.num_rollbacks}
        parts.journal.log({**row, **counts})
        parts.ledger.flush()
        parts.journal.status(self._status(row["samples_per_second"]))
        self._num_trained = 0

    def _add_data_bytes(self) -> None:
        """Add what all ranks read since the last row; called by all of them together."""
        read = sum_over_ranks(self._data_bytes, self._parts.engine.device)
        if self._progress.data_bytes is not None:
            self._progress.data_bytes += read
        self._data_bytes = 0

    def _status(self, samples_per_second: float) -> Status:
        return Status(
            state="running",
            samples_seen=self._samples_seen,
            samples_total=self._num_steps * self._science.global_batch,
            samples_per_second=samples_per_second,
            num_ranks=self._parts.point.placement.num_ranks,
            attempts=self._parts.attempt,
        )

    def _hold_out(self) -> None:
        parts = self._parts
        parts.heart.beat(self._progress.step, "evaluating")
        with parts.meters.phase("evaluation"):
            loss = parts.hold_out(self._samples_seen)
        parts.heart.beat(self._progress.step, "training")
        if loss is not None:
            parts.journal.log({"samples_seen": self._samples_seen, "held_out_loss": loss})

    def _save(self, *, wait: bool) -> None:
        parts, progress = self._parts, self._progress
        parts.heart.beat(progress.step, "checkpointing")
        with parts.meters.phase("checkpoint"):
            if names_of_non_finite(parts.engine.pieces()):
                raise NonFinite(progress.step - 1, "weights")
            parts.checkpointer.save(progress, wait=wait)
        parts.heart.beat(progress.step, "training")
