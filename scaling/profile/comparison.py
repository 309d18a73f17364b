"""CLIP beside the other objectives on the same tower and micro-batch: memory and time per sample, as measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from scaling.profile.step_profile import StepProfile

BASELINE = "clip"  # SuperClass's authors compare with it: "about 50 % memory, more than 20 % faster"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One objective beside CLIP; shares are of CLIP's, 1.0 for CLIP itself."""

    image_tower: str
    micro_batch: int  # samples
    objective: str
    peak_bytes: int
    activation_bytes_per_sample: int  # at the peak, with temporaries
    seconds_per_sample: float
    model_flops_per_sample: int
    peak_share: float
    activation_share: float
    seconds_share: float
    model_flops_share: float
    is_disturbed: bool  # its steps or CLIP's: other processes held the cores

    @property
    def sentence(self) -> str:
        """What was measured, in words; of times that were disturbed, only that they were."""
        if self.is_disturbed:
            time = "a time per sample that cannot be told: other processes held the cores"
        else:
            time = f"{self.seconds_share:.0%} of its time per sample"
        return (
            f"{self.image_tower} at {self.micro_batch:,} samples: {self.objective} takes {self.peak_share:.0%} of "
            f"CLIP's memory ({self.activation_share:.0%} of its activations and temporaries) and {time}, for "
            f"{self.model_flops_share:.0%} of its model FLOPs."
        )


def compare_with_clip(profiles: Sequence[StepProfile]) -> list[Compared]:
    """A row for each objective on each tower and micro-batch on which CLIP was profiled, too; CLIP first."""
    rows = []
    for baseline in _of_objective(profiles, is_baseline=True):
        like = [
            each for each in _of_objective(profiles, is_baseline=False) if _place(each) == _place(baseline)
        ]
        if like:
            rows += [_compared(each, baseline) for each in (baseline, *like)]
    return rows


def _of_objective(profiles: Sequence[StepProfile], *, is_baseline: bool) -> list[StepProfile]:
    """The first profile of each objective, tower and micro-batch."""
    first: dict[tuple[object, ...], StepProfile] = {}
    for each in profiles:
        objective = each.reduced.point.science.objective
        if (objective == BASELINE) == is_baseline:
            first.setdefault((objective, *_place(each)), each)
    return list(first.values())


def _place(profile: StepProfile) -> tuple[object, ...]:
    """What has to be alike for objectives to be compared."""
    point = profile.reduced.point
    science, placement = point.science, point.placement
    checkpointing = placement.activation_checkpointing, placement.activation_checkpointing_every
    shards = placement.engine, placement.zero_stage, placement.offload, placement.compile
    return (
        science.image_tower,
        science.image_size,
        placement.micro_batch,
        science.precision,
        *checkpointing,
        *shards,
    )


def passing_bytes(profile: StepProfile) -> int:
    """At the peak, activations and temporaries."""
    by_class = profile.memory.peak.bytes_by_class
    return by_class["activations"] + by_class["temporaries"]


def _compared(profile: StepProfile, baseline: StepProfile) -> Compared:
    science, samples = profile.reduced.point.science, profile.reduced.point.science.global_batch
    return Compared(
        image_tower=science.image_tower,
        micro_batch=samples,
        objective=science.objective,
        peak_bytes=profile.memory.peak.total,
        activation_bytes_per_sample=passing_bytes(profile) // samples,
        seconds_per_sample=profile.seconds_per_step / samples,
        model_flops_per_sample=profile.model_flops_per_sample,
        peak_share=profile.memory.peak.total / baseline.memory.peak.total,
        activation_share=passing_bytes(profile) / passing_bytes(baseline),
        seconds_share=profile.seconds_per_step / baseline.seconds_per_step,
        model_flops_share=profile.model_flops_per_sample / baseline.model_flops_per_sample,
        is_disturbed=profile.is_disturbed or baseline.is_disturbed,
    )
