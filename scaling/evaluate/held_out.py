"""The objective's own loss on held-out pairs, with the main caption of every image.

A classification loss is the mean over the samples that have labels.  Where training weighs labels by online IDF, the
weights here are the IDF of the held-out captions: those of training change with the samples seen, so that losses of
runs of different length would not compare.

A loss in which samples depend on each other (the contrastive ones, and two-way) is taken within batches of a fixed
size, in the order of the set, because it grows with the number of captions to choose from; samples beyond the last
whole batch are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model_zoo.specification import ObjectiveSpecification
from model_zoo.targets import KnownShare, LabelledTokens, LabelSets, idf_weights
from scaling.data.batches import Targets
from scaling.evaluate.context import EvaluationContext, Outcome

TASK = "held_out_loss"
LOSS_NAMES = {"info_nce": "info-nce", "sigmoid": "sigmoid"}  # of the contrastive losses, in protocols


def held_out_loss(context: EvaluationContext) -> Outcome:
    """{"loss"} in nats per sample, the same for any number of ranks."""
    length, by_batch = len(context.validation), context.objective.couples_samples
    num_samples = length - length % context.batch if by_batch else length
    if num_samples == 0:
        raise ValueError(
            f"{TASK}: the validation set {context.validation.folder} has {length:,} samples, fewer than one "
            f"batch of {context.batch:,}, on which this objective's loss is defined: lower evaluate.batch."
        )
    weights_V = None if context.label_weights_V is None else _held_out_idf(context)
    total, num_valid = _sum_over_samples(context, num_samples, weights_V)
    settings: dict[str, object] = {"samples_without_label": num_samples - num_valid}
    if context.specification.kind.classifies:
        settings["label_weights"] = "uniform" if weights_V is None else "held-out idf"
    if by_batch:
        settings |= {"batch": context.batch, "left_out": length - num_samples}
    return Outcome(
        protocol=_protocol(context.specification, by_batch),
        metrics={"loss": total / num_valid},
        num_samples=num_valid,
        settings=settings,
    )


def _sum_over_samples(
    context: EvaluationContext, num_samples: int, weights_V: Tensor | None
) -> tuple[float, int]:
    """The losses of all valid samples, and how many those are, over all ranks."""
    sums = torch.zeros(2, dtype=torch.float64, device=context.device)
    num_batches = -(-num_samples // context.batch)
    share = context.ranks.share(num_batches)  # whole batches, so that ranks change nothing
    indices = range(share.start * context.batch, min(share.stop * context.batch, num_samples))
    with torch.no_grad(), context.autocast():
        for images in context.reader.batches(context.validation, indices):
            targets = context.targets(images.samples)
            num_valid = targets.valid_B.sum().clamp_min(1)
            losses = context.objective(images.images_BCHW, targets, KnownShare(num_valid, weights_V))
            sums += torch.stack([losses["loss"] * num_valid, targets.valid_B.sum()])
    context.all_reduce(sums)
    total, num_valid = sums.tolist()
    if not num_valid:
        raise ValueError(
            f"{TASK}: no caption of {context.validation.folder} has a label in the vocabulary of tokenizer "
            f"{context.tokenizer.name!r}: use a larger vocabulary."
        )
    return total, int(num_valid)


def _protocol(specification: ObjectiveSpecification, by_batch: bool) -> str:
    """The loss by its names, and its version."""
    kind, names = specification.kind, []
    if kind.contrasts is not None:
        names.append(LOSS_NAMES[kind.contrasts])
    if kind.classifies:
        names.append(f"label-{specification.classification_loss.replace('_', '-')}")
    return "+".join(names) + ("-per-batch@1" if by_batch else "@1")


def _labels_of(targets: Targets) -> LabelSets:
    labels = targets.labels if isinstance(targets, LabelledTokens) else targets
    assert isinstance(labels, LabelSets)
    return labels


def _held_out_idf(context: EvaluationContext) -> Tensor:
    """IDF weights [V] of the main captions of the whole validation set that have labels."""
    counts_V = torch.zeros(context.tokenizer.vocabulary_size, dtype=torch.int64, device=context.device)
    num_captions = 0
    for start in range(0, len(context.validation), context.batch):
        indices = range(start, min(start + context.batch, len(context.validation)))
        labels = _labels_of(context.targets([context.validation[index] for index in indices]))
        counts_V += labels.counts_V(len(counts_V))
        num_captions += int(labels.valid_B.sum())
    return idf_weights(counts_V, num_captions)
