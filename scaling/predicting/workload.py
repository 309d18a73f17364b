"""The part of a point's science that decides its memory and its speed.  No torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from model_zoo.activation_segments import Arithmetic
from model_zoo.specification import ObjectiveSpecification
from scaling.placement import Placement
from scaling.sweep.science import Science


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One optimizer step, as far as its cost depends on it; points that differ in length or seed share it."""

    specification: ObjectiveSpecification
    global_batch: int  # samples
    precision: str  # of Science
    idf: str  # of Science
    clips_gradients: bool
    science: Science = field(compare=False)  # of one of the points that share it

    def arithmetic(self, *, on_accelerator: bool) -> Arithmetic:
        """In what elements it computes."""
        return Arithmetic(bf16_autocast=self.precision == "bf16_autocast", on_accelerator=on_accelerator)

    def num_micro_batches(self, placement: Placement) -> int:
        """Forward passes of a rank per step, those of cached features not counted twice."""
        return self.global_batch // placement.num_ranks // placement.micro_batch


def workload_of(science: Science) -> Workload:
    """The step of a point."""
    return Workload(
        specification=science.specification,
        global_batch=science.global_batch,
        precision=science.precision,
        idf=science.idf,
        clips_gradients=science.gradient_clipping > 0,
        science=science,
    )
