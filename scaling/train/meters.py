"""What a run says about itself while it trains: metrics.jsonl, TensorBoard events, status, throughput, memory."""

from __future__ import annotations

import resource
import time
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from scaling.records import RunDirectory, Status, append_lines, cut_lines_from

SCALARS = ("loss", "learning_rate", "samples_per_second", "gradient_norm")


def peak_memory_bytes(device: torch.device) -> int:
    """The allocator's peak on CUDA; on a CPU, which has none, the process's largest resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


class Journal:
    """Rank 0's diary of a run; on other ranks every method does nothing."""

    def __init__(self, run: RunDirectory, *, is_main: bool, first_step: int, first_sample: int) -> None:
        self._run = run
        self._is_main = is_main
        self._writer: Any = None
        if is_main:
            # Lines that a killed attempt wrote after its last checkpoint are about to be written again.
            cut_lines_from(run.metrics, "samples_seen", first_sample + 1)
            cut_lines_from(run.samples, "step", first_step)
            self._writer = SummaryWriter(str(run.tensorboard), purge_step=first_sample + 1)

    def log(self, row: dict[str, Any]) -> None:
        """One row of metrics, at its number of samples seen."""
        if not self._is_main:
            return
        append_lines(self._run.metrics, [row])
        for name in SCALARS:
            if name in row:
                self._writer.add_scalar(f"train/{name}", row[name], row["samples_seen"])
        if "held_out_loss" in row:
            self._writer.add_scalar("held_out/loss", row["held_out_loss"], row["samples_seen"])
        self._writer.flush()

    def status(self, status: Status) -> None:
        """Where the run stands, for `scaling status`."""
        if self._is_main:
            self._run.write_status(status)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Stopwatch:
    """Seconds inside the training loop, attempts before this one included."""

    def __init__(self, seconds_before: float) -> None:
        self._before = seconds_before
        self._start = time.perf_counter()
        self._paused = 0.0
        self._lap_seconds = 0.0
        self._lap_samples = 0

    def seconds(self) -> float:
        """Training time so far."""
        return self._before + time.perf_counter() - self._start - self._paused

    def samples_per_second(self, samples_seen: int) -> float:
        """The rate since the last call."""
        now = self.seconds() - self._before
        rate = (samples_seen - self._lap_samples) / max(now - self._lap_seconds, 1e-9)
        self._lap_seconds, self._lap_samples = now, samples_seen
        return rate

    def start_lap(self, samples_seen: int) -> None:
        """Count the rate from here."""
        self._lap_seconds, self._lap_samples = self.seconds() - self._before, samples_seen

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was spent on something else."""
        self._paused += seconds
