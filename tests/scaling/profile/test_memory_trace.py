"""Predicted memory against steps that were traced without contents, and against steps that ran."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model_zoo.build import build_objective
from model_zoo.targets import LabelledTokens, LabelSets, TokenRows
from scaling.data.batches import Batch, Targets
from scaling.placement import Placement
from scaling.predicting.memory import MemoryEstimate, predicted_memory
from scaling.profile.memory_trace import measured_peak, traced_memory
from scaling.sweep.science import Science
from scaling.train.accumulation import Accumulation
from scaling.train.assembly import augmentation_of
from scaling.train.batch_share import PendingCounts
from scaling.train.engines.plain import PlainEngine
from scaling.train.engines.protocol import EngineSettings

CPU = torch.device("cpu")
LABELS_PER_SAMPLE = 16


def science(**fields: Any) -> Science:
    return Science(**{"samples_seen": 10**6, "warmup_samples": 0} | fields)


def on_one_rank(micro_batch: int, **fields: Any) -> Placement:
    """Unsharded, as a plain loop trains."""
    where: dict[str, Any] = {"engine": "deepspeed", "zero_stage": 0, "num_ranks": 1, "shard_ranks": 1}
    return Placement(**where, num_workers=0, micro_batch=micro_batch, **fields)


def predicted(point: Science, placement: Placement) -> MemoryEstimate:
    return predicted_memory(point, placement, on_accelerator=False)


TRACED: list[Any] = [
    ("superclass", "vit_s16", {}),
    ("superclass", "vit_s16", {"activation_checkpointing": "operations"}),
    ("superclass", "vit_b16", {}),
    ("superclass", "vit_b16", {"activation_checkpointing": "blocks"}),
    ("clip", "vit_b16", {}),
    ("clip", "vit_b16", {"activation_checkpointing": "blocks"}),
    pytest.param("superclass", "vit_l14", {"activation_checkpointing": "blocks"}, marks=pytest.mark.slow),
    pytest.param("clip", "vit_l14", {}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("objective", "tower", "placed"), TRACED)
def test_a_traced_step_peaks_within_five_percent_of_the_prediction(
    objective: str, tower: str, placed: dict[str, Any]
) -> None:
    point = science(objective=objective, image_tower=tower, global_batch=64)
    placement = on_one_rank(64, **placed)
    assert predicted(point, placement).allocated == pytest.approx(
        traced_memory(point, placement).peak, rel=0.05
    )


def test_the_classes_of_a_trace_agree_with_those_of_the_prediction() -> None:
    point = science(objective="superclass", image_tower="vit_micro8", image_size=128, global_batch=256)
    placement = on_one_rank(256, activation_checkpointing="blocks")
    traced, estimate = traced_memory(point, placement), predicted(point, placement)
    assert estimate.moment == "backward"
    for name in ("parameters", "optimizer_states", "gradients"):
        assert getattr(estimate, name) == pytest.approx(getattr(traced, name), rel=0.01)
    assert estimate.activations + estimate.buffers == pytest.approx(traced.activations, rel=0.01)


def test_what_cannot_be_traced_is_refused() -> None:
    lit = science(
        objective="lit", image_tower="vit_nano8", image_size=32, image_init="timm:x", global_batch=8
    )
    with pytest.raises(ValueError, match="locked image tower"):
        traced_memory(lit, on_one_rank(8))
    clip = science(objective="clip", image_tower="vit_nano8", image_size=32, global_batch=8)
    with pytest.raises(ValueError, match="cached over micro-batches"):
        traced_memory(clip, on_one_rank(4))


SMALL = {"image_size": 64}
TEXTLESS = {"image_size": 8, "context_length": 4}  # so that similarities take most
MEASURED: list[Any] = [
    ("superclass", "vit_tiny8", 64, SMALL, {}),
    ("superclass", "vit_tiny8", 64, SMALL | {"precision": "bf16_autocast"}, {}),
    ("superclass", "vit_tiny8", 64, SMALL | {"patch_dropout": 0.5}, {}),
    ("superclass", "vit_tiny8", 64, SMALL, {"activation_checkpointing": "blocks"}),
    ("superclass", "vit_tiny8", 64, SMALL, {"activation_checkpointing": "operations"}),
    (
        *("superclass", "vit_tiny8", 64, SMALL | {"precision": "bf16_autocast"}),
        {"activation_checkpointing": "blocks", "activation_checkpointing_every": 2},
    ),
    ("superclass", "vit_nano8", 64, {"image_size": 16, "vocabulary_size": 49_408}, {}),  # mostly the head
    (
        *("superclass", "vit_nano8", 64, {"image_size": 16, "vocabulary_size": 49_408}),
        {"head_recompute": True},
    ),
    ("superclass", "vit_tiny8", 32, SMALL | {"global_batch": 64}, {}),  # gradients of two micro-batches
    ("superclass", "resnet_nano", 64, SMALL | {"batch_norm_samples": 64}, {}),
    ("superclass", "resnet_nano", 64, SMALL | {"batch_norm_samples": 64, "precision": "bf16_autocast"}, {}),
    ("superclass", "convnext_nano", 128, SMALL, {}),
    ("superclass", "convnext_nano", 128, SMALL | {"precision": "bf16_autocast"}, {}),
    ("superclass", "convnext_nano", 128, SMALL, {"activation_checkpointing": "blocks"}),
    ("clip", "vit_tiny8", 32, SMALL, {}),
    ("clip", "vit_nano8", 2048, TEXTLESS, {}),
    ("siglip", "vit_nano8", 2048, TEXTLESS, {}),
    ("clip", "vit_nano8", 512, TEXTLESS | {"global_batch": 2048}, {}),  # of cached features
    ("clip", "vit_nano8", 32, SMALL | {"global_batch": 128}, {}),
    ("superclip", "vit_micro8", 64, SMALL, {}),
    ("lit", "vit_tiny8", 64, SMALL | {"image_init": "timm:x"}, {}),
    ("lit", "vit_tiny8", 64, SMALL | {"image_init": "timm:x", "context_length": 8}, {}),
]


@pytest.mark.parametrize(("objective", "tower", "micro_batch", "changes", "placed"), MEASURED)
def test_a_step_that_ran_peaked_within_ten_percent_of_the_prediction(
    objective: str, tower: str, micro_batch: int, changes: dict[str, Any], placed: dict[str, Any]
) -> None:
    fields = {"objective": objective, "image_tower": tower, "global_batch": micro_batch, "precision": "fp32"}
    point = science(**fields | {"vocabulary_size": 2048} | changes)
    placement = on_one_rank(micro_batch, **placed)
    measured = measured_peak(lambda: _train_two_steps(point, placement), CPU)
    assert predicted(point, placement).allocated == pytest.approx(measured, rel=0.10)


def _train_two_steps(point: Science, placement: Placement) -> None:
    objective = build_objective(
        point.specification,
        seed=0,
        activation_checkpointing=placement.activation_checkpointing,
        activation_checkpointing_every=placement.activation_checkpointing_every,
        head_recompute=placement.head_recompute,
    )
    engine = PlainEngine(objective, _settings(point, placement))
    accumulation = Accumulation(
        engine, augmentation=augmentation_of(point), micro_batch=placement.micro_batch, num_ranks=1
    )
    samples = torch.tensor(float(point.global_batch))
    batch = _batch(point)
    for _ in range(2):
        accumulation.forward_backward(batch, batch.targets, PendingCounts(None, lambda: (samples, None)))
        engine.step(1e-3)


def _settings(point: Science, placement: Placement) -> EngineSettings:
    return EngineSettings(
        global_batch=point.global_batch,
        micro_batch=placement.micro_batch,
        num_micro_batches=point.global_batch // placement.micro_batch,
        zero_stage=placement.zero_stage,
        shard_ranks=1,
        offload="none",
        overlap_communication=True,
        bucket_elements=1,
        compile=False,
        learning_rate=1e-3,
        weight_decay=0.2,
        adam_beta1=0.9,
        adam_beta2=0.98,
        adam_epsilon=1e-6,
        gradient_clipping=0.0,
        bf16_autocast=point.precision == "bf16_autocast",
    )


def _batch(point: Science) -> Batch:
    samples, side = point.global_batch, point.image_size
    return Batch(
        images_BCHW=torch.zeros(samples, side, side, 3, dtype=torch.uint8).permute(0, 3, 1, 2),
        targets=_targets(point),
        sample_ids_B=torch.arange(samples),
        num_undecodable=0,
        num_empty_captions=0,
    )


def _targets(point: Science) -> Targets:
    samples, kind = point.global_batch, point.specification.kind
    valid_B = torch.ones(samples, dtype=torch.bool)
    ids_N = torch.arange(LABELS_PER_SAMPLE * samples) % point.vocabulary_size
    labels = LabelSets(ids_N, torch.arange(samples + 1) * LABELS_PER_SAMPLE, valid_B)
    tokens = TokenRows(torch.zeros(samples, point.context_length, dtype=torch.int64), valid_B)
    if not kind.classifies:
        return tokens
    return LabelledTokens(labels, tokens) if kind.contrasts else labels
