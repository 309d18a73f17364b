"""The five classification losses, streamed, against dense formulas in float64: values and gradients."""

# Shapes.  B samples, D features, V vocabulary.

from __future__ import annotations

from typing import Any

import pytest
import torch
from dense_classification import MODES, TILINGS, a_head, dense_loss, label_sets
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from model_zoo.classification_head import ClassificationHead
from model_zoo.classification_losses import ClassificationLoss
from model_zoo.specification import CLASSIFICATION_LOSSES
from model_zoo.tiling import Tiling

D, V = 5, 37
ROWS = [[3, 4, 20], [4], list(range(V)), [0, 36], [4, 5, 6, 7, 8], [], [4, 20]]
VALID = [True, True, True, True, True, True, False]


def value_and_gradients(loss: Tensor, head: ClassificationHead, features_BD: Tensor) -> list[Tensor]:
    return [loss.detach(), *torch.autograd.grad(loss, [features_BD, *head.parameters()])]


def some_features(num_rows: int, width: int = D) -> Tensor:
    return torch.randn(num_rows, width, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize(("name", "recompute"), MODES)
def test_values_and_gradients_equal_the_dense_formula_whatever_the_chunks(
    name: str, recompute: bool, tiling: Tiling, weighted: bool
) -> None:
    head, features_BD = a_head(name, D, V, recompute=recompute, tiling=tiling), some_features(len(ROWS))
    labels = label_sets(ROWS, VALID, weighted=weighted)
    expected = dense_loss(name, head.logits(features_BD), labels, 4.5)
    torch.testing.assert_close(
        value_and_gradients(head(features_BD, labels, 4.5), head, features_BD),
        value_and_gradients(expected, head, features_BD),
        rtol=1e-10,
        atol=1e-13,
    )


@pytest.mark.parametrize(("name", "recompute"), MODES)
def test_gradients_are_those_of_finite_differences(name: str, recompute: bool) -> None:
    head = a_head(name, 3, 11, recompute=recompute, tiling=TILINGS[1])
    labels = label_sets([[1, 2], [2], [0, 5, 10], [3]], [True, True, True, False])

    def loss(features_BD: Tensor, weight_VD: Tensor, bias_V: Tensor) -> Tensor:
        parameters = {"weight": weight_VD, "bias": bias_V}
        result: Tensor = torch.func.functional_call(head, parameters, (features_BD, labels, 3.0))
        return result

    assert torch.autograd.gradcheck(loss, (some_features(4, 3), head.weight, head.bias))


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Any shape; rows without, with some and with all labels; any rows left out; any chunks."""
    num_rows, vocabulary_size = draw(st.integers(1, 7)), draw(st.integers(1, 30))
    some = st.sets(st.integers(0, vocabulary_size - 1)).map(sorted)
    row = st.one_of(some, st.just([]), st.just(list(range(vocabulary_size))))
    name, recompute = draw(st.sampled_from(MODES))
    return {
        "name": name,
        "recompute": recompute,
        "vocabulary_size": vocabulary_size,
        "rows": draw(st.lists(row, min_size=num_rows, max_size=num_rows)),
        "valid": draw(st.lists(st.booleans(), min_size=num_rows, max_size=num_rows)),
        "width": draw(st.integers(2, 6)),
        "weighted": draw(st.booleans()),
        "dtype": draw(st.sampled_from([torch.float64, torch.float32])),
        "tiling": Tiling(
            block_bytes=draw(st.integers(1, 2000)),
            slice_columns=draw(st.integers(1, 40)),
            piece_elements=draw(st.integers(1, 100)),
        ),
    }


@settings(max_examples=150, deadline=None)
@given(case=cases())
def test_any_shape_any_labels_and_any_chunks_give_the_dense_formula(case: dict[str, Any]) -> None:
    head = a_head(case["name"], case["width"], case["vocabulary_size"], recompute=case["recompute"])
    head.tiling = case["tiling"]
    labels = label_sets(case["rows"], case["valid"], weighted=case["weighted"])
    features_BD = some_features(len(case["rows"]), case["width"])
    expected = dense_loss(case["name"], head.logits(features_BD), labels, 2.0)
    expected_values = value_and_gradients(expected, head, features_BD)
    head, features_BD = head.to(case["dtype"]), features_BD.detach().to(case["dtype"]).requires_grad_()
    values = value_and_gradients(head(features_BD, labels, 2.0), head, features_BD)
    assert all(value.dtype == case["dtype"] for value in values)
    tolerance = 1e-10 if case["dtype"] == torch.float64 else 2e-4
    for value, expected_value in zip(values, expected_values, strict=True):
        atol = tolerance * max(1.0, expected_value.abs().max().item())
        torch.testing.assert_close(value.double(), expected_value, rtol=0, atol=atol)


def test_uniform_probabilities_weigh_every_label_one_so_that_the_losses_are_the_published_ones() -> None:
    features_BD, labels = some_features(len(ROWS)), label_sets(ROWS, VALID, weighted=False)
    for name in CLASSIFICATION_LOSSES:
        head = a_head(name, D, V)
        torch.testing.assert_close(
            head(features_BD, labels, 2.0), head(features_BD, labels.with_probabilities(None), 2.0)
        )


@pytest.mark.parametrize("constants", [(4.0, 0.0, 0.05), (2.0, 1.0, 0.0), (0.0, 0.0, 0.0), (1.0, 3.0, 0.2)])
@pytest.mark.parametrize("recompute", [False, True])
def test_asl_has_the_gradient_of_its_formula_for_other_constants(
    constants: tuple[float, float, float], recompute: bool
) -> None:
    gamma_negative, gamma_positive, margin = constants
    loss = ClassificationLoss(
        name="asl", asl_gamma_negative=gamma_negative, asl_gamma_positive=gamma_positive, asl_margin=margin
    )
    head = ClassificationHead(D, V, loss=loss, recompute=recompute).double()
    features_BD, is_label_BV = some_features(len(ROWS)), torch.zeros(len(ROWS), V).bool()
    for sample, row in enumerate(ROWS):
        is_label_BV[sample, row] = True
    p_BV = head.logits(features_BD).sigmoid()
    q_BV = (p_BV - margin).clamp(min=0)
    negative_BV = -(q_BV**gamma_negative) * torch.log(1 - q_BV)
    expected = torch.where(is_label_BV, -((1 - p_BV) ** gamma_positive) * p_BV.log(), negative_BV).sum()
    labels = label_sets(ROWS, [True] * len(ROWS), weighted=False)
    torch.testing.assert_close(
        value_and_gradients(head(features_BD, labels, 1.0), head, features_BD),
        value_and_gradients(expected, head, features_BD),
        rtol=1e-10,
        atol=1e-12,
    )


def test_soft_margin_is_torchs_and_bce_is_v_times_it() -> None:
    features_BD, labels = some_features(len(ROWS)), label_sets(ROWS, [True] * len(ROWS), weighted=False)
    target_BV = torch.zeros(len(ROWS), V, dtype=torch.float64)
    for sample, row in enumerate(ROWS):
        target_BV[sample, row] = 1.0
    head = a_head("soft_margin", D, V)
    margin = head(features_BD, labels, len(ROWS))
    expected = F.multilabel_soft_margin_loss(head.logits(features_BD), target_BV)
    torch.testing.assert_close(margin, expected, rtol=1e-12, atol=0)
    bce = a_head("bce", D, V)
    bce.load_state_dict(head.state_dict())
    torch.testing.assert_close(bce(features_BD, labels, len(ROWS)), V * margin, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "recompute"), MODES)
def test_labels_that_weigh_nothing_are_no_positives(name: str, recompute: bool) -> None:
    weights_V = torch.ones(9, dtype=torch.float64)
    weights_V[[2, 3]] = 0.0  # such as the IDF of a token that every caption has
    labels = label_sets([[1, 2], [3, 5], [3]], [True] * 3, weighted=False).with_probabilities(weights_V)
    head, features_BD = a_head(name, D, 9, recompute=recompute), some_features(3)
    torch.testing.assert_close(
        value_and_gradients(head(features_BD, labels, 1.0), head, features_BD),
        value_and_gradients(dense_loss(name, head.logits(features_BD), labels, 1.0), head, features_BD),
    )


@pytest.mark.parametrize(("name", "recompute"), MODES)
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_large_logits_overflow_neither_the_loss_nor_its_gradients(
    name: str, recompute: bool, size: float
) -> None:
    head, features_BD = a_head(name, D, V, recompute=recompute).float(), torch.randn(len(ROWS), D)
    head.weight.data *= size
    features_BD.requires_grad_()
    values = value_and_gradients(head(features_BD, label_sets(ROWS, VALID), 4.0), head, features_BD)
    assert all(value.isfinite().all() for value in values)


def test_constants_that_make_no_loss_are_refused() -> None:
    with pytest.raises(ValueError, match="'hinge': use one of softmax, bce, asl, soft_margin, two_way"):
        ClassificationLoss(name="hinge")
    with pytest.raises(ValueError, match="asl_gamma_negative is -1.0"):
        ClassificationLoss(asl_gamma_negative=-1.0)
    with pytest.raises(ValueError, match="asl_margin is 1.0"):
        ClassificationLoss(asl_margin=1.0)
    with pytest.raises(ValueError, match="two_way_temperature is 0.0"):
        ClassificationLoss(two_way_temperature=0.0)
