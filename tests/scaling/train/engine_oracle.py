"""Small runs that any engine can be put through, and what a plain loop of torch makes of them.

`plain_losses` is the oracle: whole global batches, one process, no engine. `train` puts an engine through the same
batches, micro-batch by micro-batch, as the training loop does. `state_of` and `restore` carry its state to another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model_zoo.build import build_objective, weight_decay_groups
from model_zoo.specification import NO_TEXT_TOWER, ObjectiveSpecification
from model_zoo.targets import KnownShare, LabelledTokens, LabelSets, TokenRows
from scaling.data.batches import Batch, Targets
from scaling.data.images.augmentation import Augmentation
from scaling.data.images.device_augmentation import prepare
from scaling.train.accumulation import Accumulation
from scaling.train.engines.protocol import Engine, EngineSettings, Piece
from scaling.train.idf import build_statistics

VOCABULARY, CONTEXT = 4096, 8
CPU = torch.device("cpu")

State = dict[tuple[str, str], Tensor]
"""Whole tensors by name and kind, on the CPU."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A run of a few steps."""

    objective: str = "superclass"
    image_tower: str = "vit_nano8"
    image_size: int = 16
    num_steps: int = 10
    global_batch: int = 8
    micro_batch: int = 8  # per rank
    learning_rate: float = 3e-3
    gradient_clipping: float = 0.0
    bf16_autocast: bool = False
    changes: tuple[tuple[str, Any], ...] = ()  # of the specification
    building: tuple[tuple[str, Any], ...] = ()  # arguments of build_objective
    logit_scale_max: float | None = None  # in place of the specification's, maybe below where it starts


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StepRow:
    """What a step told, equal on all ranks."""

    loss: float
    norm: float


def objective_of(case: Case) -> Any:
    """The objective, initialised."""
    has_text = case.objective != "superclass"
    fields = {
        "objective": case.objective,
        "image_tower": case.image_tower,
        "text_tower": "text_nano" if has_text else NO_TEXT_TOWER,
        "image_size": case.image_size,
        "vocabulary_size": VOCABULARY,
        "context_length": CONTEXT,
    }
    specification = ObjectiveSpecification(**fields | dict(case.changes))
    objective: Any = build_objective(specification, seed=3, **dict(case.building))
    if case.logit_scale_max is not None:
        objective.logit_scale_max = case.logit_scale_max
    return objective


def settings_of(case: Case, num_ranks: int = 1, **changes: Any) -> EngineSettings:
    """The settings that an engine trains the case with."""
    fields = {
        "global_batch": case.global_batch,
        "micro_batch": case.micro_batch,
        "num_micro_batches": case.global_batch // num_ranks // case.micro_batch,
        "zero_stage": 3,
        "shard_ranks": num_ranks,
        "offload": "none",
        "overlap_communication": True,
        "bucket_elements": 50_000_000,
        "compile": False,
        "learning_rate": case.learning_rate,
        "weight_decay": 0.2,
        "adam_beta1": 0.9,
        "adam_beta2": 0.98,
        "adam_epsilon": 1e-6,
        "gradient_clipping": case.gradient_clipping,
        "bf16_autocast": case.bf16_autocast,
    }
    return EngineSettings(**fields | changes)


def batch_of(case: Case, step: int) -> Batch:
    """The global batch of a step; every fifth row is not valid."""
    draw = torch.Generator().manual_seed(100 + step)
    shape = (case.global_batch, 3, case.image_size, case.image_size)
    return Batch(
        images_BCHW=torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8),
        targets=_targets(case, draw),
        sample_ids_B=torch.arange(case.global_batch),
        num_undecodable=0,
        num_empty_captions=0,
    )


def _targets(case: Case, draw: torch.Generator) -> Targets:
    size = case.global_batch
    valid_B = torch.arange(size) % 5 != 2
    sets = [torch.randperm(VOCABULARY, generator=draw)[: 1 + n % 4].sort().values for n in range(size)]
    offsets = torch.tensor([0, *map(len, sets)]).cumsum(0)
    labels = LabelSets(torch.cat(sets), offsets, valid_B)
    tokens_BL = torch.randint(1, VOCABULARY - 2, (size, CONTEXT), generator=draw)
    tokens_BL[:, -1] = VOCABULARY - 1
    tokens = TokenRows(tokens_BL, valid_B)
    return {"superclass": labels, "superclip": LabelledTokens(labels, tokens)}.get(case.objective, tokens)


def rows_of(batch: Batch, rank: int, num_ranks: int) -> Batch:
    """A rank's share of a global batch."""
    size = len(batch) // num_ranks
    rows = slice(rank * size, (rank + 1) * size)
    return dataclasses.replace(
        batch,
        images_BCHW=batch.images_BCHW[rows],
        targets=batch.targets.rows(rows.start, rows.stop),
        sample_ids_B=batch.sample_ids_B[rows],
    )


def plain_losses(case: Case, dtype: torch.dtype = torch.float64) -> list[StepRow]:
    """Losses and gradient norms (before clipping) of the case in torch alone, in float64 or as asked."""
    module = objective_of(case).to(dtype)
    decayed, others = weight_decay_groups(module)
    groups = [{"params": decayed, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=case.learning_rate, betas=(0.9, 0.98), eps=1e-6)
    return [_plain_step(case, step, module, optimizer) for step in range(case.num_steps)]


def _plain_step(case: Case, step: int, module: Any, optimizer: torch.optim.Optimizer) -> StepRow:
    batch = batch_of(case, step)
    images_BCHW = prepare(batch, slice(0, len(batch)), Augmentation(), CPU)
    share = KnownShare(float(batch.targets.valid_B.sum()))
    loss = module(images_BCHW.to(next(module.parameters()).dtype), batch.targets, share)["loss"]
    optimizer.zero_grad()
    loss.backward()
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    if case.gradient_clipping and norm > case.gradient_clipping:
        for gradient in gradients:
            gradient.mul_(case.gradient_clipping / (norm + 1e-6))  # as torch and DeepSpeed do
    optimizer.step()
    module.after_step()
    return StepRow(loss=float(loss.detach()), norm=norm)


def train(
    engine: Engine, case: Case, steps: Iterable[int] | None = None, *, rank: int = 0, num_ranks: int = 1
) -> list[StepRow]:
    """Losses over all ranks and gradient norms of the engine's steps (all of the case, or those given)."""
    accumulation = Accumulation(
        engine, augmentation=Augmentation(), micro_batch=case.micro_batch, num_ranks=num_ranks
    )
    statistics = build_statistics("off", VOCABULARY, engine.device, None)
    rows = []
    for step in range(case.num_steps) if steps is None else steps:
        batch = rows_of(batch_of(case, step), rank, num_ranks)
        targets = batch.targets.to(engine.device)
        losses = accumulation.forward_backward(batch, targets, statistics.observe(targets))
        report = engine.step(case.learning_rate)
        rows.append(StepRow(loss=_mean_over_ranks(losses["loss"]), norm=float(report.gradient_norm)))
    return rows


def _mean_over_ranks(loss: Tensor) -> float:
    total = loss.detach().clone()
    if dist.is_initialized():
        dist.all_reduce(total)
        total /= dist.get_world_size()
    return float(total)


def state_of(engine: Engine) -> State:
    """The whole state, put together from the pieces of all ranks that are theirs; equal on every rank.

    AssertionError unless every element is some rank's, once.
    """
    pieces = [
        (piece.name, piece.kind, piece.shape, piece.start, piece.values.detach().cpu().clone())
        for piece in engine.pieces()
        if piece.is_mine
    ]
    parts: list[Any] = [pieces]
    if dist.is_initialized():
        parts = [None] * dist.get_world_size()
        dist.all_gather_object(parts, pieces)
    whole: State = {}
    written: dict[tuple[str, str], int] = {}
    for name, kind, shape, start, values in (piece for part in parts for piece in part):
        size = torch.Size(shape).numel()
        flat = whole.setdefault((name, kind), torch.full([size], -1, dtype=values.dtype))
        flat[start : start + len(values)] = values
        written[name, kind] = written.get((name, kind), 0) + len(values)
    assert all(written[key] == len(flat) for key, flat in whole.items()), "an element is no rank's, or twice"
    return whole


def restore(engine: Engine, state: State, optimizer_steps: int) -> None:
    """Give an engine, on whatever ranks, the state that `state_of` returned."""
    pieces: Sequence[Piece] = engine.pieces()
    names = {(piece.name, piece.kind) for piece in pieces}
    assert names <= state.keys(), sorted(names - state.keys())
    with torch.no_grad():
        for piece in pieces:
            stop = piece.start + len(piece.values)
            piece.values.copy_(state[piece.name, piece.kind][piece.start : stop])
    engine.take_over(optimizer_steps)


def initial_state(module: nn.Module) -> State:
    """What `state_of` says of a module that no step has been made with, moments left out."""
    parameters = dict(module.named_parameters())
    return {
        (name, "weight" if name in parameters else "buffer"): value.detach().flatten().clone()
        for name, value in module.state_dict().items()
    }
