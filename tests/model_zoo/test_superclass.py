"""The classification objective against the dense formula of the reference code, in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo import losses
from model_zoo.build import build_objective
from model_zoo.losses import softmax_cross_entropy
from model_zoo.superclass import SuperClass
from model_zoo.targets import LabelSets

B, V, IMAGE_SIZE = 6, 50, 16
VALID_B = torch.tensor([True, True, False, True, True, False])
WEIGHTS_V = torch.linspace(0.2, 9.0, V, dtype=torch.float64)  # such as IDF gives


def label_sets(valid_B: Tensor = VALID_B) -> LabelSets:
    """1 to 9 unique labels per sample; none for the last one, whose caption is empty."""
    rows = [torch.randperm(V)[: 1 + 2 * sample].sort().values for sample in range(B - 1)] + [
        torch.tensor([], dtype=torch.int64)
    ]
    offsets = torch.tensor([0] + [len(row) for row in rows]).cumsum(0)
    return LabelSets(torch.cat(rows), offsets, valid_B)


def dense_loss(logits_BV: Tensor, labels: LabelSets, weights_V: Tensor) -> Tensor:
    """The reference's loss: a multi-hot target, reweighted and normalised; valid rows only."""
    target_BV = torch.zeros_like(logits_BV)
    for sample in range(B):
        target_BV[sample, labels.rows(sample, sample + 1).ids_N] = 1.0
    target_BV = F.normalize(target_BV * weights_V, p=1.0, dim=1, eps=1e-12)
    return -(target_BV * logits_BV.log_softmax(dim=1)).sum(dim=1)[labels.valid_B]


@pytest.fixture
def objective() -> SuperClass:
    built = build_objective(
        objective="superclass",
        image_tower="vit_nano8",
        text_tower="none",
        image_size=IMAGE_SIZE,
        vocabulary_size=V,
        context_length=16,
        logit_scale_init=2.6593,
        logit_scale_max=4.6052,
        seed=0,
    )
    assert isinstance(built, SuperClass)
    return built.double()


@pytest.fixture
def images_BCHW() -> Tensor:
    return torch.randn(B, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.float64)


@pytest.mark.parametrize("weights_V", [None, WEIGHTS_V])
@pytest.mark.parametrize("elements_per_chunk", [1, 2 * V, 2**24])
def test_values_and_gradients_equal_the_dense_formula(
    weights_V: Tensor | None, elements_per_chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "ELEMENTS_PER_CHUNK", elements_per_chunk)
    logits_BV = (3 * torch.randn(B, V, dtype=torch.float64)).requires_grad_()
    labels = label_sets()
    expected = dense_loss(logits_BV, labels, torch.ones(V).double() if weights_V is None else weights_V)
    (expected_gradient,) = torch.autograd.grad(expected.mul(torch.arange(1.0, 5.0)).sum(), logits_BV)
    loss_B = softmax_cross_entropy(logits_BV, labels.with_probabilities(weights_V))
    (gradient,) = torch.autograd.grad(loss_B[VALID_B].mul(torch.arange(1.0, 5.0)).sum(), logits_BV)
    rounding = 0 if weights_V is not None else 1e-7  # uniform targets are float32
    torch.testing.assert_close(loss_B[VALID_B], expected, rtol=1e-12 + rounding, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10 + rounding, atol=1e-15 + rounding)


def test_labels_without_probabilities_count_as_uniform() -> None:
    logits_BV, labels = torch.randn(B, V), label_sets()
    uniform = softmax_cross_entropy(logits_BV, labels.with_probabilities(None))
    assert torch.equal(softmax_cross_entropy(logits_BV, labels), uniform)


def test_rows_that_are_not_valid_have_neither_loss_nor_gradient() -> None:
    logits_BV = torch.randn(B, V, requires_grad=True)
    loss_B = softmax_cross_entropy(logits_BV, label_sets())
    loss_B.sum().backward()
    assert logits_BV.grad is not None
    assert (loss_B[~VALID_B] == 0).all() and (loss_B[VALID_B] > 0).all()
    assert (logits_BV.grad[~VALID_B] == 0).all() and logits_BV.grad[VALID_B].abs().sum(dim=1).all()


def test_large_logits_overflow_neither_the_loss_nor_its_gradient() -> None:
    logits_BV = (1e4 * torch.randn(B, V)).requires_grad_()
    loss = softmax_cross_entropy(logits_BV, label_sets()).sum()
    loss.backward()
    assert logits_BV.grad is not None
    assert loss.isfinite() and logits_BV.grad.isfinite().all()


def test_only_the_logits_are_kept_for_the_backward_pass() -> None:
    logits_BV, labels = torch.randn(B, V, requires_grad=True), label_sets()
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        softmax_cross_entropy(logits_BV, labels)
    assert [size for size in kept if size >= B * V] == [B * V]


def test_the_loss_is_the_sum_over_valid_rows_divided_by_num_valid(
    objective: SuperClass, images_BCHW: Tensor
) -> None:
    labels = label_sets().with_probabilities(WEIGHTS_V)
    logits_BV = objective.head_logits(objective.image_features(images_BCHW))
    expected = dense_loss(logits_BV, labels, WEIGHTS_V).sum() / 7
    for num_valid in (7.0, torch.tensor(7)):
        torch.testing.assert_close(objective(images_BCHW, labels, num_valid)["loss"], expected)


def test_the_head_is_a_layer_norm_and_a_linear_layer_with_the_initial_weights_of_the_paper(
    objective: SuperClass,
) -> None:
    wide = SuperClass(objective.image_tower, 192, 1000).head
    assert wide.linear.weight.std().item() == pytest.approx(192**-0.5, rel=0.02)
    assert not wide.linear.bias.any()
    features_BD = torch.randn(B, 192)
    expected_BV = F.layer_norm(features_BD, [192]) @ wide.linear.weight.T
    torch.testing.assert_close(wide(features_BD), expected_BV)


@pytest.mark.parametrize("cuts", [(0, 2, 4, 6), (0, 1, 2, 3, 4, 5, 6), (0, 5, 6)])
def test_gradients_summed_over_micro_batches_are_those_of_the_whole_batch(
    objective: SuperClass, images_BCHW: Tensor, cuts: tuple[int, ...]
) -> None:
    labels = label_sets().with_probabilities(WEIGHTS_V)
    num_valid = VALID_B.sum()
    whole = copy.deepcopy(objective)
    whole(images_BCHW, labels, num_valid)["loss"].backward()
    for start, stop in zip(cuts, cuts[1:], strict=False):
        objective(images_BCHW[start:stop], labels.rows(start, stop), num_valid)["loss"].backward()
    for (name, expected), parameter in zip(whole.named_parameters(), objective.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-9, atol=1e-14, msg=name)


def test_the_image_of_a_masked_row_changes_nothing(objective: SuperClass, images_BCHW: Tensor) -> None:
    labels = label_sets()
    before = objective(images_BCHW, labels, 4.0)["loss"]
    images_BCHW[~VALID_B] = 100.0
    assert torch.equal(objective(images_BCHW, labels, 4.0)["loss"], before)


def test_under_autocast_the_loss_is_taken_in_float32_of_bfloat16_logits(
    objective: SuperClass, images_BCHW: Tensor
) -> None:
    objective, images_BCHW, labels = objective.float(), images_BCHW.float(), label_sets()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits_BV = objective.head_logits(objective.image_features(images_BCHW)).detach()
        loss = objective(images_BCHW, labels, 4.0)["loss"]
    loss.backward()
    expected = dense_loss(logits_BV.double(), labels, torch.ones(V).double()).sum() / 4
    assert logits_BV.dtype == torch.bfloat16 and loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    assert all(
        parameter.grad is not None and parameter.grad.dtype == torch.float32
        for parameter in objective.parameters()
    )


def test_the_gradient_of_bfloat16_logits_is_the_exact_one_rounded_once() -> None:
    logits_BV = torch.randn(B, V, dtype=torch.bfloat16)
    logits_BV[0, label_sets().rows(0, 1).ids_N] = 20.0  # nearly certain: softmax minus target cancels
    labels = label_sets().with_probabilities(WEIGHTS_V)
    rounded_BV, exact_BV = logits_BV.clone().requires_grad_(), logits_BV.double().requires_grad_()
    softmax_cross_entropy(rounded_BV, labels).sum().backward()
    dense_loss(exact_BV, labels, WEIGHTS_V).sum().backward()
    assert rounded_BV.grad is not None and exact_BV.grad is not None
    torch.testing.assert_close(rounded_BV.grad.double(), exact_BV.grad, rtol=2**-8, atol=1e-7)


def test_features_are_pooled_and_before_the_head(objective: SuperClass, images_BCHW: Tensor) -> None:
    features_BD = objective.image_features(images_BCHW)
    assert features_BD.shape == (B, objective.feature_width)
    torch.testing.assert_close(features_BD, objective.image_tower(images_BCHW))


def test_nothing_is_bounded_after_a_step(objective: SuperClass) -> None:
    assert objective.after_step() == ()
