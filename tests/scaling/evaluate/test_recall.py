"""Recalls agree with torchmetrics, credit nobody for ties, and do not depend on how the work is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.retrieval import RetrievalHitRate, RetrievalRecall

from scaling.evaluate.recall import chances, recalls

OWNERS_M = torch.tensor([0, 0, 0, 1, 2, 2, 3, 4, 4, 4, 5, 6, 7, 7, 8, 9, 9, 10, 11, 11])
NUM_IMAGES = 12


def recalls_of(scores_NM: Tensor, block: int = 5) -> dict[str, float]:
    return recalls(lambda a, b: scores_NM[a:b], OWNERS_M, num_images=len(scores_NM), block=block)


@pytest.fixture
def scores_NM() -> Tensor:
    draw = torch.Generator().manual_seed(0)
    is_own_NM = OWNERS_M == torch.arange(NUM_IMAGES)[:, None]
    return torch.randn(NUM_IMAGES, len(OWNERS_M), generator=draw) + 0.8 * is_own_NM


@pytest.mark.parametrize("k", [1, 5, 10])
def test_recalls_are_those_of_torchmetrics(scores_NM: Tensor, k: int) -> None:
    is_own_NM = OWNERS_M == torch.arange(NUM_IMAGES)[:, None]
    images_NM = torch.arange(NUM_IMAGES)[:, None].expand_as(is_own_NM)
    captions_NM = torch.arange(len(OWNERS_M)).expand_as(is_own_NM)
    found = recalls_of(scores_NM)
    positive = scores_NM.sigmoid().flatten()  # torchmetrics never retrieves what scores below 0
    any_caption = RetrievalHitRate(top_k=k)(positive, is_own_NM.flatten(), images_NM.flatten())
    the_image = RetrievalRecall(top_k=k)(positive, is_own_NM.flatten(), captions_NM.flatten())
    assert found[f"image_to_text_recall_at_{k}"] == pytest.approx(any_caption.item())
    assert found[f"text_to_image_recall_at_{k}"] == pytest.approx(the_image.item())


@pytest.mark.parametrize("block", [1, 4, 12, 100])
def test_recalls_do_not_depend_on_the_block(scores_NM: Tensor, block: int) -> None:
    assert recalls_of(scores_NM, block) == recalls_of(scores_NM, 3)


def test_recalls_do_not_depend_on_the_order_of_the_captions(scores_NM: Tensor) -> None:
    order = torch.randperm(len(OWNERS_M), generator=torch.Generator().manual_seed(1))
    shuffled = recalls(lambda a, b: scores_NM[a:b, order], OWNERS_M[order], num_images=NUM_IMAGES, block=5)
    assert shuffled == recalls_of(scores_NM)


def test_a_perfect_score_is_recalled_at_one() -> None:
    found = recalls_of((OWNERS_M == torch.arange(NUM_IMAGES)[:, None]).float())
    assert set(found.values()) == {1.0}


def test_a_model_to_which_all_is_alike_earns_nothing() -> None:
    found = recalls_of(torch.zeros(NUM_IMAGES, len(OWNERS_M)))
    assert found["image_to_text_recall_at_1"] == found["text_to_image_recall_at_1"] == 0.0
    assert found["text_to_image_recall_at_5"] == 0.0  # eleven ties: place 5.5


def test_chances_are_the_average_recalls_of_random_scores() -> None:
    draw = torch.Generator().manual_seed(2)
    rounds = [recalls_of(torch.rand(NUM_IMAGES, len(OWNERS_M), generator=draw)) for _ in range(600)]
    for name, chance in chances(OWNERS_M, num_images=NUM_IMAGES).items():
        assert np.mean([found[name] for found in rounds]) == pytest.approx(chance, abs=0.02)
