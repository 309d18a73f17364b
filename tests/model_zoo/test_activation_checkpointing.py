"""What activation checkpointing must not change, and what it must save, for towers of every kind."""

from __future__ import annotations

import copy
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from model_zoo import activation_checkpointing
from model_zoo.activation_checkpointing import ActivationCheckpointing, checkpoint_activations
from model_zoo.architectures import image_tower_architecture, text_tower_architecture
from model_zoo.batch_norm import GroupedBatchNorm
from model_zoo.blocks import compile_blocks, tower_blocks
from model_zoo.image_tower import build_image_tower
from model_zoo.kept_operations import KEPT_OPERATIONS
from model_zoo.text_tower import TextTower

TOWERS = ("vit_nano8", "resnet_nano", "convnext_nano", "text_nano")
MODES: tuple[ActivationCheckpointing, ...] = ("blocks", "operations", "offload")
NUM_BLOCKS = {"vit_nano8": 3, "resnet_nano": 16, "convnext_nano": 5, "text_nano": 2}


def a_tower(name: str, mode: ActivationCheckpointing = "none", *, every: int = 1, drop: float = 0.0) -> Any:
    """A tower with weights that are the same every time, no scale of which is 0."""
    torch.manual_seed(1)
    if name.startswith("text"):
        tower: Any = TextTower(text_tower_architecture(name), vocabulary_size=40, context_length=12)
    else:
        drops = {"drop_path": drop, "patch_dropout": drop if name.startswith("vit") else 0.0}
        architecture = image_tower_architecture(name)
        tower = build_image_tower(architecture, image_size=32, batch_norm_samples=2, **drops)
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.2)
    checkpoint_activations(tower, mode, every=every)
    return tower


def some_inputs(name: str, num_samples: int = 4) -> Tensor:
    torch.manual_seed(2)
    if name.startswith("text"):
        return torch.randint(0, 40, (num_samples, 12))
    return torch.randn(num_samples, 3, 32, 32)


def output_and_gradients(tower: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(3)  # of what is dropped
    features = tower(inputs)
    after = torch.get_rng_state()
    features.float().sin().sum().backward()
    assert torch.equal(torch.get_rng_state(), after), "the recomputation drew from the random state"
    found = {name: p.grad.clone() for name, p in tower.named_parameters() if p.grad is not None}
    tower.zero_grad()
    return {"output": features.detach(), **found}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TOWERS)
def test_outputs_and_gradients_stay_bit_for_bit_whatever_is_dropped(
    name: str, mode: ActivationCheckpointing
) -> None:
    inputs = some_inputs(name)
    found = output_and_gradients(a_tower(name, mode, drop=0.4), inputs)
    assert_same(found, output_and_gradients(a_tower(name, drop=0.4), inputs))


@pytest.mark.parametrize("mode", MODES)
def test_gradients_under_autocast_stay_bit_for_bit(mode: ActivationCheckpointing) -> None:
    found = []
    for tower in (a_tower("vit_nano8", mode), a_tower("vit_nano8")):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = tower(some_inputs("vit_nano8"))
        features.float().sum().backward()  # outside, as engines do
        found.append({name: p.grad for name, p in tower.named_parameters()})
    assert_same(*found)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", TOWERS)
def test_names_and_weights_stay_as_they_are(name: str, mode: ActivationCheckpointing) -> None:
    plain, recomputing = a_tower(name), a_tower(name, mode)
    assert_same(recomputing.state_dict(), plain.state_dict())
    assert [n for n, _ in recomputing.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert [n for n, _ in recomputing.named_modules()] == [n for n, _ in plain.named_modules()]


@pytest.mark.parametrize("name", TOWERS)
def test_the_memory_of_activations_shrinks_most_with_blocks_and_less_with_operations(name: str) -> None:
    kept = {mode: bytes_alive_after_forward(name, mode) for mode in ("none", "operations", "blocks")}
    assert kept["blocks"] < 0.75 * kept["operations"] < 0.75 * 0.85 * kept["none"]
    if name == "vit_nano8":
        assert kept["blocks"] < 0.3 * kept["none"]


def test_the_memory_of_activations_grows_with_the_blocks_that_are_left_out() -> None:
    kept = [
        bytes_alive_after_forward("resnet_nano", mode, every)
        for mode, every in (("blocks", 1), ("blocks", 2), ("blocks", 4), ("none", 1))
    ]
    assert kept == sorted(kept) and len(set(kept)) == 4


def bytes_alive_after_forward(name: str, mode: Any, every: int = 1) -> int:
    """Bytes that a forward pass makes and that live on while its output does."""
    tower, inputs = a_tower(name, mode, every=every), some_inputs(name, 16)
    with _Storages() as made:
        features = tower(inputs)
    assert features.requires_grad
    return made.bytes_alive()


class _Storages(TorchDispatchMode):
    """Notes the storage of everything that operations return."""

    def __init__(self) -> None:
        super().__init__()
        self._found: dict[int, tuple[weakref.ref[Any], int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                self._found[storage._cdata] = torch.multiprocessing.reductions.StorageWeakRef(storage), len(
                    storage
                )
        return made

    def bytes_alive(self) -> int:
        return sum(size for reference, size in self._found.values() if not reference.expired())  # type: ignore


@pytest.mark.parametrize("every, recomputed", [(1, 16), (2, 8), (3, 6), (16, 1), (40, 1)])
def test_one_block_of_each_so_many_runs_twice(every: int, recomputed: int) -> None:
    tower = a_tower("resnet_nano", "blocks", every=every)
    assert runs_of_blocks(tower, "resnet_nano") == 16 + recomputed


@pytest.mark.parametrize("name", TOWERS)
@pytest.mark.parametrize("mode", ["none", *MODES])
def test_every_block_of_every_tower_takes_part(name: str, mode: ActivationCheckpointing) -> None:
    tower = a_tower(name, mode)
    num_blocks = NUM_BLOCKS[name]
    assert len(tower_blocks(tower)) == num_blocks
    assert runs_of_blocks(tower, name) == num_blocks * (1 if mode == "none" else 2)


def runs_of_blocks(tower: nn.Module, name: str) -> int:
    """How often a first layer of a block runs, forward and backward."""
    runs: list[nn.Module] = []
    for block in tower_blocks(tower):
        first = next(part for part in block.modules() if isinstance(part, (nn.Linear, nn.Conv2d)))
        first.register_forward_hook(lambda layer, *_: runs.append(layer))
    tower(some_inputs(name)).sum().backward()
    return len(runs)


@pytest.mark.parametrize("name", TOWERS)
def test_operations_whose_outputs_are_kept_run_once(name: str) -> None:
    runs = {mode: kept_operations_run(name, mode) for mode in ("none", "operations", "blocks")}
    assert runs["operations"] == runs["none"] < runs["blocks"]


def kept_operations_run(name: str, mode: Any) -> int:
    class Counter(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Counter.total += func in KEPT_OPERATIONS
            return func(*args, **kwargs or {})

    tower = a_tower(name, mode)
    with Counter():
        tower(some_inputs(name)).sum().backward()
    return Counter.total


class _Lookalike(nn.Module):
    """A tower of one block that does what DeepSpeed's ZeRO-3 does to linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(_InPlaceBlock())

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.blocks(x)
        return features


class _InPlaceBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(5, 5)), nn.Parameter(torch.randn(5))
        self.gathers = 0  # what is only done the second time

    def forward(self, x: Tensor) -> Tensor:
        self.gathers += 1
        if self.gathers == 2:
            torch.empty(3).fill_(1.0)
        y = _InPlaceLinear.apply(x, self.weight, self.bias)
        return F.gelu(F.linear(F.gelu(y), self.weight))


class _InPlaceLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        y = x.matmul(weight.t())
        y += bias
        return y

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return upstream @ weight, upstream.flatten(0, 1).t() @ x.flatten(0, 1), upstream.sum((0, 1))


def test_a_bias_added_in_place_to_a_kept_product_counts_once() -> None:
    """torch's own contexts for this give wrong gradients here, and stop at operations made only the second time."""
    tower, x = _Lookalike(), torch.randn(2, 3, 5)
    expected = output_and_gradients(copy.deepcopy(tower), x)
    checkpoint_activations(tower, "operations")
    assert_same(output_and_gradients(tower, x), expected)
    assert tower.blocks[0].gathers == 2  # type: ignore[union-attr]


def test_offloading_moves_the_inputs_of_blocks_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[tuple[int, ...]] = []

    class Noting(torch.autograd.graph.saved_tensors_hooks):
        def __init__(self, pin_memory: bool) -> None:
            super().__init__(self._pack, lambda tensor: tensor)

        def _pack(self, tensor: Tensor) -> Tensor:
            moved.append(tuple(tensor.shape))
            return tensor

    monkeypatch.setattr(activation_checkpointing, "save_on_cpu", Noting)
    tower = a_tower("vit_nano8", "offload")
    tower(some_inputs("vit_nano8")).sum().backward()
    assert moved == [(4, 17, 48)] * 3  # samples, tokens, width


@pytest.mark.parametrize("mode", MODES)
def test_a_copy_of_a_tower_recomputes_with_its_own_weights(mode: ActivationCheckpointing) -> None:
    tower, inputs = a_tower("text_nano", mode), some_inputs("text_nano")
    before = output_and_gradients(tower, inputs)
    other = copy.deepcopy(tower)
    for parameter in other.parameters():
        nn.init.normal_(parameter, std=0.3)
    plain = a_tower("text_nano")
    plain.load_state_dict(other.state_dict())
    assert_same(output_and_gradients(other, inputs), output_and_gradients(plain, inputs))
    assert_same(output_and_gradients(tower, inputs), before)


@pytest.mark.parametrize("mode", MODES)
def test_statistics_of_batch_norms_are_counted_once(mode: ActivationCheckpointing) -> None:
    tower = a_tower("resnet_nano", mode)
    tower(some_inputs("resnet_nano")).sum().backward()
    norms = [part for part in tower.modules() if isinstance(part, GroupedBatchNorm)]
    assert norms and all(norm.num_counted == 2 for norm in norms)  # groups of 2 samples


def test_a_number_of_blocks_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="activation_checkpointing_every \\(0\\) must be at least 1"):
        a_tower("vit_nano8", "blocks", every=0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["none", *MODES])
def test_compiled_blocks_give_the_same_output_and_gradients(mode: ActivationCheckpointing) -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    expected = output_and_gradients(a_tower("text_nano"), some_inputs("text_nano"))
    tower = a_tower("text_nano", mode)
    holder = nn.ModuleDict({"text_tower": tower})
    compile_blocks(holder)
    assert holder.state_dict().keys() == {f"text_tower.{name}" for name in a_tower("text_nano").state_dict()}
    found = output_and_gradients(tower, some_inputs("text_nano"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    # equal blocks share a forward and a backward graph
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
