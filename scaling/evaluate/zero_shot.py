"""Zero-shot classification: by a text tower's embeddings or a head's scores of the class names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.objective import EmbedsText
from scaling.data.labelled import LabelledSet
from scaling.evaluate.context import EvaluationContext, Outcome
from scaling.evaluate.features import ImageBatch, Rows
from scaling.evaluate.head_scores import in_full_precision, log_probabilities, text_scores

# Shapes.  B images, E joint embedding, K classes, T templates.


def zero_shot(context: EvaluationContext) -> Outcome | None:
    """{"top1", "chance"} on rank 0, protocol prompt-ensemble@1.

    A class is the normalised mean of the normalised embeddings of its name in every template, as in
    CLIP_benchmark; an image belongs to the class of the largest cosine.
    """
    objective, labelled = context.embedder("zero_shot"), context.labelled_set("zero_shot")
    classes_KE = class_embeddings(context, objective, labelled)

    def measure(images: ImageBatch) -> Rows:
        images_BE = objective.encode_image(images.images_BCHW).float()
        with in_full_precision(context.device):
            return _predictions(images_BE @ classes_KE.T, labelled, images)

    settings = {"num_templates": len(labelled.templates)}
    return _outcome(context.rows(measure, labelled.test), labelled, "prompt-ensemble@1", settings)


def zero_shot_head(context: EvaluationContext) -> Outcome | None:
    """{"top1", "chance"} on rank 0, protocol head-token-mean@1.

    score(image, class) = mean over the distinct tokens t of the class name of log p(t | image), with p the
    softmax of the head's logits over the vocabulary; no templates, no weights, and no correction for how
    frequent a token is.  A class whose name has no token in the vocabulary (of words) is never predicted.  Not
    to be mistaken for zero-shot accuracy after LiT, which trains a text tower.
    """
    objective, labelled = context.classifier("zero_shot_head"), context.labelled_set("zero_shot_head")
    classes = context.labels(labelled.class_names).with_probabilities(None)
    if not classes.valid_B.any():
        raise ValueError(
            f"zero_shot_head: no class name of {labelled.test.folder.parent} has a label in the vocabulary of "
            f"tokenizer {context.tokenizer.name!r}: use a larger vocabulary, or leave zero_shot out of evaluate."
        )

    def measure(images: ImageBatch) -> Rows:
        log_p_BV = log_probabilities(objective, objective.image_features(images.images_BCHW))
        scores_BK = text_scores(log_p_BV, classes).masked_fill(~classes.valid_B, -torch.inf)
        return _predictions(scores_BK, labelled, images)

    settings = {"classes_without_label": int((~classes.valid_B).sum())}
    return _outcome(context.rows(measure, labelled.test), labelled, "head-token-mean@1", settings)


def class_embeddings(context: EvaluationContext, objective: EmbedsText, labelled: LabelledSet) -> Tensor:
    """[K, E], each of length 1."""
    classes = []
    with torch.no_grad(), context.autocast():
        for name in labelled.class_names:
            prompts_TL = context.tokens(labelled.prompts(name))
            embeddings = [
                objective.encode_text(tokens_TL) for tokens_TL in torch.split(prompts_TL, context.batch)
            ]
            classes.append(torch.cat(embeddings).float().mean(dim=0))
    return F.normalize(torch.stack(classes), dim=-1)


def _predictions(scores_BK: Tensor, labelled: LabelledSet, images: ImageBatch) -> Rows:
    return {"predicted": scores_BK.argmax(dim=1).cpu().numpy(), "labels": labelled.labels(images.samples)}


def _outcome(
    rows: Rows | None, labelled: LabelledSet, protocol: str, settings: Mapping[str, object]
) -> Outcome | None:
    if rows is None:
        return None
    hits = rows["predicted"] == rows["labels"]
    return Outcome(
        protocol=protocol,
        metrics={"top1": float(np.mean(hits)), "chance": 1 / len(labelled.class_names)},
        num_samples=len(hits),
        settings={**settings, "labelled": [labelled.test.digest]},
    )
