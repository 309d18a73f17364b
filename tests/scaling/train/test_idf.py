from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from model_zoo.targets import LabelSets, TokenRows
from scaling.train.idf import DocumentFrequencies, ValidRows, build_statistics

CPU = torch.device("cpu")
CAPTIONS = [[1, 2, 3], [2, 3], [3], [], [5, 1]]


def _labels(captions: list[list[int]], valid: list[bool] | None = None) -> LabelSets:
    offsets = [0]
    for caption in captions:
        offsets.append(offsets[-1] + len(caption))
    return LabelSets(
        torch.tensor([label for caption in captions for label in caption], dtype=torch.int64),
        torch.tensor(offsets),
        torch.tensor(valid if valid is not None else [bool(caption) for caption in captions]),
    )


def test_weights_are_the_reference_formula_over_all_captions_seen_so_far() -> None:
    statistics = DocumentFrequencies(8, CPU)
    statistics.observe(_labels(CAPTIONS))
    frequencies = Counter(label for caption in CAPTIONS for label in caption)
    for label, weight in enumerate(statistics.label_weights().tolist()):
        assert weight == pytest.approx(math.log((4 + 1) / (frequencies[label] + 1)), abs=1e-6)


def test_the_target_is_the_idf_weight_normalised_over_a_captions_labels() -> None:
    statistics = DocumentFrequencies(8, CPU)
    targets, num_valid = statistics.observe(_labels(CAPTIONS))
    assert isinstance(targets, LabelSets) and targets.probabilities_N is not None
    weights = statistics.label_weights()[torch.tensor([1, 2, 3])]
    torch.testing.assert_close(targets.probabilities_N[:3], weights / weights.sum())
    assert num_valid == 4


def test_masked_samples_are_not_counted() -> None:
    statistics = DocumentFrequencies(8, CPU)
    _, num_valid = statistics.observe(_labels([[1], [1]], valid=[True, False]))
    assert statistics.counts_V[1] == 1 and statistics.num_samples == 1 and num_valid == 1


def test_counting_in_parts_equals_counting_at_once() -> None:
    whole, parts = DocumentFrequencies(8, CPU), DocumentFrequencies(8, CPU)
    whole.observe(_labels(CAPTIONS))
    for caption in CAPTIONS:
        parts.observe(_labels([caption]))
    assert torch.equal(whole.counts_V, parts.counts_V) and whole.num_samples == parts.num_samples


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
    _, num_valid = DocumentFrequencies(8, CPU).observe(_labels([[], []]))
    assert num_valid == 1


def test_without_idf_labels_weigh_the_same_and_token_rows_pass_through() -> None:
    targets, _ = build_statistics("off", 8, "labels", CPU).observe(_labels([[1, 2]]))
    assert isinstance(targets, LabelSets) and targets.probabilities_N is not None
    assert targets.probabilities_N.tolist() == [0.5, 0.5]
    rows = TokenRows(torch.zeros(2, 4, dtype=torch.int64), torch.tensor([True, False]))
    passed, num_valid = ValidRows(CPU).observe(rows)
    assert passed is rows and num_valid == 1
