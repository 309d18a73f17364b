"""The classification objective against the dense formula of the reference code, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_objectives import (
    WEIGHTS_V,
    V,
    a_specification,
    build,
    build_fp64,
    dense_targets,
    gradients,
    some_images,
    some_labels,
)
from torch import Tensor
from torch.nn import functional as F

from model_zoo.build import build_objective
from model_zoo.targets import KnownShare, LabelSets

B = 6
VALID_B = torch.tensor([True, True, False, True, True, False])
RAGGED = ("superclass", "superclass_bce", "superclass_asl", "superclass_soft_margin")
"""The losses that are sums over samples."""


def dense_loss(logits_BV: Tensor, labels: LabelSets, weights_V: Tensor) -> Tensor:
    """The reference's softmax loss of the valid rows, summed."""
    loss_B = -(dense_targets(labels, weights_V).to(logits_BV.dtype) * logits_BV.log_softmax(dim=1)).sum(dim=1)
    return loss_B[labels.valid_B].sum()


def by_hand(head: torch.nn.Module, features_BD: Tensor) -> Tensor:
    """LayerNorm and linear layer from the head's parameters."""
    weights = dict(head.named_parameters())
    normed_BD = F.layer_norm(features_BD, features_BD.shape[1:], weights["norm.weight"], weights["norm.bias"])
    return normed_BD @ weights["weight"].T + weights["bias"]


@pytest.mark.parametrize("divisor", [7.0, torch.tensor(7)])
def test_the_loss_is_the_dense_formula_summed_over_valid_rows_divided_by_the_divisor(
    divisor: Tensor | float,
) -> None:
    objective, images_BCHW, labels = build_fp64("superclass"), some_images(B), some_labels(VALID_B)
    logits_BV = by_hand(objective.head, objective.image_tower(images_BCHW))
    torch.testing.assert_close(objective.head_logits(objective.image_features(images_BCHW)), logits_BV)
    expected = dense_loss(logits_BV, labels, WEIGHTS_V) / 7
    loss = objective(images_BCHW, labels, KnownShare(divisor, WEIGHTS_V))["loss"]
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), num_samples=st.integers(1, 7), seed=st.integers(0, 99))
def test_any_captions_empty_full_or_repeated_give_the_dense_loss_and_gradients(
    data: st.DataObject, num_samples: int, seed: int
) -> None:
    torch.manual_seed(seed)
    captions = data.draw(
        st.lists(
            st.one_of(
                st.just(set[int]()), st.just(set(range(V))), st.sets(st.integers(0, V - 1), max_size=9)
            ),
            min_size=num_samples,
            max_size=num_samples,
        )
    )
    captions[-1] = captions[0]
    valid_B = torch.tensor([bool(c) and data.draw(st.booleans()) for c in captions])
    ids = [torch.tensor(sorted(caption), dtype=torch.int64) for caption in captions]
    labels = LabelSets(torch.cat(ids), torch.tensor([0, *map(len, ids)]).cumsum(0), valid_B)
    weights_V = torch.rand(V, dtype=torch.float64) * (torch.rand(V) > 0.2)  # some weigh nothing
    objective = OBJECTIVE
    features_BD = torch.randn(num_samples, objective.feature_width, dtype=torch.float64, requires_grad=True)
    inputs = (features_BD, *objective.head.parameters())
    expected = dense_loss(by_hand(objective.head, features_BD), labels, weights_V) / 3
    loss = objective.losses((features_BD,), labels, KnownShare(3.0, weights_V))["loss"]
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-13)
    computed, dense = (torch.autograd.grad(x, inputs) for x in (loss, expected))
    torch.testing.assert_close(computed, dense, rtol=1e-9, atol=1e-12)


OBJECTIVE = build_fp64("superclass")


@pytest.mark.parametrize("variant", RAGGED)
@pytest.mark.parametrize("cuts", [(0, 2, 4, 6), (0, 5, 6)])
def test_gradients_summed_over_micro_batches_are_those_of_the_whole_batch(
    variant: str, cuts: tuple[int, ...]
) -> None:
    objective, images_BCHW, labels = build_fp64(variant), some_images(B), some_labels(VALID_B)
    share, whole = KnownShare(4.0, WEIGHTS_V), copy.deepcopy(objective)
    whole(images_BCHW, labels, share)["loss"].backward()
    for start, stop in zip(cuts, cuts[1:], strict=False):
        objective(images_BCHW[start:stop], labels.rows(start, stop), share)["loss"].backward()
    torch.testing.assert_close(gradients(objective), gradients(whole), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("variant", [*RAGGED, "superclass_two_way"])
def test_gradients_to_features_and_head_equal_finite_differences(variant: str) -> None:
    objective, labels = build_fp64(variant), some_labels(VALID_B)
    features_BD = torch.randn(B, objective.feature_width, dtype=torch.float64, requires_grad=True)

    def loss(features_BD: Tensor, *_: Tensor) -> Tensor:
        of_features: Tensor = objective.losses((features_BD,), labels, KnownShare(4.0, WEIGHTS_V))["loss"]
        return of_features

    inputs = (features_BD, objective.head.norm.weight, objective.head.norm.bias, objective.head.bias)
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)


def test_under_autocast_the_loss_is_taken_in_float32_of_rounded_logits() -> None:
    objective, images_BCHW, labels = build("superclass"), some_images(B, torch.float32), some_labels(VALID_B)
    exact = objective(images_BCHW, labels, KnownShare(4.0))["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = objective(images_BCHW, labels, KnownShare(4.0))["loss"]
    loss.backward()
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=2e-2, atol=0)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in objective.parameters())


@pytest.mark.parametrize("variant", ["superclass", "superclass_bce"])
def test_recomputing_the_logits_changes_neither_weights_nor_loss_nor_gradients(variant: str) -> None:
    plain, recomputing = (
        build_objective(a_specification(variant), seed=3, head_recompute=recompute)
        for recompute in (False, True)
    )
    assert recomputing.head.recompute and not plain.head.recompute
    images_BCHW, labels = some_images(B, torch.float32), some_labels(VALID_B)
    losses = [
        built(images_BCHW, labels, KnownShare(4.0, WEIGHTS_V))["loss"] for built in (plain, recomputing)
    ]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(gradients(recomputing), gradients(plain))


def test_nothing_is_bounded_after_a_step() -> None:
    assert build("superclass").after_step() == ()
