"""What one showing of a stored sample is: a crop, a caption and a seed, or the reason why it is left out.

All three are functions of (seed, epoch, sample), so neither ranks nor workers nor a resume change what is shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from torch import Tensor

from scaling.data.images.augmentation import Augmentation
from scaling.data.images.draws import CAPTION, showing_seed, uniform
from scaling.data.images.transforms import UndecodableImage, shown_crop
from scaling.data.samples import EMPTY_CAPTION, UNREADABLE_CAPTION

# Shapes.  C = 3 colours, S = image_size.

OVERSIZED_CAPTION = "oversized caption"
MAX_CAPTION_CHARACTERS = 100_000
"""More than any caption has; one of 10 MB would take 5 seconds to clean and tokenize, this limit takes 0.2."""

BadSamples = Literal["skip", "fail"]


class BadSample(ValueError):
    """A sample that cannot be shown, in a run with bad_samples: fail."""


class Showing(TypedDict):
    """One showing of a sample, as the Collator takes it."""

    id: int  # index into the training set
    seed: int  # that all draws for this showing are made from, on the device too; 0 to 2**63 - 1
    image: Tensor | None  # uint8 [C, S, S]
    caption: str  # "" if it cannot be used
    reject: str | None  # why the image, or else the caption, cannot be used
    num_bytes: NotRequired[int]  # of the stored sample, where it was read from a shard


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ShowSettings:
    """What decides how a sample is shown."""

    seed: int
    image_size: int
    augmentation: Augmentation
    bad_samples: BadSamples = "skip"  # leave them out of the loss and count them, or end the run
    where: str  # the data, for messages


def show(sample: Mapping[str, Any], *, sample_id: int, epoch: int, settings: ShowSettings) -> Showing:
    """The sample as it is shown in that epoch.

    Raises BadSample under bad_samples: fail, and ValueError for shards without the columns that training reads.
    """
    seed = showing_seed(settings.seed, epoch, sample_id)
    image, problem = _crop(_column(sample, ("jpg",), settings), seed, settings)
    caption, caption_problem = _choose_caption(_column(sample, ("captions", "caption"), settings), seed)
    reject = problem or caption_problem
    if settings.bad_samples == "fail":
        reason = reject or (None if caption.strip() else EMPTY_CAPTION)
        if reason:
            raise BadSample(
                f"{settings.where}: sample {sample_id:,} (key {sample.get('key', 'unknown')!r}): {reason}. Make the "
                "data again without it, or set bad_samples: skip to leave such samples out and count them."
            )
    return Showing(id=sample_id, seed=seed, image=image, caption=caption, reject=reject)


def _column(sample: Mapping[str, Any], names: tuple[str, ...], settings: ShowSettings) -> Any:
    for name in names:
        if name in sample:
            return sample[name]
    raise ValueError(
        f"{settings.where}: the samples have no column {names[-1]!r}, only {', '.join(sorted(sample))}: make the data "
        "with `scaling data convert`."
    )


def _crop(image: Any, seed: int, settings: ShowSettings) -> tuple[Tensor | None, str | None]:
    if not isinstance(image, bytes):
        raise ValueError(
            f"{settings.where}: the column 'jpg' holds {type(image).__name__}, not bytes: write it with the encoding "
            "bytes, as `scaling data convert` does."
        )
    augmentation = settings.augmentation
    try:
        crop = shown_crop(
            image,
            settings.image_size,
            scale_min=augmentation.crop_scale_min,
            scale_max=augmentation.crop_scale_max,
            seed=seed,
        )
    except UndecodableImage as error:
        return None, error.reason
    return crop, None


def _choose_caption(captions: Any, seed: int) -> tuple[str, str | None]:
    """One caption, drawn uniformly, and why it cannot be used (None if it can)."""
    choices = [captions] if isinstance(captions, str) else captions
    if not isinstance(choices, list):
        return "", UNREADABLE_CAPTION
    caption = choices[int(uniform(seed, CAPTION) * len(choices))] if choices else ""
    if not isinstance(caption, str) or _has_lone_surrogates(caption):
        return "", UNREADABLE_CAPTION
    if len(caption) > MAX_CAPTION_CHARACTERS:
        return "", OVERSIZED_CAPTION
    return caption, None


def _has_lone_surrogates(caption: str) -> bool:
    """Whether the text cannot be encoded as UTF-8: it was read from other bytes, or from JSON with half characters."""
    try:
        caption.encode()
    except UnicodeEncodeError:
        return True
    return False
