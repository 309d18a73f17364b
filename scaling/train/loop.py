"""The training loop."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch

from scaling.cost import num_steps
from scaling.data.batches import Batch
from scaling.data.stream.training_stream import TrainingStream
from scaling.data.stream.waiting import WaitingTime
from scaling.points import RunPoint
from scaling.records import Status
from scaling.train.accumulation import Accumulation, Losses
from scaling.train.checkpoint import Checkpointer, Progress
from scaling.train.collectives import mean_over_ranks, sum_counts_over_ranks, sum_over_ranks
from scaling.train.engines.protocol import Engine, StepReport
from scaling.train.faults import StepGuard
from scaling.train.idf import LabelStatistics
from scaling.train.ledger import SampleLedger
from scaling.train.meters import Journal, Stopwatch
from scaling.train.optim import learning_rate_of_step

LOG_ROWS = 200
"""A run writes about this many rows of metrics, whatever its length: enough for a smooth curve."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingParts:
    """All that takes part in training one point on this rank."""

    point: RunPoint
    engine: Engine
    stream: TrainingStream
    statistics: LabelStatistics
    accumulation: Accumulation
    checkpointer: Checkpointer
    journal: Journal
    ledger: SampleLedger
    hold_out: Callable[[int], float | None]  # samples seen -> held-out loss now, on rank 0


class TrainingLoop:
    """Trains one point from a position to its end."""

    def __init__(self, parts: TrainingParts, progress: Progress, attempt: int) -> None:
        self._parts = parts
        self._progress = progress
        self._attempt = attempt
        self._science = parts.point.science
        self._num_steps = num_steps(self._science.samples_seen, self._science.global_batch)
        self._guard = StepGuard()
        self._watch = Stopwatch(progress.train_seconds)
        self._losses: list[Losses] = []  # of this rank, since the last row of metrics
        self._undecodable = self._empty = 0  # likewise
        self._rejects: Counter[str] = Counter()  # likewise
        self._waiting = WaitingTime()

    def run(self) -> Progress:
        """Train to the end of the point.

        The order within a step matters: labels are counted once per global batch, before its first forward, and
        a checkpoint holds exactly the steps that the ledger and the metrics hold.
        """
        parts, progress = self._parts, self._progress
        log_every = max(1, self._num_steps // LOG_ROWS) * self._science.global_batch
        checkpoint_every = parts.point.placement.checkpoint_every_samples
        self._watch.start_lap(self._samples_seen)
        for batch in self._waiting.timed(parts.stream.batches(progress.step, self._num_steps)):
            learning_rate = self._learning_rate()
            targets = batch.targets.to(parts.engine.device)
            counts = parts.statistics.observe(targets)
            losses = parts.accumulation.forward_backward(batch, targets, counts)
            report = parts.engine.step(learning_rate)
            self._note(batch, losses, report)
            checkpoint_due = self._is_due(checkpoint_every, also_last=True)
            if self._is_due(log_every) or checkpoint_due:
                self._log(learning_rate, report)
            if self._is_due(parts.point.evaluation.held_out_every_samples):
                self._hold_out()
            if checkpoint_due:
                with self._not_training():
                    parts.checkpointer.save(progress)
        return progress

    @property
    def _samples_seen(self) -> int:
        return self._progress.step * self._science.global_batch

    def _learning_rate(self) -> float:
        return learning_rate_of_step(
            self._samples_seen,
            self._science.global_batch,
            peak=self._science.learning_rate,
            warmup_samples=self._science.warmup_samples,
            total_samples=self._science.samples_seen,
            schedule=self._science.schedule,
        )

    def _note(self, batch: Batch, losses: Losses, report: StepReport) -> None:
        self._parts.ledger.note(self._progress.step, batch.sample_ids_B)
        self._losses.append(losses)
        self._undecodable += batch.num_undecodable
        self._empty += batch.num_empty_captions
        self._rejects.update(batch.rejects)
        self._progress.step += 1
        self._progress.skipped_steps += report.was_skipped
        self._guard.note_step(self._progress.step, was_skipped=report.was_skipped)

    def _is_due(self, every_samples: int, *, also_last: bool = False) -> bool:
        """Whether the step just done crossed a multiple of `every_samples` (0: never)."""
        if also_last and self._progress.step == self._num_steps:
            return True
        before = self._samples_seen - self._science.global_batch
        return every_samples > 0 and self._samples_seen // every_samples > before // every_samples

    def _log(self, learning_rate: float, report: StepReport) -> None:
        progress, device = self._progress, self._parts.engine.device
        means = mean_losses(self._losses)
        progress.last_loss = means.pop("loss")
        progress.undecodable_images += sum_over_ranks(self._undecodable, device)
        progress.empty_captions += sum_over_ranks(self._empty, device)
        seconds = self._watch.seconds()
        progress.device_seconds += (seconds - progress.train_seconds) * progress.num_ranks
        progress.train_seconds = seconds
        waited = self._waiting.take()
        progress.data_wait_seconds += waited
        progress.rejects = dict(Counter(progress.rejects) + sum_counts_over_ranks(self._rejects))
        self._losses, self._undecodable, self._empty, self._rejects = [], 0, 0, Counter()
        self._guard.check_samples(
            progress.undecodable_images,
            self._samples_seen,
            self._parts.point.placement.bad_samples_limit,
            progress.rejects,
        )
        rate = self._watch.samples_per_second(self._samples_seen)
        self._guard.check_loss(progress.step, progress.last_loss, self._parts.engine.objective)
        self._parts.journal.log(
            {
                "step": progress.step,
                "samples_seen": self._samples_seen,
                "loss": progress.last_loss,
                **means,
                "learning_rate": learning_rate,
                "gradient_norm": float(report.gradient_norm),
                "samples_per_second": rate,
                "data_wait_seconds": waited,
                "train_seconds": progress.train_seconds,
                "skipped_steps": progress.skipped_steps,
            }
        )
        self._parts.ledger.flush()
        self._parts.journal.status(self._status(rate))

    def _status(self, rate: float) -> Status:
        return Status(
            state="running",
            samples_seen=self._samples_seen,
            samples_total=self._num_steps * self._science.global_batch,
            samples_per_second=rate,
            num_ranks=self._parts.point.placement.num_ranks,
            attempts=self._attempt,
        )

    def _hold_out(self) -> None:
        with self._not_training():
            loss = self._parts.hold_out(self._samples_seen)
        if loss is not None:
            self._parts.journal.log({"samples_seen": self._samples_seen, "held_out_loss": loss})

    @contextlib.contextmanager
    def _not_training(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._watch.leave_out(time.perf_counter() - start)


def mean_losses(steps: Sequence[Losses]) -> dict[str, float]:
    """The mean of each named loss over steps and ranks; one exchange for all of them."""
    names = list(steps[0])
    values = torch.stack([torch.stack([losses[name].float() for name in names]) for losses in steps])
    return dict(zip(names, mean_over_ranks(values.mean(dim=0)), strict=True))
