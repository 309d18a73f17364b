"""The contrastive objective against open_clip's ClipLoss, on one rank and on two."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from open_clip.loss import ClipLoss
from torch import Tensor

from model_zoo.build import build_objective
from model_zoo.clip import Clip
from model_zoo.losses import contrastive_loss
from model_zoo.targets import TokenRows

B, E, L, V, IMAGE_SIZE = 6, 8, 10, 40, 16
VALID_B = torch.tensor([True, False, True, True, False, True])


def build_clip(**changes: float) -> Clip:
    built = build_objective(
        **{"logit_scale_init": 2.6593, "logit_scale_max": 4.6052} | changes,
        objective="clip",
        image_tower="vit_nano8",
        text_tower="text_nano",
        image_size=IMAGE_SIZE,
        vocabulary_size=V,
        context_length=L,
        seed=0,
    )
    assert isinstance(built, Clip)
    return built.double()


def a_batch(valid_B: Tensor) -> tuple[Tensor, TokenRows]:
    tokens_BL = torch.randint(1, V - 1, [len(valid_B), L])
    tokens_BL[:, -1] = V - 1
    images_BCHW = torch.randn(len(valid_B), 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.float64)
    return images_BCHW, TokenRows(tokens_BL, valid_B)


def open_clip_loss(clip: Clip, images_BCHW: Tensor, tokens_BL: Tensor) -> Tensor:
    loss: Tensor = ClipLoss()(
        clip.encode_image(images_BCHW), clip.encode_text(tokens_BL), clip.logit_scale.exp()
    )
    return loss


def gradients(clip: Clip) -> dict[str, Tensor]:
    return {name: parameter.grad for name, parameter in clip.named_parameters() if parameter.grad is not None}


def test_loss_and_gradients_equal_open_clips_on_one_rank() -> None:
    clip, (images_BCHW, tokens) = build_clip(), a_batch(torch.ones(B, dtype=torch.bool))
    reference = copy.deepcopy(clip)
    expected = open_clip_loss(reference, images_BCHW, tokens.tokens_BL)
    loss = clip(images_BCHW, tokens, float(B))["loss"]
    torch.testing.assert_close(loss, expected)
    expected.backward()
    loss.backward()
    torch.testing.assert_close(gradients(clip), gradients(reference))
    assert gradients(clip).keys() == dict(clip.named_parameters()).keys()


def test_rows_that_are_not_valid_are_as_if_they_were_not_there() -> None:
    clip, (images_BCHW, tokens) = build_clip(), a_batch(VALID_B)
    reference = copy.deepcopy(clip)
    expected = open_clip_loss(reference, images_BCHW[VALID_B], tokens.tokens_BL[VALID_B])
    loss = clip(images_BCHW, tokens, VALID_B.sum())["loss"]
    torch.testing.assert_close(loss, expected)
    expected.backward()
    loss.backward()
    torch.testing.assert_close(gradients(clip), gradients(reference))


def test_a_batch_without_valid_rows_has_no_loss_and_no_gradient_rather_than_nan() -> None:
    clip, (images_BCHW, tokens) = build_clip(), a_batch(torch.zeros(B, dtype=torch.bool))
    loss = clip(images_BCHW, tokens, 1.0)["loss"]
    loss.backward()
    assert loss == 0
    assert all((gradient == 0).all() for gradient in gradients(clip).values())


def test_under_autocast_the_similarities_are_taken_in_float32() -> None:
    image_BE, text_BE = torch.randn(B, E), torch.randn(B, E)
    valid_B, scale = torch.ones(B, dtype=torch.bool), torch.tensor([100.0])
    expected_B = contrastive_loss(image_BE, text_BE, valid_B, scale, across_ranks=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss_B = contrastive_loss(image_BE, text_BE, valid_B, scale, across_ranks=True)
    assert torch.equal(loss_B, expected_B)


def test_under_autocast_embeddings_have_length_one_to_float32_accuracy() -> None:
    clip, (images_BCHW, tokens) = build_clip().float(), a_batch(VALID_B)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = clip.encode_image(images_BCHW.float()), clip.encode_text(tokens.tokens_BL)
    for rows_BE in embeddings:
        assert rows_BE.shape == (B, 64) and rows_BE.dtype == torch.float32
        torch.testing.assert_close(rows_BE.norm(dim=-1), torch.ones(B))


def test_the_logit_scale_is_clamped_after_a_step_and_never_in_the_forward_pass() -> None:
    clip, (images_BCHW, tokens) = build_clip(logit_scale_init=2.0, logit_scale_max=3.0), a_batch(VALID_B)
    clip.logit_scale.data.fill_(3.5)
    extras = clip(images_BCHW, tokens, 4.0)
    extras["loss"].backward()
    assert extras["logit_scale"] == 3.5 and not extras["logit_scale"].requires_grad
    assert clip.logit_scale.grad is not None and clip.logit_scale.grad.abs() > 0
    assert clip.after_step() == (clip.logit_scale,)
    assert clip.logit_scale.tolist() == [3.0]
    clip.logit_scale.data.fill_(1.0)
    clip.after_step()
    assert clip.logit_scale.tolist() == [1.0]


@pytest.mark.parametrize(
    "init, maximum, rule", [(2.6593, 100.0, "logarithm"), (4.7, 4.6052, "must not exceed")]
)
def test_a_logit_scale_that_is_no_logarithm_is_refused(init: float, maximum: float, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        build_clip(logit_scale_init=init, logit_scale_max=maximum)


def test_features_are_pooled_and_before_the_projection() -> None:
    clip, (images_BCHW, _) = build_clip(), a_batch(VALID_B)
    features_BD = clip.image_features(images_BCHW)
    assert features_BD.shape == (B, clip.feature_width)
    torch.testing.assert_close(features_BD, clip.image_tower(images_BCHW))


NUM_RANKS = 2


def rank_of_two(rank: int, folder: str) -> None:
    """What each of two processes computes on its half of the batch; saved for the test to read."""
    dist.init_process_group(
        "gloo", rank=rank, world_size=NUM_RANKS, init_method=f"file://{folder}/rendezvous"
    )
    valid_B, clip = VALID_B, build_clip()
    torch.manual_seed(1)
    images_BCHW, tokens = a_batch(valid_B)
    mine = slice(rank * B // NUM_RANKS, (rank + 1) * B // NUM_RANKS)
    part = tokens.rows(mine.start, mine.stop)
    loss = clip(images_BCHW[mine], part, valid_B.sum() / NUM_RANKS)["loss"]
    loss.backward()
    clip.eval()
    alone = clip(images_BCHW[mine], part, part.valid_B.sum())["loss"].detach()
    saved = {"loss": loss.detach(), "alone": alone, "gradients": gradients(clip)} | losses_of_rank(rank)
    torch.save(saved, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def losses_of_rank(rank: int) -> dict[str, Tensor]:
    """Loss and gradients of random features: ours, and open_clip's local loss with gathered gradients."""
    torch.manual_seed(2 + rank)
    features = torch.randn(2, B, E, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([10.0], dtype=torch.float64, requires_grad=True)
    theirs = ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=NUM_RANKS)(
        *features, scale
    )
    ours = contrastive_loss(*features, torch.ones(B, dtype=torch.bool), scale, across_ranks=True).mean()
    computed = {}
    for name, loss in (("theirs", theirs), ("ours", ours)):
        of_features, of_scale = torch.autograd.grad(loss, (features, scale))
        computed[name] = torch.cat([loss.detach().view(1), of_scale, of_features.flatten()])
    return computed


@pytest.mark.slow
def test_two_ranks_average_to_the_loss_and_gradients_of_the_whole_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(rank_of_two, args=(str(tmp_path),), nprocs=NUM_RANKS)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(NUM_RANKS)]
    for saved in ranks:
        torch.testing.assert_close(saved["ours"], saved["theirs"])
    clip = build_clip()
    torch.manual_seed(1)
    images_BCHW, tokens = a_batch(VALID_B)
    whole = open_clip_loss(clip, images_BCHW[VALID_B], tokens.tokens_BL[VALID_B])
    whole.backward()
    torch.testing.assert_close(sum(saved["loss"] for saved in ranks) / NUM_RANKS, whole.detach())
    for name, expected in gradients(clip).items():
        average = sum(saved["gradients"][name] for saved in ranks) / NUM_RANKS
        torch.testing.assert_close(average, expected, msg=name)
    for rank, saved in enumerate(ranks):
        mine = torch.arange(B)[rank * B // NUM_RANKS : (rank + 1) * B // NUM_RANKS]
        mine = mine[VALID_B[mine]]
        torch.testing.assert_close(
            saved["alone"], open_clip_loss(clip, images_BCHW[mine], tokens.tokens_BL[mine]).detach()
        )
