"""Image-text retrieval on the validation set, by cosines of embeddings or by a head's scores of tokens.

All captions of an image count as its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from model_zoo.targets import LabelSets
from scaling.evaluate.context import EvaluationContext, Outcome, captions_of
from scaling.evaluate.features import ImageBatch, Rows, to_rows
from scaling.evaluate.head_scores import log_probabilities, text_scores
from scaling.evaluate.recall import Scores, chances, recalls

# Shapes.  N images, M captions, B images of a block, E joint embedding, D features, V vocabulary,
# L tokens.


def retrieval(context: EvaluationContext) -> Outcome | None:
    """Recalls on rank 0, protocol cosine-recall@1: images and captions by the cosine of their embeddings."""
    objective = context.embedder("retrieval")

    def measure(images: ImageBatch) -> Rows:
        tokens_ML = context.tokens([caption for sample in images.samples for caption in captions_of(sample)])
        texts = [objective.encode_text(tokens_BL) for tokens_BL in torch.split(tokens_ML, context.batch)]
        return {
            "images": to_rows(objective.encode_image(images.images_BCHW)),
            "captions": to_rows(torch.cat(texts)),
            "num_captions": _num_captions(images),
        }

    rows = context.rows(measure, context.validation)
    if rows is None:
        return None
    images_NE = torch.from_numpy(rows["images"]).to(context.device)
    captions_ME = torch.from_numpy(rows["captions"]).to(context.device)

    def cosines(start: int, stop: int) -> Tensor:
        return images_NE[start:stop] @ captions_ME.T

    return _outcome(context, rows, cosines, "cosine-recall@1", {})


def retrieval_head(context: EvaluationContext) -> Outcome | None:
    """Recalls on rank 0, protocol head-bag-pmi@1.

    score(image, caption) = log p(caption | image) - log p(caption): the pointwise mutual information of the
    two, which is what a contrastive score estimates.  A caption is the bag of its distinct tokens:
    log p(caption | image) = sum over them of w_t log p(t | image): p(. | image) is the softmax of the head's
    logits, and w the weights of training (uniform without), scaled to mean 1 per caption.  p(caption) is the
    mean of p(caption | image) over the images of the set: without it every image would prefer short captions
    of frequent words.  It does not change the order of images for a caption.  A caption without a token in the
    vocabulary (of words) says nothing about any image: its score is 0.
    """
    objective = context.classifier("retrieval_head")

    def measure(images: ImageBatch) -> Rows:
        labels = context.labels([caption for sample in images.samples for caption in captions_of(sample)])
        return {
            "features": to_rows(objective.image_features(images.images_BCHW)),
            "ids": labels.ids_N.cpu().numpy(),
            "num_ids": labels.offsets.diff().cpu().numpy(),
            "num_captions": _num_captions(images),
        }

    rows = context.rows(measure, context.validation)
    if rows is None:
        return None
    features_ND = torch.from_numpy(rows["features"]).to(context.device)
    captions = _label_sets(rows).to(context.device).with_probabilities(context.label_weights_V)

    def log_likelihoods(start: int, stop: int) -> Tensor:
        with torch.no_grad():
            log_p_BV = log_probabilities(objective, features_ND[start:stop])
        return text_scores(log_p_BV, captions) * captions.offsets.diff()

    starts = range(0, len(features_ND), context.batch)
    sums_M = [log_likelihoods(start, start + context.batch).logsumexp(dim=0) for start in starts]
    log_p_M = torch.stack(sums_M).logsumexp(dim=0) - math.log(len(features_ND))

    def mutual_information(start: int, stop: int) -> Tensor:
        return log_likelihoods(start, stop) - log_p_M

    settings = {"label_weights": context.label_weights_name}
    return _outcome(context, rows, mutual_information, "head-bag-pmi@1", settings)


def _num_captions(images: ImageBatch) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([len(captions_of(sample)) for sample in images.samples], dtype=np.int64)


def _label_sets(rows: Rows) -> LabelSets:
    offsets = np.concatenate([[0], rows["num_ids"].cumsum()])
    valid_M = torch.ones(len(rows["num_ids"]), dtype=torch.bool)
    return LabelSets(torch.from_numpy(rows["ids"]), torch.from_numpy(offsets), valid_M)


def _outcome(
    context: EvaluationContext, rows: Rows, scores: Scores, protocol: str, settings: Mapping[str, object]
) -> Outcome:
    num_images = len(rows["num_captions"])
    owners_M = torch.from_numpy(np.repeat(np.arange(num_images), rows["num_captions"])).to(context.device)
    return Outcome(
        protocol=protocol,
        metrics=recalls(scores, owners_M, num_images=num_images, block=context.batch),
        num_samples=num_images,
        settings={
            **settings,
            "num_captions": len(owners_M),
            "chance": chances(owners_M, num_images=num_images),
        },
    )
