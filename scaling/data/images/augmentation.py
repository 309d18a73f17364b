"""How a training image varies from one showing to the next, and what is drawn for it.

Every draw is a function of one number per showing (made of the run's seed, the epoch and the sample), so it depends
neither on the rank nor on the micro-batch, and a resumed run sees what an undisturbed one does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

PixelStatistics = Literal["clip", "imagenet"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class MeanAndDeviation:
    """Mean and standard deviation of red, green and blue over a data set; pixels are from 0 to 1."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


PIXEL_STATISTICS: Mapping[PixelStatistics, MeanAndDeviation] = {
    # open_clip.constants.OPENAI_DATASET_MEAN and _STD, as in the recipe.
    "clip": MeanAndDeviation(
        mean=(0.48145466, 0.4578275, 0.40821073), deviation=(0.26862954, 0.26130258, 0.27577711)
    ),
    # open_clip.constants.IMAGENET_MEAN and _STD, torchvision's for its own models.
    "imagenet": MeanAndDeviation(mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225)),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What may happen to an image; the defaults are the recipe of arXiv 2411.03313 for up to 1.28B samples.

    The one for 12.8B is crop_scale_min 0.4, jitter_probability 0.8, grayscale_probability 0.2.
    """

    crop_scale_min: float = 0.9  # of the picture's area
    crop_scale_max: float = 1.0
    flip_probability: float = 0.0  # left and right
    jitter_probability: float = 0.0  # of brightness, contrast, saturation and hue together, in random order
    jitter_brightness: float = 0.32  # the factor is within 1 -+ this, never below 0; likewise the next two
    jitter_contrast: float = 0.32
    jitter_saturation: float = 0.32
    jitter_hue: float = 0.08  # turns of the colour circle, either way
    grayscale_probability: float = 0.0
    pixel_statistics: PixelStatistics = "clip"  # taken out of the pixels, in training as in evaluation

    def __post_init__(self) -> None:
        _check_between("crop_scale_min", self.crop_scale_min, 0.0, self.crop_scale_max)
        _check_between("crop_scale_max", self.crop_scale_max, self.crop_scale_min, 1.0)
        if self.crop_scale_min == 0:
            raise ValueError("crop_scale_min (0) must be above 0: a crop without area shows nothing.")
        for name in ("flip_probability", "jitter_probability", "grayscale_probability"):
            _check_between(name, getattr(self, name), 0.0, 1.0)
        for name in ("jitter_brightness", "jitter_contrast", "jitter_saturation"):
            _check_between(name, getattr(self, name), 0.0, float("inf"))
        _check_between("jitter_hue", self.jitter_hue, 0.0, 0.5)
        if self.pixel_statistics not in get_args(PixelStatistics):
            raise ValueError(
                f"pixel_statistics ({self.pixel_statistics!r}) must be one of: {', '.join(PIXEL_STATISTICS)}."
            )

    @property
    def draws_colours(self) -> bool:
        """Whether anything is drawn but the crop."""
        return any((self.flip_probability, self.jitter_probability, self.grayscale_probability))


def _check_between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} ({value:g}) must be from {low:g} to {high:g}.")
