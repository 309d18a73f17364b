"""An objective, specified: its kind, its towers and every number that decides its shapes and its loss.  No torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from model_zoo.architectures import (
    ImageTowerArchitecture,
    TextTowerArchitecture,
    image_tower_architecture,
    look_up,
    text_tower_architecture,
)

NO_TEXT_TOWER = "none"
"""The `text_tower` of an objective that trains none."""

NO_CLASSIFICATION = "none"
"""The `classification_loss` of an objective that has no classification head."""

CLASSIFICATION_LOSSES = ("softmax", "bce", "asl", "soft_margin", "two_way")  # Table 6 of arXiv 2411.03313


DEFAULT_CLASSIFICATION_LOSS = "softmax"  # SuperClass


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveKind:
    """What an objective is made of."""

    classifies: bool  # has a classification head over the vocabulary
    contrasts: str | None  # "info_nce" or "sigmoid": has a text tower and that loss; None: neither
    locks_image_tower: bool = False  # the image tower keeps its initial weights
    paper: str


OBJECTIVES: Mapping[str, ObjectiveKind] = MappingProxyType(
    {
        "superclass": ObjectiveKind(classifies=True, contrasts=None, paper="arXiv 2411.03313"),
        "clip": ObjectiveKind(classifies=False, contrasts="info_nce", paper="arXiv 2103.00020"),
        "siglip": ObjectiveKind(classifies=False, contrasts="sigmoid", paper="arXiv 2303.15343"),
        "superclip": ObjectiveKind(classifies=True, contrasts="info_nce", paper="arXiv 2512.14480"),
        "lit": ObjectiveKind(
            classifies=False, contrasts="info_nce", locks_image_tower=True, paper="arXiv 2111.07991"
        ),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveSpecification:
    """All that `build_objective` and `counts` need to know; defaults are the papers' (see scaling/sweep/science.py)."""

    objective: str
    image_tower: str
    text_tower: str = NO_TEXT_TOWER
    image_size: int = 224  # pixels per side
    vocabulary_size: int
    context_length: int = 77  # tokens, start and end included
    pooling: str | None = None  # None: the image tower's usual one
    patch_dropout: float = 0.0  # share of the patch tokens left out while training; FLIP, arXiv 2212.00794
    drop_path: float = 0.0  # largest rate of stochastic depth, arXiv 1603.09382
    batch_norm_samples: int = 256  # consecutive samples whose statistics a batch norm takes
    head_layers: int = 0  # hidden layers of the classification head
    classification_loss: str = DEFAULT_CLASSIFICATION_LOSS
    asl_gamma_negative: float = 4.0  # arXiv 2009.14119, section 4
    asl_gamma_positive: float = 0.0
    asl_margin: float = 0.05
    two_way_temperature: float = 4.0  # of the positives; Kobayashi, CVPR 2023
    contrastive_weight: float = 1.0  # of the two losses of superclip
    classification_weight: float = 1.0
    logit_scale_init: float = math.log(1 / 0.07)
    logit_scale_max: float = math.log(100)
    logit_bias_init: float = -10.0  # of siglip; arXiv 2303.15343, section 3.2

    def __post_init__(self) -> None:
        """ValueError with value, rule and fix for the first name, number or combination that cannot be built."""
        _check_towers(self)
        _check_classification(self)
        _check_contrast(self)

    @property
    def kind(self) -> ObjectiveKind:
        """What the objective is made of; ValueError for an unknown name."""
        return look_up("objective", self.objective, OBJECTIVES)

    @property
    def image(self) -> ImageTowerArchitecture:
        """The image tower; ValueError for an unknown name."""
        return image_tower_architecture(self.image_tower)

    @property
    def text(self) -> TextTowerArchitecture | None:
        """The text tower, None without one; ValueError for a name that does not fit the objective."""
        if self.kind.contrasts is None:
            if self.text_tower != NO_TEXT_TOWER:
                raise ValueError(
                    f"text_tower is {self.text_tower!r}, but objective {self.objective!r} trains no text "
                    f"tower: use text_tower: {NO_TEXT_TOWER}."
                )
            return None
        if self.text_tower == NO_TEXT_TOWER:
            raise ValueError(
                f"text_tower is {NO_TEXT_TOWER!r}, but objective {self.objective!r} contrasts images with "
                f"captions: use text_tower: {self.image.text_tower}, the usual one for {self.image_tower}."
            )
        return text_tower_architecture(self.text_tower)

    @property
    def couples_samples(self) -> bool:
        """Whether a sample's loss depends on the other samples of its batch."""
        return self.kind.contrasts is not None or (
            self.kind.classifies and self.classification_loss == "two_way"
        )


LARGEST_LOGIT_SCALE = 10.0
"""A scale of 22,026; whoever asks for more gave the scale itself (CLIP's 100) in place of its logarithm."""


def _check_towers(spec: ObjectiveSpecification) -> None:
    image = spec.image
    image.check_image_size(spec.image_size)
    image.resolve_pooling(spec.pooling)
    image.check_patch_dropout(spec.patch_dropout)
    for key in ("vocabulary_size", "context_length", "batch_norm_samples"):
        if getattr(spec, key) < 1:
            raise ValueError(f"{key} {getattr(spec, key)} must be at least 1.")
    if not 0 <= spec.drop_path < 1:
        raise ValueError(f"drop_path {spec.drop_path} must be at least 0 and below 1.")
    for key in ("patch_dropout", "drop_path"):
        if spec.kind.locks_image_tower and getattr(spec, key):
            raise ValueError(
                f"{key} {getattr(spec, key)} with objective {spec.objective!r}, whose image tower is locked and "
                f"stays in evaluation mode: use {key}: 0."
            )


def _check_classification(spec: ObjectiveSpecification) -> None:
    loss = spec.classification_loss
    if spec.kind.classifies:
        look_up("classification_loss", loss, dict.fromkeys(CLASSIFICATION_LOSSES))
    elif loss not in (NO_CLASSIFICATION, DEFAULT_CLASSIFICATION_LOSS) or spec.head_layers:
        raise ValueError(
            f"classification_loss {loss!r} and head_layers {spec.head_layers} with objective {spec.objective!r}, "
            f"which has no classification head: use classification_loss: {NO_CLASSIFICATION} and head_layers: 0."
        )
    if spec.head_layers < 0:
        raise ValueError(f"head_layers {spec.head_layers} must be at least 0.")
    weights = (spec.contrastive_weight, spec.classification_weight)
    if min(weights) < 0 or not max(weights) > 0:
        raise ValueError(
            f"contrastive_weight {weights[0]} and classification_weight {weights[1]} must be at least 0, and one "
            f"of them above 0."
        )


def _check_contrast(spec: ObjectiveSpecification) -> None:
    if spec.text is None:  # raises where the text tower does not fit the objective
        return
    if spec.logit_scale_max > LARGEST_LOGIT_SCALE:
        raise ValueError(
            f"logit_scale_max ({spec.logit_scale_max}) must be at most {LARGEST_LOGIT_SCALE}: it is the natural "
            f"logarithm of CLIP's scale; write 4.6052 for a scale of 100."
        )
    if spec.logit_scale_init > spec.logit_scale_max:
        raise ValueError(
            f"logit_scale_init ({spec.logit_scale_init}) must not exceed logit_scale_max ({spec.logit_scale_max}); "
            f"both are natural logarithms (CLIP: ln(1/0.07) = 2.6593 and ln 100 = 4.6052)."
        )
