from __future__ import annotations

import subprocess
import sys

import pytest

from model_zoo.architectures import (
    IMAGE_TOWERS,
    TEXT_TOWERS,
    image_tower_architecture,
    objective_towers,
    text_tower_architecture,
)


@pytest.mark.parametrize("wrong, meant", [("vit_b61", "vit_b16"), ("vit-nano8", "vit_nano8")])
def test_an_unknown_image_tower_is_refused_with_the_nearest_name(wrong: str, meant: str) -> None:
    with pytest.raises(
        ValueError, match=f"unknown image_tower {wrong!r}. Did you mean {meant!r}.*Known: vit_s16"
    ):
        image_tower_architecture(wrong)


def test_an_unknown_text_tower_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="unknown text_tower 'text_nanno'. Did you mean 'text_nano'"):
        text_tower_architecture("text_nanno")


def test_an_unknown_objective_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="unknown objective 'supercalss'. Did you mean 'superclass'"):
        objective_towers(objective="supercalss", image_tower="vit_b16", text_tower="none")


def test_a_name_like_no_other_still_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown image_tower 'zzz'\. Known: .*vit_h14"):
        image_tower_architecture("zzz")


def test_superclass_refuses_a_text_tower_and_clip_refuses_to_do_without() -> None:
    with pytest.raises(ValueError, match="use text_tower: none"):
        objective_towers(objective="superclass", image_tower="vit_b16", text_tower="text_b")
    with pytest.raises(ValueError, match="use text_tower: text_b"):
        objective_towers(objective="clip", image_tower="vit_b16", text_tower="none")


def test_every_image_tower_is_paired_with_a_known_text_tower() -> None:
    for image in IMAGE_TOWERS.values():
        _, text = objective_towers(objective="clip", image_tower=image.name, text_tower=image.text_tower)
        assert text is TEXT_TOWERS[image.text_tower]


def test_the_heads_divide_every_width() -> None:
    for tower in (*IMAGE_TOWERS.values(), *TEXT_TOWERS.values()):
        assert tower.width % tower.num_heads == 0, tower.name


@pytest.mark.parametrize("image_size", [0, -16, 100, 225])
def test_an_image_size_that_patches_cannot_tile_is_refused(image_size: int) -> None:
    with pytest.raises(
        ValueError, match=f"image_size {image_size} must be a positive multiple of the 16-pixel"
    ):
        image_tower_architecture("vit_b16").num_patches(image_size)


def test_planning_imports_no_torch() -> None:
    check = "import sys, model_zoo.architectures, model_zoo.counts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
