"""Prompts for zero-shot classification, {c} standing for the class name.

Those of CLIP (arXiv 2103.00020, section 3.1.4), as published in github.com/openai/CLIP, data/prompts.md.
"""

from __future__ import annotations

from scaling.data.labelled import SLOT

PLAIN = ("a photo of a {c}.",)
PETS = ("a photo of a {c}, a type of pet.",)
CARS = (
    "a photo of a {c}.",
    "a photo of the {c}.",
    "a photo of my {c}.",
    "i love my {c}!",
    "a photo of my dirty {c}.",
    "a photo of my clean {c}.",
    "a photo of my new {c}.",
    "a photo of my old {c}.",
)
_CIFAR_KINDS = (
    "a photo of",
    "a blurry photo of",
    "a black and white photo of",
    "a low contrast photo of",
    "a high contrast photo of",
    "a bad photo of",
    "a good photo of",
)
CIFAR10 = tuple(
    prompt
    for article in ("a", "the")
    for prompt in (
        *(f"{kind} {article} {{c}}." for kind in _CIFAR_KINDS),
        f"a photo of {article} small {{c}}.",
        f"a photo of {article} big {{c}}.",
    )
)
PAPER = "prompts of CLIP (arXiv 2103.00020)"


def imagenet_names_and_templates() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """CLIP's 1,000 class names in the order of the synsets, and its 80 prompts, from open_clip."""
    # here, because it takes 3 s: it brings torch
    from open_clip.zero_shot_metadata import (
        IMAGENET_CLASSNAMES,
        OPENAI_IMAGENET_TEMPLATES,
    )

    return tuple(IMAGENET_CLASSNAMES), tuple(template(SLOT) for template in OPENAI_IMAGENET_TEMPLATES)
