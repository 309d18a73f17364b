"""Decodes image bytes to uint8 pixels, or says why they cannot be decoded.

All of the project decodes here, with the choices of open_clip's and torchvision's loaders: transparency is dropped (the
colours under it stay), EXIF rotation is not applied, 16 bits are cut to 8.  Animations are rejected.
Headers are read before any pixel, so that a small file cannot ask for a large memory.
"""

from __future__ import annotations

import dataclasses
import io
import re

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg  # type: ignore[import-untyped]

from scaling.data.samples import OVERSIZED_IMAGE, TRUNCATED_IMAGE, UNDECODABLE_IMAGE

# Shapes.  C = 3 colours (red, green, blue), H and W pixels.

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""The formats that are tried; others of Pillow's would let an image start a PostScript interpreter."""

ANIMATED_IMAGE = "animated image"

MAX_PIXELS = 178_956_970  # half a gigabyte of RGB; where Pillow, and so `scaling data convert`, refuses too
MAX_PIXEL_SCANS = 10 * MAX_PIXELS
"""A progressive JPEG goes over all pixels once per scan. Ordinary files have ten scans; a malicious one can have a scan
per 200 bytes. At 144 megapixels such a scan took 50 ms, so a file of 2 MB would be decoded for ten minutes."""

START_OF_SCAN = b"\xff\xda"


class UndecodableImage(ValueError):
    """Image bytes that cannot be decoded, or that are rejected; `reason` is the name they are counted under."""

    def __init__(self, message: str, reason: str = UNDECODABLE_IMAGE) -> None:
        super().__init__(message)
        self.reason = reason


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StoredImage:
    """Image bytes whose header was read and accepted."""

    content: bytes
    picture: Image.Image  # opened, not loaded
    height: int  # pixels
    width: int

    @property
    def is_jpeg(self) -> bool:
        return self.picture.format in ("JPEG", "MPO")  # MPO: a JPEG followed by others, as telephones write

    def decode(self, *, reduction: int = 1) -> Tensor:
        """uint8 [C, H, W] in RGB, a JPEG's H and W divided by a reduction of 2, 4 or 8 (rounded up).

        The decoder reduces by using fewer coefficients of each block, which is close to averaging squares of pixels.
        Raises UndecodableImage.
        """
        assert reduction == 1 or self.is_jpeg, "only JPEG blocks can be decoded smaller"
        try:
            if self.is_jpeg and reduction == 1:
                content = torch.frombuffer(bytearray(self.content), dtype=torch.uint8)
                decoded: Tensor = decode_jpeg(content, mode=ImageReadMode.RGB)
                return decoded
            if reduction > 1:
                self.picture.draft("RGB", (self.width // reduction, self.height // reduction))
            return _pixels(self.picture)
        except Exception as error:
            # Pillow's decoders raise nearly anything: SyntaxError, struct.error, zlib.error
            raise _undecodable(self.content, error) from error


def open_image(image: bytes) -> StoredImage:
    """The image with its header read; raises UndecodableImage."""
    if not image:
        raise UndecodableImage("the image is empty (0 bytes)")
    try:
        picture = Image.open(io.BytesIO(image), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UndecodableImage(f"the image ({len(image):,} bytes): {error}", OVERSIZED_IMAGE) from error
    except Exception as error:
        raise _undecodable(image, error) from error
    opened = StoredImage(content=image, picture=picture, height=picture.height, width=picture.width)
    _check_work(opened)
    if not opened.is_jpeg and getattr(picture, "is_animated", False):
        raise UndecodableImage(f"the image ({len(image):,} bytes) is animated", ANIMATED_IMAGE)
    return opened


def decode(image: bytes) -> Tensor:
    """The picture as uint8 [C, H, W] in RGB; JPEG, PNG, WebP, GIF and BMP of any colour type and depth.

    Raises UndecodableImage.
    """
    return open_image(image).decode()


def _check_work(opened: StoredImage) -> None:
    pixels = opened.height * opened.width
    num_scans = opened.content.count(START_OF_SCAN) if opened.picture.info.get("progressive") else 1
    if pixels > MAX_PIXELS or pixels * num_scans > MAX_PIXEL_SCANS:
        raise UndecodableImage(
            f"the image ({len(opened.content):,} bytes) has {opened.width:,} x {opened.height:,} pixels in "
            f"{num_scans:,} scans: more than {MAX_PIXELS:,} pixels, or {MAX_PIXEL_SCANS:,} over all scans",
            OVERSIZED_IMAGE,
        )


def _pixels(picture: Image.Image) -> Tensor:
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow's own conversion would clip
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    picture.info.pop("transparency", None)
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def _undecodable(image: bytes, error: Exception) -> UndecodableImage:
    """The decoder's message without the place in its source code."""
    message = re.sub(r"^.*\.cpp:\d+, ", "", str(error).split("\n")[0]) or type(error).__name__
    message = re.sub(r" ?<_io\.BytesIO object at 0x[0-9a-f]+>", "", message)
    reason = TRUNCATED_IMAGE if "truncated" in message.lower() else UNDECODABLE_IMAGE
    return UndecodableImage(f"the image ({len(image):,} bytes) does not decode: {message}", reason)
