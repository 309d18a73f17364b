"""Equal tuning budgets: counting settings, and what unequal ones are worth."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from analysis.comparison.tuning import equal_budget, expected_best, tuning_budget


def runs(**settings: int) -> pd.DataFrame:
    """Runs of both objectives in two cells, with so many settings each in the first; one in the second."""
    rows = []
    for objective, num in settings.items():
        for tower, count in (("S/16", num), ("B/16", 1)):
            for setting in range(count):
                rows.append((objective, tower, 1e9, setting, 0.4 + 0.01 * setting))
    return pd.DataFrame(rows, columns=["objective", "image_tower", "samples_seen", "setting", "error"])


def test_equal_numbers_of_settings_pass() -> None:
    budget = tuning_budget(runs(superclass=3, clip=3), "superclass", "clip")
    assert budget.equal and "(1 or 3)" in budget.statement


def test_seeds_of_a_setting_are_not_settings() -> None:
    table = pd.concat([runs(superclass=2, clip=2), runs(superclass=2, clip=2).query("objective == 'clip'")])
    assert tuning_budget(table, "superclass", "clip").equal


def test_unequal_cells_are_named() -> None:
    budget = tuning_budget(runs(superclass=8, clip=1), "superclass", "clip")
    assert not budget.equal
    assert (
        "1 of 2 shared cells" in budget.statement and "S/16 at 1e+09 samples: 8 against 1" in budget.statement
    )


def test_the_expected_best_is_the_mean_of_the_minima_of_all_draws() -> None:
    errors = [0.3, 0.5, 0.1, 0.4, 0.2]
    for num in range(1, 6):
        minima = [min(draw) for draw in itertools.combinations(errors, num)]
        assert expected_best(errors, num) == pytest.approx(np.mean(minima))
    with pytest.raises(ValueError, match="between 1 and 5"):
        expected_best(errors, 6)


def test_settings_that_failed_were_tried_and_are_never_the_best() -> None:
    errors = [0.3, np.nan, 0.1, np.nan, 0.2]
    for num in range(1, 6):
        draws = [draw for draw in itertools.combinations(errors, num) if not np.all(np.isnan(draw))]
        assert expected_best(errors, num) == pytest.approx(np.mean([np.nanmin(draw) for draw in draws]))
    with pytest.raises(ValueError, match="0 of them finished"):
        expected_best([np.nan], 1)


def test_correcting_gives_both_the_best_of_the_smaller_number() -> None:
    table, budget = equal_budget(runs(superclass=8, clip=1), "superclass", "clip")
    assert budget.equal and "expected best of the smaller number" in budget.statement
    corrected = table.set_index(["objective", "image_tower"])["error"]
    assert corrected["superclass", "S/16"] == pytest.approx(0.435)  # the mean of the eight: the best of one
    assert corrected["clip", "S/16"] == pytest.approx(0.4)
    assert len(table) == 4


def test_a_table_without_settings_says_what_it_lacks() -> None:
    with pytest.raises(ValueError, match="lacks \\['setting'\\]"):
        tuning_budget(runs(superclass=1, clip=1).drop(columns="setting"), "superclass", "clip")
