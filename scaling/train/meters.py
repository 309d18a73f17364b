"""What a run measures of itself while it trains: speed, waiting, use of the device, memory, losses.

How the loop uses it; every rank makes the same calls, and only `row` reads from the device or the other ranks:

    goodput = Goodput(run, attempt=assignment.attempt, is_main=rank.is_main)   # early in main
    meters = Meters(point, planned, engine, statistics, goodput, progress)          # after restore()
    for batch in meters.batches(stream.batches(first, last)):    # counts waiting for data
        losses = ...                                             # as Accumulation returns them
        report = engine.step(learning_rate)
        meters.step_done(losses, report)
        if log_is_due or checkpoint_is_due:
            row = meters.row(progress, learning_rate)            # for Journal.log; sets progress's times, last_loss
        with meters.phase("checkpoint"):                         # or "evaluation": not training
            checkpointer.save(progress)
    meters.rolled_back(progress)          # after restore() in the middle of a run: steps since are lost
    with meters.phase("checkpoint"): ...  # writing weights; after the last batch the phase is "evaluation"
    make_record(point, assignment, run, progress, meters, unique_samples=..., peak_memory=...)  # at the end

`row` needs `progress` to have step, num_ranks, train_seconds, device_seconds, data_wait_seconds, last_loss and
goodput. Keys of a row, and tags in TensorBoard, are those of `Meters.row`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from scaling.points import RunPoint
from scaling.records import PlannedCost
from scaling.train.collectives import mean_over_ranks
from scaling.train.engines.protocol import Engine, StepReport
from scaling.train.goodput import Goodput, Phase
from scaling.train.idf import LabelStatistics
from scaling.train.memory_meter import MemoryByClass, memory_by_class
from scaling.train.step_times import percentiles, step_times
from scaling.train.utilisation import PeakRate, model_flops_utilisation, peak_rate

T = TypeVar("T")
Losses = Mapping[str, Tensor]


class Timed(Protocol):
    """What the meters read and write of a run's Progress."""

    num_ranks: int
    step: int
    train_seconds: float
    device_seconds: float
    data_wait_seconds: float
    last_loss: float
    goodput: dict[str, float]


class Meters:
    """Measures one run on this rank; an interval goes from one row to the next."""

    def __init__(
        self,
        point: RunPoint,
        planned: PlannedCost,
        engine: Engine,
        statistics: LabelStatistics,
        goodput: Goodput,
        progress: Timed,
    ) -> None:
        self._global_batch = point.science.global_batch
        self._zero_stage = point.placement.zero_stage
        self._flops_per_sample = sum(planned.train_flops_per_sample.values())
        self._engine = engine
        self._statistics = statistics
        self._goodput = goodput
        self._times = step_times(engine.device)
        self._peak = peak_rate(engine.device, point.science.precision)
        self._state: MemoryByClass | None = None
        goodput.resume(progress.goodput)
        self._start_interval()

    def rolled_back(self, progress: Timed) -> None:
        """Training goes on from a checkpoint: time spent since is lost, and losses since the last row are dropped."""
        self._goodput.go_back(progress.goodput)
        self._times.take()
        self._start_interval()

    def _start_interval(self) -> None:
        self._losses: list[Losses] = []
        self._report = StepReport(gradient_norm=float("nan"), was_skipped=False)
        self._seconds_at_start = self._goodput.seconds()

    def batches(self, batches: Iterable[T]) -> Iterator[T]:
        """The same batches. The first is awaited as part of the initialisation, the others as data stalls.

        It is no stall while the device still has steps to do.
        """
        iterator = iter(batches)
        waiting: Phase = "initialisation"
        while True:
            self._goodput.enter(waiting)
            try:
                batch = next(iterator)
            except StopIteration:
                self._goodput.enter("evaluation")
                return
            if waiting == "initialisation":
                self._times.start()
            elif not self._times.is_idle():
                waiting = "productive"
            self._goodput.enter("productive", was=waiting)
            waiting = "data_stall"
            yield batch

    def step_done(self, losses: Losses, report: StepReport) -> None:
        """A step was asked of the device; nothing of it is read."""
        self._losses.append(losses)
        self._report = report
        self._times.step_done()

    @contextlib.contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """What happens inside is not training."""
        with self._goodput.phase(phase):
            yield
        self._goodput.write()
        self._times.start()

    def row(self, progress: Timed, learning_rate: float) -> dict[str, float]:
        """What there is to say about the interval since the last row; brings the times of `progress` up to date.

        Called by all ranks together, after at least one step. Losses are means over steps and ranks; times are this
        rank's. Step times are missing as long as the device has not finished a step.
        """
        num_samples = len(self._losses) * self._global_batch
        losses = mean_losses(self._losses)
        gradient_norm = float(self._report.gradient_norm)
        steps = percentiles(self._times.take())
        trained, waited = self._seconds_of_interval()  # after the losses were read: the device has caught up
        rate = num_samples / max(trained, 1e-9)
        progress.last_loss = losses["loss"]
        self.note_times(progress)
        self._goodput.write()
        self._start_interval()
        return {
            "step": progress.step,
            "samples_seen": progress.step * self._global_batch,
            **losses,
            "learning_rate": learning_rate,
            "gradient_norm": gradient_norm,
            **self._statistics.summary(),
            "samples_per_second": rate,
            "model_flops_utilisation": self._utilisation(rate, progress.num_ranks),
            **{f"step_seconds_{name}": seconds for name, seconds in steps.items()},
            "data_wait_seconds": waited,
            "data_wait_share": waited / max(trained, 1e-9),
            "train_seconds": progress.train_seconds,
            **{f"goodput_{phase}": seconds for phase, seconds in progress.goodput.items()},
            **{f"memory_{name}": value for name, value in self.memory().bytes_by_class().items()},
        }

    def _seconds_of_interval(self) -> tuple[float, float]:
        """Seconds of training since the last row, and those of them in which the device waited for data."""
        now, before = self._goodput.seconds(), self._seconds_at_start
        waited = now["data_stall"] - before["data_stall"]
        return now["productive"] - before["productive"] + waited, waited

    def note_times(self, progress: Timed) -> None:
        """Bring the times of `progress` up to date without a row."""
        progress.goodput = self._goodput.seconds()
        train_seconds = self._goodput.train_seconds()
        progress.device_seconds += (train_seconds - progress.train_seconds) * progress.num_ranks
        progress.train_seconds = train_seconds
        progress.data_wait_seconds = progress.goodput["data_stall"]

    def _utilisation(self, samples_per_second: float, num_ranks: int) -> float:
        return model_flops_utilisation(samples_per_second, self._flops_per_sample, num_ranks, self._peak)

    def utilisation(self, progress: Timed) -> float:
        """Model FLOP utilisation of the whole run: its FLOPs over the peak of all the device-seconds it trained."""
        flops = progress.step * self._global_batch * self._flops_per_sample
        return flops / (max(progress.device_seconds, 1e-9) * self._peak.flops_per_second)

    def goodput_seconds(self) -> dict[str, float]:
        """Wall seconds of all attempts until now, by what they went on."""
        return self._goodput.seconds()

    @property
    def peak(self) -> PeakRate:
        """What utilisation is a share of."""
        return self._peak

    def memory(self) -> MemoryByClass:
        """The peak of this rank's memory until now, by what it holds."""
        if self._state is None:  # what the state takes does not change once there is one
            self._state = memory_by_class(self._engine, self._zero_stage)
        return self._state.at_present_peak()


def mean_losses(steps: list[Losses]) -> dict[str, float]:
    """The mean of each named loss over steps and ranks; one exchange for all of them."""
    names = list(steps[0])
    values = torch.stack([torch.stack([losses[name].float() for name in names]) for losses in steps])
    return dict(zip(names, mean_over_ranks(values.mean(dim=0)), strict=True))
