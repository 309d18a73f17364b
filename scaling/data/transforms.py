"""Image bytes -> uint8 crops on the CPU -> normalised floats on the device.

uint8 travels (a quarter of the bytes of float32); normalising is one batched operation where the model is.
"""

from __future__ import annotations

import functools
import re

import torch
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image  # type: ignore[import-untyped]
from torchvision.transforms import v2  # type: ignore[import-untyped]
from torchvision.transforms.v2 import functional as F  # type: ignore[import-untyped]

# Shapes.  B images, C = 3 colours (red, green, blue), H and W pixels, S = image_size.

# OpenAI CLIP's image statistics, as in the recipe (open_clip.constants.OPENAI_DATASET_MEAN and _STD).
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


class UndecodableImage(ValueError):
    """Image bytes that are no picture: empty, cut off, or another kind of file."""


def decode(image: bytes) -> Tensor:
    """The picture as uint8 [C, H, W] in RGB; JPEG, PNG and WebP of any colour type and depth.

    Raises UndecodableImage.
    """
    if not image:
        raise UndecodableImage("the image is empty (0 bytes)")
    try:
        image_CHW = decode_image(
            torch.frombuffer(bytearray(image), dtype=torch.uint8), mode=ImageReadMode.RGB
        )
    except RuntimeError as error:
        raise UndecodableImage(
            f"the image ({len(image):,} bytes) does not decode: {_reason(error)}"
        ) from error
    if image_CHW.ndim != 3:
        raise UndecodableImage(f"the image ({len(image):,} bytes) is animated: {image_CHW.shape[0]} frames")
    decoded: Tensor = F.to_dtype(image_CHW, torch.uint8, scale=True)  # a 16-bit PNG arrives as uint16
    return decoded


def training_crop(
    image_CHW: Tensor, image_size: int, *, scale_min: float, scale_max: float, seed: int
) -> Tensor:
    """uint8 [C, S, S]: a random crop of scale_min to scale_max of the area, resized by antialiased bicubic.

    The crop is a function of the seed and the picture's size; the global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        cropped: Tensor = _random_crop(image_size, scale_min, scale_max)(image_CHW)
    return cropped


def evaluation_crop(image_CHW: Tensor, image_size: int) -> Tensor:
    """uint8 [C, S, S]: the shorter side resized to S by antialiased bicubic, then the centre."""
    resized = F.resize(image_CHW, [image_size], interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
    cropped: Tensor = F.center_crop(resized, [image_size, image_size])
    return cropped


def normalise(images_BCHW: Tensor) -> Tensor:
    """float32 [B, C, H, W], CLIP's mean and standard deviation taken out, on the device of the images."""
    mean = torch.tensor(MEAN, device=images_BCHW.device).view(3, 1, 1)
    std = torch.tensor(STD, device=images_BCHW.device).view(3, 1, 1)
    return (images_BCHW.float() / 255 - mean) / std


@functools.lru_cache(maxsize=16)
def _random_crop(image_size: int, scale_min: float, scale_max: float) -> v2.RandomResizedCrop:
    # Aspect ratios 3/4 to 4/3 are torchvision's default and open_clip's training transform.
    return v2.RandomResizedCrop(
        image_size,
        scale=(scale_min, scale_max),
        interpolation=v2.InterpolationMode.BICUBIC,
        antialias=True,
    )


def _reason(error: RuntimeError) -> str:
    """The decoder's message without the place in its source code."""
    return re.sub(r"^.*\.cpp:\d+, ", "", str(error).split("\n")[0])
