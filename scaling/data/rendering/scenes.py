"""Scenes of the rendered data set: what is in a picture, as a function of (seed, split, index).

A scene holds one to three equal objects or a pair of different ones in a spatial relation, on a background,
sometimes with a short word to read. Shape, colour, texture, size, count, place, background and word vary
independently, so that discrete choices alone give more than a million scenes (`num_discrete_scenes`) and the
continuous ones (place, size, tint, rotation, noise) make every index its own picture.
"""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from typing import Literal

import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
TEXTURES = ("plain", "striped", "dotted", "checkered")
SIZES = ("small", "medium", "large")
BACKGROUNDS = ("white", "grey", "brick", "sky", "grass", "sand")
WORDS = ("cat", "dog", "sun", "map", "key", "box", "hat", "jam", "log", "net", "owl", "pen",
         "rug", "sky", "tea", "van", "web", "yak", "zip", "ant", "bus", "cup", "elf", "fox")  # fmt: skip
RELATIONS = ("left of", "right of", "above", "below")

Split = Literal["train", "validation", "held_out", "word_order", "labelled_train", "labelled_test"]
SPLITS: tuple[Split, ...] = (
    "train",
    "validation",
    "held_out",
    "word_order",
    "labelled_train",
    "labelled_test",
)

CLASSES = tuple(itertools.product(COLOURS, SHAPES))
"""The labels of the linear probe and of zero-shot classification: colour x shape, 64 of them."""

# one in eight (colour, shape, texture) combinations never occurs outside the split "held_out"
HELD_OUT_SHARE = 8
PAIR_SHARE = 0.20  # scenes with two different objects
WORD_SHARE = 0.20  # scenes with a word to read


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SceneObject:
    """One object: discrete attributes, and its place in fractions of the picture's side."""

    shape: str
    colour: str
    texture: str
    size: str
    centre: tuple[float, float]
    radius: float
    angle: float  # degrees


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A picture to be drawn. `objects` are equal copies when `relation` is None, else a pair in that relation."""

    objects: tuple[SceneObject, ...]
    relation: str | None
    background: str
    word: str | None
    word_place: tuple[float, float]
    noise: float  # standard deviation of the pixel noise, in grey levels
    tint: tuple[float, float, float]  # colour cast, factors on red, green, blue
    drawing_seed: int

    @property
    def label(self) -> int:
        """The class of the first object, an index into CLASSES."""
        return CLASSES.index((self.objects[0].colour, self.objects[0].shape))


def scene_generator(seed: int, split: Split, index: int) -> np.random.Generator:
    """The random generator that belongs to one scene and to no other."""
    return np.random.default_rng([seed, SPLITS.index(split), index])


def is_held_out(colour: str, shape: str, texture: str) -> bool:
    """Whether training never shows this combination of attributes; it shows each of them in others."""
    return zlib.crc32(f"{colour} {shape} {texture}".encode()) % HELD_OUT_SHARE == 0


def num_discrete_scenes() -> int:
    """How many scenes differ in at least one discrete attribute."""
    looks = len(SHAPES) * len(COLOURS) * len(TEXTURES) * len(SIZES)
    frames = len(BACKGROUNDS) * (1 + len(WORDS))
    singles = looks * 3
    pairs = looks * (looks - 1) * len(RELATIONS)
    return (singles + pairs) * frames


def sample_scene(seed: int, split: Split, index: int) -> Scene:
    """The scene of one index of a split; labelled scenes hold one kind of object, their class."""
    rng = scene_generator(seed, split, index)
    pair = split == "word_order" or (not split.startswith("labelled") and rng.random() < PAIR_SHARE)
    looks = [_sample_look(rng, held_out=split == "held_out")]
    if split.startswith("labelled"):
        colour, shape = CLASSES[index % len(CLASSES)]
        looks = [_look_of_class(rng, colour, shape)]
    if pair:
        looks.append(_sample_different_look(rng, looks[0]))
    relation = str(rng.choice(RELATIONS)) if pair else None
    objects = _place_pair(rng, looks, relation) if relation else _place_copies(rng, looks[0])
    return Scene(
        objects=objects,
        relation=relation,
        background=str(rng.choice(BACKGROUNDS)),
        word=str(rng.choice(WORDS)) if rng.random() < WORD_SHARE else None,
        word_place=(float(rng.uniform(0.05, 0.45)), float(rng.uniform(0.02, 0.75))),
        noise=float(rng.uniform(2, 10)),
        tint=(float(rng.uniform(0.88, 1.0)), float(rng.uniform(0.88, 1.0)), float(rng.uniform(0.88, 1.0))),
        drawing_seed=int(rng.integers(2**31)),
    )


_Look = tuple[str, str, str]  # colour, shape, texture


def _sample_look(rng: np.random.Generator, *, held_out: bool) -> _Look:
    while True:
        look = (str(rng.choice(COLOURS)), str(rng.choice(SHAPES)), str(rng.choice(TEXTURES)))
        if is_held_out(*look) == held_out:
            return look


def _look_of_class(rng: np.random.Generator, colour: str, shape: str) -> _Look:
    textures = [texture for texture in TEXTURES if not is_held_out(colour, shape, texture)]
    return colour, shape, str(rng.choice(textures))


def _sample_different_look(rng: np.random.Generator, first: _Look) -> _Look:
    while True:
        look = _sample_look(rng, held_out=False)
        if look[0] != first[0] and look[1] != first[1]:
            return look


RADII = {"small": (0.22, 0.27), "medium": (0.31, 0.37), "large": (0.41, 0.48)}
"""Half the extent of an object, in fractions of the picture's side."""


def _place_copies(rng: np.random.Generator, look: _Look) -> tuple[SceneObject, ...]:
    count = int(rng.choice((1, 1, 1, 1, 2, 3)))
    size = str(rng.choice(SIZES if count == 1 else SIZES[:1]))
    cells = rng.permutation(4)[:count]
    objects = []
    for cell in cells:
        radius = float(rng.uniform(*RADII[size]))
        if count == 1:
            centre = (float(0.5 + rng.uniform(-0.12, 0.12)), float(0.5 + rng.uniform(-0.12, 0.12)))
        else:
            centre = (
                float(0.27 + 0.46 * (cell % 2) + rng.uniform(-0.06, 0.06)),
                float(0.27 + 0.46 * (cell // 2) + rng.uniform(-0.06, 0.06)),
            )
        objects.append(_object(rng, look, size, centre, radius))
    return tuple(objects)


def _place_pair(rng: np.random.Generator, looks: list[_Look], relation: str) -> tuple[SceneObject, ...]:
    objects = []
    for look, side in zip(looks, (-1, 1), strict=True):
        size = str(rng.choice(SIZES[:2]))
        radius = float(rng.uniform(*RADII[size]))
        if relation in ("right of", "below"):
            side = -side
        along, across = 0.5 + side * rng.uniform(0.23, 0.27), rng.uniform(0.35, 0.65)
        centre = (along, across) if relation in ("left of", "right of") else (across, along)
        objects.append(_object(rng, look, size, (float(centre[0]), float(centre[1])), radius))
    return tuple(objects)


def _object(
    rng: np.random.Generator, look: _Look, size: str, centre: tuple[float, float], radius: float
) -> SceneObject:
    colour, shape, texture = look
    return SceneObject(
        shape=shape,
        colour=colour,
        texture=texture,
        size=size,
        centre=centre,
        radius=radius,
        angle=float(rng.uniform(-12, 12)),
    )
