"""Turns uint8 crops into the model's input, batch by batch on its device: flip, colour jitter, greyscale, normalise.

Per sample this is torchvision's RandomHorizontalFlip, RandomApply(ColorJitter) and RandomGrayscale on floats.  Random
numbers are drawn on the CPU from the showing's seed: they do not depend on rank or micro-batch, and which rows need
which operation is known without waiting for the device.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scaling.data.batches import Batch
from scaling.data.images.augmentation import Augmentation
from scaling.data.images.draws import (
    BRIGHTNESS,
    CONTRAST,
    FLIP,
    GRAYSCALE,
    HUE,
    JITTER,
    JITTER_ORDER,
    SATURATION,
    uniforms,
)
from scaling.data.images.transforms import normalise, standardise_

# Shapes.  B images, J those of them whose colours are jittered, C = 3 colours, H W pixels, P = 4 places in the order.

LUMINANCE = (0.2989, 0.587, 0.114)  # of red, green and blue; torchvision's, from ITU-R BT.601
JITTERS = (BRIGHTNESS, CONTRAST, SATURATION, HUE)
IMAGES_AT_ONCE = {"cpu": 8, "cuda": 256}
"""So that intermediate results stay in a core's cache, or do not fill an accelerator's memory."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ColourDraws:
    """What happens to the colours and the sides of each image."""

    flip_B: npt.NDArray[np.bool_]
    jitter_B: npt.NDArray[np.bool_]
    grayscale_B: npt.NDArray[np.bool_]
    factors_BP: npt.NDArray[np.float64]  # of brightness, contrast and saturation; turns of hue
    order_BP: npt.NDArray[np.int64]  # which of these four comes first, second, ...

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> ColourDraws:
        return ColourDraws(
            **{field.name: getattr(self, field.name)[rows] for field in dataclasses.fields(ColourDraws)}
        )


def prepare(batch: Batch, rows: slice, augmentation: Augmentation, device: torch.device) -> Tensor:
    """float32 [B, C, H, W] on the device: those images of the batch as the model is to see them."""
    images_BCHW = batch.images_BCHW[rows].to(device, non_blocking=True)
    if not augmentation.draws_colours:
        return normalise(images_BCHW, augmentation.pixel_statistics)
    if batch.seeds_B is None:
        raise ValueError(
            f"{augmentation} needs a seed for every showing, and this batch has none: its samples must come from "
            "scaling.data.images.showing.show."
        )
    draws = draw_colours(batch.seeds_B[rows].numpy(), augmentation)
    prepared_BCHW = torch.empty(images_BCHW.shape, device=device)
    at_once = IMAGES_AT_ONCE.get(device.type, IMAGES_AT_ONCE["cuda"])
    for start in range(0, len(images_BCHW), at_once):
        part = slice(start, start + at_once)
        augmented_BCHW = augment(images_BCHW[part], draws[part])
        prepared_BCHW[part] = standardise_(augmented_BCHW, augmentation.pixel_statistics)
    return prepared_BCHW


def draw_colours(seeds_B: npt.NDArray[np.int64], augmentation: Augmentation) -> ColourDraws:
    """The draws of flip, ColorJitter(brightness, contrast, saturation, hue) and greyscale, from the seeds."""
    places = [uniforms(seeds_B, JITTER_ORDER + place) for place in range(len(JITTERS))]
    return ColourDraws(
        flip_B=uniforms(seeds_B, FLIP) < augmentation.flip_probability,
        jitter_B=uniforms(seeds_B, JITTER) < augmentation.jitter_probability,
        grayscale_B=uniforms(seeds_B, GRAYSCALE) < augmentation.grayscale_probability,
        factors_BP=np.stack(
            [
                low + (high - low) * uniforms(seeds_B, number)
                for number, (low, high) in zip(JITTERS, _jitter_ranges(augmentation), strict=True)
            ],
            axis=1,
        ),
        order_BP=np.argsort(np.stack(places, axis=1), axis=1),  # of equals, all orders are equally probable
    )


def augment(images_BCHW: Tensor, draws: ColourDraws) -> Tensor:
    """float32 [B, C, H, W] from 0 to 1: the uint8 images with their draws applied."""
    device = images_BCHW.device
    floats_BCHW = images_BCHW.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    if (flipped := _rows(draws.flip_B)).size:
        index = torch.from_numpy(flipped).to(device, non_blocking=True)
        floats_BCHW[index] = floats_BCHW[index].flip(-1)
    if (jittered := _rows(draws.jitter_B)).size:
        hue_place = np.argmax(draws.order_BP[jittered] == JITTERS.index(HUE), axis=1)
        jittered = jittered[np.argsort(hue_place, kind="stable")]
        index = torch.from_numpy(jittered).to(device, non_blocking=True)
        floats_BCHW[index] = _jitter_(floats_BCHW[index], draws[jittered])
    if (grey := _rows(draws.grayscale_B)).size:
        index = torch.from_numpy(grey).to(device, non_blocking=True)
        floats_BCHW[index] = _luminance(floats_BCHW[index])
    return floats_BCHW


def _rows(chosen_B: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.flatnonzero(chosen_B)


def _jitter_ranges(augmentation: Augmentation) -> list[tuple[float, float]]:
    strengths = (
        augmentation.jitter_brightness,
        augmentation.jitter_contrast,
        augmentation.jitter_saturation,
    )
    return [
        *((max(0.0, 1 - strength), 1 + strength) for strength in strengths),
        (-augmentation.jitter_hue, augmentation.jitter_hue),
    ]


def _jitter_(images_JCHW: Tensor, draws: ColourDraws) -> Tensor:
    """Jitter the colours in place, each image in its own random order; rows come sorted by the place of hue in it.

    Brightness, contrast and saturation all blend an image with something grey, so at each place of the order one
    operation does whichever of the three an image has there.  Hue is another operation; by the sorting its rows are
    adjacent.
    """
    hue_place_J = np.argmax(draws.order_BP == JITTERS.index(HUE), axis=1)
    bounds = np.searchsorted(hue_place_J, range(len(JITTERS) + 1))
    factors_JP = torch.from_numpy(np.take_along_axis(draws.factors_BP, draws.order_BP, axis=1)).float()
    kinds_JP = torch.from_numpy(draws.order_BP)
    device = images_JCHW.device
    factors_JP, kinds_JP = (
        table.to(device, non_blocking=True)[:, :, None, None, None] for table in (factors_JP, kinds_JP)
    )
    for place in range(len(JITTERS)):
        start, stop = int(bounds[place]), int(bounds[place + 1])
        for part in (slice(0, start), slice(stop, len(images_JCHW))):
            if part.start < part.stop:
                _blend_(images_JCHW[part], factors_JP[part, place], kinds_JP[part, place])
        if start < stop:
            _turn_hue_(images_JCHW[start:stop], factors_JP[start:stop, place])
    return images_JCHW


def _blend_(images_JCHW: Tensor, factors_J111: Tensor, kinds_J111: Tensor) -> None:
    """In place: image * factor + grey * (1 - factor).

    grey: black for brightness, the image's mean luminance for contrast, each pixel's luminance for saturation.
    """
    luminance_J1HW = _luminance(images_JCHW)
    mean_J111 = luminance_J1HW.mean(dim=(1, 2, 3), keepdim=True)
    of_pixel_J111 = (1 - factors_J111) * (kinds_J111 == JITTERS.index(SATURATION))
    of_image_J111 = (1 - factors_J111) * (kinds_J111 == JITTERS.index(CONTRAST)) * mean_J111
    grey_J1HW = luminance_J1HW.mul_(of_pixel_J111).add_(of_image_J111)
    images_JCHW.mul_(factors_J111).add_(grey_J1HW).clamp_(0, 1)


def _luminance(images_BCHW: Tensor) -> Tensor:
    """float32 [B, 1, H, W]."""
    red, green, blue = images_BCHW.chunk(3, dim=1)
    weight_red, weight_green, weight_blue = LUMINANCE
    return (red * weight_red).add_(green, alpha=weight_green).add_(blue, alpha=weight_blue)


def _turn_hue_(images_JCHW: Tensor, turns_J111: Tensor) -> None:
    """Turn the hue in place, as in HSV: the largest and the smallest channel of a pixel keep their values."""
    red, green, blue = images_JCHW.chunk(3, dim=1)
    darkest, lightest = torch.aminmax(images_JCHW, dim=1, keepdim=True)
    spread = lightest - darkest
    scale = spread.clamp_min(torch.finfo(torch.float32).tiny).reciprocal_()  # of grey, any hue will do
    hue = torch.where(
        red == lightest,
        (green - blue).mul_(scale),
        torch.where(green == lightest, (blue - red).mul_(scale).add_(2), (red - green).mul_(scale).add_(4)),
    ).add_(6 * turns_J111)
    for channel, offset in zip((red, green, blue), (5, 3, 1), strict=True):
        # HSV to RGB (Alvy Ray Smith's hexcone) without its six cases: a channel falls from the largest value to the
        # smallest, and rises again, as the hue moves away from the channel's own.
        distance = (hue + offset).remainder_(6)
        fall = torch.minimum(distance, 4 - distance).clamp_(0, 1)
        channel.copy_(lightest - spread * fall)
