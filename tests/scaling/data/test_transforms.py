"""Images decode as Pillow decodes them, crops follow their seed, normalising takes out what it says."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from scaling.data.images.decoding import StoredImage
from scaling.data.images.transforms import (
    decode,
    draw_crop,
    evaluation_crop,
    normalise,
    shown_crop,
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


def test_a_training_crop_is_a_function_of_its_seed() -> None:
    image = decode(IMAGES["png"])
    first, again, other = (training_crop(image, 16, scale_min=0.3, scale_max=1.0, seed=s) for s in (1, 1, 2))
    assert first.shape == (3, 16, 16) and first.dtype == torch.uint8
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("scale_min", [0.05, 0.9])
def test_a_training_crop_is_torchvisions_resized_crop_of_its_rectangle(scale_min: float) -> None:
    image = decode(IMAGES["png"])
    for seed in range(8):
        crop = draw_crop(20, 30, scale_min=scale_min, scale_max=1.0, seed=seed)
        expected = v2.functional.resized_crop(
            image,
            crop.top,
            crop.left,
            crop.height,
            crop.width,
            [16, 16],
            interpolation=v2.InterpolationMode.BICUBIC,
            antialias=True,
        )
        assert torch.equal(training_crop(image, 16, scale_min=scale_min, scale_max=1.0, seed=seed), expected)


def test_a_training_crop_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    training_crop(decode(IMAGES["png"]), 16, scale_min=0.3, scale_max=1.0, seed=5)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", IMAGES)
def test_what_is_shown_is_the_training_crop_of_the_decoded_picture(kind: str) -> None:
    for seed in range(3):
        expected = training_crop(decode(IMAGES[kind]), 16, scale_min=0.3, scale_max=1.0, seed=seed)
        assert torch.equal(shown_crop(IMAGES[kind], 16, scale_min=0.3, scale_max=1.0, seed=seed), expected)


def shown_and_whole(image: bytes, size: int, seed: int, by: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What is shown, and the same rectangle, to the nearest pixels that a reduction leaves, of the whole picture."""
    options = {"scale_min": 0.9, "scale_max": 1.0, "seed": seed}
    pixels = decode(image)
    height, width = pixels.shape[1:]
    crop = draw_crop(height, width, **options).reduced(by, -(-height // by), -(-width // by))
    rectangle = [by * side for side in (crop.top, crop.left, crop.height, crop.width)]
    whole = v2.functional.resized_crop(
        pixels, *rectangle, [size, size], interpolation=v2.InterpolationMode.BICUBIC, antialias=True
    )
    return shown_crop(image, size, **options), whole


@pytest.mark.parametrize(("size", "reduction"), [(12, 8), (24, 4), (48, 2), (80, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_large_jpeg_is_decoded_smaller_and_shows_the_same(
    size: int, reduction: int, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns = np.mgrid[0:160, 0:208] / 208
    waves = [np.sin(9 * rows + 5 * columns * channel) for channel in (1, 2, 3)]
    smooth = Image.fromarray((127 + 100 * np.stack(waves, 2)).astype(np.uint8))
    image = encoded(smooth.convert(mode), "JPEG", quality=98)
    asked = []
    decode_stored = StoredImage.decode

    def noted(stored: StoredImage, *, reduction: int = 1) -> torch.Tensor:
        asked.append(reduction)
        return decode_stored(stored, reduction=reduction)

    monkeypatch.setattr(StoredImage, "decode", noted)
    for seed in range(6):
        shown, whole = shown_and_whole(image, size, seed, reduction)
        difference = (shown.int() - whole.int()).abs().float()
        assert shown.shape == (3, size, size) and difference.mean() < 1 and difference.max() < 8
    assert set(asked) == {1, reduction} and asked.count(reduction) in (6, 12)


def test_reduced_decoding_changes_photographs_by_less_than_another_interpolation_would(
    shared_data: Callable[[str], Path],
) -> None:
    differences, others = [], []
    with tarfile.open(shared_data("realpairs") / "val" / "00000.tar") as tar:
        for number in range(40):
            member = tar.extractfile(f"{number:06d}.jpg")
            assert member is not None
            image = member.read()
            shown, whole = shown_and_whole(image, 39, number, 2)
            differences.append(shown.float() - whole.float())
            options = {"interpolation": v2.InterpolationMode.BILINEAR, "antialias": True}
            others.append(v2.functional.resize(decode(image), [39, 39], **options).float())
            options["interpolation"] = v2.InterpolationMode.BICUBIC
            others[-1] -= v2.functional.resize(decode(image), [39, 39], **options).float()
    difference, other = torch.stack(differences), torch.stack(others)
    assert 0 < difference.abs().mean() < 0.8 * other.abs().mean()
    assert difference.abs().mean() < 1.8 and difference.abs().quantile(0.99) <= 9
    assert difference.mean().abs() < 0.05, "neither brighter nor darker"


def test_the_rectangle_of_a_reduced_picture_lies_within_it() -> None:
    for height, width in ((1, 1), (9, 7), (17, 100)):
        for by in (2, 4, 8):
            small = (-(-height // by), -(-width // by))
            for seed in range(20):
                crop = draw_crop(height, width, scale_min=0.01, scale_max=1.0, seed=seed).reduced(by, *small)
                assert crop.height > 0 and crop.width > 0 and crop.top >= 0 and crop.left >= 0
                assert crop.top + crop.height <= small[0] and crop.left + crop.width <= small[1]


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


@pytest.mark.parametrize(("statistics", "names"), [("clip", "OPENAI_DATASET"), ("imagenet", "IMAGENET")])
def test_normalising_takes_out_the_named_mean_and_deviation(statistics: Any, names: str) -> None:
    from open_clip import constants

    mean, deviation = getattr(constants, f"{names}_MEAN"), getattr(constants, f"{names}_STD")
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    expected = v2.functional.normalize(images.double() / 255, list(mean), list(deviation))
    for stored in (images, images.to(memory_format=torch.channels_last)):
        normalised = normalise(stored, statistics)
        assert normalised.dtype == torch.float32 and normalised.is_contiguous()
        torch.testing.assert_close(normalised.double(), expected, rtol=0, atol=1e-5)
