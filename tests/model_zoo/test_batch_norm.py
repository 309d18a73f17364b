"""Batch norms in groups: against torch's own, and unmoved by how a batch is split, cached or recomputed."""

# Shapes.  B samples, C channels.

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from on_ranks import run_on_ranks
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from model_zoo.activation_checkpointing import checkpoint_activations
from model_zoo.architectures import image_tower_architecture
from model_zoo.batch_norm import GroupedBatchNorm, replace_batch_norms, update_running_statistics
from model_zoo.image_tower import build_image_tower

GROUP, CHANNELS = 4, 6


def a_norm() -> GroupedBatchNorm:
    norm = GroupedBatchNorm(BatchNormAct2d(CHANNELS), GROUP).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def some_maps(num_groups: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    shape = (num_groups * GROUP, CHANNELS, 3, 3)
    return 2 + 3 * torch.randn(shape, generator=generator, dtype=torch.float64)


def a_tower(checkpointing: bool = False) -> nn.Module:
    tower = build_image_tower(
        image_tower_architecture("resnet_nano"),
        image_size=32,
        batch_norm_samples=GROUP,
    ).double()
    if checkpointing:
        checkpoint_activations(tower, "blocks")
    for name, parameter in tower.named_parameters():
        if name.endswith("conv3_1x1.bn.weight"):  # 0 at first: nothing of a block would pass
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    return tower


def some_images(num_groups: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(num_groups * GROUP, 3, 32, 32, generator=generator, dtype=torch.float64)


def train_once(tower: nn.Module, micro_batches: Sequence[Tensor]) -> None:
    for images_BCHW in micro_batches:
        tower(images_BCHW).square().sum().backward()
    update_running_statistics(tower)


def statistics(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys() and left
    for name in left:
        torch.testing.assert_close(left[name], right[name], msg=lambda told: f"{name}: {told}")


def test_one_group_is_torchs_batch_norm_and_relu_in_values_gradients_and_statistics() -> None:
    ours, maps_BCHW = a_norm(), some_maps(1)
    theirs = nn.BatchNorm2d(CHANNELS).double()
    theirs.load_state_dict(ours.state_dict())
    upstream_BCHW = torch.randn_like(maps_BCHW)
    found = []
    for norm, activation in ((ours, nn.Identity()), (theirs, nn.ReLU())):
        x_BCHW = maps_BCHW.clone().requires_grad_()
        y_BCHW = activation(norm(x_BCHW))
        y_BCHW.backward(upstream_BCHW)
        found.append([y_BCHW, x_BCHW.grad, norm.weight.grad, norm.bias.grad])
    update_running_statistics(ours)
    torch.testing.assert_close(found[0], found[1])
    assert_same(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(maps_BCHW), theirs.eval()(maps_BCHW).relu())


def test_groups_are_normalised_apart_and_counted_as_one_step() -> None:
    ours, maps_BCHW = a_norm(), some_maps(3)
    grouped = maps_BCHW.view(3, GROUP, CHANNELS, 9)
    mean, variance = grouped.mean((1, 3)), grouped.var((1, 3), correction=0)
    expected = (grouped - mean[:, None, :, None]) / (variance[:, None, :, None] + 1e-5).sqrt()
    expected = (expected * ours.weight[:, None] + ours.bias[:, None]).relu().view_as(maps_BCHW)
    torch.testing.assert_close(ours(maps_BCHW), expected)
    update_running_statistics(ours)
    torch.testing.assert_close(ours.running_mean, 0.1 * mean.mean(0))
    torch.testing.assert_close(ours.running_var, 0.9 + 0.1 * grouped.var((1, 3)).mean(0))
    assert ours.num_batches_tracked == 1


@pytest.mark.parametrize("sizes", [[2, 1, 1], [1, 3], [1, 1, 1, 1]])
def test_micro_batches_change_neither_gradients_nor_running_statistics(sizes: list[int]) -> None:
    whole, split = a_tower(), a_tower()
    split.load_state_dict(whole.state_dict())
    images_BCHW = some_images(4)
    train_once(whole, [images_BCHW])
    train_once(split, torch.split(images_BCHW, [size * GROUP for size in sizes]))
    assert_same(statistics(whole), statistics(split))
    gradients = (
        {name: parameter.grad for name, parameter in tower.named_parameters()} for tower in (whole, split)
    )
    assert_same(*gradients)  # type: ignore[arg-type]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_pass_without_gradient_and_a_recomputed_one_count_nothing(checkpointing: bool) -> None:
    """Cached features run a batch twice, activation checkpointing most layers: each group counts once."""
    tower = a_tower(checkpointing)
    with torch.no_grad():
        tower(some_images(3))
    tower(some_images(2)).sum().backward()
    norms = [part for part in tower.modules() if isinstance(part, GroupedBatchNorm)]
    assert len(norms) == 55 and all(norm.num_counted == 2 for norm in norms)


def test_activation_checkpointing_changes_no_statistic() -> None:
    plain, recomputing = a_tower(), a_tower(checkpointing=True)
    recomputing.load_state_dict(plain.state_dict())
    for tower in (plain, recomputing):
        train_once(tower, [some_images(2)])
    assert_same(statistics(plain), statistics(recomputing))


def test_activations_are_in_fact_recomputed_in_that_test() -> None:
    tower, forwards = a_tower(checkpointing=True), 0

    def count(*_: Any) -> None:
        nonlocal forwards
        forwards += 1

    last = [part for part in tower.modules() if isinstance(part, GroupedBatchNorm)][-1]
    last.register_forward_hook(count)
    tower(some_images(1)).sum().backward()
    assert forwards == 2


def test_without_an_update_nothing_moves_and_without_a_pass_an_update_moves_nothing() -> None:
    norm = a_norm()
    before = statistics(norm)
    norm(some_maps(1))
    assert_same(statistics(norm), before)
    update_running_statistics(norm)
    after = statistics(norm)
    assert not torch.equal(after["running_mean"], before["running_mean"])
    update_running_statistics(norm)
    assert_same(statistics(norm), after)


def test_steps_follow_each_other_as_in_torch() -> None:
    ours, theirs = a_norm(), nn.BatchNorm2d(CHANNELS).double()
    for step in range(3):
        maps_BCHW = some_maps(1) * (step + 1)
        ours(maps_BCHW), theirs(maps_BCHW)
        update_running_statistics(ours)
    assert_same(statistics(ours), statistics(theirs))


def test_evaluation_uses_the_running_statistics_and_takes_any_number_of_images() -> None:
    tower, images_BCHW = a_tower(), some_images(2)
    train_once(tower, [images_BCHW])
    tower.eval()
    whole_BD = tower(images_BCHW)
    torch.testing.assert_close(torch.cat([tower(images_BCHW[:3]), tower(images_BCHW[3:])]), whole_BD)
    assert not any(norm.num_counted for norm in tower.modules() if isinstance(norm, GroupedBatchNorm))


@pytest.mark.parametrize("num_samples", [1, 3, 6])
def test_a_batch_that_the_groups_do_not_divide_is_refused(num_samples: int) -> None:
    with pytest.raises(ValueError, match=f"{num_samples} samples do not divide .* batch_norm_samples 4"):
        a_norm()(some_maps(2)[:num_samples])


def test_the_names_saved_are_timms_with_what_is_counted_left_out() -> None:
    norm = BatchNormAct2d(CHANNELS)
    module = nn.Sequential(norm, nn.Sequential(copy.deepcopy(norm)))
    names = set(module.state_dict())
    replace_batch_norms(module, GROUP)
    module(some_maps(1).float())
    assert set(module.state_dict()) == names
    assert all(isinstance(part, GroupedBatchNorm) for part in (module[0], module[1][0]))


def test_without_batch_norms_an_update_is_nothing() -> None:
    module = nn.Linear(2, 2)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    update_running_statistics(module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def statistics_of_a_rank(rank: int, num_ranks: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    tower = a_tower()
    mine = some_images(4).chunk(num_ranks)[rank]
    train_once(tower, torch.split(mine, GROUP))
    return statistics(tower)


@pytest.mark.slow  # starts processes
def test_two_ranks_end_with_the_running_statistics_of_one(tmp_path: Path) -> None:
    alone = statistics_of_a_rank(0, 1)
    for rank in run_on_ranks(statistics_of_a_rank, 2, tmp_path):
        assert_same(rank, alone)
