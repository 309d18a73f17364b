"""The memory of a training step, traced on tensors without contents, and measured on real ones.

What scaling/predicting/memory.py predicts in closed form is held to both.  A trace needs neither the memory nor the
time of the step: a ViT-L step of 15 GB takes seconds on a laptop.
"""

# Shapes.  B samples, C channels, H W pixels, L caption tokens, V vocabulary, N labels of all samples together.

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.profiler import ProfilerActivity, profile

from model_zoo.build import build_objective, weight_decay_groups
from model_zoo.targets import KnownShare, LabelledTokens, LabelSets, TokenRows
from model_zoo.tower_shapes import IMAGE_CHANNELS
from scaling.placement import Placement
from scaling.sweep.science import Science
from scaling.train.engines.protocol import UnderAutocast

LABELS_PER_SAMPLE = 16  # of a traced batch; captions have 10 to 20 words, and memory hardly depends on it
CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TracedMemory:
    """Bytes at the peak of a traced step, by MemTracker's classes."""

    parameters: int
    gradients: int
    optimizer_states: int
    activations: int  # and all that is neither of these: gradients of activations, logits, images
    peak: int


def traced_memory(science: Science, placement: Placement) -> TracedMemory:
    """The peak of an optimizer step of the whole model on one rank's CPU, unsharded, as fake tensors allocate it.

    ValueError for what the trace cannot follow: a locked tower, features that are cached over micro-batches.
    """
    _check_traceable(science, placement)
    # building reads values, which fake tensors do not have; meta tensors are skipped
    with torch.device("meta"):
        objective: nn.Module = build_objective(
            science.specification,
            seed=science.seed,
            activation_checkpointing=placement.activation_checkpointing,
            activation_checkpointing_every=placement.activation_checkpointing_every,
            head_recompute=placement.head_recompute,
        )
    with FakeTensorMode(allow_non_fake_inputs=True), _without_looking_at_values(objective):
        objective.to_empty(device=CPU)
        tracker = MemTracker()
        _train(objective, science, placement, tracker)
        snapshot = tracker.get_tracker_snapshot("peak")[CPU]
    by_class = {str(getattr(name, "value", name)): size for name, size in snapshot.items()}
    state = [by_class.pop(name) for name in ("Parameter", "Gradient", "Optstate")]
    peak = by_class.pop("Total")
    return TracedMemory(
        parameters=state[0] + by_class.pop("Buffer"),
        gradients=state[1],
        optimizer_states=state[2],
        activations=sum(by_class.values()),
        peak=peak,
    )


def _check_traceable(science: Science, placement: Placement) -> None:
    specification = science.specification
    if specification.kind.locks_image_tower:
        raise ValueError(
            f"objective {science.objective!r} cannot be traced: torch's MemTracker hooks the features of its locked "
            "image tower, which have no gradient. Measure it, or trace clip."
        )
    if specification.couples_samples and placement.micro_batch < science.global_batch // placement.num_ranks:
        raise ValueError(
            f"micro_batch ({placement.micro_batch:,}) of objective {science.objective!r} cannot be traced: features "
            "that are cached over micro-batches are not followed. Measure it, or trace the batch per rank at once."
        )


@contextlib.contextmanager
def _without_looking_at_values(objective: nn.Module) -> Iterator[None]:
    """Checks of token and label ids pass: fake tensors have shapes and no values."""
    checks = [
        (part, name)
        for part in objective.modules()
        for name in ("_check", "_check_tokens")
        if hasattr(part, name)
    ]
    for part, name in checks:
        setattr(part, name, _pass)
    try:
        yield
    finally:
        for part, name in checks:
            delattr(part, name)


def _pass(*arguments: object) -> None:
    """Nothing to check."""


def _train(objective: nn.Module, science: Science, placement: Placement, tracker: MemTracker) -> None:
    module = UnderAutocast(objective, CPU.type, science.precision == "bf16_autocast")
    optimizer = _adamw(objective)
    targets, share = _targets(science, placement.micro_batch)
    tracker.track_external(module, optimizer)
    with tracker:
        for _ in range(science.global_batch // placement.num_ranks // placement.micro_batch):
            module("forward", _images(science, placement), targets, share)["loss"].backward()
            tracker.reset_mod_stats()  # MemTracker refuses a second forward otherwise
        optimizer.step()


def _adamw(objective: nn.Module) -> torch.optim.AdamW:
    """AdamW whose moments are there before its first step, as the engines' are."""
    trained = [parameter for group in weight_decay_groups(objective) for parameter in group]
    optimizer = torch.optim.AdamW(trained, fused=True)  # the others read the number of steps, a value
    for parameter in trained:
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        optimizer.state[parameter] = {"step": torch.zeros(()), **moments}
    return optimizer


def _images(science: Science, placement: Placement) -> torch.Tensor:
    return torch.empty(placement.micro_batch, IMAGE_CHANNELS, science.image_size, science.image_size)


def _targets(science: Science, samples: int) -> tuple[Any, KnownShare]:
    kind = science.specification.kind
    valid_B = torch.ones(samples, dtype=torch.bool)
    tokens = TokenRows(torch.zeros(samples, science.context_length, dtype=torch.int64), valid_B)
    ids_N = torch.zeros(LABELS_PER_SAMPLE * samples, dtype=torch.int64)
    labels = LabelSets(ids_N, torch.zeros(samples + 1, dtype=torch.int64), valid_B)
    weights_V = torch.ones(science.vocabulary_size) if kind.classifies else None
    share = KnownShare(float(samples), weights_V)
    if not kind.classifies:
        return tokens, share
    return (LabelledTokens(labels, tokens) if kind.contrasts else labels), share


def measured_peak(run: Callable[[], object], device: torch.device) -> int:
    """Bytes allocated at the largest moment of `run()`, beyond those that were allocated before it.

    On CUDA by the allocator; on a CPU, whose allocator keeps no peak, from the profiler's record of every allocation
    and release by this thread.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    in_order = sorted(events, key=lambda event: event.start_ns())
    return max(itertools.accumulate((int(event.nbytes()) for event in in_order), initial=0))
