"""The classification head and the objectives, as counters are compared on them."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from model_zoo.architectures import IMAGE_TOWERS
from model_zoo.build import build_objective
from model_zoo.classification_head import ClassificationHead
from model_zoo.counts import train_flops_per_sample
from model_zoo.hardware_counts import Execution, hardware_flops_per_sample
from model_zoo.specification import NO_TEXT_TOWER, OBJECTIVES, ObjectiveSpecification
from model_zoo.targets import KnownShare, LabelledTokens, LabelSets, TokenRows
from scaling.profile.counted_parts import BATCH, VOCABULARY_SIZE, Forward, Part, Way, on_meta
from scaling.profile.flops import count_dispatched

LABELS_PER_SAMPLE = 8  # their number changes no product
HEAD_WIDTH = 768  # of ViT-B's features
OBJECTIVES_ON = "vit_b16"  # the objectives differ in what follows the towers, which are compared one by one


def counted_objectives() -> list[Part]:
    """The classification head, then every objective."""
    return [_head(HEAD_WIDTH), *map(_objective, OBJECTIVES)]


class _Logits(nn.Module):
    """The head as it is in evaluation: fvcore cannot trace its loss, an autograd function with a loss as argument."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = ClassificationHead(width, VOCABULARY_SIZE)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Logits [B, V]."""
        return self.head.logits(features_BD)


def _head(width: int) -> Part:
    """The classification head, in training with its loss over blocks of logits."""
    flops = 2 * width * VOCABULARY_SIZE

    def way(name: str, reasons: str, *, recompute: bool) -> Way:
        return Way(
            name=name,
            model_flops=3 * flops,
            hardware_flops=(3 + recompute) * flops,
            reasons=reasons,
            count=functools.partial(_train_head, width, recompute=recompute),
        )

    return Part(
        name="head, vit_b16",
        forward=Forward(
            build=on_meta(functools.partial(_Logits, width)),
            sample=torch.empty(1, width, device="meta"),
            flops=flops,
        ),
        ways=(way("", "a", recompute=False), way("logits", "ae", recompute=True)),
    )


def _train_head(width: int, *, recompute: bool) -> int:
    with torch.device("meta"):
        head = ClassificationHead(width, VOCABULARY_SIZE, recompute=recompute)
        features_BD = torch.empty(BATCH, width, requires_grad=True)
        labels = _some_labels()
    return count_dispatched(lambda: head(features_BD, labels, 1.0).backward()) // BATCH


def _objective(name: str) -> Part:
    kind, architecture = OBJECTIVES[name], IMAGE_TOWERS[OBJECTIVES_ON]
    specification = ObjectiveSpecification(
        objective=name,
        image_tower=OBJECTIVES_ON,
        text_tower=NO_TEXT_TOWER if kind.contrasts is None else architecture.text_tower,
        vocabulary_size=VOCABULARY_SIZE,
    )
    ways = [_way_of_objective(specification, "", "a", Execution(fused_attention=False))]
    checkpointing = Execution(fused_attention=False, activation_checkpointing="blocks")
    ways.append(_way_of_objective(specification, "blocks", "ab", checkpointing))
    if kind.classifies:
        recomputing = Execution(fused_attention=False, head_recompute=True)
        ways.append(_way_of_objective(specification, "logits", "ae", recomputing))
    return Part(name=f"{name}, {OBJECTIVES_ON}", forward=None, ways=tuple(ways))


def _way_of_objective(
    specification: ObjectiveSpecification, name: str, reasons: str, execution: Execution
) -> Way:
    return Way(
        name=name,
        model_flops=sum(train_flops_per_sample(specification, BATCH).values()),
        hardware_flops=sum(hardware_flops_per_sample(specification, execution, BATCH).values()),
        reasons=reasons,
        count=lambda: _train_objective(specification, execution),
    )


def _train_objective(specification: ObjectiveSpecification, execution: Execution) -> int:
    with torch.device("meta"):
        objective = build_objective(
            specification,
            seed=0,
            activation_checkpointing=execution.activation_checkpointing,
            activation_checkpointing_every=execution.activation_checkpointing_every,
            head_recompute=execution.head_recompute,
        )
        images_BCHW = torch.empty(BATCH, 3, specification.image_size, specification.image_size)
        targets, share = _some_targets(specification), KnownShare(torch.empty(()))

    def compute() -> None:
        objective(images_BCHW, targets, share)["loss"].backward()

    return count_dispatched(compute) // BATCH


def _some_targets(specification: ObjectiveSpecification) -> LabelSets | TokenRows | LabelledTokens:
    """Targets of any content."""
    labels = _some_labels()
    if not specification.kind.classifies:
        return _some_tokens(specification.context_length)
    if specification.kind.contrasts is None:
        return labels
    return LabelledTokens(labels, _some_tokens(specification.context_length))


def _some_labels() -> LabelSets:
    ids_N = torch.empty(BATCH * LABELS_PER_SAMPLE, dtype=torch.int64)
    return LabelSets(ids_N, torch.empty(BATCH + 1, dtype=torch.int64), torch.empty(BATCH, dtype=torch.bool))


def _some_tokens(context_length: int) -> TokenRows:
    return TokenRows(
        torch.empty(BATCH, context_length, dtype=torch.int64), torch.empty(BATCH, dtype=torch.bool)
    )
