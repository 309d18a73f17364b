"""What all ranks know together of each step, one step later, so that nothing waits for the device or for each other.

A loss is a rank's own, and a signal reaches a rank alone; yet all must stop, or go back, after the same step. Each
step therefore sends a few flags through one small reduction beside the training, whose result is read at the next
step. On CUDA it travels to the host on a stream of its own: reading it waits for the step before, while the device is
busy with the present one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from scaling.train.collectives import start_max
from scaling.train.engines.protocol import StepReport

NonFiniteKind = Literal["loss", "gradient", "weights"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What all ranks know of one step."""

    step: int
    is_stop_asked: bool  # of any rank
    non_finite: NonFiniteKind | None  # what was, on any rank; a loss before the gradient that follows from it


class StepVerdicts:
    """Asks about one step at a time; every method is called by all ranks together."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._asked: tuple[int, Tensor, dist.Work | None, Any] | None = None

    def ask(self, step: int, losses: Mapping[str, Tensor], report: StepReport, *, stop: bool) -> None:
        """Send this rank's flags of a step on their way."""
        assert self._asked is None, "the verdict on the step before was not read"
        flags_3 = self._flags(losses, report, stop)
        work = start_max(flags_3)
        if self._stream is None:
            self._asked = step, flags_3, work, None
        else:
            self._asked = (step, *self._send_to_host(flags_3, work))

    def answer(self) -> Verdict | None:
        """The verdict on the step that was asked about last, None if it was read already."""
        if self._asked is None:
            return None
        (step, flags_3, work, event), self._asked = self._asked, None
        if event is not None:
            event.synchronize()
        elif work is not None:
            work.wait()
        is_stop_asked, is_bad_loss, is_bad_gradient = flags_3.tolist()
        kind: NonFiniteKind | None = "loss" if is_bad_loss else "gradient" if is_bad_gradient else None
        return Verdict(step=step, is_stop_asked=bool(is_stop_asked), non_finite=kind)

    def _flags(self, losses: Mapping[str, Tensor], report: StepReport, stop: bool) -> Tensor:
        """int32 [3] on the device: stop asked for, a loss not finite, the gradient not finite."""
        bad_loss = ~torch.isfinite(torch.stack([loss.float() for loss in losses.values()])).all()
        norm, bad_gradient = report.gradient_norm, report.was_skipped
        if isinstance(norm, Tensor):
            norm_flag = ~torch.isfinite(norm).all().to(self._device, non_blocking=True)
        else:
            bad_gradient = bad_gradient or not math.isfinite(norm)
            norm_flag = torch.zeros_like(bad_loss)
        known = torch.tensor(
            [stop, False, bad_gradient], dtype=torch.int32, pin_memory=self._stream is not None
        )
        found = torch.stack([torch.zeros_like(bad_loss), bad_loss, norm_flag]).int()
        return torch.maximum(known.to(self._device, non_blocking=True), found)

    def _send_to_host(self, flags_3: Tensor, work: dist.Work | None) -> tuple[Tensor, None, Any]:
        """The flags in pinned memory, there once the event has passed; training waits for none of it."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            if work is not None:
                work.wait()  # of this stream for the reduction's
            on_host_3 = torch.empty(3, dtype=torch.int32, pin_memory=True)
            on_host_3.copy_(flags_3, non_blocking=True)
            flags_3.record_stream(self._stream)
            event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._stream)
        return on_host_3, None, event
