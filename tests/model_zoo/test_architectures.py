from __future__ import annotations

import pytest

from model_zoo.architectures import (
    IMAGE_TOWERS,
    TEXT_TOWERS,
    ImageTowerArchitecture,
    VisionTransformerArchitecture,
    image_tower_architecture,
    text_tower_architecture,
)


@pytest.mark.parametrize(
    "wrong, meant", [("vit_b61", "vit_b16"), ("vit-nano8", "vit_nano8"), ("resnet_50", "resnet50")]
)
def test_an_unknown_image_tower_is_refused_with_the_nearest_name(wrong: str, meant: str) -> None:
    with pytest.raises(
        ValueError, match=f"unknown image_tower {wrong!r}. Did you mean {meant!r}.*Known: vit_s16"
    ):
        image_tower_architecture(wrong)


def test_an_unknown_text_tower_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="unknown text_tower 'text_nanno'. Did you mean 'text_nano'"):
        text_tower_architecture("text_nanno")


def test_a_name_like_no_other_still_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown image_tower 'zzz'\. Known: .*vit_h14.*convnext_tiny"):
        image_tower_architecture("zzz")


def test_every_image_tower_is_paired_with_a_known_text_tower() -> None:
    assert {image.text_tower for image in IMAGE_TOWERS.values()} <= TEXT_TOWERS.keys()


def test_the_heads_divide_every_width() -> None:
    images = [tower for tower in IMAGE_TOWERS.values() if isinstance(tower, VisionTransformerArchitecture)]
    for tower in (*images, *TEXT_TOWERS.values()):
        assert tower.width % tower.num_heads == 0, tower.name


@pytest.mark.parametrize("tower", IMAGE_TOWERS.values(), ids=lambda tower: tower.name)
def test_an_image_size_that_the_stride_does_not_divide_is_refused_with_one_that_fits(
    tower: ImageTowerArchitecture,
) -> None:
    for image_size in (0, -tower.stride, tower.stride - 1, 3 * tower.stride + 1):
        fitting = max(1, round(image_size / tower.stride)) * tower.stride
        with pytest.raises(
            ValueError, match=f"image_size {image_size} must be .* {tower.stride}-pixel.* use {fitting}"
        ):
            tower.check_image_size(image_size)
    assert tower.num_patches(3 * tower.stride) == 9


def test_a_pooling_of_another_kind_of_tower_is_refused_with_its_own() -> None:
    with pytest.raises(ValueError, match="'attention' is not one of .*'vit_b16': use mean or class_token"):
        image_tower_architecture("vit_b16").resolve_pooling("attention")
    with pytest.raises(ValueError, match="'class_token' is not one of .*'convnext_tiny': use mean"):
        image_tower_architecture("convnext_tiny").resolve_pooling("class_token")
    assert image_tower_architecture("resnet50").resolve_pooling(None) == "attention"


def test_patch_dropout_is_a_rate_and_needs_patches() -> None:
    with pytest.raises(ValueError, match="patch_dropout 1.0 must be at least 0 and below 1"):
        image_tower_architecture("vit_b16").check_patch_dropout(1.0)
    for name in ("resnet50", "convnext_tiny"):
        image_tower_architecture(name).check_patch_dropout(0.0)
        with pytest.raises(ValueError, match=f"patch_dropout 0.5 with image_tower {name!r}"):
            image_tower_architecture(name).check_patch_dropout(0.5)
