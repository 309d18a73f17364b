"""Label statistics: the reference's arithmetic in whole numbers, counted once per global batch."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model_zoo.build import build_objective
from model_zoo.classification_head import ClassificationHead
from model_zoo.specification import ObjectiveSpecification
from model_zoo.targets import LabelledTokens, LabelSets, TokenRows
from scaling.train.batch_share import PendingCounts
from scaling.train.idf import DocumentFrequencies, FixedWeights, build_statistics

CPU = torch.device("cpu")
CAPTIONS = [[1, 2, 3], [2, 3], [3], [], [5, 1]]


def _labels(captions: list[list[int]], valid: list[bool] | None = None) -> LabelSets:
    offsets = [0]
    for caption in captions:
        offsets.append(offsets[-1] + len(caption))
    return LabelSets(
        torch.tensor([label for caption in captions for label in caption], dtype=torch.int64),
        torch.tensor(offsets),
        torch.tensor(
            valid if valid is not None else [bool(caption) for caption in captions], dtype=torch.bool
        ),
    )


def test_weights_are_the_reference_formula_over_all_captions_seen_so_far() -> None:
    statistics = DocumentFrequencies(8, CPU)
    weights_V = statistics.observe(_labels(CAPTIONS)).share(1).label_weights_V
    frequencies = Counter(label for caption in CAPTIONS for label in caption)
    assert weights_V is not None and torch.equal(weights_V, statistics.label_weights())
    for label, weight in enumerate(weights_V.tolist()):
        assert weight == pytest.approx(math.log((4 + 1) / (frequencies[label] + 1)), abs=1e-6)


def reference_targets(rows_of_ranks: list[Tensor], seen: tuple[Tensor, float]) -> tuple[Tensor, Tensor]:
    """fp64 [B, V] of all ranks, and the counts after it: x-cls/superclass cls_model.py and loss.py.

    Multi-hot rows; every rank adds its mean to a float buffer and a step to the number of samples, both are averaged
    over the ranks; log((steps + 1/B) / (frequency + 1/B)) weighs the labels, and a row's L1 norm divides it.
    """
    frequency_V, steps = seen
    hots = [
        torch.zeros(len(rows), len(frequency_V)).double().scatter_(1, rows, 1.0) for rows in rows_of_ranks
    ]
    of_ranks = [frequency_V + hot_BV.sum(0) / len(hot_BV) for hot_BV in hots]
    frequency_V, hot_BV = torch.stack(of_ranks).mean(0), torch.cat(hots)
    smoothing = 1 / len(hot_BV)
    weighted_BV = hot_BV * torch.log((steps + 1 + smoothing) / (frequency_V + smoothing))
    return torch.nn.functional.normalize(weighted_BV, p=1.0, dim=1, eps=1e-12), frequency_V


def test_side_by_side_with_the_reference_targets_and_losses_agree_in_every_step_on_two_ranks() -> None:
    """Rows as reference_compat labels them: start, end and the pad id 0 among the labels, no caption left out."""
    size, width, draw = 24, 6, torch.Generator().manual_seed(8)
    statistics, frequency_V = DocumentFrequencies(size, CPU), torch.zeros(size, dtype=torch.float64)
    head = ClassificationHead(width, size).double()
    for step in range(4):
        rows_BL = torch.randint(1, size - 2, (8, 7), generator=draw)
        rows_BL[:, 0], rows_BL[torch.arange(8), 1 + torch.arange(8) % 6] = size - 2, size - 1
        rows_BL[(torch.arange(7) > 1 + torch.arange(8)[:, None] % 6)] = 0
        target_BV, frequency_V = reference_targets([rows_BL[:4], rows_BL[4:]], (frequency_V, step))
        features_BD = torch.randn(8, width, generator=draw, dtype=torch.float64)
        expected = -(target_BV * head.logits(features_BD).log_softmax(1)).sum(1).mean()

        labels = _labels([row.unique().tolist() for row in rows_BL], [True] * 8)
        share = statistics.observe(labels).share(1)
        weighted = labels.with_probabilities(share.label_weights_V)
        ours_BV = torch.zeros(8, size).double()
        assert weighted.probabilities_N is not None
        ours_BV[labels.samples_N(), labels.ids_N] = weighted.probabilities_N.double()
        torch.testing.assert_close(ours_BV, target_BV, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(head(features_BD, weighted, share.divisor), expected, rtol=1e-5, atol=0)
    assert statistics.num_samples == 32


@pytest.mark.parametrize("idf", ["online", "frozen", "off"])
@pytest.mark.parametrize("wrong", [-1, 8, 9, 10**12])
def test_a_label_out_of_range_is_named_whatever_weighs_the_labels(idf: str, wrong: int) -> None:
    statistics = build_statistics(idf, 8, CPU, (torch.ones(8, dtype=torch.int64), 9))
    labels = _labels([[1], [2, wrong]])
    share = statistics.observe(labels).share(1)
    specification = ObjectiveSpecification(
        objective="superclass", image_tower="vit_nano8", image_size=16, vocabulary_size=8
    )
    objective = build_objective(specification, seed=0)
    with pytest.raises(ValueError, match=f"label id {wrong} is not one of the head's 8 classes \\(0 to 7\\)"):
        objective(torch.zeros(2, 3, 16, 16), labels, share)


def test_masked_samples_are_not_counted() -> None:
    statistics = DocumentFrequencies(8, CPU)
    share = statistics.observe(_labels([[1], [1]], valid=[True, False])).share(1)
    assert statistics.counts_V[1] == 1 and statistics.num_samples == 1 and share.divisor == 1


@given(
    captions=st.lists(st.sets(st.integers(0, 7), max_size=8).map(sorted), min_size=1, max_size=12),
    cuts=st.sets(st.integers(1, 11)),
)
@settings(max_examples=50, deadline=None)
def test_counting_in_any_parts_equals_counting_at_once(captions: list[list[int]], cuts: set[int]) -> None:
    whole, parts = DocumentFrequencies(8, CPU), DocumentFrequencies(8, CPU)
    whole.observe(_labels(captions))
    edges = [0, *sorted(cut for cut in cuts if cut < len(captions)), len(captions)]
    for start, stop in zip(edges, edges[1:]):
        parts.observe(_labels(captions[start:stop]))
    assert torch.equal(whole.counts_V, parts.counts_V) and whole.num_samples == parts.num_samples
    assert whole.counts_V.dtype == whole.num_samples.dtype == torch.int64


def test_a_step_that_is_tried_again_counts_once() -> None:
    """The share may be read by as many forwards, of as many micro-batches, as it takes."""
    statistics = DocumentFrequencies(8, CPU)
    counts = statistics.observe(_labels(CAPTIONS))
    for num_parts in (1, 2, 2, 4):
        assert counts.share(num_parts).divisor == 4 / num_parts
    assert statistics.num_samples == 4 and statistics.counts_V.tolist() == [0, 2, 2, 3, 0, 1, 0, 0]


def test_the_sum_over_ranks_is_awaited_where_it_is_read_and_once() -> None:
    """Towers and copies to the device run beside it."""

    class Sum:
        waits = 0

        def wait(self) -> None:
            self.waits += 1

    work: Any = Sum()
    counts = PendingCounts(work, lambda: (torch.tensor(4), None))
    shares = [counts.share(1), counts.share(2)]
    assert work.waits == 0
    assert [float(share.divisor) for share in shares] == [4, 2] and shares[0].label_weights_V is None
    assert work.waits == 1


def test_a_batch_counts_though_no_loss_asked_for_it() -> None:
    statistics = DocumentFrequencies(8, CPU)
    for _ in range(3):
        statistics.observe(_labels([[1]]))
    assert statistics.state()["num_samples"] == 3


def test_counts_stay_exact_beyond_what_a_float_can_count() -> None:
    statistics = DocumentFrequencies(8, CPU)
    statistics.restore({"counts_V": torch.full([8], 2**24), "num_samples": torch.tensor(2**24)})
    statistics.observe(_labels([[1]]))
    assert statistics.counts_V[1] == 2**24 + 1


def test_restored_counts_continue_where_they_were_saved() -> None:
    statistics, resumed = DocumentFrequencies(8, CPU), DocumentFrequencies(8, CPU)
    statistics.observe(_labels(CAPTIONS))
    resumed.restore(statistics.state())
    assert torch.equal(resumed.label_weights(), statistics.label_weights())


def test_a_batch_without_any_valid_row_does_not_divide_by_zero() -> None:
    assert DocumentFrequencies(8, CPU).observe(_labels([[], []])).share(2).divisor == 0.5


def test_without_idf_labels_weigh_alike_and_only_valid_rows_are_counted() -> None:
    statistics = build_statistics("off", 8, CPU, None)
    rows = TokenRows(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([True, False]))
    for targets in (_labels([[1, 2], []]), rows):
        share = statistics.observe(targets).share(1)
        assert share.label_weights_V is None and share.divisor == 1
    assert statistics.state() == {} and statistics.label_weights() is None


def test_frozen_weights_are_those_of_the_counting_pass_whatever_is_seen() -> None:
    counts_V = torch.tensor([0, 9, 99, 4])
    statistics = build_statistics("frozen", 4, CPU, (counts_V, 99))
    assert isinstance(statistics, FixedWeights)
    for captions in ([[1]], [[2], [3, 1]]):
        weights_V = statistics.observe(_labels(captions)).share(1).label_weights_V
        assert weights_V is not None
        torch.testing.assert_close(weights_V, torch.tensor([100.0, 10.0, 1.0, 20.0]).log())
    assert statistics.state() == {}, "frozen weights are read from their file, not from a checkpoint"


def test_an_objective_that_classifies_and_contrasts_counts_its_labels() -> None:
    labels = _labels(CAPTIONS)
    rows = TokenRows(torch.zeros(5, 4, dtype=torch.int64), labels.valid_B)
    both, alone = DocumentFrequencies(8, CPU), DocumentFrequencies(8, CPU)
    both.observe(LabelledTokens(labels, rows))
    alone.observe(labels)
    assert torch.equal(both.counts_V, alone.counts_V)


def test_the_summary_tells_what_was_counted_in_numbers() -> None:
    statistics = DocumentFrequencies(8, CPU)
    statistics.observe(_labels(CAPTIONS))
    summary = statistics.summary()
    weights = [math.log((4 + 1) / (df + 1)) for df in (0, 2, 2, 3, 0, 1, 0, 0)]
    assert summary["idf_documents"] == 4 and summary["labels_never_seen"] == 4
    assert summary["idf_weight_mean"] == pytest.approx(sum(weights) / 8)
    assert summary["idf_weight_max"] == pytest.approx(max(weights))
    assert all(isinstance(value, float) for value in summary.values())


def test_fixed_weights_are_summarised_and_no_weights_have_no_summary() -> None:
    fixed = FixedWeights(CPU, torch.tensor([1.0, 3.0])).summary()
    assert fixed == {"idf_weight_mean": 2.0, "idf_weight_max": 3.0}
    assert FixedWeights(CPU, None).summary() == {}
