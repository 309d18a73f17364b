"""Whether both objectives were tuned equally: how many settings were tried in each cell, and what to do if not.

Best-of-K errors fall with K at an identical law: with run noise of half a point, the best of 8 against one run looks
like 1.13-1.15 times the compute.  So K must be equal in every cell, or the larger K is corrected to the smaller.

Shapes.  K settings tried in a cell.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from analysis.forms.form import Floats

CELL = ["image_tower", "samples_seen"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TuningBudget:
    """Settings tried per cell and objective, and whether the comparison may go on."""

    num_settings: pd.DataFrame  # rows: cells that both have; columns: studied, rival
    corrected: bool = False  # errors are expected minima of the smaller number

    @property
    def unequal(self) -> pd.DataFrame:
        """Cells in which one objective was tried with more settings than the other."""
        return self.num_settings[self.num_settings["studied"] != self.num_settings["rival"]]

    @property
    def equal(self) -> bool:
        """Whether the errors of every shared cell come from equally many settings."""
        return self.corrected or self.unequal.empty

    @property
    def statement(self) -> str:
        """What was tried and what was done about it, in words."""
        if self.num_settings.empty:
            return "no cell has both objectives, so that their tuning cannot be compared"
        if self.unequal.empty:
            counts = sorted(set(self.num_settings["studied"]))
            told = " or ".join(map(str, counts))
            return f"every shared cell was tried with as many settings for both objectives ({told})"
        first = self.unequal.reset_index().iloc[0]
        example = (
            f"{first['image_tower']} at {first['samples_seen']:.4g} samples: "
            f"{first['studied']} against {first['rival']}"
        )
        unequal = (
            f"{len(self.unequal)} of {len(self.num_settings)} shared cells were not tuned equally ({example})"
        )
        if self.corrected:
            return f"{unequal}; errors are the expected best of the smaller number of settings"
        return f"{unequal}; correct the errors to the smaller number (equal_budget) or train the missing settings"


def tuning_budget(runs: pd.DataFrame, studied: str, rival: str) -> TuningBudget:
    """Settings per shared cell in a table of runs: objective, image_tower, samples_seen, setting.

    `setting` names what was tuned (learning rate, weight decay, ...); seeds of a setting are one setting, and one that
    failed was tried.
    """
    _need(runs, ["objective", *CELL, "setting"])
    counts = runs.groupby(["objective", *CELL])["setting"].nunique().reset_index()
    sides = [
        counts[counts["objective"] == objective].set_index(CELL)["setting"].rename(name)
        for name, objective in (("studied", studied), ("rival", rival))
    ]
    return TuningBudget(num_settings=pd.concat(sides, axis=1, join="inner").sort_index())


def equal_budget(
    runs: pd.DataFrame, studied: str, rival: str, *, error: str = "error"
) -> tuple[pd.DataFrame, TuningBudget]:
    """One row per objective and cell, with the error expected of the best of K settings, and the budget of that.

    K is the smaller number of the two in shared cells, and the smallest K of any shared cell in cells of one objective.
    A setting counts with the mean of its seeds.  The other columns are those of the cell's first run.
    """
    budget = tuning_budget(runs, studied, rival)
    _need(runs, [error])
    if budget.num_settings.empty:
        raise ValueError(f"{studied} and {rival} share no cell: there is no smaller budget to correct to.")
    smaller = budget.num_settings.min(axis=1)
    tries = {tuple(cell): int(num) for cell, num in zip(smaller.index, smaller, strict=True)}
    compared = runs[runs["objective"].isin((studied, rival))]
    best = one_per_cell(compared, tries, int(smaller.min()), error=error)
    return best, dataclasses.replace(budget, corrected=True)


def one_per_cell(
    runs: pd.DataFrame, num_tries: Mapping[tuple[Hashable, ...], int], otherwise: int, *, error: str = "error"
) -> pd.DataFrame:
    """One row per objective and cell: that of its first run, with the error expected of the best of so many tries.

    `num_tries` by cell, `otherwise` in cells that it lacks; a setting counts with the mean of its seeds, and as tried
    where all of them failed (no error).  A cell in which every setting failed has no row.
    """
    _need(runs, ["objective", *CELL, "setting", error])
    rows = []
    for (_, *cell), tried in runs.groupby(["objective", *CELL], sort=True):
        finished = tried[tried[error].notna()]
        if finished.empty:
            continue
        mean_K = tried.groupby("setting")[error].mean().to_numpy()
        num = min(int(num_tries.get(tuple(cell), otherwise)), len(mean_K))
        rows.append({**finished.iloc[0].to_dict(), error: expected_best(mean_K, num)})
    return pd.DataFrame(rows)


def expected_best(error_K: Sequence[float] | Floats, num: int) -> float:
    """The least error expected of `num` of K tried settings, drawn without replacement.

    The i-th best is the best drawn in choose(K - i, num - 1) of the choose(K, num) draws.  A setting that failed (NaN)
    was tried and is never the best; draws of failed ones alone do not count.
    """
    ordered = sorted(float(error) for error in error_K if not math.isnan(error))
    if not ordered or not 1 <= num <= len(error_K):
        raise ValueError(
            f"the best of {num} of {len(error_K)} settings, {len(ordered)} of them finished: num must be between 1 and "
            f"{len(error_K)}, and one be finished."
        )
    draws = math.comb(len(error_K), num) - math.comb(len(error_K) - len(ordered), num)
    return sum(
        error * math.comb(len(error_K) - rank, num - 1) / draws for rank, error in enumerate(ordered, start=1)
    )


def _need(runs: pd.DataFrame, columns: list[str]) -> None:
    missing = [name for name in columns if name not in runs.columns]
    if missing:
        raise ValueError(f"the table of runs lacks {missing}; it has {list(runs.columns)}.")
