"""Scenes drawn with Pillow: Scene -> RGB picture -> JPEG bytes."""

from __future__ import annotations

import functools
import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from scaling.data.rendering.scenes import Scene, SceneObject

OVERSAMPLING = 2  # pictures are drawn larger and shrunk, for smooth edges
JPEG_QUALITY = 90

COLOUR_RGB = {
    "red": (212, 38, 38),
    "orange": (242, 140, 30),
    "yellow": (238, 220, 48),
    "green": (52, 158, 60),
    "cyan": (60, 200, 205),
    "blue": (48, 84, 210),
    "purple": (130, 58, 170),
    "pink": (242, 130, 180),
}
OUTLINE = 0.05  # width of an object's dark outline, in fractions of its extent
OUTLINE_RGB = (12, 12, 14)
# top and bottom of a vertical gradient, strength of the coarse grain
BACKGROUND_RGB = {
    "white": ((238, 238, 236), (228, 228, 228), 0),
    "grey": ((140, 140, 144), (118, 118, 120), 0),
    "brick": ((150, 92, 74), (128, 76, 62), 12),
    "sky": ((120, 160, 205), (205, 220, 235), 0),
    "grass": ((70, 100, 56), (52, 78, 44), 16),
    "sand": ((206, 186, 148), (186, 164, 122), 14),
}


def draw_scene(scene: Scene, image_size: int) -> Image.Image:
    """The scene as an RGB picture of image_size x image_size pixels; equal scenes give equal pictures."""
    rng = np.random.default_rng(scene.drawing_seed)
    side = image_size * OVERSAMPLING
    picture = _background(scene.background, side, rng)
    for thing in scene.objects:
        _draw_object(picture, thing, side, rng)
    if scene.word is not None:
        _draw_word(
            picture, scene.word, scene.word_place, side, dark=scene.background in ("white", "sky", "sand")
        )
    picture = picture.resize((image_size, image_size), Image.Resampling.BOX)
    pixels = np.asarray(picture, dtype=np.float32) * np.asarray(scene.tint, dtype=np.float32)
    pixels += rng.normal(0.0, scene.noise, size=(image_size, image_size, 1)).astype(np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encode_jpeg(picture: Image.Image) -> bytes:
    """JPEG bytes with full colour resolution, because 4:2:0 washes out the colours of small pictures."""
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    return stream.getvalue()


def _background(name: str, side: int, rng: np.random.Generator) -> Image.Image:
    top, bottom, grain = BACKGROUND_RGB[name]
    ramp = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    pixels = np.asarray(top, np.float32) * (1 - ramp) + np.asarray(bottom, np.float32) * ramp
    pixels = np.broadcast_to(pixels, (side, side, 3))
    if grain:
        coarse = rng.normal(0, grain, size=(math.ceil(side / 8), math.ceil(side / 8), 1)).astype(np.float32)
        pixels = pixels + np.kron(coarse, np.ones((8, 8, 1), np.float32))[:side, :side]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _draw_object(picture: Image.Image, thing: SceneObject, side: int, rng: np.random.Generator) -> None:
    extent = max(8, round(2 * thing.radius * side))
    mask, inner = (
        part.rotate(thing.angle, resample=Image.Resampling.BILINEAR)
        for part in _shape_masks(thing.shape, extent)
    )
    base = np.asarray(COLOUR_RGB[thing.colour], np.float32) + rng.normal(0, 9, 3)
    corner = (round(thing.centre[0] * side - extent / 2), round(thing.centre[1] * side - extent / 2))
    picture.paste(OUTLINE_RGB, (*corner, corner[0] + extent, corner[1] + extent), mask)
    picture.paste(_textured(thing.texture, base, extent), corner, inner)


def _textured(texture: str, base: npt.NDArray[np.float32], extent: int) -> Image.Image:
    """A patch in the base colour; textures darken parts of it, keeping its hue."""
    row, column = np.mgrid[0:extent, 0:extent]
    period = max(4, extent // 4)
    dark = {
        "plain": np.zeros((extent, extent), bool),
        "striped": (row + column) % period < period // 2,
        "dotted": np.hypot(row % period - period / 2, column % period - period / 2) < period * 0.3,
        "checkered": (row // (period // 2 + 1) + column // (period // 2 + 1)) % 2 == 0,
    }[texture]
    shade = np.where(dark, 0.7, 1.0)[:, :, None]
    return Image.fromarray(np.clip(base * shade, 0, 255).astype(np.uint8))


@functools.lru_cache(maxsize=2048)
def _shape_masks(shape: str, extent: int) -> tuple[Image.Image, Image.Image]:
    """The whole shape, and what lies within its outline."""
    mask = _shape_mask(shape, extent)
    width = max(1, round(OUTLINE * extent))
    return mask, mask.filter(ImageFilter.MinFilter(2 * width + 1))


def _shape_mask(shape: str, extent: int) -> Image.Image:
    mask = Image.new("L", (extent, extent), 0)
    pen = ImageDraw.Draw(mask)
    last = extent - 1
    margin = 0.04 * extent
    box = (margin, margin, last - margin, last - margin)
    if shape == "circle":
        pen.ellipse(box, fill=255)
    elif shape == "square":
        pen.rectangle([0.13 * extent, 0.13 * extent, 0.87 * extent, 0.87 * extent], fill=255)
    elif shape == "ring":
        pen.ellipse(box, fill=255)
        pen.ellipse([0.3 * extent, 0.3 * extent, 0.7 * extent, 0.7 * extent], fill=0)
    elif shape == "moon":
        pen.ellipse(box, fill=255)
        pen.ellipse([0.34 * extent, -0.04 * extent, 1.1 * extent, 0.8 * extent], fill=0)
    elif shape == "cross":
        pen.rectangle([0.36 * extent, 0.05 * extent, 0.64 * extent, 0.95 * extent], fill=255)
        pen.rectangle([0.05 * extent, 0.36 * extent, 0.95 * extent, 0.64 * extent], fill=255)
    elif shape == "heart":
        pen.ellipse([0.06 * extent, 0.1 * extent, 0.52 * extent, 0.56 * extent], fill=255)
        pen.ellipse([0.48 * extent, 0.1 * extent, 0.94 * extent, 0.56 * extent], fill=255)
        pen.polygon(_scaled([(0.09, 0.43), (0.91, 0.43), (0.5, 0.95)], extent), fill=255)
    else:
        pen.polygon(_scaled(_POLYGONS[shape], extent), fill=255)
    return mask


def _star_corners(points: int = 5) -> list[tuple[float, float]]:
    corners = []
    for step in range(2 * points):
        radius = 0.5 if step % 2 == 0 else 0.21
        angle = math.pi * step / points - math.pi / 2
        corners.append((0.5 + radius * math.cos(angle), 0.52 + radius * math.sin(angle)))
    return corners


_POLYGONS = {"triangle": [(0.5, 0.06), (0.97, 0.9), (0.03, 0.9)], "star": _star_corners()}


def _scaled(corners: list[tuple[float, float]], extent: int) -> list[tuple[float, float]]:
    return [(x * extent, y * extent) for x, y in corners]


def _draw_word(picture: Image.Image, word: str, place: tuple[float, float], side: int, *, dark: bool) -> None:
    pen = ImageDraw.Draw(picture)
    colour = (20, 20, 20) if dark else (245, 245, 245)
    pen.text((place[0] * side, place[1] * side), word, fill=colour, font=_font(round(0.24 * side)))


@functools.lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
