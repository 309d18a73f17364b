"""What a specification refuses, before anything is built."""

from __future__ import annotations

from typing import Any

import pytest
from small_objectives import a_specification

from model_zoo.specification import OBJECTIVES, ObjectiveSpecification


@pytest.mark.parametrize(
    "objective, changes, words",
    [
        ("superclass", {"objective": "supercalss"}, "Did you mean 'superclass'"),
        ("superclass", {"image_tower": "vit_nano"}, "Did you mean 'vit_nano8'"),
        (
            "superclass",
            {"text_tower": "text_nano"},
            "'superclass' trains no text tower: use text_tower: none",
        ),
        ("clip", {"text_tower": "none"}, "'clip' contrasts images with captions: use text_tower: text_nano"),
        ("clip", {"text_tower": "text_nanno"}, "Did you mean 'text_nano'"),
        (
            "superclass",
            {"image_size": 20},
            "image_size 20 must be a positive multiple of the 8-pixel .* use 16",
        ),
        ("superclass", {"pooling": "attention"}, "pooling 'attention' is not one of image_tower 'vit_nano8'"),
        ("superclass", {"patch_dropout": 1.0}, "patch_dropout 1.0 must be"),
        (
            "superclass",
            {"image_tower": "resnet_nano", "image_size": 32, "patch_dropout": 0.5},
            "convolutions",
        ),
        ("superclass", {"drop_path": -0.1}, "drop_path -0.1 must be at least 0 and below 1"),
        (
            "lit",
            {"patch_dropout": 0.5},
            "patch_dropout 0.5 with objective 'lit'.* locked .* use patch_dropout: 0",
        ),
        ("lit", {"drop_path": 0.1}, "drop_path 0.1 with objective 'lit'"),
        ("superclass", {"vocabulary_size": 0}, "vocabulary_size 0 must be at least 1"),
        ("superclass", {"classification_loss": "softmx"}, "Did you mean 'softmax'"),
        (
            "superclass",
            {"classification_loss": "none"},
            "unknown classification_loss 'none'.*Known: softmax, bce",
        ),
        ("clip", {"classification_loss": "two_way"}, "'two_way' .* 'clip', which has no classification head"),
        ("siglip", {"head_layers": 1}, "head_layers 1 with objective 'siglip'"),
        ("superclip", {"head_layers": -1}, "head_layers -1 must be at least 0"),
        ("superclip", {"contrastive_weight": -1.0}, "contrastive_weight -1.0 .* must be at least 0"),
        (
            "superclip",
            {"contrastive_weight": 0.0, "classification_weight": 0.0},
            "one of them above 0",
        ),
        ("clip", {"logit_scale_max": 100.0}, "logarithm of CLIP's scale; write 4.6052"),
        ("siglip", {"logit_scale_init": 4.7}, r"logit_scale_init \(4.7\) must not exceed logit_scale_max"),
    ],
)
def test_what_cannot_be_built_is_refused_with_the_value_and_the_way_out(
    objective: str, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        a_specification(objective, **changes)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("loss", ["softmax", "bce", "asl", "soft_margin", "two_way"])
def test_every_loss_is_there_for_the_objectives_that_classify(objective: str, loss: str) -> None:
    kind = OBJECTIVES[objective]
    if kind.classifies:
        specification = a_specification(objective, classification_loss=loss)
        assert specification.couples_samples == (kind.contrasts is not None or loss == "two_way")
    elif loss != "softmax":  # the field's default says nothing
        with pytest.raises(ValueError, match="no classification head"):
            a_specification(objective, classification_loss=loss)


@pytest.mark.parametrize("objective", ["clip", "siglip", "lit"])
def test_an_objective_without_a_head_may_say_that_it_has_no_loss_for_one(objective: str) -> None:
    assert a_specification(objective, classification_loss="none").couples_samples


def test_only_names_and_the_vocabulary_must_be_given() -> None:
    specification = ObjectiveSpecification(
        objective="superclass", image_tower="vit_b16", vocabulary_size=49_408
    )
    assert specification.text is None and specification.image.width == 768
