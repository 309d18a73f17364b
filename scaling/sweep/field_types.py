"""The types of a point's fields: names that must be known, quantities of samples, numbers that are not truth values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from model_zoo.architectures import image_tower_architecture, text_tower_architecture
from model_zoo.specification import CLASSIFICATION_LOSSES, NO_CLASSIFICATION, NO_TEXT_TOWER, OBJECTIVES
from scaling.suggest import did_you_mean
from scaling.units import parse_quantity

TOKENIZERS: Mapping[str, int] = MappingProxyType(
    {
        "clip_bpe": 49_408,  # CLIP's byte-level BPE
        "clip_bpe_4k": 4_096,  # the same, cut after its first merges
        "bert_wordpiece": 30_522,  # google-bert/bert-base-uncased
        "llama_sentencepiece": 32_000,  # huggyllama/llama-7b
        "words": 24_320,  # CatLIP's released DataComp configurations; a vocabulary file says its own
    }
)
"""Vocabulary sizes, special tokens included, where no file of the user's says otherwise."""

ROW_TOKENIZERS = ("clip_bpe", "clip_bpe_4k")
"""Those whose rows a text tower can read: with a start, and an end that has the highest id."""

RANDOM = "random"
"""The `image_init` of a tower that starts from its seed."""

FROM_RUN, FROM_TIMM = "run:", "timm:"
"""How any other `image_init` begins."""


def _known_objective(name: str) -> str:
    return _known(name, "objective", OBJECTIVES)


def _known_image_tower(name: str) -> str:
    return image_tower_architecture(name).name


def _known_text_tower(name: str) -> str:
    return name if name == NO_TEXT_TOWER else text_tower_architecture(name).name


def _known_tokenizer(name: str) -> str:
    return _known(name, "tokenizer", TOKENIZERS)


def _known_classification_loss(name: str) -> str:
    known = dict.fromkeys((*CLASSIFICATION_LOSSES, NO_CLASSIFICATION))
    return _known(name, "classification_loss", known)


def _known(name: str, key: str, known: Mapping[str, object]) -> str:
    if name not in known:
        raise ValueError(f"unknown {key} {name!r}. {did_you_mean(name, known)}")
    return name


def _known_image_init(value: str) -> str:
    if value != RANDOM and not (value.startswith((FROM_RUN, FROM_TIMM)) and value.partition(":")[2].strip()):
        raise ValueError(
            f"{value!r} is not an initial image tower: write {RANDOM}, {FROM_RUN}RUN_FOLDER or {FROM_TIMM}MODEL_NAME."
        )
    return value


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a number")
    return value


def _yaml_off(value: object) -> object:
    return "off" if value is False else value  # YAML 1.1 reads a bare `off` as false


Objective = Annotated[str, AfterValidator(_known_objective)]
ImageTower = Annotated[str, AfterValidator(_known_image_tower)]
TextTower = Annotated[str, AfterValidator(_known_text_tower)]
ImageInit = Annotated[str, AfterValidator(_known_image_init)]
Tokenizer = Annotated[str, AfterValidator(_known_tokenizer)]
ClassificationLossName = Annotated[str, AfterValidator(_known_classification_loss)]
Idf = Annotated[Literal["online", "frozen", "off"], BeforeValidator(_yaml_off)]
Quantity = Annotated[int, BeforeValidator(parse_quantity)]
Whole = Annotated[int, BeforeValidator(_no_truth_value)]
Real = Annotated[float, BeforeValidator(_no_truth_value), Field(allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(_no_truth_value), Field(ge=0, le=1, allow_inf_nan=False)]
Switch = Annotated[bool, Field(strict=True)]
