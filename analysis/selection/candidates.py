"""The forms that compete for a metric, fixed in advance: what varies decides, never how well a form fits."""

from __future__ import annotations

import math

from analysis.fitting.fit import MIN_VALUES
from analysis.fitting.observations import Observations
from analysis.forms.bounded import Bounded
from analysis.forms.form import Form
from analysis.forms.powers import PowerSum

SURFACE = ("parameters", "samples_seen")
COMPUTE = ("train_flops",)


def candidates(observations: Observations, ceiling: float) -> tuple[Form, ...]:
    """Forms in the order of preference at equal merit; `ceiling` is the error of guessing, infinity for a loss.

    Surfaces of parameters and samples where both take MIN_VALUES values or more; else laws of compute, which tell
    one line of runs (a tower trained longer, or towers trained for the same samples) and no trade of one for the other.
    """
    terms = SURFACE if all(_num_values(observations, name) >= MIN_VALUES for name in SURFACE) else COMPUTE
    if math.isinf(ceiling):
        return (PowerSum(terms), PowerSum(terms, fixed_floor=0.0))
    forms: tuple[Form, ...] = (
        Bounded(terms, ceiling),
        Bounded(terms, ceiling, fixed_floor=0.0),
        PowerSum(terms),
    )
    return (*forms, Bounded(terms, ceiling, coupled=True)) if terms == SURFACE else forms


def _num_values(observations: Observations, covariate: str) -> int:
    return len(set(observations.covariates.get(covariate, [])))
