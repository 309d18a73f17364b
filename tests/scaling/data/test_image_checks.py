"""Images are copied byte by byte, or made smaller where that was asked for; unusable ones get their reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from scaling.data.conversion.image_checks import RejectedImage, checked_image
from scaling.data.conversion.settings import ConversionSettings, conversion_settings

PLAIN = ConversionSettings()


def gradient(width: int, height: int, kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    """A smooth picture: red grows to the right, green downwards."""
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels_HWC = np.stack([across, down, np.full_like(across, 60)], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels_HWC).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def opened(image: bytes) -> Image.Image:
    return Image.open(io.BytesIO(image))


@pytest.mark.parametrize(
    "kind, mode", [("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "P"), ("WEBP", "RGB")]
)
def test_without_options_the_very_bytes_come_back(kind: str, mode: str) -> None:
    image = gradient(20, 10, kind, mode)
    assert checked_image(image, PLAIN, fully=True) is image
    assert checked_image(image, PLAIN, fully=False) is image


@pytest.mark.parametrize(
    "image, reason",
    [
        (b"", "undecodable image"),
        (b"<html>404</html>", "undecodable image"),
        (gradient(50, 40)[:700], "truncated image"),
        (gradient(50, 40)[:100], "truncated image"),
    ],
    ids=["empty", "another file", "cut in its pixels", "cut in its header"],
)
@pytest.mark.parametrize("fully", [True, False])
def test_what_is_no_whole_picture_is_rejected(image: bytes, reason: str, fully: bool) -> None:
    with pytest.raises(RejectedImage, match=reason):
        checked_image(image, PLAIN, fully=fully)


def test_a_decompression_bomb_is_rejected_by_its_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    with pytest.raises(RejectedImage, match="decompression bomb"):
        checked_image(gradient(50, 41, "PNG"), PLAIN, fully=True)


@pytest.mark.parametrize("width, height, is_kept", [(64, 63, False), (64, 64, True), (30, 500, False)])
def test_the_shorter_side_decides_what_is_too_small(width: int, height: int, is_kept: bool) -> None:
    settings = ConversionSettings(min_side=64)
    if is_kept:
        checked_image(gradient(width, height), settings, fully=False)
    else:
        with pytest.raises(RejectedImage, match="too small"):
            checked_image(gradient(width, height), settings, fully=False)


@pytest.mark.parametrize(
    "size, expected", [((300, 200), (96, 64)), ((200, 901), (64, 288)), ((65, 64), None)]
)
def test_only_larger_pictures_are_made_smaller_and_keep_their_shape(
    size: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    image = gradient(*size)
    made = checked_image(image, ConversionSettings(resize=64), fully=False)
    assert made is image if expected is None else opened(made).size == expected


def test_a_smaller_picture_shows_what_the_large_one_did() -> None:
    made = opened(checked_image(gradient(1000, 800), ConversionSettings(resize=64), fully=False))
    expected = opened(gradient(80, 64, "PNG"))
    difference = np.asarray(made).astype(int) - np.asarray(expected).astype(int)
    assert np.abs(difference).mean() < 2


def test_a_lower_quality_takes_fewer_bytes() -> None:
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8)).save(stream, "JPEG", quality=95)
    sizes = [
        len(checked_image(stream.getvalue(), ConversionSettings(resize=100, quality=quality), fully=False))
        for quality in (30, 95)
    ]
    default = len(checked_image(stream.getvalue(), ConversionSettings(resize=100), fully=False))
    assert sizes[0] < sizes[1] / 2 and default == sizes[1]


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_jpegs_of_other_colours_are_made_smaller_too(mode: str) -> None:
    made = opened(checked_image(gradient(200, 200, mode=mode), ConversionSettings(resize=50), fully=False))
    assert (made.format, made.mode, made.size) == ("JPEG", "RGB", (50, 50))


def test_transparency_survives_and_16_bits_are_not_clipped() -> None:
    settings = ConversionSettings(resize=16)
    stream = io.BytesIO()
    Image.new("RGBA", (40, 40), (9, 9, 9, 0)).save(stream, "PNG")
    made = opened(checked_image(stream.getvalue(), settings, fully=False))
    assert (made.format, made.mode) == ("PNG", "RGBA") and made.getpixel((5, 5))[3] == 0  # type: ignore[index]
    deep = io.BytesIO()
    Image.fromarray(np.full((40, 40), 128 * 256, dtype=np.uint16)).save(deep, "PNG")
    grey = np.asarray(opened(checked_image(deep.getvalue(), settings, fully=False)))
    assert abs(int(grey.mean()) - 128) <= 1


def test_the_rotation_that_a_camera_noted_stays_noted() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    made = opened(checked_image(gradient(300, 200, exif=exif), ConversionSettings(resize=50), fully=False))
    assert made.size == (75, 50) and made.getexif()[0x0112] == 6


@pytest.mark.parametrize(
    "options, told",
    [
        ({"resize": 0}, r"resize \(0\) must be at least 1"),
        ({"min_side": -3}, r"min_side \(-3\)"),
        ({"quality": 101, "resize": 9}, r"quality \(101\)"),
        ({"quality": 80}, "no effect without resize"),
        ({"shuffle_seed": -1}, r"shuffle_seed \(-1\)"),
        ({"hashes": "sha1,md6"}, "--hashes: unknown 'md6'"),
        ({"compression": "rar"}, "--compression: unknown 'rar'. Known: .*zstd"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        conversion_settings(**options)  # type: ignore[arg-type]


def test_xxh64_is_always_among_the_hashes() -> None:
    assert conversion_settings(hashes="sha1").hashes == ("sha1", "xxh64")
