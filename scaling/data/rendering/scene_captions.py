"""Captions of rendered scenes: a small grammar with synonyms, omissions, word order and irrelevant words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scaling.data.rendering.scenes import Scene, SceneObject

SYNONYMS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "circle", "disc"),
    "square": ("square", "square", "block"),
    "triangle": ("triangle", "triangle", "wedge"),
    "star": ("star",),
    "cross": ("cross", "cross", "plus sign"),
    "ring": ("ring", "ring", "hoop"),
    "heart": ("heart",),
    "moon": ("moon", "moon", "crescent"),
    "red": ("red", "red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green",),
    "cyan": ("cyan", "cyan", "turquoise"),
    "blue": ("blue", "blue", "navy"),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink",),
    "plain": ("plain", "solid"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered", "chequered"),
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "mid-sized"),
    "large": ("large", "big", "huge"),
    "white": ("on white", "on a white wall"),
    "grey": ("on grey", "on a grey wall"),
    "brick": ("on brick", "on a brick wall"),
    "sky": ("in the sky", "against the sky"),
    "grass": ("on grass", "in a meadow"),
    "sand": ("on sand", "at the beach"),
}
NUMBERS = {1: ("a", "one", "the"), 2: ("two", "a pair of", "2"), 3: ("three", "3", "three")}
OPENINGS = (
    "",
    "",
    "",
    "a photo of",
    "picture of",
    "image:",
    "here is",
    "stock photo,",
    "look at this,",
    "we saw",
)
ENDINGS = (
    "",
    "",
    "",
    "for sale",
    "free shipping",
    "2019",
    "by anna",
    "hd wallpaper",
    "nice",
    "- new",
    "to print",
)
WORD_PHRASES = (
    'with the word "{word}"',
    'that says "{word}"',
    "labelled {word}",
    '"{word}"',
    "and the text {word}",
)

_MENTIONED = {"size": 0.5, "texture": 0.6, "colour": 0.92, "background": 0.5, "word": 0.85}
"""Probability that a caption mentions an attribute; the shape is always named."""

PROMPT_TEMPLATES = ("a {c}", "a photo of a {c}", "picture of a {c} on white", "here is a {c}")


def caption_scene(scene: Scene, rng: np.random.Generator) -> str:
    """One caption of the scene; another generator state gives another wording."""
    if scene.relation is None:
        body = _phrase(scene.objects[0], rng, count=len(scene.objects))
    else:
        body = relation_caption(scene, rng)
    parts = [str(rng.choice(OPENINGS)), body]
    extras: list[str] = []
    if rng.random() < _MENTIONED["background"]:
        extras.append(_synonym(scene.background, rng))
    if scene.word is not None and rng.random() < _MENTIONED["word"]:
        extras.append(str(rng.choice(WORD_PHRASES)).format(word=scene.word))
    rng.shuffle(extras)
    parts += extras + [str(rng.choice(ENDINGS))]
    return " ".join(filter(None, parts))


def relation_caption(scene: Scene, rng: np.random.Generator) -> str:
    """ "A red circle left of a blue square": what the pair is and where, either object named first."""
    first, second = scene.objects
    relation = scene.relation
    assert relation is not None
    if rng.random() < 0.5:
        first, second = second, first
        relation = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[
            relation
        ]
    return f"{_phrase(first, rng, count=1)} {relation} {_phrase(second, rng, count=1)}"


def word_order_captions(scene: Scene, rng: np.random.Generator) -> tuple[str, str]:
    """A true caption of a pair and a false one made of the same words: only their order tells them apart."""
    first, second = (f"a {thing.colour} {thing.shape}" for thing in scene.objects)
    opening = str(rng.choice(OPENINGS))
    true = " ".join(filter(None, (opening, first, scene.relation, second)))
    false = " ".join(filter(None, (opening, second, scene.relation, first)))
    return true, false


def class_name(colour: str, shape: str) -> str:
    """The name of a class in prompts: "red circle"."""
    return f"{colour} {shape}"


def _phrase(thing: SceneObject, rng: np.random.Generator, *, count: int) -> str:
    adjectives = []
    mentioned: dict[str, Callable[[], str]] = {
        "size": lambda: thing.size,
        "texture": lambda: thing.texture,
        "colour": lambda: thing.colour,
    }
    for attribute, value in mentioned.items():
        if rng.random() < _MENTIONED[attribute]:
            adjectives.append(_synonym(value(), rng))
    noun = _synonym(thing.shape, rng)
    if count > 1:
        noun = noun.removesuffix("s") + ("es" if noun.endswith("ss") else "s")
    return " ".join([str(rng.choice(NUMBERS[count])), *adjectives, noun])


def _synonym(word: str, rng: np.random.Generator) -> str:
    return str(rng.choice(SYNONYMS[word]))
