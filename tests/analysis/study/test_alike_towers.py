"""Two towers of nearly the same parameters that err differently: the user is told that a law takes them for one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from analysis.study.alike_towers import tower_gap
from analysis.study.study import MetricStudy, StudyOptions, study_metric

TOWERS = {
    "vit_s16": (22e6, 28e9),
    "vit_b16": (86.2e6, 105e9),
    "vit_b32": (87.8e6, 27e9),
    "vit_l16": (304e6, 369e9),
}
"""Parameters of the image tower and training FLOPs of a sample."""


def sweep(gap: float, *, seed: int = 0) -> pd.DataFrame:
    """Both objectives on four towers x four samples; vit_b32 errs by `gap` more than its parameters tell."""
    rng, rows = np.random.default_rng(seed), []
    for objective in ("superclass", "clip"):
        for tower, (parameters, cost) in TOWERS.items():
            for samples in (128e6, 512e6, 2e9, 8e9):
                u = 0.25 * (parameters / 86e6) ** -0.45 + 0.45 * (samples / 1e9) ** -0.4
                error = (0.1 + 0.999 * u) / (1 + u) + gap * (tower == "vit_b32")
                rows.append(
                    {
                        "run_id": f"{objective}-{tower}-{samples:g}",
                        "status": "done",
                        "objective": objective,
                        "image_tower": tower,
                        "samples_seen": samples,
                        "measured_samples_seen": samples,
                        "train_flops": cost * samples,
                        "planned_train_flops": cost * samples,
                        "parameters.image_tower": parameters,
                        "zero_shot.top1": 1 - float(expit(logit(error) + 0.02 * rng.standard_normal())),
                        "zero_shot.chance": 0.001,
                        "evaluation.zero_shot.num_samples": 50_000,
                        "evaluation.zero_shot.samples_seen": samples,
                    }
                )
    return pd.DataFrame(rows)


def study_of(table: pd.DataFrame) -> MetricStudy:
    return study_metric(table, "zero_shot.top1", StudyOptions(num_refits=50))


def test_towers_that_parameters_do_not_tell_apart_are_named_with_their_gap() -> None:
    study = study_of(sweep(0.05))
    for side in study.sides.values():
        (doubt,) = side.doubts
        assert "vit_b16 and vit_b32 have nearly the same parameters (8.62e+07 and 8.78e+07)" in doubt
        gap = (
            tower_gap(side.fit, list(side.points["image_tower"]), "vit_b16", "vit_b32") if side.fit else None
        )
        assert gap is not None and gap.lower is not None and gap.upper is not None
        assert 0 < gap.lower < 0.05 < gap.upper and gap.estimate == pytest.approx(0.05, abs=0.01)
    assert study.comparison is not None
    assert sum("takes them for one tower" in note for note in study.comparison.notes) == 2


@pytest.mark.parametrize("seed", range(4))
def test_towers_that_follow_one_law_raise_no_doubt(seed: int) -> None:
    assert all(not side.doubts for side in study_of(sweep(0.0, seed=seed)).sides.values())
