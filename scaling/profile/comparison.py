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
    place: str  # what else tells it from other rows of this tower: "engine fsdp"; empty where nothing does
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
        place = f", {self.place}" if self.place else ""
        return (
            f"{self.image_tower} at {self.micro_batch:,} samples{place}: {self.objective} takes "
            f"{self.peak_share:.0%} of CLIP's memory ({self.activation_share:.0%} of its activations and temporaries) "
            f"and {time}, for {self.model_flops_share:.0%} of its model FLOPs."
        )


def compare_with_clip(profiles: Sequence[StepProfile]) -> list[Compared]:
    """A row for each objective on each tower and micro-batch on which CLIP was profiled, too; CLIP first."""
    rows = []
    differs = _differing(profiles)
    for baseline in _of_objective(profiles, is_baseline=True):
        like = [
            each for each in _of_objective(profiles, is_baseline=False) if _place(each) == _place(baseline)
        ]
        if like:
            rows += [_compared(each, baseline, differs) for each in (baseline, *like)]
    return rows


def _differing(profiles: Sequence[StepProfile]) -> list[str]:
    """What of the profiles' places differs besides what every row tells."""
    places = [_place(each) for each in profiles]
    told = {"image_tower", "micro_batch"}
    return [name for name in places[0] if name not in told and len({place[name] for place in places}) > 1]


def _of_objective(profiles: Sequence[StepProfile], *, is_baseline: bool) -> list[StepProfile]:
    """The first profile of each objective, tower and micro-batch."""
    first: dict[tuple[object, ...], StepProfile] = {}
    for each in profiles:
        objective = each.reduced.point.science.objective
        if (objective == BASELINE) == is_baseline:
            first.setdefault((objective, *_place(each).values()), each)
    return list(first.values())


SCIENCE_ALIKE = ("image_tower", "image_size", "precision")
PLACED_ALIKE = (
    *("micro_batch", "activation_checkpointing", "activation_checkpointing_every"),
    *("engine", "zero_stage", "offload", "compile"),
)


def _place(profile: StepProfile) -> dict[str, object]:
    """What has to be alike for objectives to be compared."""
    point = profile.reduced.point
    science = {name: getattr(point.science, name) for name in SCIENCE_ALIKE}
    return science | {name: getattr(point.placement, name) for name in PLACED_ALIKE}


def passing_bytes(profile: StepProfile) -> int:
    """At the peak, activations and temporaries."""
    by_class = profile.memory.peak.bytes_by_class
    return by_class["activations"] + by_class["temporaries"]


def _compared(profile: StepProfile, baseline: StepProfile, differs: Sequence[str]) -> Compared:
    place, science, samples = (
        _place(profile),
        profile.reduced.point.science,
        profile.reduced.point.science.global_batch,
    )
    return Compared(
        image_tower=science.image_tower,
        place=", ".join(f"{name} {place[name]}" for name in differs),
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
