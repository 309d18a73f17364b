"""Contrastive losses against open_clip's, and every objective against one rank, on two and four ranks."""

# Shapes.  B samples of this rank, E joint embedding.

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from on_ranks import run_on_ranks
from open_clip.loss import ClipLoss, SigLipLoss
from small_objectives import VARIANTS, WEIGHTS_V, build_fp64, gradients, some_images, some_targets
from torch import Tensor

from model_zoo.contrastive_losses import info_nce, pairwise_sigmoid
from model_zoo.targets import KnownShare

pytestmark = pytest.mark.slow  # starts processes

B, E = 3, 5  # of each rank
VALID_G = torch.tensor([True, False, True, True, True, True, True, True, True, False, False, True])
"""Unequal numbers of valid rows on each of two and of four ranks."""


def compute(rank: int, num_ranks: int) -> dict[str, Any]:
    """Everything the tests below look at, on this rank."""
    return {
        "clip": losses_of_random_rows(rank, num_ranks, "clip"),
        "siglip": losses_of_random_rows(rank, num_ranks, "siglip"),
        "objectives": {variant: objective_on_its_rows(variant, rank, num_ranks) for variant in VARIANTS},
    }


def losses_of_random_rows(rank: int, num_ranks: int, name: str) -> dict[str, Tensor]:
    """Loss, then gradients to scale, bias and rows: ours, and open_clip's."""
    torch.manual_seed(2 + rank)
    rows = torch.randn(2, B, E, dtype=torch.float64, requires_grad=True)
    scale, bias = (torch.tensor([x], dtype=torch.float64, requires_grad=True) for x in (10.0, -3.0))
    valid_B = torch.ones(B, dtype=torch.bool)
    if name == "clip":
        reference = ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=num_ranks)
        theirs = reference(*rows, scale) + 0 * bias.sum()
        ours = info_nce(*rows, valid_B, scale, across_ranks=True).mean() + 0 * bias.sum()
    else:
        theirs = SigLipLoss(rank=rank, world_size=num_ranks)(*rows, scale, bias)
        ours = pairwise_sigmoid(*rows, valid_B, scale, bias, across_ranks=True).mean()
    computed = {}
    for whose, loss in (("theirs", theirs), ("ours", ours)):
        of_scale, of_bias, of_rows = torch.autograd.grad(loss, (scale, bias, rows))
        computed[whose] = torch.cat([loss.detach().view(1), of_scale, of_bias, of_rows.flatten()])
    return computed


def objective_on_its_rows(variant: str, rank: int, num_ranks: int) -> dict[str, Any]:
    """Loss and gradients of this rank's part of the batch, and its loss in evaluation mode."""
    objective, (images_BCHW, targets) = build_fp64(variant), a_batch(variant)
    per_rank = len(VALID_G) // num_ranks
    mine = slice(rank * per_rank, (rank + 1) * per_rank)
    part = targets.rows(mine.start, mine.stop)
    losses = objective(images_BCHW[mine], part, KnownShare(VALID_G.sum() / num_ranks, WEIGHTS_V))
    losses["loss"].backward()
    objective.eval()
    alone = objective(images_BCHW[mine], part, KnownShare(1.0, WEIGHTS_V))["loss"].detach()
    return {"loss": losses["loss"].detach(), "alone": alone, "gradients": gradients(objective)}


def a_batch(variant: str) -> tuple[Tensor, Any]:
    torch.manual_seed(1)
    return some_images(len(VALID_G)), some_targets(variant, VALID_G)


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank computed."""
    folder: Path = tmp_path_factory.mktemp("ranks")
    return run_on_ranks(compute, request.param, folder)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_each_ranks_loss_and_gradients_equal_open_clips(ranks: list[dict[str, Any]], name: str) -> None:
    for computed in ranks:
        torch.testing.assert_close(computed[name]["ours"], computed[name]["theirs"], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("variant", VARIANTS)
def test_ranks_average_to_the_loss_and_gradients_of_the_whole_batch_on_one(
    ranks: list[dict[str, Any]], variant: str
) -> None:
    objective, (images_BCHW, targets) = build_fp64(variant), a_batch(variant)
    expected = objective(images_BCHW, targets, KnownShare(VALID_G.sum(), WEIGHTS_V))["loss"]
    expected.backward()
    computed = [rank["objectives"][variant] for rank in ranks]
    loss = sum(of_rank["loss"] for of_rank in computed) / len(ranks)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-11, atol=0)
    assert all(of_rank["gradients"].keys() == gradients(objective).keys() for of_rank in computed)
    for name, gradient in gradients(objective).items():
        average = sum(of_rank["gradients"][name] for of_rank in computed) / len(ranks)
        torch.testing.assert_close(average, gradient, rtol=1e-9, atol=1e-13, msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_in_evaluation_mode_a_rank_looks_at_its_own_rows_alone(
    ranks: list[dict[str, Any]], variant: str
) -> None:
    objective, (images_BCHW, targets) = build_fp64(variant).eval(), a_batch(variant)
    per_rank = len(VALID_G) // len(ranks)
    for rank, computed in enumerate(ranks):
        start, stop = rank * per_rank, (rank + 1) * per_rank
        share = KnownShare(1.0, WEIGHTS_V)
        expected = objective(images_BCHW[start:stop], targets.rows(start, stop), share)["loss"]
        torch.testing.assert_close(computed["objectives"][variant]["alone"], expected.detach())
