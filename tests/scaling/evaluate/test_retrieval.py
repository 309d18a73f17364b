"""Retrieval against dense formulas: cosines for CLIP, mutual information by the head for SuperClass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from scaling.data.images.transforms import decode, evaluation_crop, normalise
from scaling.evaluate.context import EvaluationContext
from scaling.evaluate.head_scores import log_probabilities, text_scores
from scaling.evaluate.recall import chances, recalls
from scaling.evaluate.retrieval import retrieval, retrieval_head

Make = Callable[..., EvaluationContext]


def images_and_captions(context: EvaluationContext) -> tuple[Tensor, list[str], Tensor]:
    samples = list(context.validation)
    crops = [evaluation_crop(decode(sample["jpg"]), context.specification.image_size) for sample in samples]
    owners = [index for index, sample in enumerate(samples) for _ in sample["captions"]]
    return (
        normalise(torch.stack(crops)),
        [caption for sample in samples for caption in sample["captions"]],
        torch.tensor(owners),
    )


def expected_recalls(scores_NM: Tensor, owners_M: Tensor) -> dict[str, float]:
    return recalls(lambda a, b: scores_NM[a:b], owners_M, num_images=len(scores_NM), block=len(scores_NM))


def test_clip_retrieves_by_the_cosine_of_all_captions(clip: Any, context_of: Make) -> None:
    context = context_of(clip)
    images, captions, owners_M = images_and_captions(context)
    with torch.no_grad():
        cosines_NM = clip.encode_image(images) @ clip.encode_text(context.tokens(captions)).T
    outcome = retrieval(context)
    assert outcome is not None and outcome.protocol == "cosine-recall@1"
    assert outcome.metrics == expected_recalls(cosines_NM, owners_M)
    assert outcome.num_samples == 23 and outcome.settings["num_captions"] == len(captions)
    assert outcome.settings["chance"] == chances(owners_M, num_images=23)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_head_retrieves_by_mutual_information_of_image_and_bag_of_tokens(
    weighted: bool, superclass: Any, context_of: Make
) -> None:
    weights_V = torch.rand(4_096, generator=torch.Generator().manual_seed(0)) + 0.1 if weighted else None
    context = context_of(superclass, label_weights_V=weights_V)
    images, captions, owners_M = images_and_captions(context)
    with torch.no_grad():
        log_p_NV = superclass.head_logits(superclass.image_features(images)).double().log_softmax(dim=1)
    columns = []
    for caption in captions:
        ids = sorted(set(context.tokenizer.encode([caption])[0]))
        weights = torch.ones(len(ids)).double() if weights_V is None else weights_V[ids].double()
        columns.append(log_p_NV[:, ids] @ (weights / weights.mean()))
    likelihoods_NM = torch.stack(columns, dim=1)
    information_NM = likelihoods_NM - likelihoods_NM.exp().mean(dim=0).log()
    outcome = retrieval_head(context)
    assert outcome is not None and outcome.protocol == "head-bag-pmi@1"
    assert outcome.metrics == expected_recalls(information_NM.float(), owners_M)
    assert outcome.settings["label_weights"] == ("training" if weighted else "uniform")


@pytest.mark.parametrize("task", [retrieval, retrieval_head])
@pytest.mark.parametrize("num_ranks", [2, 5])
def test_several_ranks_find_what_one_finds(
    task: Any,
    num_ranks: int,
    clip: Any,
    superclass: Any,
    context_of: Make,
    on_ranks: Callable[..., list[Any]],
) -> None:
    objective = clip if task is retrieval else superclass
    first, *others = on_ranks(num_ranks, lambda ranks, _: task(context_of(objective, ranks=ranks)))
    assert first == task(context_of(objective)) and others == [None] * (num_ranks - 1)


def test_a_set_with_one_caption_an_image_needs_no_captions_column(clip: Any, context_of: Make) -> None:
    class OneCaption:
        folder = None

        def __init__(self, dataset: Any) -> None:
            self.dataset = dataset

        def __len__(self) -> int:
            return len(self.dataset)

        def __getitem__(self, index: int) -> dict[str, Any]:
            return {key: value for key, value in self.dataset[index].items() if key != "captions"}

    outcome = retrieval(context_of(clip, validation=OneCaption(context_of(clip).validation)))
    assert outcome is not None and outcome.settings["num_captions"] == 23


def test_a_caption_that_a_text_tower_cannot_read_is_an_error(clip: Any, context_of: Make) -> None:
    with pytest.raises(ValueError, match="' ' has no token"):
        context_of(clip).tokens(["a dog", " "])


def test_a_caption_without_a_label_is_as_likely_for_every_image(superclass: Any, context_of: Make) -> None:
    """Pointwise mutual information of nothing is 0: such a caption neither wins nor fails."""
    context = context_of(superclass)
    labels = context.labels(["a dog", " "])
    assert labels.valid_B.tolist() == [True, False]
    with torch.no_grad():
        log_p_BV = log_probabilities(superclass, torch.randn(3, superclass.feature_width))
    assert text_scores(log_p_BV, labels.with_probabilities(None))[:, 1].tolist() == [0, 0, 0]
