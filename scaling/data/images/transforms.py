"""Crops images on the CPU, as uint8, and normalises them on the device, as floats.

uint8 is sent to the device because it takes a quarter of the bytes of float32.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torchvision.transforms import v2  # type: ignore[import-untyped]
from torchvision.transforms.v2 import functional as F  # type: ignore[import-untyped]

from scaling.data.images.augmentation import PIXEL_STATISTICS, PixelStatistics
from scaling.data.images.decoding import UndecodableImage, decode, open_image
from scaling.data.images.draws import CROP, uniform

__all__ = [
    "Crop",
    "UndecodableImage",
    "decode",
    "draw_crop",
    "evaluation_crop",
    "normalise",
    "shown_crop",
    "training_crop",
]

# Shapes.  B images, C = 3 colours (red, green, blue), H and W pixels, S = image_size.

ASPECT_MIN, ASPECT_MAX = 3 / 4, 4 / 3  # width to height; torchvision's default, and open_clip's
CROP_ATTEMPTS = 10  # torchvision's

REDUCTIONS = (8, 4, 2)  # factors by which libjpeg can decode smaller, largest first
REDUCTION_MARGIN = 1.5
"""A crop is decoded smaller only if it then still has at least so many times the size it is resized to.

On sharp photographs that changes pixels by 1.5 to 1.8 of 255 on average, 1 % of them by more than 9, and their mean
not at all; bilinear resizing in place of bicubic changes them by 2.3 to 2.7. It saves a fifth of the time for pictures
of 512 x 384 pixels and crops of 56, a third for 1,024 x 768 and 112; for 512 x 384 and 112 there is nothing to save.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Crop:
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def reduced(self, by: int, height: int, width: int) -> Crop:
        """The same rectangle, rounded, in the picture decoded `by` times smaller, which is height x width."""
        top, left = min(round(self.top / by), height - 1), min(round(self.left / by), width - 1)
        return Crop(
            top=top,
            left=left,
            height=max(1, min(round(self.height / by), height - top)),
            width=max(1, min(round(self.width / by), width - left)),
        )


def shown_crop(image: bytes, image_size: int, *, scale_min: float, scale_max: float, seed: int) -> Tensor:
    """uint8 [C, S, S]: the training crop of an encoded picture, decoded no larger than needed.

    Raises UndecodableImage.
    """
    opened = open_image(image)
    crop = draw_crop(opened.height, opened.width, scale_min=scale_min, scale_max=scale_max, seed=seed)
    reduction = _reduction(crop, image_size) if opened.is_jpeg else 1
    pixels_CHW = opened.decode(reduction=reduction)
    if reduction > 1:
        crop = crop.reduced(reduction, *pixels_CHW.shape[1:])
    return _resized(pixels_CHW, crop, image_size)


def training_crop(
    image_CHW: Tensor, image_size: int, *, scale_min: float, scale_max: float, seed: int
) -> Tensor:
    """uint8 [C, S, S]: a random crop of scale_min to scale_max of the area, resized by antialiased bicubic.

    The crop is a function of the seed and the picture's size.
    """
    height, width = image_CHW.shape[1:]
    crop = draw_crop(height, width, scale_min=scale_min, scale_max=scale_max, seed=seed)
    return _resized(image_CHW, crop, image_size)


def draw_crop(height: int, width: int, *, scale_min: float, scale_max: float, seed: int) -> Crop:
    """A rectangle of a picture, distributed as torchvision's RandomResizedCrop draws it."""
    log_min, log_max = math.log(ASPECT_MIN), math.log(ASPECT_MAX)
    for number in range(CROP, CROP + 4 * CROP_ATTEMPTS, 4):
        area = height * width * (scale_min + (scale_max - scale_min) * uniform(seed, number))
        aspect = math.exp(log_min + (log_max - log_min) * uniform(seed, number + 1))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            return Crop(
                top=int((height - crop_height + 1) * uniform(seed, number + 2)),
                left=int((width - crop_width + 1) * uniform(seed, number + 3)),
                height=crop_height,
                width=crop_width,
            )
    return _central_crop(height, width)


def evaluation_crop(image_CHW: Tensor, image_size: int) -> Tensor:
    """uint8 [C, S, S]: the shorter side resized to S by antialiased bicubic, then the centre."""
    resized = F.resize(image_CHW, [image_size], interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    cropped: Tensor = F.center_crop(resized, [image_size, image_size])
    return cropped


def normalise(images_BCHW: Tensor, statistics: PixelStatistics = "clip") -> Tensor:
    """float32 [B, C, H, W] on the images' device: (uint8 / 255 - mean) / standard deviation."""
    images_BCHW = images_BCHW.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    return standardise_(images_BCHW.div_(255), statistics)


def standardise_(images_BCHW: Tensor, statistics: PixelStatistics) -> Tensor:
    """(x - mean) / standard deviation, in place, of floats from 0 to 1."""
    of = PIXEL_STATISTICS[statistics]
    mean = torch.tensor(of.mean, device=images_BCHW.device).view(3, 1, 1)
    deviation = torch.tensor(of.deviation, device=images_BCHW.device).view(3, 1, 1)
    return images_BCHW.sub_(mean).div_(deviation)


def _central_crop(height: int, width: int) -> Crop:
    """The largest rectangle in the middle whose shape is allowed, as torchvision falls back to."""
    crop_height, crop_width = height, width
    if width < ASPECT_MIN * height:
        crop_height = max(1, round(width / ASPECT_MIN))
    elif width > ASPECT_MAX * height:
        crop_width = max(1, round(height * ASPECT_MAX))
    return Crop((height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width)


def _reduction(crop: Crop, image_size: int) -> int:
    shorter = min(crop.height, crop.width)
    return next((by for by in REDUCTIONS if shorter >= REDUCTION_MARGIN * by * image_size), 1)


def _resized(image_CHW: Tensor, crop: Crop, image_size: int) -> Tensor:
    resized: Tensor = F.resized_crop(
        image_CHW,
        crop.top,
        crop.left,
        crop.height,
        crop.width,
        [image_size, image_size],
        interpolation=v2.InterpolationMode.BICUBIC,
        antialias=True,
    )
    return resized
