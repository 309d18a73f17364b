"""The classification head: its layers, precision, memory, the ways it is called, and what it refuses."""

# Shapes.  B samples, D features, V vocabulary.

from __future__ import annotations

import copy
import importlib.util
import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from dense_classification import MODES, TILINGS, a_head, dense_loss, label_sets
from on_ranks import run_on_ranks
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from model_zoo.classification_head import ClassificationHead
from model_zoo.tiling import ON_CPU, Tiling

D, V = 6, 41
ROWS = [[3, 4, 20], [4], [0, 40], [], [4, 5, 6], [17]]
VALID = [True, True, True, True, False, True]
LABELS = label_sets(ROWS, VALID)
FIRST_SOFTMAX_AND_LAST = [MODES[0], MODES[1], MODES[-1]]


def some_features(num_rows: int = len(ROWS), width: int = D) -> Tensor:
    return torch.randn(num_rows, width, dtype=torch.float64, requires_grad=True)


def test_it_is_a_layer_norm_and_a_linear_layer_with_the_initial_weights_of_the_paper() -> None:
    head, features_BD = ClassificationHead(192, 1000), torch.randn(4, 192)
    assert head.weight.std().item() == pytest.approx(192**-0.5, rel=0.02)
    assert not head.bias.any()
    torch.testing.assert_close(head.logits(features_BD), F.layer_norm(features_BD, [192]) @ head.weight.T)
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {
        "norm.weight": (192,),
        "norm.bias": (192,),
        "weight": (1000, 192),  # on the head itself, whose forward reads them
        "bias": (1000,),
    }


def test_hidden_layers_are_residual_and_four_times_as_wide_as_the_features() -> None:
    head, features_BD = ClassificationHead(8, 10, hidden_layers=2), torch.randn(4, 8)
    expected_BD = features_BD
    for layer in head.hidden:
        normal_BD = F.layer_norm(expected_BD, [8])
        hidden = F.gelu(normal_BD @ layer.expand.weight.T + layer.expand.bias)
        expected_BD = expected_BD + hidden @ layer.contract.weight.T + layer.contract.bias
    torch.testing.assert_close(head.logits(features_BD), F.layer_norm(expected_BD, [8]) @ head.weight.T)
    assert sum(p.numel() for p in head.hidden.parameters()) == 2 * (2 * 8 + 8 * 32 + 32 + 32 * 8 + 8)


@pytest.mark.parametrize(("name", "recompute"), MODES)
def test_rows_that_are_not_valid_have_no_influence_and_no_gradient(name: str, recompute: bool) -> None:
    head, features_BD = a_head(name, D, V, recompute=recompute), some_features()
    (gradient_BD,) = torch.autograd.grad(loss := head(features_BD, LABELS, 2.0), features_BD)
    assert not gradient_BD[4].any() and gradient_BD[LABELS.valid_B].any(dim=1)[[0, 1, 2, 4]].all()
    with torch.no_grad():
        features_BD[4] = torch.nan
    assert torch.equal(head(features_BD, LABELS, 2.0), loss)


@pytest.mark.parametrize(("name", "recompute"), MODES)
@pytest.mark.parametrize("place", ["a weight", "the weight of a label", "a feature", "the bias"])
def test_a_logit_that_is_not_a_number_makes_the_loss_not_a_number(
    name: str, recompute: bool, place: str
) -> None:
    head, features_BD = a_head(name, D, V, recompute=recompute), some_features()
    with torch.no_grad():
        {
            "a weight": head.weight[33],
            "the weight of a label": head.weight[20],
            "a feature": features_BD[1],
            "the bias": head.bias[30:31],
        }[place][0] = torch.nan
    assert head(features_BD, LABELS, 2.0).isnan()
    assert head.eval()(features_BD.detach(), LABELS, 2.0).isnan()


@pytest.mark.parametrize("wrong", [-1, V, 10**12])
def test_a_label_out_of_range_is_named(wrong: int) -> None:
    labels = label_sets([[1], [2, wrong]], [True, True], weighted=False)
    with pytest.raises(ValueError, match=f"label id {wrong} is not one of the head's 41 classes"):
        a_head("softmax", D, V)(some_features(2), labels, 1.0)


def test_features_of_another_width_or_number_are_refused_with_both_shapes() -> None:
    with pytest.raises(ValueError, match=r"shape \[6, 7\], but the head takes \[6, 6\]"):
        a_head("softmax", D, V)(some_features(width=7), LABELS, 1.0)
    with pytest.raises(ValueError, match=r"shape \[5, 6\], but the head takes \[6, 6\]"):
        a_head("softmax", D, V)(some_features(5), LABELS, 1.0)


@pytest.mark.parametrize(("name", "recompute"), MODES)
def test_without_gradients_and_in_evaluation_the_loss_is_the_same(name: str, recompute: bool) -> None:
    head, features_BD = a_head(name, D, V, recompute=recompute, tiling=TILINGS[1]), some_features()
    loss = head(features_BD, LABELS, 2.0)
    with torch.no_grad():
        without = head(features_BD, LABELS, 2.0)
    assert loss.requires_grad and not without.requires_grad
    assert torch.equal(without, loss) and torch.equal(head.eval()(features_BD, LABELS, 2.0), loss)


@pytest.mark.parametrize(("name", "recompute"), FIRST_SOFTMAX_AND_LAST)
@pytest.mark.parametrize("frozen", [("weight",), ("bias", "weight", "norm.weight", "norm.bias")])
def test_frozen_parameters_get_no_gradient_and_change_no_other(
    name: str, recompute: bool, frozen: tuple[str, ...]
) -> None:
    head, features_BD = a_head(name, D, V, recompute=recompute), some_features()
    whole = copy.deepcopy(head)
    whole(features_BD, LABELS, 2.0).backward()
    expected_BD, features_BD.grad = features_BD.grad, None
    for parameter in frozen:
        head.get_parameter(parameter).requires_grad_(False)
    head(features_BD, LABELS, 2.0).backward()
    torch.testing.assert_close(features_BD.grad, expected_BD)
    for parameter, value in head.named_parameters():
        expected = None if parameter in frozen else whole.get_parameter(parameter).grad
        torch.testing.assert_close(value.grad, expected) if expected is not None else None
        assert (value.grad is None) == (parameter in frozen)


class Products(TorchDispatchMode):
    """Counts matrix products."""

    number = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += function.overloadpacket is torch.ops.aten.mm
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "recompute"), FIRST_SOFTMAX_AND_LAST)
def test_there_are_three_matrix_products_one_more_to_recompute_and_none_for_what_is_frozen(
    name: str, recompute: bool
) -> None:
    def products(*frozen: str, gradient: bool = True) -> int:
        head, features_BD = a_head(name, D, V, recompute=recompute), some_features().requires_grad_(False)
        for parameter in frozen:
            head.get_parameter(parameter).requires_grad_(False)
        with Products() as counted, torch.set_grad_enabled(gradient):
            loss = head(features_BD, LABELS, 2.0)
            if gradient:
                loss.backward()
        return counted.number

    assert products() == 3 + recompute
    assert products("weight") == products("norm.weight", "norm.bias") == 2 + recompute
    assert products("weight", "norm.weight", "norm.bias") == 1 + recompute
    assert products(gradient=False) == 1


@pytest.mark.parametrize("cuts", [(0, 2, 4, 6), (0, 5, 6)])
@pytest.mark.parametrize(("name", "recompute"), [mode for mode in MODES if mode[0] != "two_way"])
def test_gradients_summed_over_micro_batches_are_those_of_the_whole_batch(
    name: str, recompute: bool, cuts: tuple[int, ...]
) -> None:
    head, features_BD = a_head(name, D, V, recompute=recompute), some_features()
    whole = copy.deepcopy(head)
    whole(features_BD, LABELS, 5.0).backward()
    for start, stop in zip(cuts, cuts[1:], strict=False):
        head(features_BD[start:stop], LABELS.rows(start, stop), torch.tensor(5)).backward()
    for (parameter, expected), value in zip(whole.named_parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(value.grad, expected.grad, rtol=1e-10, atol=1e-14, msg=parameter)


@pytest.mark.parametrize(("name", "recompute"), FIRST_SOFTMAX_AND_LAST)
def test_used_twice_in_one_graph_and_scaled_its_gradients_add_up(name: str, recompute: bool) -> None:
    head, first_BD, second_BD = a_head(name, D, V, recompute=recompute), some_features(), some_features()
    loss = 0.25 * head(first_BD, LABELS, 2.0) - 3 * head(second_BD, LABELS, 2.0)
    gradient = torch.autograd.grad(loss, head.weight)[0]
    first, second = (
        torch.autograd.grad(dense_loss(name, head.logits(x), LABELS, 2.0), head.weight)[0]
        for x in (first_BD, second_BD)
    )
    torch.testing.assert_close(gradient, 0.25 * first - 3 * second)


@pytest.mark.parametrize(("name", "recompute"), FIRST_SOFTMAX_AND_LAST)
def test_a_graph_that_is_retained_can_be_gone_through_again(name: str, recompute: bool) -> None:
    head, features_BD = a_head(name, D, V, recompute=recompute), some_features()
    loss = 7 * head(features_BD, LABELS, 2.0)
    loss.backward(retain_graph=True)
    once = [parameter.grad.clone() for parameter in head.parameters()]
    loss.backward()
    for parameter, gradient in zip(head.parameters(), once, strict=True):
        assert torch.equal(parameter.grad, 2 * gradient)


@pytest.mark.parametrize(("name", "recompute"), MODES)
def test_under_autocast_products_are_rounded_to_bfloat16_and_nothing_else_is(
    name: str, recompute: bool
) -> None:
    """Loss to float32 accuracy from rounded products; gradients within what rounding them once costs."""
    head, features_BD = a_head(name, 32, 300, recompute=recompute).float(), torch.randn(6, 32)
    labels = label_sets([[3, 4, 200], [4], [0, 299], [], [4, 5, 6], [17]], VALID)
    features_BD.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head(features_BD, labels, 2.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in head.parameters())
    with torch.no_grad():
        masked_BD = torch.where(labels.valid_B[:, None], features_BD, 0.0)
        products_BV = head.norm(masked_BD).bfloat16() @ head.weight.bfloat16().T
    expected = dense_loss(name, products_BV.double() + head.bias.double(), labels, 2.0)
    torch.testing.assert_close(loss.double(), expected, rtol=2e-6, atol=0)
    exact = copy.deepcopy(head).double()
    exact.zero_grad()
    exact_BD = features_BD.detach().double().requires_grad_()
    dense_loss(name, exact.logits(exact_BD), labels, 2.0).backward()
    # three roundings of 2^-9 (operands, logit, gradient), the logit's (below 16) worth 16 x 2^-9 of a probability
    pairs = [(features_BD, exact_BD), *zip(head.parameters(), exact.parameters(), strict=True)]
    for value, reference in pairs:
        assert (value.grad - reference.grad).norm() < 20 * 2**-9 * reference.grad.norm()


def test_the_gradient_at_a_nearly_certain_label_does_not_cancel() -> None:
    head, labels = ClassificationHead(2, 3), label_sets([[0]], [True], weighted=False)
    head.weight.data = torch.tensor([[4.0, -4.0], [-4.0, 4.0], [0.0, 0.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        head(torch.tensor([[1.0, -1.0]]), labels, 1.0).backward()
    logits = torch.tensor([8.0, -8.0, 0.0], dtype=torch.float64)
    expected = logits.softmax(0) - torch.tensor([1.0, 0.0, 0.0])
    assert head.bias.grad is not None
    torch.testing.assert_close(head.bias.grad.double(), expected, rtol=2e-4, atol=0)


def test_parameters_and_features_in_bfloat16_get_their_gradients_in_bfloat16() -> None:
    head, features_BD = a_head("softmax", D, V).bfloat16(), torch.randn(len(ROWS), D).bfloat16()
    loss = head(features_BD.requires_grad_(), LABELS, 2.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert {p.grad.dtype for p in (features_BD, *head.parameters())} == {torch.bfloat16}


@pytest.mark.parametrize(("name", "recompute"), FIRST_SOFTMAX_AND_LAST)
def test_ids_that_could_not_be_looked_at_make_the_loss_not_a_number(
    name: str, recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClassificationHead, "_check", lambda *_: None)  # as on an accelerator
    labels = label_sets([[1], [2, V]], [True, True], weighted=False)
    assert a_head(name, D, V, recompute=recompute)(some_features(2), labels, 1.0).isnan()


@pytest.fixture(scope="module")
def benchmark() -> Any:
    path = Path(__file__).parents[1] / "benchmarks" / "head.py"
    specification = importlib.util.spec_from_file_location("head_benchmark", path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("recompute", [False, True])
def test_memory_is_a_block_whatever_the_batch_and_a_fraction_of_the_dense_formulas(
    benchmark: Any, recompute: bool
) -> None:
    width, vocabulary_size, block_bytes = 16, 8192, 2**20
    arguments = Namespace(
        vocabulary=vocabulary_size, loss="softmax", recompute=recompute, parameters="float32"
    )
    peaks = {}
    for batch in (256, 1024):
        row = benchmark.Contenders(batch, width, arguments)
        row.head.tiling = Tiling(block_bytes=block_bytes, slice_columns=512, piece_elements=2**14)
        peaks[batch] = benchmark.peak_bytes(row.ours, 4 * vocabulary_size * width)
        of_labels_and_features = batch * (benchmark.LABELS_PER_SAMPLE * 20 * 8 + width * 20)
        assert block_bytes < peaks[batch] < 1.5 * block_bytes + of_labels_and_features
    dense = benchmark.peak_bytes(row.dense, 4 * vocabulary_size * width)
    assert dense > 12 * 1024 * vocabulary_size  # bytes per logit
    assert peaks[1024] < 0.05 * dense


@pytest.mark.slow  # compiles C++
@torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)  # instead of going on without compiling
@pytest.mark.parametrize(("name", "recompute"), MODES)
def test_compiled_kernels_give_the_numbers_of_eager_ones(name: str, recompute: bool) -> None:
    torch.compiler.reset()
    head, features_BD = a_head(name, D, V, recompute=recompute, tiling=TILINGS[2]), some_features()
    compiled = copy.deepcopy(head)
    compiled.compiled = True
    for each in (head, compiled):
        each(features_BD, LABELS, 2.0).backward()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2
    torch.testing.assert_close(compiled(features_BD, LABELS, 2.0), head(features_BD, LABELS, 2.0))
    for ours, expected in zip(compiled.parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, expected.grad)


def two_way_on_a_rank(rank: int, num_ranks: int) -> list[Tensor]:
    """Loss in training, the gradients as an engine averages them, and the loss in evaluation, of this rank's rows."""
    torch.manual_seed(0)
    head, features_BD = a_head("two_way", D, V, tiling=TILINGS[1]), some_features()
    own = slice(rank * len(ROWS) // num_ranks, (rank + 1) * len(ROWS) // num_ranks)
    labels = LABELS.rows(own.start, own.stop)
    loss = head(features_BD[own], labels, sum(VALID) / num_ranks)
    gradients = torch.autograd.grad(loss, [*head.parameters(), features_BD])
    for tensor in (mean := loss.detach().clone(), *gradients):
        if num_ranks > 1:
            torch.distributed.all_reduce(tensor)
            tensor /= num_ranks
    return [mean, *gradients, head.eval()(features_BD[own], labels, 1.0).detach()]


@pytest.mark.slow  # starts processes
def test_two_way_on_two_ranks_is_two_way_on_one_with_the_whole_batch(tmp_path: Path) -> None:
    *expected, _ = two_way_on_a_rank(0, 1)
    results = run_on_ranks(two_way_on_a_rank, 2, tmp_path)
    for rank, (*values, evaluated) in enumerate(results):
        torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-14)
        torch.manual_seed(0)
        head, features_BD = a_head("two_way", D, V), some_features()
        alone = LABELS.rows(3 * rank, 3 * rank + 3)
        expected_alone = dense_loss("two_way", head.logits(features_BD[3 * rank : 3 * rank + 3]), alone, 1.0)
        torch.testing.assert_close(evaluated, expected_alone.detach())


def test_blocks_share_the_batch_equally_and_hold_no_more_than_their_bytes() -> None:
    blocks = ON_CPU.row_blocks(1024, 49_408, 2)
    assert [rows.stop - rows.start for rows in blocks] == [512, 512]
    assert [math.prod((b.stop - b.start, 8)) for b in ON_CPU.row_blocks(5, 10**9, 8)] == [8] * 5
    assert ON_CPU.column_blocks(64, 49_408, 2) == [slice(0, 49_408)]
