"""CLIP's two towers, their projections and logit scale, against open_clip's ClipLoss on the same embeddings."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from open_clip.loss import ClipLoss
from small_objectives import build, build_fp64, gradients, some_images, some_tokens
from torch import Tensor
from torch.nn import functional as F

from model_zoo.targets import KnownShare

B = 6
VALID_B = torch.tensor([True, False, True, True, False, True])
CONTRASTIVE = ("clip", "siglip", "superclip", "lit")


def open_clip_loss(clip: Any, images_BCHW: Tensor, tokens_BL: Tensor) -> Tensor:
    """open_clip's loss of embeddings as open_clip makes them: tower, matrix, length 1."""
    image_BE = F.normalize(clip.image_tower(images_BCHW) @ clip.image_projection.weight.T, dim=-1)
    text_BE = F.normalize(clip.text_tower(tokens_BL) @ clip.text_projection.weight.T, dim=-1)
    loss: Tensor = ClipLoss()(image_BE, text_BE, clip.logit_scale.exp())
    return loss


@pytest.mark.parametrize("valid_B", [torch.ones(B).bool(), VALID_B], ids=["all valid", "some valid"])
def test_loss_and_gradients_equal_open_clips_of_the_valid_rows(valid_B: Tensor) -> None:
    clip, images_BCHW, tokens = build_fp64("clip"), some_images(B), some_tokens(valid_B)
    reference = copy.deepcopy(clip)
    expected = open_clip_loss(reference, images_BCHW[valid_B], tokens.tokens_BL[valid_B])
    loss = clip(images_BCHW, tokens, KnownShare(valid_B.sum()))["loss"]
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    expected.backward()
    loss.backward()
    assert gradients(clip).keys() == dict(clip.named_parameters()).keys()
    torch.testing.assert_close(gradients(clip), gradients(reference), rtol=1e-9, atol=1e-14)


def test_the_loss_is_a_sum_over_valid_rows_divided_by_the_divisor() -> None:
    clip, images_BCHW, tokens = build_fp64("clip"), some_images(B), some_tokens(VALID_B)
    summed, halved = (clip(images_BCHW, tokens, KnownShare(x))["loss"] for x in (1.0, torch.tensor(2)))
    torch.testing.assert_close(summed, 2 * halved, rtol=1e-14, atol=0)


@pytest.mark.parametrize("objective", CONTRASTIVE)
def test_under_autocast_embeddings_have_length_one_to_float32_accuracy(objective: str) -> None:
    built: Any = build(objective)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        image_BE = built.encode_image(some_images(B, torch.float32))
        text_BE = built.encode_text(some_tokens(VALID_B).tokens_BL)
    for rows_BE in (image_BE, text_BE):
        assert rows_BE.shape == (B, 64) and rows_BE.dtype == torch.float32
        torch.testing.assert_close(rows_BE.norm(dim=-1), torch.ones(B))


@pytest.mark.parametrize("objective", CONTRASTIVE)
def test_the_logit_scale_is_clamped_after_a_step_and_not_raised(objective: str) -> None:
    built: Any = build(objective, logit_scale_init=2.0, logit_scale_max=3.0)
    assert built.logit_scale.shape == (1,) and built.logit_scale.tolist() == [2.0]
    built.logit_scale.data.fill_(3.5)
    assert built.after_step() == (built.logit_scale,)
    assert built.logit_scale.tolist() == [3.0]
    built.logit_scale.data.fill_(1.0)
    built.after_step()
    assert built.logit_scale.tolist() == [1.0]


def test_the_forward_pass_does_not_clamp_so_that_the_scale_can_come_down_again() -> None:
    clip = build_fp64("clip", logit_scale_init=2.0, logit_scale_max=3.0)
    clip.logit_scale.data.fill_(3.5)
    losses = clip(some_images(B), some_tokens(VALID_B), KnownShare(4.0))
    losses["loss"].backward()
    assert losses["logit_scale"] == 3.5 and losses["logit_scale"].ndim == 0
    assert clip.logit_scale.grad.abs() > 0


@pytest.mark.parametrize("objective", CONTRASTIVE)
def test_a_residual_network_is_projected_with_a_bias_and_a_transformer_without(objective: str) -> None:
    transformer: Any = build(objective)
    network: Any = build(objective, image_tower="resnet_nano", image_size=32)
    assert transformer.image_projection.bias is None and network.image_projection.bias is not None
    assert transformer.text_projection.bias is None and network.text_projection.bias is None
    weight = network.image_projection.weight
    assert weight.std().item() == pytest.approx(network.feature_width**-0.5, rel=0.1)
