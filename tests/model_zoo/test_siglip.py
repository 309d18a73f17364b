"""SigLIP against open_clip's SigLipLoss on the same embeddings."""

from __future__ import annotations

import copy
import math

import torch
from open_clip.loss import SigLipLoss
from small_objectives import build, build_fp64, gradients, some_images, some_tokens
from torch.nn import functional as F

from model_zoo.build import weight_decay_groups
from model_zoo.siglip import SigLip
from model_zoo.targets import KnownShare

B = 6
VALID_B = torch.tensor([True, False, True, True, False, True])


def test_loss_and_gradients_equal_open_clips_of_the_valid_rows() -> None:
    siglip, images_BCHW, tokens = build_fp64("siglip"), some_images(B), some_tokens(VALID_B)
    theirs = copy.deepcopy(siglip)
    image_BE = F.normalize(
        theirs.image_tower(images_BCHW[VALID_B]) @ theirs.image_projection.weight.T, dim=-1
    )
    text_BE = F.normalize(
        theirs.text_tower(tokens.tokens_BL[VALID_B]) @ theirs.text_projection.weight.T, dim=-1
    )
    expected = SigLipLoss()(image_BE, text_BE, theirs.logit_scale.exp(), theirs.logit_bias)
    loss = siglip(images_BCHW, tokens, KnownShare(VALID_B.sum()))["loss"]
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    expected.backward()
    loss.backward()
    assert gradients(siglip).keys() == dict(siglip.named_parameters()).keys()
    torch.testing.assert_close(gradients(siglip), gradients(theirs), rtol=1e-9, atol=1e-14)


def test_scale_and_bias_start_where_the_specification_says_and_are_logged() -> None:
    siglip = build_fp64("siglip", logit_scale_init=math.log(10), logit_bias_init=-10.0)
    losses = siglip(some_images(B), some_tokens(VALID_B), KnownShare(4.0))
    torch.testing.assert_close(losses["logit_scale"].exp().item(), 10.0, rtol=1e-6, atol=0)
    assert losses["logit_bias"] == -10 and siglip.logit_bias.shape == (1,)


def test_the_bias_is_trained_without_weight_decay() -> None:
    siglip = build("siglip")
    assert isinstance(siglip, SigLip)
    decayed, not_decayed = weight_decay_groups(siglip)
    assert any(parameter is siglip.logit_bias for parameter in not_decayed)
    assert not any(parameter is siglip.logit_bias for parameter in decayed)
