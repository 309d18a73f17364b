"""What a run learns from: one flat, complete value per point; only this is hashed into the run's identity.

A field's default is the recipe of SuperClass (arXiv 2411.03313) for ViT-B/16 at 512M samples, read in its
reference code (x-cls/superclass @ 90b761f): opencls/configs/cls_schedule, and params.py where that is silent.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from model_zoo.architectures import NO_TEXT_TOWER, image_tower_architecture, text_tower_architecture
from scaling.suggest import did_you_mean
from scaling.units import format_quantity, parse_quantity

TOKENIZERS: Mapping[str, int] = MappingProxyType({"clip_bpe": 49_408, "clip_bpe_4k": 4_096})
"""Vocabulary sizes, special tokens included: CLIP's BPE, and the same cut after its first merges."""

UNRESOLVED = "unresolved"  # stands for the data of a point that was planned before its data set existed


def _known_image_tower(name: str) -> str:
    return image_tower_architecture(name).name


def _known_text_tower(name: str) -> str:
    return name if name == NO_TEXT_TOWER else text_tower_architecture(name).name


def _known_tokenizer(name: str) -> str:
    if name not in TOKENIZERS:
        raise ValueError(f"unknown tokenizer {name!r}. {did_you_mean(name, TOKENIZERS)}")
    return name


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number")
    return value


def _yaml_off(value: object) -> object:
    return "off" if value is False else value  # YAML 1.1 reads a bare `off` as false


ImageTower = Annotated[str, AfterValidator(_known_image_tower)]
TextTower = Annotated[str, AfterValidator(_known_text_tower)]
Tokenizer = Annotated[str, AfterValidator(_known_tokenizer)]
Idf = Annotated[Literal["online", "off"], BeforeValidator(_yaml_off)]
Quantity = Annotated[int, BeforeValidator(parse_quantity)]
Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Real = Annotated[float, BeforeValidator(_no_truth_value), Field(allow_inf_nan=False)]


class Science(BaseModel):
    """Everything that can change what a point learns. Same science, same run, on any number of ranks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Literal["superclass", "clip"]
    image_tower: ImageTower
    samples_seen: Annotated[Quantity, Field(gt=0)]  # image-text pairs shown to the model, repeats included
    data_digest: str = UNRESOLVED  # content of the training set, never its path
    seed: Annotated[Whole, Field(ge=0)] = 0
    text_tower: TextTower = NO_TEXT_TOWER  # left out: clip takes the tower paired with its image tower
    idf: Idf = "online"  # left out: "online" for superclass, "off" for clip, which has no label weights
    image_size: Annotated[Whole, Field(gt=0)] = 224  # pixels per side
    tokenizer: Tokenizer = "clip_bpe"  # of the labels (superclass) and of the text tower (clip)
    context_length: Annotated[Whole, Field(ge=3)] = 77  # tokens, start and end included; CLIP's
    global_batch: Annotated[Quantity, Field(gt=0)] = 16_384  # samples per optimizer step, over all ranks
    warmup_samples: Annotated[Quantity, Field(ge=0)] = 8_192_000  # linear; 500 steps of 16,384
    learning_rate: Annotated[Real, Field(gt=0)] = 5e-4  # peak; the same as DataComp's "large" scale
    schedule: Literal["cosine"] = "cosine"  # to zero at samples_seen
    weight_decay: Annotated[Real, Field(ge=0)] = 0.2  # not on biases, norms, logit_scale
    adam_beta1: Annotated[Real, Field(ge=0, lt=1)] = 0.9
    adam_beta2: Annotated[Real, Field(ge=0, lt=1)] = 0.98
    adam_epsilon: Annotated[Real, Field(gt=0)] = 1e-6
    gradient_clipping: Annotated[Real, Field(ge=0)] = 0.0  # largest norm; 0 = none, as in the recipe
    crop_scale_min: Annotated[Real, Field(gt=0, le=1)] = 0.9  # share of the image's area; RandomResizedCrop
    crop_scale_max: Annotated[Real, Field(gt=0, le=1)] = 1.0
    precision: Literal["bf16_autocast", "fp32"] = "bf16_autocast"  # fp32 master weights in both
    logit_scale_init: Annotated[Real, Field(gt=-10, lt=10)] = math.log(1 / 0.07)  # CLIP, arXiv 2103.00020
    logit_scale_max: Annotated[Real, Field(gt=-10, le=10)] = math.log(100)  # likewise; both are natural logs

    @model_validator(mode="before")
    @classmethod
    def _fill_by_objective(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {**_defaults_by_objective(values.get("objective"), values.get("image_tower")), **values}

    @model_validator(mode="after")
    def _fields_agree(self) -> Science:
        _check_objective(self)
        _check_logit_scale(self)
        _check_samples(self)
        _check_image(self)
        return self

    @property
    def vocabulary_size(self) -> int:
        """Token ids of the tokenizer, specials included."""
        return TOKENIZERS[self.tokenizer]


def _defaults_by_objective(objective: object, image_tower: object) -> dict[str, str]:
    """The defaults that follow from the objective and its image tower."""
    if objective != "clip":
        return {}
    try:
        return {"text_tower": image_tower_architecture(str(image_tower)).text_tower, "idf": "off"}
    except ValueError:
        return {"idf": "off"}  # the unknown image tower is reported by its own field


def _check_objective(science: Science) -> None:
    if science.objective == "superclass" and science.text_tower != NO_TEXT_TOWER:
        raise ValueError(
            f"text_tower: {science.text_tower!r} with objective superclass, which has no text tower: "
            "leave text_tower out (CLIP then takes the one paired with its image tower)."
        )
    if science.objective == "clip" and science.text_tower == NO_TEXT_TOWER:
        raise ValueError(
            "text_tower: 'none' with objective clip, which needs one: leave text_tower out, or name one."
        )
    if science.objective == "clip" and science.idf != "off":
        raise ValueError(
            f"idf: {science.idf!r} with objective clip, which has no label weights: leave idf out, or drop "
            "the combination with skip: [{objective: clip, idf: online}]."
        )


def _check_logit_scale(science: Science) -> None:
    if science.logit_scale_init > science.logit_scale_max:
        raise ValueError(
            f"logit_scale_init ({science.logit_scale_init}) must not exceed logit_scale_max "
            f"({science.logit_scale_max}); both are natural logarithms: ln(1/0.07) = 2.66, ln(100) = 4.61."
        )


def _check_samples(science: Science) -> None:
    if science.samples_seen < science.global_batch:
        raise ValueError(
            f"samples_seen ({science.samples_seen:,}) must be at least global_batch "
            f"({science.global_batch:,}): the run would end before its first step. Raise samples_seen or "
            "lower global_batch."
        )
    if science.warmup_samples >= science.samples_seen:
        raise ValueError(
            f"warmup_samples ({science.warmup_samples:,}) must be below samples_seen "
            f"({science.samples_seen:,}): the run would end while warming up. Lower warmup_samples or raise "
            "samples_seen."
        )


def _check_image(science: Science) -> None:
    patch = image_tower_architecture(science.image_tower).patch_size
    if science.image_size % patch:
        below = science.image_size // patch * patch
        sizes = " or ".join(str(size) for size in (below, below + patch) if size)
        raise ValueError(
            f"image_size ({science.image_size}) must be a multiple of the patch size of "
            f"{science.image_tower} ({patch} pixels): use {sizes}."
        )
    if science.crop_scale_min > science.crop_scale_max:
        raise ValueError(
            f"crop_scale_min ({science.crop_scale_min}) must not exceed crop_scale_max "
            f"({science.crop_scale_max})."
        )


def documented_defaults(objective: str, image_tower: str) -> dict[str, Any]:
    """Every field that has a default, with the value it takes for this objective and image tower."""
    fields = {name: info.default for name, info in Science.model_fields.items() if not info.is_required()}
    return {**fields, **_defaults_by_objective(objective, image_tower)}


def run_id(science: Science) -> str:
    """A readable head and eight hex digits over the fields that differ from their documented default.

    Leaving defaults out of the hash means that a field added later orphans no finished run.
    """
    defaults = documented_defaults(science.objective, science.image_tower)
    told = {name: value for name, value in science.model_dump().items() if defaults.get(name) != value}
    blob = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    samples = format_quantity(science.samples_seen)
    digest = hashlib.sha256(blob).hexdigest()[:8]
    return f"{science.objective}-{science.image_tower}-{samples}-s{science.seed}-{digest}"
