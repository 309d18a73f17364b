"""What a run learns from: one flat, complete value per point; only this is hashed into the run's identity.

A field's default is the recipe of SuperClass (arXiv 2411.03313) for ViT-B/16 at 512M samples, read in its
reference code (x-cls/superclass @ 90b761f): opencls/configs/cls_schedule, and params.py where that is silent.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model_zoo.specification import NO_TEXT_TOWER, ObjectiveSpecification
from scaling.sweep.field_types import (
    RANDOM,
    ClassificationLossName,
    Idf,
    ImageInit,
    ImageTower,
    Objective,
    Quantity,
    Real,
    Share,
    Switch,
    TextTower,
    Tokenizer,
    Whole,
)
from scaling.sweep.science_rules import check_science, defaults_that_follow
from scaling.units import format_quantity

# stands for the content of a file of a point that was planned before the file existed
UNRESOLVED = "unresolved"

COMPUTED_FIELDS = frozenset({"data_digest", "vocabulary_size", "vocabulary_digest", "label_counts_digest"})
"""Fields that the harness reads from the sweep's data; a sweep file never writes them."""

OWN_TO_BRANCHES = frozenset({"samples_seen", "decay_share", "decay_shape"})
"""Fields that change nothing before a wsd run decays."""


class Science(BaseModel):
    """Everything that can change what a point learns. Same science, same run, on any number of ranks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Objective
    image_tower: ImageTower
    samples_seen: Annotated[Quantity, Field(gt=0)]  # image-text pairs shown to the model, repeats included
    data_digest: str = UNRESOLVED  # content of the training set, never its path
    seed: Annotated[Whole, Field(ge=0)] = 0
    text_tower: TextTower = NO_TEXT_TOWER  # left out: contrastive objectives take the image tower's partner
    image_init: ImageInit = RANDOM  # random (from the seed), run:RUN_ID or timm:NAME
    pooling: str = "mean"  # how the image tower makes one feature; left out: the tower's usual way
    # share of patches left out; FLIP, arXiv 2212.00794
    patch_dropout: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    # stochastic depth, arXiv 1603.09382: rate of the last block
    drop_path: Annotated[Real, Field(ge=0, lt=1)] = 0.0
    # whose statistics a batch norm takes; a GPU's usual share
    batch_norm_samples: Annotated[Whole, Field(gt=1)] = 256
    head_layers: Annotated[Whole, Field(ge=0)] = 0  # hidden layers of the classification head
    classification_loss: ClassificationLossName = "softmax"  # left out: "none" without a classification head
    asl_gamma_negative: Annotated[Real, Field(ge=0)] = 4.0  # arXiv 2009.14119, section 4
    asl_gamma_positive: Annotated[Real, Field(ge=0)] = 0.0
    asl_margin: Annotated[Real, Field(ge=0, lt=1)] = 0.05
    two_way_temperature: Annotated[Real, Field(gt=0)] = 4.0  # of the positives; Kobayashi, CVPR 2023
    # of superclip's two losses; 1 : 1 in arXiv 2512.14480
    contrastive_weight: Annotated[Real, Field(ge=0)] = 1.0
    classification_weight: Annotated[Real, Field(ge=0)] = 1.0
    idf: Idf = "online"  # left out: "online" with a classification head, "off" without
    label_counts_digest: str = ""  # content of the counts that frozen IDF is read from
    image_size: Annotated[Whole, Field(gt=0)] = 224  # pixels per side
    tokenizer: Tokenizer = "clip_bpe"  # of the labels and of the text tower
    # token ids, specials included; follows the tokenizer
    vocabulary_size: Annotated[Whole, Field(gt=0)] = 49_408
    vocabulary_digest: str = ""  # content of the vocabulary file, where the tokenizer has one
    context_length: Annotated[Whole, Field(ge=3)] = 77  # tokens, start and end included; CLIP's
    remove_stop_words: Switch = False  # from the labels
    reference_compat: Switch = False  # labels as the reference code makes them: pad, start and end among them
    global_batch: Annotated[Quantity, Field(gt=0)] = 16_384  # samples per optimizer step, over all ranks
    warmup_samples: Annotated[Quantity, Field(ge=0)] = 8_192_000  # linear; 500 steps of 16,384
    learning_rate: Annotated[Real, Field(gt=0)] = 5e-4  # peak; the same as DataComp's "large" scale
    schedule: Literal["cosine", "wsd"] = "cosine"  # to zero at samples_seen; wsd: warm-up, stable, decay
    # Of wsd, the last share of samples_seen. In arXiv 2405.18392, section 3, 10 to 20 % match cosine, and 1 - sqrt does
    # better than linear.
    decay_share: Annotated[Real, Field(gt=0, le=1)] = 0.2
    decay_shape: Literal["one_minus_sqrt", "linear"] = "one_minus_sqrt"
    weight_decay: Annotated[Real, Field(ge=0)] = 0.2  # not on biases, norms, logit_scale
    adam_beta1: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[Real, Field(ge=0, lt=1)] = 0.98
    adam_epsilon: Annotated[Real, Field(gt=0)] = 1e-6
    gradient_clipping: Annotated[Real, Field(ge=0)] = 0.0  # largest norm; 0 = none, as in the recipe
    # what a loss or gradient that is not finite does to the run
    non_finite: Literal["stop", "rollback"] = "stop"
    # to the last checkpoint, each leaving one batch out (assumption)
    most_rollbacks: Annotated[Whole, Field(gt=0)] = 3
    crop_scale_min: Annotated[Real, Field(gt=0, le=1)] = 0.9  # share of the image's area; RandomResizedCrop
    crop_scale_max: Annotated[Real, Field(gt=0, le=1)] = 1.0
    flip_probability: Share = 0.0  # left to right; the recipe flips never
    jitter_probability: Share = 0.0  # of jittered colours; 0.8 in the recipe for 12.8B samples
    jitter_brightness: Annotated[Real, Field(ge=0)] = 0.32  # largest relative change; recipe for 12.8B
    jitter_contrast: Annotated[Real, Field(ge=0)] = 0.32
    jitter_saturation: Annotated[Real, Field(ge=0)] = 0.32
    jitter_hue: Annotated[Real, Field(ge=0, le=0.5)] = 0.08  # of the colour circle
    grayscale_probability: Share = 0.0  # 0.2 in the recipe for 12.8B
    # mean and deviation that are taken out of the pixels
    pixel_statistics: Literal["clip", "imagenet"] = "clip"
    unique_samples: Annotated[Quantity, Field(ge=0)] = 0  # shown of the training set, the first ones; 0 = all
    precision: Literal["bf16_autocast", "fp32"] = "bf16_autocast"  # fp32 master weights in both
    logit_scale_init: Annotated[Real, Field(gt=-10, lt=10)] = math.log(1 / 0.07)  # CLIP; siglip: ln(10)
    # CLIP; both are natural logarithms
    logit_scale_max: Annotated[Real, Field(gt=-10, le=10)] = math.log(100)
    logit_bias_init: Real = -10.0  # of siglip; arXiv 2303.15343, section 3.2

    @model_validator(mode="before")
    @classmethod
    def _fill_what_follows(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {**defaults_that_follow(values), **values}

    @model_validator(mode="after")
    def _fields_agree(self) -> Science:
        check_science(self.model_dump(), documented_defaults(self.model_dump()))
        return self

    @property
    def specification(self) -> ObjectiveSpecification:
        """The objective as model_zoo builds and counts it."""
        return _specification(self)


@lru_cache(maxsize=1024)
def _specification(science: Science) -> ObjectiveSpecification:
    return ObjectiveSpecification(
        **science.model_dump(include=set(ObjectiveSpecification.__dataclass_fields__))
    )


def documented_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every field that has a default, with the value it takes beside these values of others."""
    fields = {name: info.default for name, info in Science.model_fields.items() if not info.is_required()}
    return {**fields, **defaults_that_follow(values)}


def run_id(science: Science, placement_axes: Mapping[str, Any] = MappingProxyType({})) -> str:
    """A readable head and eight hex digits over the fields that differ from their documented default.

    Leaving defaults out of the hash means that a field added later orphans no finished run. Placement is no part of it,
    but for the fields that a sweep varies to compare them.
    """
    samples = format_quantity(science.samples_seen)
    digest = _digest(_told(science, placement_axes))
    return f"{science.objective}-{science.image_tower}-{samples}-s{science.seed}-{digest}"


def trunk_id(science: Science, placement_axes: Mapping[str, Any] = MappingProxyType({})) -> str | None:
    """What runs share that are one run until the first of them decays (schedule wsd); None for other schedules."""
    if science.schedule != "wsd":
        return None
    told = _told(science, placement_axes)
    digest = _digest({name: value for name, value in told.items() if name not in OWN_TO_BRANCHES})
    return f"{science.objective}-{science.image_tower}-trunk-s{science.seed}-{digest}"


def _told(science: Science, placement_axes: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a run: fields that differ from their documented default, and the axes of placement."""
    defaults = documented_defaults(science.model_dump())
    told = {name: value for name, value in science.model_dump().items() if defaults.get(name) != value}
    return told | {f"placement.{name}": value for name, value in placement_axes.items()}


def _digest(told: Mapping[str, Any]) -> str:
    blob = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(blob).hexdigest()[:8]
