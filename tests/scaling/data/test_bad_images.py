"""Whatever bytes stand where an image should: pixels or a reason, soon, and never anything else."""

from __future__ import annotations

import io
import time
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from scaling.data.images import decoding
from scaling.data.images.decoding import ANIMATED_IMAGE, UndecodableImage, decode
from scaling.data.images.transforms import evaluation_crop, shown_crop
from scaling.data.samples import OVERSIZED_IMAGE, TRUNCATED_IMAGE, UNDECODABLE_IMAGE

NOISE = np.random.default_rng(0).integers(0, 256, (24, 36, 3), dtype=np.uint8)
PICTURE = Image.fromarray(NOISE)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def frames(kind: str) -> bytes:
    return encoded(PICTURE, kind, save_all=True, append_images=[PICTURE.rotate(90)])


def png(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds nearly nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(name + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + name + content + crc

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


WHOLE = {
    "jpeg": encoded(PICTURE, "JPEG"),
    "progressive jpeg": encoded(PICTURE, "JPEG", progressive=True),
    "cmyk jpeg": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "png": encoded(PICTURE, "PNG"),
    "palette png": encoded(PICTURE.convert("P"), "PNG", transparency=bytes(range(256))),
    "webp": encoded(PICTURE, "WEBP"),
    "gif": encoded(PICTURE, "GIF"),
    "bmp": encoded(PICTURE, "BMP"),
}

BAD = {
    "nothing": (b"", UNDECODABLE_IMAGE),
    "a web page": (b"<html>not found</html>", UNDECODABLE_IMAGE),
    "a start of jpeg": (b"\xff\xd8\xff", UNDECODABLE_IMAGE),
    "half a jpeg": (WHOLE["jpeg"][: len(WHOLE["jpeg"]) // 2 + 300], TRUNCATED_IMAGE),
    "half a progressive jpeg": (WHOLE["progressive jpeg"][:900], TRUNCATED_IMAGE),
    "half a png": (WHOLE["png"][:1500], TRUNCATED_IMAGE),
    "half a gif": (WHOLE["gif"][:1200], TRUNCATED_IMAGE),
    "half a webp": (WHOLE["webp"][:400], UNDECODABLE_IMAGE),  # its decoder does not tell
    "an animated gif": (frames("GIF"), ANIMATED_IMAGE),
    "an animated webp": (frames("WEBP"), ANIMATED_IMAGE),
    "an animated png": (frames("PNG"), ANIMATED_IMAGE),
    "a png of 400 megapixels": (png(20_000, 20_000), OVERSIZED_IMAGE),
    "a png of 1 x 2 billion pixels": (png(1, 2**31 - 1), OVERSIZED_IMAGE),
    "a kind of file that is not tried": (encoded(PICTURE, "TIFF"), UNDECODABLE_IMAGE),
    "a postscript program": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n9 9 moveto\n",
        UNDECODABLE_IMAGE,
    ),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_is_no_image_is_refused_with_its_reason(kind: str) -> None:
    image, reason = BAD[kind]
    with pytest.raises(UndecodableImage, match="^the image ") as caught:
        decode(image)
    assert caught.value.reason == reason
    assert "0x" not in str(caught.value) and ".cpp" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_picture_larger_than_the_limit_is_never_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 24 * 36)
    assert decode(WHOLE["jpeg"]).shape == (3, 24, 36)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 24 * 36 - 1)
    monkeypatch.setattr(decoding.StoredImage, "decode", lambda *_: pytest.fail("decoded"))
    for image in WHOLE.values():
        with pytest.raises(UndecodableImage, match="36 x 24 pixels") as caught:
            decode(image)
        assert caught.value.reason == OVERSIZED_IMAGE


def test_a_progressive_jpeg_of_endless_scans_is_refused_at_once() -> None:
    jpeg = encoded(Image.new("L", (6000, 6000)), "JPEG", progressive=True)
    assert decode(jpeg).shape == (3, 6000, 6000)
    last_scan = jpeg[jpeg.rfind(b"\xff\xda") : -2]
    start = time.process_time()
    with pytest.raises(UndecodableImage, match="6,000 x 6,000 pixels in 10,006 scans") as caught:
        decode(jpeg[:-2] + 10_000 * last_scan + jpeg[-2:])
    assert caught.value.reason == OVERSIZED_IMAGE and time.process_time() - start < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_an_image_of_one_pixel_is_an_image(kind: str) -> None:
    image = encoded(PICTURE.resize((1, 1)), kind)
    shown = shown_crop(image, 8, scale_min=0.4, scale_max=1.0, seed=3)
    assert shown.shape == (3, 8, 8) and shown.float().std(dim=(1, 2)).max() == 0
    assert torch.equal(evaluation_crop(decode(image), 8), shown)


@pytest.mark.parametrize(("width", "height"), [(1, 400), (400, 1), (3, 700)])
def test_needles_and_threads_are_shown_from_their_middle(width: int, height: int) -> None:
    image = encoded(Image.new("RGB", (width, height), (9, 200, 30)), "PNG")
    shown = shown_crop(image, 8, scale_min=0.9, scale_max=1.0, seed=1)
    assert (shown == torch.tensor([9, 200, 30])[:, None, None]).all()


def test_exif_rotation_is_not_applied_as_in_open_clip() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: a quarter turn
    for kind in ("JPEG", "PNG", "WEBP"):
        assert decode(encoded(PICTURE, kind, exif=turned)).shape == (3, 24, 36)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_transparency_is_dropped_and_the_colours_under_it_stay(kind: str) -> None:
    clear = PICTURE.copy()
    clear.putalpha(0)
    image = decode(encoded(clear, kind, lossless=True, exact=True))
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), NOISE)


def test_a_palette_with_transparent_colours_is_its_colours() -> None:
    """And no warning: one per image would bury a log."""
    expected = np.asarray(PICTURE.convert("P").convert("RGB"))
    np.testing.assert_array_equal(decode(WHOLE["palette png"]).permute(1, 2, 0).numpy(), expected)


def test_a_jpeg_with_more_pictures_behind_it_is_its_first() -> None:
    several = encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE.rotate(180)])
    assert torch.equal(decode(several), decode(WHOLE["jpeg"]))


def decode_or_reason(image: bytes) -> None:
    """Pixels of the right form, or a reason; anything else fails the test."""
    try:
        shown = shown_crop(image, 8, scale_min=0.4, scale_max=1.0, seed=5)
    except UndecodableImage as error:
        assert error.reason in (UNDECODABLE_IMAGE, TRUNCATED_IMAGE, OVERSIZED_IMAGE, ANIMATED_IMAGE)
    else:
        assert shown.shape == (3, 8, 8) and shown.dtype == torch.uint8


FUZZ = settings(max_examples=150, deadline=5000, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(kind=st.sampled_from(sorted(WHOLE)), data=st.data())
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_damaged_images_give_pixels_or_a_reason(kind: str, data: st.DataObject) -> None:
    image = bytearray(WHOLE[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(image) - 1))
        image[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
        image = image or bytearray(1)
    decode_or_reason(bytes(image))


@FUZZ
@given(kind=st.sampled_from(sorted(WHOLE)), length=st.integers(0, 4000), tail=st.binary(max_size=60))
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_cut_images_give_pixels_or_a_reason(kind: str, length: int, tail: bytes) -> None:
    decode_or_reason(WHOLE[kind][:length] + tail)


@FUZZ
@given(st.binary(max_size=300))
def test_any_bytes_give_pixels_or_a_reason(image: bytes) -> None:
    decode_or_reason(image)
