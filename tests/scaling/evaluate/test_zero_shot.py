"""CLIP's zero-shot is open_clip's; SuperClass's is the mean log-probability of the class name's tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from open_clip import build_zero_shot_classifier

from scaling.data.images.transforms import decode, evaluation_crop, normalise
from scaling.evaluate.context import EvaluationContext
from scaling.evaluate.zero_shot import class_embeddings, zero_shot, zero_shot_head

Make = Callable[..., EvaluationContext]


def test_images(context: EvaluationContext) -> tuple[torch.Tensor, np.ndarray[Any, Any]]:
    assert context.labelled is not None
    crops = [
        evaluation_crop(decode(sample["jpg"]), context.specification.image_size)
        for sample in context.labelled.test
    ]
    return normalise(torch.stack(crops)), np.array([sample["label"] for sample in context.labelled.test])


test_images.__test__ = False  # type: ignore[attr-defined]


def test_class_embeddings_are_those_of_open_clip(clip: Any, context_of: Make) -> None:
    context = context_of(clip)
    assert context.labelled is not None

    class Theirs:
        def encode_text(self, tokens: torch.Tensor, normalize: bool) -> torch.Tensor:
            return clip.encode_text(tokens)  # type: ignore[no-any-return]

    expected = build_zero_shot_classifier(
        Theirs(),
        tokenizer=context.tokens,
        classnames=list(context.labelled.class_names),
        templates=[lambda c: f"a photo of a {c}.", lambda c: f"the {c}"],
    )
    torch.testing.assert_close(class_embeddings(context, clip, context.labelled), expected.T)


def test_zero_shot_takes_the_class_of_the_largest_cosine(clip: Any, context_of: Make) -> None:
    context = context_of(clip)
    images, labels = test_images(context)
    assert context.labelled is not None
    with torch.no_grad():
        cosines = clip.encode_image(images) @ class_embeddings(context, clip, context.labelled).T
    outcome = zero_shot(context)
    assert outcome is not None and outcome.protocol == "prompt-ensemble@1"
    assert outcome.metrics["top1"] == pytest.approx((cosines.argmax(dim=1).numpy() == labels).mean())
    assert outcome.metrics["chance"] == pytest.approx(1 / 3)


def test_the_head_scores_a_class_by_the_mean_log_probability_of_its_names_tokens(
    superclass: Any, context_of: Make
) -> None:
    context = context_of(superclass)
    images, labels = test_images(context)
    assert context.labelled is not None
    with torch.no_grad():
        log_p = superclass.head_logits(superclass.image_features(images)).double().log_softmax(dim=1)
    names = [context.tokenizer.encode([name])[0] for name in context.labelled.class_names]
    scores = torch.stack([log_p[:, ids].mean(dim=1) for ids in names], dim=1)
    outcome = zero_shot_head(context)
    assert outcome is not None and outcome.protocol == "head-token-mean@1"
    assert outcome.metrics["top1"] == pytest.approx((scores.argmax(dim=1).numpy() == labels).mean())


def test_the_length_of_a_class_name_is_no_advantage(superclass: Any, context_of: Make) -> None:
    context = context_of(superclass)
    assert context.labelled is not None
    repeated = dataclasses.replace(context.labelled, class_names=("dog dog dog", "red bird bird", "old cat"))
    assert zero_shot_head(context_of(superclass, labelled=repeated)) == zero_shot_head(context)


def test_a_class_whose_name_is_no_label_is_never_predicted(superclass: Any, context_of: Make) -> None:
    context = context_of(superclass)
    assert context.labelled is not None
    nameless = dataclasses.replace(context.labelled, class_names=(" ", "red bird", "old cat"))
    outcome = zero_shot_head(context_of(superclass, labelled=nameless))
    images, labels = test_images(context)
    with torch.no_grad():
        log_p = superclass.head_logits(superclass.image_features(images)).log_softmax(dim=1)
    names = [context.tokenizer.encode([name])[0] for name in nameless.class_names[1:]]
    best = 1 + torch.stack([log_p[:, ids].mean(dim=1) for ids in names]).argmax(dim=0).numpy()
    assert outcome is not None and outcome.settings["classes_without_label"] == 1
    assert outcome.metrics["top1"] == pytest.approx((best == labels).mean())


def test_class_names_that_are_no_labels_at_all_are_an_error(superclass: Any, context_of: Make) -> None:
    context = context_of(superclass)
    assert context.labelled is not None
    nameless = dataclasses.replace(context.labelled, class_names=(" ", " ", " "))
    with pytest.raises(
        ValueError, match="no class name .* has a label in the vocabulary of tokenizer 'clip_bpe_4k'"
    ):
        zero_shot_head(context_of(superclass, labelled=nameless))


@pytest.mark.parametrize("task", [zero_shot, zero_shot_head])
def test_several_ranks_find_what_one_finds(
    task: Any, clip: Any, superclass: Any, context_of: Make, on_ranks: Callable[..., list[Any]]
) -> None:
    objective = clip if task is zero_shot else superclass
    first, *others = on_ranks(3, lambda ranks, _: task(context_of(objective, ranks=ranks)))
    assert first == task(context_of(objective)) and others == [None, None]


def test_bf16_does_not_reach_the_scores(clip: Any, context_of: Make) -> None:
    images_of: list[torch.dtype] = []
    product = torch.Tensor.__matmul__

    def spy(self: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        result = product(self, other)
        if other.shape[-1] == 3:
            images_of.append(result.dtype)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "__matmul__", spy)
        zero_shot(context_of(clip, autocast=lambda: torch.autocast("cpu", torch.bfloat16)))
    assert set(images_of) == {torch.float32}


def test_a_label_without_a_name_is_an_error_that_names_the_sample(clip: Any, context_of: Make) -> None:
    context = context_of(clip)
    assert context.labelled is not None
    fewer = dataclasses.replace(context.labelled, class_names=("dog", "cat"))
    with pytest.raises(
        ValueError, match="sample 'test2' has the label 2, but classnames.txt names 2 classes"
    ):
        zero_shot(context_of(clip, labelled=fewer))
