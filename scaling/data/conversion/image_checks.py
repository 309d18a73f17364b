"""Checks images before they go into shards: readable, large enough; and makes them smaller where that is asked for."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image

from scaling.data.conversion.settings import ConversionSettings
from scaling.data.samples import OVERSIZED_IMAGE, TOO_SMALL, TRUNCATED_IMAGE, UNDECODABLE_IMAGE

END_OF_JPEG = b"\xff\xd9"
START_OF_JPEG = b"\xff\xd8"
TAIL_BYTES = 64  # the end mark is looked for in as many last bytes: cameras may pad behind it


class RejectedImage(ValueError):
    """An image that is left out; its text is the reason, one of those in scaling.data.samples."""


def checked_image(image: bytes, settings: ConversionSettings, *, fully: bool) -> bytes:
    """The image as it is stored: untouched, or made smaller if `settings` say so.  Raises RejectedImage.

    The header is always read.  All pixels are decoded with `fully`, and of a JPEG without its end mark.
    """
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(image)) as picture:
            warnings.simplefilter("ignore")
            shorter = min(picture.size)
            if settings.min_side is not None and shorter < settings.min_side:
                raise RejectedImage(TOO_SMALL)
            if settings.resize is not None and shorter > settings.resize:
                return _smaller(picture, settings.resize, settings.jpeg_quality)
            if fully or _looks_cut(image):
                picture.load()
            else:
                picture.verify()
    except RejectedImage:
        raise
    except Image.DecompressionBombError as error:  # beyond 179 megapixels, Pillow's limit
        raise RejectedImage(OVERSIZED_IMAGE) from error
    except Exception as error:
        # Pillow's decoders raise nearly anything: SyntaxError, struct.error, zlib.error
        reason = TRUNCATED_IMAGE if "truncated" in str(error).lower() else UNDECODABLE_IMAGE
        raise RejectedImage(reason) from error
    return image


def _looks_cut(image: bytes) -> bool:
    return image.startswith(START_OF_JPEG) and END_OF_JPEG not in image[-TAIL_BYTES:]


def _smaller(picture: Image.Image, shorter: int, quality: int) -> bytes:
    """The picture with a shorter side of `shorter` pixels, as JPEG, or as PNG if it has transparency.

    EXIF data are kept and not applied: readers that rotate by them and readers that do not both see what they saw.
    """
    exif = picture.info.get("exif", b"")
    scale = shorter / min(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    picture.draft(None, (2 * size[0], 2 * size[1]))  # a JPEG decodes faster at a half or a quarter
    has_transparency = picture.has_transparency_data
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))  # Pillow's own would clip
    made = picture.convert("RGBA" if has_transparency else "RGB")
    made = made.resize((size[0], size[1]), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    if has_transparency:
        made.save(stream, "PNG", exif=exif)
    else:
        made.save(stream, "JPEG", quality=quality, exif=exif)
    return stream.getvalue()
