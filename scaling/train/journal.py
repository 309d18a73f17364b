"""What rank 0 writes about a run: rows of metrics as JSON lines and as TensorBoard events, and the run's status."""

from __future__ import annotations

from typing import Any

from torch.utils.tensorboard import SummaryWriter

from scaling.records import RunDirectory, Status, read_lines

X_AXES = ("step", "samples_seen")  # positions of a row, not written as curves


class Journal:
    """Writes on rank 0; on other ranks every method does nothing."""

    def __init__(self, run: RunDirectory, *, is_main: bool, first_step: int, first_sample: int) -> None:
        self._run = run
        self._is_main = is_main
        self._writer: Any = None
        if is_main:
            has_events = run.tensorboard.exists()
            self.go_back(first_step=first_step, first_sample=first_sample)
            # without events yet, rows are those of the run that this one branched from
            for row in [] if has_events else read_lines(run.metrics):
                self._show(row)

    def go_back(self, *, first_step: int, first_sample: int) -> None:
        """Forget what was written after a checkpoint that training goes on from: it is about to be written again."""
        if not self._is_main:
            return
        self.close()
        self._run.cut_from(self._run.metrics, "samples_seen", first_sample + 1)
        self._run.cut_from(self._run.samples, "step", first_step)
        self._writer = SummaryWriter(str(self._run.tensorboard), purge_step=first_sample + 1)

    def log(self, row: dict[str, Any]) -> None:
        """One row of metrics, at its number of samples seen; every number under the same name in TensorBoard."""
        if not self._is_main:
            return
        self._run.append(self._run.metrics, [row])
        self._show(row)
        self._writer.flush()

    def _show(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name not in X_AXES and isinstance(value, (int, float)):
                self._writer.add_scalar(name, value, row["samples_seen"])

    def status(self, status: Status) -> None:
        """Where the run stands, for `scaling status`."""
        if self._is_main:
            self._run.write_status(status)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
