"""The compute frontier of an objective: its least error at a training compute, over the image towers of a study.

Derived from the fitted surface, as the minimum over a menu of towers, each trained for as many samples as the compute
pays for.  The minimum of the points themselves would favour lucky runs (winner's curse) and discard most cells.

Shapes.  T towers, M compute values, R laws.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from analysis.forms.form import Floats, Form, Law

# times the most samples of a tower's runs: what lies between two cells of a doubling grid, halved
BEYOND = 1.25


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Menu:
    """The towers an objective may spend compute on: what each is, and what a sample of it costs."""

    towers: tuple[str, ...]
    parameters_T: Floats  # of the image tower; NaN where unknown, which laws of compute alone do not mind
    flops_per_sample_T: Floats  # training FLOPs of everything that is trained, text tower and head included
    unique_samples: float = np.inf  # of the data set: more samples seen are repeats
    most_samples_T: Floats | None = None  # largest samples_seen of each tower's runs; None: not told

    def __post_init__(self) -> None:
        sizes = {len(self.towers), *self.parameters_T.shape, *self.flops_per_sample_T.shape}
        known_T = self.parameters_T[~np.isnan(self.parameters_T)]
        numbers_X = np.concatenate([known_T, self.flops_per_sample_T, [self.unique_samples]])
        if len(sizes) != 1 or not self.towers or not np.all(numbers_X > 0):
            raise ValueError(
                f"{self}: needs a tower, and a positive number of parameters and FLOPs for each."
            )

    def covariates(self, compute_M: npt.ArrayLike) -> dict[str, Floats]:
        """train_flops, parameters, samples_seen and unique_samples [T, M] of every tower trained with each compute."""
        compute = np.asarray(compute_M, dtype=float)
        if not np.all(np.isfinite(compute) & (compute > 0)):
            raise ValueError(f"compute must be positive and finite, not {compute_M!r}.")
        compute_TM = np.broadcast_to(compute, (len(self.towers), compute.size))
        samples_TM = compute_TM / self.flops_per_sample_T[:, None]
        return {
            "train_flops": compute_TM,
            "parameters": np.broadcast_to(self.parameters_T[:, None], compute_TM.shape),
            "samples_seen": samples_TM,
            "unique_samples": np.minimum(samples_TM, self.unique_samples),
        }


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Frontier:
    """The least error at each compute and the tower that reaches it."""

    compute_M: Floats
    error_M: Floats
    towers: tuple[str, ...]  # [M]; the first where a law of compute alone does not tell them apart


def frontier(law: Law, menu: Menu, compute_M: npt.ArrayLike) -> Frontier:
    """The frontier of one law."""
    theta_RP = np.asarray([law.theta])
    errors_RTM = tower_errors(law.form, theta_RP, law.references, menu, compute_M)[0]
    best_M = errors_RTM.argmin(axis=0)
    return Frontier(
        compute_M=np.asarray(compute_M, dtype=float),
        error_M=errors_RTM.min(axis=0),
        towers=tuple(menu.towers[index] for index in best_M),
    )


def beyond_samples(law: Law, menu: Menu, compute_M: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether the best tower [M] of each compute is trained for clearly more samples than any of its runs.

    The law is then trusted along samples where nothing was measured, though compute may be within the study.
    """
    if menu.most_samples_T is None:
        return np.zeros(np.size(compute_M), dtype=bool)
    theta_RP, samples_TM = np.asarray([law.theta]), menu.covariates(compute_M)["samples_seen"]
    best_M = tower_errors(law.form, theta_RP, law.references, menu, compute_M)[0].argmin(axis=0)
    reached_M = samples_TM[best_M, np.arange(len(best_M))]
    return np.asarray(reached_M > BEYOND * menu.most_samples_T[best_M])


def frontier_errors(
    form: Form, theta_RP: Floats, references: Mapping[str, float], menu: Menu, compute_M: npt.ArrayLike
) -> Floats:
    """Least errors [R, M] of many laws of one form (refits) at each compute."""
    return np.asarray(tower_errors(form, theta_RP, references, menu, compute_M).min(axis=1))


def tower_errors(
    form: Form, theta_RP: Floats, references: Mapping[str, float], menu: Menu, compute_M: npt.ArrayLike
) -> Floats:
    """Errors [R, T, M] of every tower trained with each compute, for many laws of one form."""
    columns = menu.covariates(compute_M)
    x_NK = np.stack([np.log(columns[name] / references[name]).ravel() for name in form.covariates], axis=1)
    shape = (len(theta_RP), len(menu.towers), np.size(compute_M))
    return form.predict(theta_RP, x_NK).reshape(shape)
