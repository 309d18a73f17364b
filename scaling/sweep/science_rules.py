"""How the fields of a point's science depend on each other: defaults that follow, fields without effect, rules.

Everything here reads plain mappings of field names to values, so that it also serves points that are not complete yet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from model_zoo.architectures import ImageTowerArchitecture, image_tower_architecture
from model_zoo.specification import NO_CLASSIFICATION, NO_TEXT_TOWER, OBJECTIVES, ObjectiveKind
from scaling.sweep.field_types import FROM_RUN, RANDOM, ROW_TOKENIZERS, TOKENIZERS

Values = Mapping[str, Any]

SIGLIP_LOGIT_SCALE = math.log(10)  # arXiv 2303.15343, section 3.2


def _kind(values: Values) -> ObjectiveKind:
    """What the objective is made of; superclass where it is unknown, which its own field reports."""
    return OBJECTIVES.get(str(values.get("objective")), OBJECTIVES["superclass"])


def _image(values: Values) -> ImageTowerArchitecture | None:
    try:
        return image_tower_architecture(str(values.get("image_tower")))
    except ValueError:
        return None  # reported by its own field


def defaults_that_follow(values: Values) -> dict[str, Any]:
    """The defaults that follow from the objective, its image tower and its tokenizer."""
    kind, image = _kind(values), _image(values)
    follow: dict[str, Any] = {}
    if image is not None:
        follow["pooling"] = image.poolings[0]
        if kind.contrasts is not None:
            follow["text_tower"] = image.text_tower
    if not kind.classifies:
        follow |= {"idf": "off", "classification_loss": NO_CLASSIFICATION}
    if kind.contrasts == "sigmoid":
        follow["logit_scale_init"] = SIGLIP_LOGIT_SCALE
    if values.get("tokenizer") in TOKENIZERS:
        follow["vocabulary_size"] = TOKENIZERS[values["tokenizer"]]
    return follow


def _classifies(values: Values) -> bool:
    return _kind(values).classifies


def _contrasts(values: Values) -> bool:
    return _kind(values).contrasts is not None


def _does_both(values: Values) -> bool:
    return _classifies(values) and _contrasts(values)


def _uses_loss(name: str) -> Callable[[Values], bool]:
    return lambda values: _classifies(values) and values.get("classification_loss", "softmax") == name


def _trains_image_tower(values: Values) -> bool:
    return not _kind(values).locks_image_tower


def _trains_patches(values: Values) -> bool:
    image = _image(values)
    return _trains_image_tower(values) and (image is None or image.has_patch_tokens)


def _jitters(values: Values) -> bool:
    return bool(values.get("jitter_probability"))


def _decays_late(values: Values) -> bool:
    return bool(values.get("schedule") == "wsd")


def _has_batch_norm(values: Values) -> bool:
    image = _image(values)
    return _trains_image_tower(values) and (image is None or image.has_batch_norm)


EFFECT: Mapping[str, tuple[Callable[[Values], bool], str]] = {
    "text_tower": (_contrasts, "an objective that has a text tower"),
    "idf": (_classifies, "an objective that has label weights"),
    "classification_loss": (_classifies, "an objective that has a classification head"),
    "head_layers": (_classifies, "an objective that has a classification head"),
    "remove_stop_words": (_classifies, "an objective that has labels"),
    "reference_compat": (_classifies, "an objective that has labels"),
    "asl_gamma_negative": (_uses_loss("asl"), "classification_loss: asl"),
    "asl_gamma_positive": (_uses_loss("asl"), "classification_loss: asl"),
    "asl_margin": (_uses_loss("asl"), "classification_loss: asl"),
    "two_way_temperature": (_uses_loss("two_way"), "classification_loss: two_way"),
    "contrastive_weight": (_does_both, "objective: superclip"),
    "classification_weight": (_does_both, "objective: superclip"),
    "logit_scale_init": (_contrasts, "a contrastive objective"),
    "logit_scale_max": (_contrasts, "a contrastive objective"),
    "logit_bias_init": (lambda values: _kind(values).contrasts == "sigmoid", "objective: siglip"),
    "patch_dropout": (_trains_patches, "a vision transformer that is trained"),
    **{
        f"jitter_{what}": (_jitters, "jitter_probability above 0")
        for what in ("brightness", "contrast", "saturation", "hue")
    },
    "decay_share": (_decays_late, "schedule: wsd"),
    "decay_shape": (_decays_late, "schedule: wsd"),
    "most_rollbacks": (lambda values: values.get("non_finite") == "rollback", "non_finite: rollback"),
    "batch_norm_samples": (_has_batch_norm, "an image tower with batch norm that is trained"),
    "drop_path": (_trains_image_tower, "an objective that trains its image tower"),
}
"""Field -> whether it has an effect beside the other fields of a point, and what it needs."""


def has_effect(field: str, values: Values) -> bool:
    """Whether the value of a field can change what a point with these values learns."""
    rule = EFFECT.get(field)
    return rule is None or rule[0](values)


def check_science(values: Values, defaults: Values) -> None:
    """ValueError with value, rule and fix for the first contradiction between fields."""
    for field, (_, needs) in EFFECT.items():
        if values[field] != defaults[field] and not has_effect(field, values):
            raise ValueError(
                f"{field}: {values[field]!r} with objective {values['objective']}: it has no effect without {needs}. "
                f"Leave {field} out, or drop the combination with skip: [{{objective: {values['objective']}, "
                f"{field}: {values[field]}}}]."
            )
    for check in (_check_text, _check_head, _check_labels, _check_logit_scale, _check_samples, _check_image):
        check(values)


def _check_text(values: Values) -> None:
    if not _contrasts(values):
        return
    if values["text_tower"] == NO_TEXT_TOWER:
        raise ValueError(
            f"text_tower: 'none' with objective {values['objective']}, which needs one: leave text_tower out, or name "
            "one."
        )
    if values["tokenizer"] not in ROW_TOKENIZERS:
        raise ValueError(
            f"tokenizer: {values['tokenizer']!r} makes labels only, and the text tower of objective "
            f"{values['objective']} reads rows with a start and an end: use {' or '.join(ROW_TOKENIZERS)}."
        )


def _check_head(values: Values) -> None:
    if _classifies(values) and values["classification_loss"] == NO_CLASSIFICATION:
        raise ValueError(
            f"classification_loss: 'none' with objective {values['objective']}, which classifies: leave it out, or "
            "name a loss."
        )


def _check_labels(values: Values) -> None:
    if not values["reference_compat"]:
        return
    if values["tokenizer"] not in ROW_TOKENIZERS:
        raise ValueError(
            f"reference_compat: true with tokenizer {values['tokenizer']!r}: the reference code takes start, end and "
            f"pad of CLIP's rows as labels. Use tokenizer: {ROW_TOKENIZERS[0]}, or leave reference_compat out."
        )
    if values["remove_stop_words"]:
        raise ValueError(
            "reference_compat and remove_stop_words are both true: the reference code keeps every word. Drop one."
        )


def _check_logit_scale(values: Values) -> None:
    if values["logit_scale_init"] > values["logit_scale_max"]:
        raise ValueError(
            f"logit_scale_init ({values['logit_scale_init']}) must not exceed logit_scale_max "
            f"({values['logit_scale_max']}); both are natural logarithms: ln(1/0.07) = 2.66, ln(100) = 4.61."
        )


def _check_samples(values: Values) -> None:
    samples, batch, warmup = (values[key] for key in ("samples_seen", "global_batch", "warmup_samples"))
    if 0 < values["unique_samples"] < batch:
        raise ValueError(
            f"unique_samples ({values['unique_samples']:,}) must be at least global_batch ({batch:,}), or 0 for the "
            "whole set: a step would show a sample twice."
        )
    if samples < batch:
        raise ValueError(
            f"samples_seen ({samples:,}) must be at least global_batch ({batch:,}): the run would end before its "
            "first step. Raise samples_seen or lower global_batch."
        )
    if warmup >= samples:
        raise ValueError(
            f"warmup_samples ({warmup:,}) must be below samples_seen ({samples:,}): the run would end while warming "
            "up. Lower warmup_samples or raise samples_seen."
        )
    if _decays_late(values) and warmup > samples - round(values["decay_share"] * samples):
        raise ValueError(
            f"decay_share ({values['decay_share']:g}) of samples_seen ({samples:,}) begins before warmup_samples "
            f"({warmup:,}) are over: lower one of them, or raise samples_seen."
        )


def _check_image(values: Values) -> None:
    image = image_tower_architecture(values["image_tower"])
    image.check_image_size(values["image_size"])
    image.resolve_pooling(values["pooling"])
    if values["crop_scale_min"] > values["crop_scale_max"]:
        raise ValueError(
            f"crop_scale_min ({values['crop_scale_min']}) must not exceed crop_scale_max ({values['crop_scale_max']})."
        )
    if values["image_init"] == RANDOM and not _trains_image_tower(values):
        raise ValueError(
            f"image_init: 'random' with objective {values['objective']}, which never trains its image tower: name a "
            f"finished run ({FROM_RUN}RUN_FOLDER) or a pretrained model (timm:NAME)."
        )
