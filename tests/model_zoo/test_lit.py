"""LiT: CLIP in every number, but for an image tower that nothing changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_objectives import build, build_fp64, gradients, some_images, some_tokens
from torch import nn

from model_zoo.build import weight_decay_groups
from model_zoo.targets import KnownShare

B = 6
VALID_B = torch.tensor([True, False, True, True, False, True])
SHARE = KnownShare(4.0)


def test_loss_and_gradients_equal_clips_with_the_image_tower_left_out() -> None:
    lit, clip, images_BCHW, tokens = (
        build_fp64("lit"),
        build_fp64("clip"),
        some_images(B),
        some_tokens(VALID_B),
    )
    clip.load_state_dict(lit.state_dict())
    loss, expected = lit(images_BCHW, tokens, SHARE)["loss"], clip(images_BCHW, tokens, SHARE)["loss"]
    assert torch.equal(loss, expected)
    loss.backward()
    expected.backward()
    kept = {name: g for name, g in gradients(clip).items() if not name.startswith("image_tower.")}
    torch.testing.assert_close(gradients(lit), kept, rtol=1e-12, atol=0)


@pytest.mark.parametrize("image_tower, image_size", [("vit_nano8", 16), ("resnet_nano", 32)])
def test_steps_move_everything_but_the_image_tower_and_its_statistics(
    image_tower: str, image_size: int
) -> None:
    lit: Any = build("lit", image_tower=image_tower, image_size=image_size).train()
    before = {name: value.clone() for name, value in lit.state_dict().items()}
    optimizer = torch.optim.AdamW((p for p in lit.parameters() if p.requires_grad), lr=1e-2, weight_decay=0.2)
    for _ in range(2):
        images_BCHW = torch.randn(B, 3, image_size, image_size)
        lit(images_BCHW, some_tokens(torch.ones(B).bool()), KnownShare(B))["loss"].backward()
        optimizer.step()
        lit.after_step()
    for name, value in lit.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("image_tower."), name


def test_training_mode_reaches_everything_but_the_image_tower() -> None:
    lit: Any = build("lit")
    for mode in (True, False, True):
        assert lit.train(mode) is lit
        assert lit.training == lit.text_tower.training == mode
        assert not any(part.training for part in lit.image_tower.modules())


def test_dropout_that_a_loaded_tower_may_hold_stays_off() -> None:
    lit: Any = build("lit")
    lit.image_tower = nn.Sequential(lit.image_tower, nn.Dropout(0.5))
    lit.train()
    images_BCHW = some_images(B, torch.float32)
    assert torch.equal(lit.image_features(images_BCHW), lit.image_features(images_BCHW))


def test_no_activation_of_the_image_tower_is_kept() -> None:
    lit: Any = build("lit").train()
    with torch.autograd.graph.saved_tensors_hooks(lambda _: pytest.fail("kept"), lambda x: x):
        features_BD = lit.image_features(some_images(B, torch.float32).requires_grad_())
    assert not features_BD.requires_grad and lit.encode_image(some_images(B, torch.float32)).requires_grad


def test_locked_parameters_are_in_neither_group_of_the_optimizer() -> None:
    lit: Any = build("lit")
    grouped = {id(parameter) for group in weight_decay_groups(lit) for parameter in group}
    assert grouped == {id(p) for n, p in lit.named_parameters() if not n.startswith("image_tower.")}


def test_weights_loaded_after_building_stay_locked() -> None:
    lit, superclass = build("lit", seed=1), build("superclass", seed=2)
    lit.image_tower.load_state_dict(superclass.image_tower.state_dict())
    assert not any(parameter.requires_grad for parameter in lit.image_tower.parameters())
    images_BCHW = some_images(B, torch.float32)
    with torch.no_grad():
        expected_BD = superclass.eval().image_features(images_BCHW)
    torch.testing.assert_close(lit.image_features(images_BCHW), expected_BD)
