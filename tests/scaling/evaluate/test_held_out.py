"""Held-out loss: the mean of the objective's own loss, by dense formulas, the same on any number of ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from open_clip.loss import ClipLoss

from scaling.data.images.transforms import decode, evaluation_crop, normalise
from scaling.evaluate.context import EvaluationContext
from scaling.evaluate.held_out import held_out_loss

Make = Callable[..., EvaluationContext]


def images_of(context: EvaluationContext) -> torch.Tensor:
    return normalise(
        torch.stack(
            [evaluation_crop(decode(s["jpg"]), context.specification.image_size) for s in context.validation]
        )
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_superclass_is_the_mean_cross_entropy_over_every_sample(
    weighted: bool, superclass: Any, context_of: Make
) -> None:
    """The weights of training say only that labels are weighed; the weights are the held-out captions' IDF."""
    context = context_of(superclass, label_weights_V=torch.rand(4_096) if weighted else None)
    labels_NV = torch.zeros(23, 4_096, dtype=torch.float64)
    for row, sample in zip(labels_NV, context.validation):
        row[context.tokenizer.encode([sample["caption"]])[0]] = 1
    targets_NV = labels_NV * (24 / (labels_NV.sum(dim=0) + 1)).log() if weighted else labels_NV
    targets_NV = targets_NV / targets_NV.sum(dim=1, keepdim=True)
    with torch.no_grad():
        logits_NV = superclass.head_logits(superclass.image_features(images_of(context)))
    expected = -(targets_NV * logits_NV.double().log_softmax(dim=1)).sum(dim=1).mean().item()
    outcome = held_out_loss(context)
    assert outcome.metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert outcome.num_samples == 23
    assert outcome.settings == {
        "label_weights": "held-out idf" if weighted else "uniform",
        "samples_without_label": 0,
    }


@pytest.mark.parametrize("weighted", [False, True])
def test_samples_without_a_label_take_no_part(weighted: bool, superclass: Any, context_of: Make) -> None:
    """As with a vocabulary of words that does not hold any word of a caption."""
    whole = context_of(superclass).validation
    weights = torch.rand(4_096) if weighted else None
    with_empty = Changed(whole, {3: "", 7: " "})
    without = Changed(whole, {}, kept=[index for index in range(23) if index not in (3, 7)])
    found, expected = (
        held_out_loss(context_of(superclass, validation=part, label_weights_V=weights))
        for part in (with_empty, without)
    )
    assert found.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-6)
    assert (found.num_samples, found.settings["samples_without_label"]) == (21, 2)


def test_a_set_without_any_label_is_an_error(superclass: Any, context_of: Make) -> None:
    empty = Changed(context_of(superclass).validation, dict.fromkeys(range(23), ""))
    with pytest.raises(ValueError, match="no caption of .* has a label in the vocabulary of tokenizer"):
        held_out_loss(context_of(superclass, validation=empty))


class Changed:
    """A data set with some captions replaced, or only some of its samples."""

    folder = "changed"

    def __init__(self, dataset: Any, captions: dict[int, str], kept: list[int] | None = None) -> None:
        self.samples = [
            {**dataset[index], "caption": captions.get(index, dataset[index]["caption"])}
            for index in (range(len(dataset)) if kept is None else kept)
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.samples[index]


def test_the_loss_does_not_depend_on_how_long_the_weights_of_training_were_counted(
    superclass: Any, context_of: Make
) -> None:
    early, late = (context_of(superclass, label_weights_V=torch.rand(4_096) * scale) for scale in (1, 20))
    assert held_out_loss(early).metrics == held_out_loss(late).metrics


def test_clip_is_the_mean_over_whole_batches_of_open_clips_loss(clip: Any, context_of: Make) -> None:
    context = context_of(clip, batch=5)
    images = images_of(context)
    losses = []
    for start in range(0, 20, 5):
        captions = [context.validation[index]["caption"] for index in range(start, start + 5)]
        with torch.no_grad():
            image, text = clip.encode_image(images[start : start + 5]), clip.encode_text(
                context.tokens(captions)
            )
            losses.append(ClipLoss()(image, text, clip.logit_scale.exp()).item())
    outcome = held_out_loss(context)
    assert outcome.metrics["loss"] == pytest.approx(sum(losses) / 4, rel=1e-5)
    assert outcome.num_samples == 20
    assert outcome.settings == {"batch": 5, "left_out": 3, "samples_without_label": 0}


@pytest.mark.parametrize(
    ("objective", "protocol"),
    [
        ("superclass", "label-softmax@1"),
        ("clip", "info-nce-per-batch@1"),
        ("siglip", "sigmoid-per-batch@1"),
        ("superclip", "info-nce+label-softmax-per-batch@1"),
    ],
)
def test_a_record_names_the_loss(
    objective: str, protocol: str, context_of: Make, model_of: Callable[[str], Any]
) -> None:
    assert held_out_loss(context_of(model_of(objective))).protocol == protocol


@pytest.mark.parametrize("num_ranks", [2, 3, 7])
def test_the_loss_does_not_depend_on_the_number_of_ranks(
    num_ranks: int, clip: Any, superclass: Any, context_of: Make, on_ranks: Callable[..., list[Any]]
) -> None:
    for objective in (superclass, clip):
        alone = held_out_loss(context_of(objective)).metrics["loss"]
        everywhere = on_ranks(
            num_ranks,
            lambda ranks, all_reduce: held_out_loss(
                context_of(objective, ranks=ranks, all_reduce=all_reduce)
            ),
        )
        assert [outcome.metrics["loss"] for outcome in everywhere] == pytest.approx(
            [alone] * num_ranks, rel=1e-9
        )


def test_superclass_does_not_depend_on_the_batch(superclass: Any, context_of: Make) -> None:
    losses = [held_out_loss(context_of(superclass, batch=batch)).metrics["loss"] for batch in (1, 4, 100)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-5)


def test_clip_refuses_a_set_smaller_than_its_batch(clip: Any, context_of: Make) -> None:
    with pytest.raises(ValueError, match="has 23 samples, fewer than one batch of 24.*lower evaluate.batch"):
        held_out_loss(context_of(clip, batch=24))
