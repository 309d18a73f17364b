from __future__ import annotations

import dataclasses

import torch

from model_zoo.targets import LabelSets, TokenRows

LABELS = LabelSets(
    ids_N=torch.tensor([2, 5, 1, 0, 3, 5]),
    offsets=torch.tensor([0, 2, 3, 3, 6]),  # {2, 5}, {1}, {}, {0, 3, 5}
    valid_B=torch.tensor([True, True, False, True]),
)


def test_without_weights_the_target_is_uniform_over_the_labels_of_a_sample() -> None:
    probabilities_N = LABELS.with_probabilities(None).probabilities_N
    torch.testing.assert_close(probabilities_N, torch.tensor([1 / 2, 1 / 2, 1, 1 / 3, 1 / 3, 1 / 3]))


def test_with_weights_the_target_is_the_weight_normalised_per_sample() -> None:
    weights_V = torch.tensor([1.0, 4.0, 1.0, 2.0, 9.0, 3.0], dtype=torch.float64)
    probabilities_N = LABELS.with_probabilities(weights_V).probabilities_N
    expected_N = torch.tensor([1 / 4, 3 / 4, 1, 1 / 6, 2 / 6, 3 / 6], dtype=torch.float64)
    torch.testing.assert_close(probabilities_N, expected_N)


def test_labels_that_all_weigh_nothing_leave_no_target_instead_of_nan() -> None:
    probabilities_N = LABELS.with_probabilities(torch.zeros(6)).probabilities_N
    torch.testing.assert_close(probabilities_N, torch.zeros(6))


def test_an_id_is_counted_once_in_each_valid_sample_that_has_it() -> None:
    assert LABELS.counts_V(6).tolist() == [1, 1, 1, 1, 0, 2]
    masked = dataclasses.replace(LABELS, valid_B=torch.tensor([False, True, False, True]))
    assert masked.counts_V(6).tolist() == [1, 1, 0, 1, 0, 1]


def test_ids_outside_the_vocabulary_count_and_weigh_nothing_and_stay_where_they_are() -> None:
    wrong = dataclasses.replace(LABELS, ids_N=torch.tensor([2, 6, 1, -1, 3, 10**12]))
    assert wrong.counts_V(6).tolist() == [0, 1, 1, 1, 0, 0]
    weighted = wrong.with_probabilities(torch.full([6], 2.0))
    assert weighted.ids_N.tolist() == [2, 6, 1, -1, 3, 10**12], "for the head to name"
    assert weighted.probabilities_N is not None
    assert weighted.probabilities_N.tolist() == [1, 0, 1, 0, 1, 0]


def test_probabilities_leave_the_original_labels_alone() -> None:
    LABELS.with_probabilities(None)
    assert LABELS.probabilities_N is None


def test_rows_of_label_sets_are_the_labels_of_those_samples() -> None:
    whole = LABELS.with_probabilities(None)
    part = whole.rows(1, 4)
    assert len(part) == 3
    assert part.ids_N.tolist() == [1, 0, 3, 5]
    assert part.offsets.tolist() == [0, 1, 1, 4]
    assert part.valid_B.tolist() == [True, False, True]
    assert whole.probabilities_N is not None and part.probabilities_N is not None
    torch.testing.assert_close(part.probabilities_N, whole.probabilities_N[2:])


def test_rows_past_the_end_stop_at_the_end_as_slices_do() -> None:
    assert LABELS.rows(3, 99).ids_N.tolist() == [0, 3, 5]
    assert len(LABELS.rows(3, 99)) == 1
    assert len(TokenRows(torch.zeros(4, 7), LABELS.valid_B).rows(3, 99)) == 1


def test_rows_of_tokens_are_the_tokens_of_those_samples() -> None:
    part = TokenRows(torch.arange(12).view(4, 3), LABELS.valid_B).rows(1, 3)
    assert part.tokens_BL.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert part.valid_B.tolist() == [True, False]


def test_targets_move_to_a_device_whole() -> None:
    labels = LABELS.with_probabilities(None).to("meta")
    tokens = TokenRows(torch.zeros(4, 7), LABELS.valid_B).to("meta")
    moved = (
        labels.ids_N,
        labels.offsets,
        labels.valid_B,
        labels.probabilities_N,
        tokens.tokens_BL,
        tokens.valid_B,
    )
    assert all(tensor is not None and tensor.is_meta for tensor in moved)
