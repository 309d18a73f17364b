"""Images decode as Pillow decodes them, crops follow their seed, normalising is CLIP's."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from scaling.data.transforms import (
    MEAN,
    STD,
    UndecodableImage,
    decode,
    evaluation_crop,
    normalise,
    training_crop,
)


def picture(height: int = 20, width: int = 30) -> Image.Image:
    smooth = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    return Image.fromarray(
        (smooth + np.random.default_rng(0).normal(0, 9, smooth.shape)).clip(0, 255).astype(np.uint8)
    )


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


IMAGES = {
    "jpeg": encoded(picture(), "JPEG"),
    "progressive jpeg": encoded(picture(), "JPEG", progressive=True),
    "grey jpeg": encoded(picture().convert("L"), "JPEG"),
    "cmyk jpeg": encoded(picture().convert("CMYK"), "JPEG"),
    "png": encoded(picture(), "PNG"),
    "palette png": encoded(picture().convert("P"), "PNG"),
    "transparent png": encoded(picture().convert("RGBA"), "PNG"),
    "black and white png": encoded(picture().convert("1"), "PNG"),
    "webp": encoded(picture(), "WEBP", lossless=True),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_every_kind_of_image_decodes_to_the_pixels_pillow_sees(kind: str) -> None:
    image = decode(IMAGES[kind])
    expected = np.asarray(Image.open(io.BytesIO(IMAGES[kind])).convert("RGB")).transpose(2, 0, 1)
    assert image.dtype == torch.uint8
    np.testing.assert_array_equal(image.numpy(), expected)


def test_a_16_bit_png_keeps_its_brightness() -> None:
    deep = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    image = decode(encoded(Image.fromarray(deep), "PNG"))
    np.testing.assert_allclose(image[0].numpy(), deep / 257, atol=1)


@pytest.mark.parametrize(
    "image", [b"", b"<html>not found</html>", IMAGES["jpeg"][:200], IMAGES["png"][:200], IMAGES["webp"][:60]]
)
def test_bytes_that_are_no_whole_image_raise_undecodable_image(image: bytes) -> None:
    with pytest.raises(UndecodableImage, match="bytes"):
        decode(image)


def test_an_animation_is_not_an_image() -> None:
    film = encoded(picture(), "GIF", save_all=True, append_images=[picture().rotate(90)])
    with pytest.raises(UndecodableImage, match="animated: 2 frames"):
        decode(film)


def test_a_training_crop_is_a_function_of_its_seed() -> None:
    image = decode(IMAGES["png"])
    first, again, other = (training_crop(image, 16, scale_min=0.3, scale_max=1.0, seed=s) for s in (1, 1, 2))
    assert first.shape == (3, 16, 16) and first.dtype == torch.uint8
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_training_crop_is_torchvisions_random_resized_crop() -> None:
    image = decode(IMAGES["png"])
    theirs = v2.RandomResizedCrop(
        16, scale=(0.4, 0.9), interpolation=v2.InterpolationMode.BICUBIC, antialias=True
    )
    torch.manual_seed(123)
    expected = theirs(image)
    assert torch.equal(training_crop(image, 16, scale_min=0.4, scale_max=0.9, seed=123), expected)


def test_a_training_crop_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    training_crop(decode(IMAGES["png"]), 16, scale_min=0.3, scale_max=1.0, seed=5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (30, 20), (8, 64), (16, 16)])
def test_the_evaluation_crop_is_the_centre_of_the_image_resized_by_its_shorter_side(
    height: int, width: int
) -> None:
    image = picture(height, width)
    size = 16
    scaled = (size, round(height * size / width)) if width < height else (int(width * size / height), size)
    resized = image.resize(scaled, Image.Resampling.BICUBIC)
    left, top = round((scaled[0] - size) / 2), round((scaled[1] - size) / 2)
    expected = np.asarray(resized.crop((left, top, left + size, top + size)), dtype=int).transpose(2, 0, 1)
    crop = evaluation_crop(torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()), size)
    assert crop.shape == (3, size, size)
    assert np.abs(crop.numpy().astype(int) - expected).max() <= 2  # two resizers' rounding


def test_normalising_takes_out_clips_mean_and_deviation() -> None:
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    assert (MEAN, STD) == (OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    expected = v2.functional.normalize(images.double() / 255, list(MEAN), list(STD))
    normalised = normalise(images)
    assert normalised.dtype == torch.float32
    torch.testing.assert_close(normalised.double(), expected, rtol=0, atol=1e-5)
