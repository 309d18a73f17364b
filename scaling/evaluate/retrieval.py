"""Image-text retrieval on the validation set: CLIP by cosine, SuperClass by its head's scores of tokens.

All captions of an image count as its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from model_zoo.targets import LabelSets
from scaling.evaluate.context import EvaluationContext, Outcome, captions_of
from scaling.evaluate.features import ImageBatch, Rows, to_rows
from scaling.evaluate.head_scores import log_marginal, log_probabilities, text_scores
from scaling.evaluate.recall import Scores, chances, recalls

# Shapes.  N images, M captions, B images of a block, E joint embedding, D features, V vocabulary.


def retrieval(context: EvaluationContext) -> Outcome | None:
    """Recalls on rank 0, protocol cosine-recall@1: images and captions by the cosine of their embeddings."""
    objective = context.clip("retrieval")

    def measure(images: ImageBatch) -> Rows:
        tokens_ML = context.tokens([caption for sample in images.samples for caption in captions_of(sample)])
        captions = [
            to_rows(objective.encode_text(tokens)) for tokens in torch.split(tokens_ML, context.batch)
        ]
        return {
            "images": to_rows(objective.encode_image(images.images_BCHW)),
            "captions": np.concatenate(captions),
            "num_captions": _num_captions(images),
        }

    rows = context.rows(measure, context.validation)
    if rows is None:
        return None
    images_NE = torch.from_numpy(rows["images"]).to(context.device)
    captions_ME = torch.from_numpy(rows["captions"]).to(context.device)
    return _outcome(
        context, rows, lambda start, stop: images_NE[start:stop] @ captions_ME.T, "cosine-recall@1", {}
    )


def retrieval_head(context: EvaluationContext) -> Outcome | None:
    """Recalls on rank 0, protocol head-token-pmi@1.

    score(image, caption) = sum over the caption's distinct tokens t of w_t [log p(t | image) - log p(t)]:
    p(. | image) is the softmax of the head's logits, p(t) its mean over the images of the set, and w the
    weights of training (uniform without), normalised to sum 1 per caption.  This is the mean pointwise mutual
    information of image and token, which is what a contrastive score estimates; without p(t) every image
    would prefer captions of frequent words.  p(t) does not change the order of images for a caption.
    """
    objective = context.superclass("retrieval_head")

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
    with torch.no_grad(), context.autocast():
        log_p_V = log_marginal(objective, features_ND, context.batch)

    def scores(start: int, stop: int) -> Tensor:
        with torch.no_grad(), context.autocast():
            log_p_BV = log_probabilities(objective, features_ND[start:stop])
        return text_scores(log_p_BV - log_p_V, captions)

    settings = {"label_weights": context.label_weights_name}
    return _outcome(context, rows, scores, "head-token-pmi@1", settings)


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
