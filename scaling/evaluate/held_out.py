"""The objective's own loss on held-out pairs; the main caption of every image.

SuperClass: mean over all samples of the softmax cross-entropy against the labels of the caption.  Where
training weighs labels by online IDF, the weights here are the IDF of the held-out captions themselves: those
of training grow with the samples seen, and losses of runs of different length would not compare.

CLIP: InfoNCE within batches of a fixed size, in the order of the set, because it grows with the number of
captions to choose from; samples beyond the last whole batch are left out.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from model_zoo.clip import Clip
from model_zoo.targets import idf_weights
from scaling.evaluate.context import EvaluationContext, Outcome

TASK = "held_out_loss"


def held_out_loss(context: EvaluationContext) -> Outcome:
    """{"loss"}: nats per sample, the same for any number of ranks."""
    length, is_clip = len(context.validation), isinstance(context.objective, Clip)
    num_samples = length - length % context.batch if is_clip else length
    if num_samples == 0:
        raise ValueError(
            f"{TASK}: the validation set {context.validation.folder} has {length:,} samples, fewer than one "
            f"batch of {context.batch:,}, on which CLIP's loss is defined: lower evaluate.batch."
        )
    if context.label_weights_V is not None:
        context = dataclasses.replace(context, label_weights_V=_held_out_idf(context))
    total = torch.zeros(1, dtype=torch.float64, device=context.device)
    share = context.ranks.share(
        -(-num_samples // context.batch)
    )  # whole batches, so that ranks change nothing
    indices = range(share.start * context.batch, min(share.stop * context.batch, num_samples))
    with torch.no_grad(), context.autocast():
        for images in context.reader.batches(context.validation, indices):
            targets = context.targets(images.samples)
            total += context.objective(images.images_BCHW, targets, 1.0)["loss"]  # a sum: 1.0 is its divisor
    context.all_reduce(total)
    metrics = {"loss": total.item() / num_samples}
    if is_clip:
        settings = {"batch": context.batch, "left_out": length - num_samples}
        return Outcome(
            protocol="info-nce-per-batch@1", metrics=metrics, num_samples=num_samples, settings=settings
        )
    return Outcome(
        protocol="label-softmax@1",
        metrics=metrics,
        num_samples=num_samples,
        settings={"label_weights": "uniform" if context.label_weights_V is None else "held-out idf"},
    )


def _held_out_idf(context: EvaluationContext) -> Tensor:
    """IDF weights [V] of the main captions of the whole validation set."""
    captions = [context.validation[index]["caption"] for index in range(len(context.validation))]
    ids_N = context.labels(captions).ids_N
    return idf_weights(torch.bincount(ids_N, minlength=context.tokenizer.vocabulary_size), len(captions))
