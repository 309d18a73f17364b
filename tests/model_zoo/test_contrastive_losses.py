"""InfoNCE and the sigmoid loss against open_clip's ClipLoss and SigLipLoss, in float64, on one rank."""

# Shapes.  B samples, E joint embedding.

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor
from torch.nn import functional as F

from model_zoo.contrastive_losses import info_nce, pairwise_sigmoid

E = 5
LOSSES = ("info_nce", "pairwise_sigmoid")
Rows = tuple[Tensor, Tensor, Tensor, Tensor]  # image_BE, text_BE, scale, bias


def ours(name: str, rows: Rows, valid_B: Tensor) -> Tensor:
    image_BE, text_BE, scale, bias = rows
    if name == "info_nce":
        return info_nce(image_BE, text_BE, valid_B, scale, across_ranks=True) + 0 * bias
    return pairwise_sigmoid(image_BE, text_BE, valid_B, scale, bias, across_ranks=True)


def theirs(name: str, rows: Rows, valid_B: Tensor) -> Tensor:
    """open_clip's loss of the valid rows alone, summed over them."""
    image_BE, text_BE, scale, bias = rows
    image_BE, text_BE = image_BE[valid_B], text_BE[valid_B]
    if not len(image_BE):
        return 0 * (image_BE.sum() + text_BE.sum() + scale.sum() + bias.sum())
    if name == "info_nce":
        return len(image_BE) * ClipLoss()(image_BE, text_BE, scale) + 0 * bias.sum()
    return len(image_BE) * SigLipLoss()(image_BE, text_BE, scale, bias)


def some_rows(num_samples: int, *, scale: float = 10.0, bias: float = -3.0, copies: bool = False) -> Rows:
    """Rows of length 1; with copies, the second half repeats images and captions of the first."""
    image_BE, text_BE = F.normalize(torch.randn(2, num_samples, E, dtype=torch.float64), dim=-1)
    if copies:
        half = (num_samples + 1) // 2
        image_BE[half:], text_BE[half:] = image_BE[: num_samples - half], text_BE[: num_samples - half]
    numbers = (torch.tensor([number], dtype=torch.float64) for number in (scale, bias))
    image_BE, text_BE, scale_1, bias_1 = (x.requires_grad_() for x in (image_BE, text_BE, *numbers))
    return image_BE, text_BE, scale_1, bias_1


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=60, deadline=None)
@given(
    valid=st.lists(st.booleans(), min_size=1, max_size=9),
    scale=st.floats(0.1, 100.0),
    bias=st.floats(-20.0, 5.0),
    copies=st.booleans(),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_equal_open_clips_of_the_valid_rows(
    name: str, valid: list[bool], scale: float, bias: float, copies: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    valid_B, rows = torch.tensor(valid), some_rows(len(valid), scale=scale, bias=bias, copies=copies)
    loss_B, expected = ours(name, rows, valid_B), theirs(name, rows, valid_B)
    assert (loss_B[~valid_B] == 0).all()
    torch.testing.assert_close(loss_B.sum(), expected, rtol=1e-11, atol=1e-12)
    gradients, expected_gradients = (torch.autograd.grad(x, rows) for x in (loss_B.sum(), expected))
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences(name: str) -> None:
    valid_B = torch.tensor([True, True, False, True])
    assert torch.autograd.gradcheck(lambda *rows: ours(name, rows, valid_B), some_rows(4))


def test_the_sigmoid_loss_of_a_pair_is_the_published_formula() -> None:
    image_BE, text_BE, scale, bias = some_rows(3)
    expected_B = torch.zeros(3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            sign = 1.0 if i == j else -1.0
            logit = scale * (image_BE[i] @ text_BE[j]) + bias
            expected_B[i] += torch.log(1 + torch.exp(-sign * logit)).squeeze()
    loss_B = ours("pairwise_sigmoid", (image_BE, text_BE, scale, bias), torch.ones(3).bool())
    torch.testing.assert_close(loss_B, expected_B)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_extreme_logits_overflow_neither_the_loss_nor_its_gradients(name: str, bias: float) -> None:
    rows = some_rows(4, scale=2e4, bias=bias)
    loss = ours(name, rows, torch.ones(4).bool()).sum()
    assert loss.isfinite() and all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, rows))


@pytest.mark.parametrize("name", LOSSES)
def test_under_autocast_the_similarities_are_taken_in_float32(name: str) -> None:
    image_BE, text_BE, scale, bias = (x.detach().float() for x in some_rows(6, scale=100.0))
    valid_B = torch.ones(6, dtype=torch.bool)
    expected_B = ours(name, (image_BE, text_BE, scale, bias), valid_B)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss_B = ours(name, (image_BE, text_BE, scale, bias), valid_B)
    assert torch.equal(loss_B, expected_B)


@pytest.mark.parametrize("name", LOSSES)
def test_rows_in_bfloat16_are_compared_in_float32(name: str) -> None:
    image_BE, text_BE, scale, bias = (x.detach().bfloat16() for x in some_rows(6))
    valid_B = torch.ones(6, dtype=torch.bool)
    loss_B = ours(name, (image_BE, text_BE, scale, bias), valid_B)
    expected_B = ours(name, (image_BE.float(), text_BE.float(), scale.float(), bias.float()), valid_B)
    assert loss_B.dtype == torch.float32
    assert torch.equal(loss_B, expected_B)


@pytest.mark.parametrize("name", LOSSES)
def test_a_better_match_lowers_the_loss(name: str) -> None:
    image_BE, text_BE, scale, bias = some_rows(4)
    valid_B = torch.ones(4, dtype=torch.bool)
    matched_B = ours(name, (image_BE, image_BE, scale, bias), valid_B)
    assert (matched_B < ours(name, (image_BE, text_BE, scale, bias), valid_B)).all()
