"""SuperCLIP against its two parts, CLIP and SuperClass, with the same weights."""

from __future__ import annotations

import pytest
import torch
from small_objectives import WEIGHTS_V, build_fp64, gradients, some_images, some_targets

from model_zoo.targets import KnownShare

B = 6
VALID_B = torch.tensor([True, False, True, True, False, True])
SHARE = KnownShare(4.0, WEIGHTS_V)


@pytest.mark.parametrize("contrastive, classification", [(1.0, 1.0), (0.3, 2.0), (0.0, 1.0)])
def test_loss_and_gradients_are_the_weighted_sum_of_clips_and_superclass(
    contrastive: float, classification: float
) -> None:
    weights = {"contrastive_weight": contrastive, "classification_weight": classification}
    superclip, clip, superclass = (
        build_fp64("superclip", **weights),
        build_fp64("clip"),
        build_fp64("superclass"),
    )
    state = superclip.state_dict()
    assert state.keys() == clip.state_dict().keys() | superclass.state_dict().keys()
    for part in (clip, superclass):
        part.load_state_dict({name: state[name] for name in part.state_dict()})
    images_BCHW, targets = some_images(B), some_targets("superclip", VALID_B)

    of_clip = clip(images_BCHW, targets.tokens, SHARE)["loss"]
    of_superclass = superclass(images_BCHW, targets.labels, SHARE)["loss"]
    losses = superclip(images_BCHW, targets, SHARE)
    torch.testing.assert_close(losses["contrastive_loss"], of_clip.detach())
    torch.testing.assert_close(losses["classification_loss"], of_superclass.detach())
    torch.testing.assert_close(losses["loss"], contrastive * of_clip + classification * of_superclass)

    losses["loss"].backward()
    (contrastive * of_clip + classification * of_superclass).backward()
    for name, gradient in gradients(superclip).items():
        parts = [gradients(part).get(name, torch.zeros(1)) for part in (clip, superclass)]
        torch.testing.assert_close(gradient, parts[0] + parts[1], rtol=1e-9, atol=1e-14, msg=name)


def test_the_parts_are_logged_without_gradient() -> None:
    superclip = build_fp64("superclip")
    losses = superclip(some_images(B), some_targets("superclip", VALID_B), SHARE)
    assert losses.keys() == {"loss", "contrastive_loss", "classification_loss", "logit_scale"}
    assert [name for name, value in losses.items() if value.requires_grad] == ["loss"]


def test_the_head_sees_the_pooled_features_and_not_their_projection() -> None:
    superclip = build_fp64("superclip")
    features_BD, image_BE, text_BE = superclip.encode(some_images(B), some_targets("superclip", VALID_B))
    assert features_BD.shape == (B, superclip.feature_width) and superclip.feature_width != image_BE.shape[1]
    assert image_BE.shape == text_BE.shape
    torch.testing.assert_close(superclip.head_logits(features_BD), superclip.head.logits(features_BD))
