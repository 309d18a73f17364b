"""The named towers, as counters are compared on them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from model_zoo.activation_checkpointing import checkpoint_activations
from model_zoo.activation_segments import ActivationCheckpointing
from model_zoo.architectures import IMAGE_TOWERS, TEXT_TOWERS
from model_zoo.block_counts import TowerCount
from model_zoo.image_tower import build_image_tower
from model_zoo.text_tower import TextTower
from model_zoo.tower_counts import count_image_tower, count_text_tower
from scaling.profile.counted_parts import (
    BATCH,
    CONTEXT_LENGTH,
    IMAGE_SIZE,
    VOCABULARY_SIZE,
    Forward,
    Part,
    Way,
    on_meta,
)
from scaling.profile.flops import count_dispatched


def counted_towers() -> list[Part]:
    """Every named tower, image towers first; without the small ones for CPUs, by which nobody plans."""
    image_towers = [_image_tower(tower) for tower in IMAGE_TOWERS if not _is_ours(tower)]
    return image_towers + [_text_tower(tower) for tower in TEXT_TOWERS if not _is_ours(tower)]


def _is_ours(tower: str) -> bool:
    return "nano" in tower or "micro" in tower or "tiny8" in tower or tower == "text_tiny"


def _image_tower(name: str) -> Part:
    architecture = IMAGE_TOWERS[name]
    build = functools.partial(
        build_image_tower, architecture, image_size=IMAGE_SIZE, batch_norm_samples=BATCH
    )
    count = count_image_tower(architecture, image_size=IMAGE_SIZE, pooling=None)
    return _tower(name, build, torch.empty(1, 3, IMAGE_SIZE, IMAGE_SIZE, device="meta"), count)


def _text_tower(name: str) -> Part:
    sizes = {"vocabulary_size": VOCABULARY_SIZE, "context_length": CONTEXT_LENGTH}
    build = functools.partial(TextTower, TEXT_TOWERS[name], **sizes)
    sample = torch.empty(1, CONTEXT_LENGTH, dtype=torch.int64, device="meta")
    return _tower(name, build, sample, count_text_tower(TEXT_TOWERS[name], **sizes))


def _tower(name: str, build: Callable[[], nn.Module], sample: Tensor, count: TowerCount) -> Part:
    return Part(
        name=name,
        forward=Forward(build=on_meta(build), sample=sample, flops=count.forward_flops),
        ways=tuple(_ways_of_tower(build, sample, count)),
    )


def _ways_of_tower(build: Callable[[], nn.Module], sample: Tensor, count: TowerCount) -> Iterator[Way]:
    def way(name: str, overhead: int, reasons: str, count_it: Callable[[], int]) -> Way:
        return Way(
            name=name,
            model_flops=count.train_flops,
            hardware_flops=count.train_flops + overhead,
            reasons=reasons,
            count=count_it,
        )

    def checkpointed(mode: ActivationCheckpointing, every: int) -> Callable[[], int]:
        return lambda: _train_tower(build, sample, mode=mode, every=every)

    yield way("", 0, "a", checkpointed("none", 1))
    for every in (1, 2):
        name = "blocks" if every == 1 else "2nd blocks"
        yield way(name, count.recomputed_flops("blocks", every), "ab", checkpointed("blocks", every))
    yield way("operations", count.recomputed_flops("operations", 1), "ac", checkpointed("operations", 1))
    if count.score_flops:
        yield way("fused", count.score_flops, "ad", lambda: _train_fused(build, sample))


def _train_tower(
    build: Callable[[], nn.Module], sample: Tensor, *, mode: ActivationCheckpointing, every: int
) -> int:
    tower, inputs = on_meta(build)(), _batch_of(sample)
    checkpoint_activations(tower, mode, every=every)
    return count_dispatched(lambda: tower(inputs).sum().backward()) // BATCH


def _train_fused(build: Callable[[], nn.Module], sample: Tensor) -> int:
    """On fake tensors of a CPU, whose attention is a fused kernel; on the meta device it is two products."""
    tower = on_meta(build)()
    with FakeTensorMode(allow_non_fake_inputs=True):
        tower.to_empty(device="cpu")
        inputs = _batch_of(sample, device="cpu")
        return count_dispatched(lambda: tower(inputs).sum().backward(), fused_attention=True) // BATCH


def _batch_of(sample: Tensor, device: str = "meta") -> Tensor:
    return torch.empty(BATCH, *sample.shape[1:], dtype=sample.dtype, device=device)
