"""One objective of a comparison, and what two of them need in common.

Shapes.  N points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from analysis.fitting.fit import Fit
from analysis.fitting.problem import Problem
from analysis.forms.form import Floats
from analysis.frontier import Menu

MENU_COLUMNS = frozenset({"train_flops", "parameters", "samples_seen"})  # that a menu can predict from
SAME_TOWER = 1e-3  # relative difference of parameters up to which two towers are one


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FailedRuns:
    """Runs that were started and have no result: diverged, out of memory, incomplete under a cosine schedule."""

    covariates: Mapping[str, Floats]  # [N] each, at least those of the fitted form
    clusters: tuple[str, ...]  # [N] labels, as those of the points
    run_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.run_ids)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """An objective: its fitted law, the towers it may spend compute on, and the runs that gave no point."""

    objective: str
    fit: Fit
    menu: Menu
    metric: str = ""  # column of the measured error
    kind: Literal["error", "loss"] = "error"
    failed: FailedRuns | None = None

    @property
    def failed_share(self) -> float:
        """Share of all runs that gave no point."""
        num_failed = 0 if self.failed is None else len(self.failed)
        return num_failed / (num_failed + len(self.fit.observations))

    @property
    def asked(self) -> Fit:
        """The fit in the form that was asked for, its law on the bound where a simpler form was stated.

        A floor that ended at 0 is not known to be 0: refits and tests let it move.
        """
        form, law = self.fit.asked, self.fit.law
        if form is None or law is None:
            return self.fit
        problem = Problem.of(self.fit.observations, form, self.fit.options, references=law.references)
        values = {name: law.values.get(name, 0.0) for name in form.parameters}
        theta_P = np.clip(form.theta(values), *problem.bounds)
        return dataclasses.replace(self.fit, form=form, law=problem.law(theta_P), asked=None, note="")

    @property
    def compute_range(self) -> tuple[float, float]:
        """Smallest and largest training FLOPs of the points."""
        compute_N = self.train_flops
        return float(compute_N.min()), float(compute_N.max())

    @property
    def train_flops(self) -> Floats:
        """Training FLOPs [N] of the points: their own column, or samples x the cost of a sample of their tower.

        ValueError where neither can be had, such as for a tower that is not on the menu.
        """
        covariates = self.fit.observations.covariates
        if "train_flops" in covariates:
            return covariates["train_flops"]
        if not {"parameters", "samples_seen"} <= covariates.keys():
            raise ValueError(
                f"{self.objective}: the points have {sorted(covariates)}; "
                "give train_flops, or parameters and samples_seen."
            )
        away_NT = np.abs(np.log(covariates["parameters"][:, None] / self.menu.parameters_T))
        if away_NT.min(axis=1).max() > SAME_TOWER:
            row = int(away_NT.min(axis=1).argmax())
            raise ValueError(
                f"{self.objective}: run {self.fit.observations.run_ids[row]} has a tower of "
                f"{covariates['parameters'][row]:.4g} parameters, which is not on its menu {self.menu.towers}; "
                "add the tower to the menu, or train_flops to the points."
            )
        return np.asarray(covariates["samples_seen"] * self.menu.flops_per_sample_T[away_NT.argmin(axis=1)])


def incomparable(studied: Side, rival: Side) -> str:
    """Why two sides cannot be compared whatever their numbers, or ""."""
    if studied.metric != rival.metric:
        return (
            f"{studied.objective} has {studied.metric}, {rival.objective} has {rival.metric}: not one metric"
        )
    for side in (studied, rival):
        if side.kind == "loss" or side.fit.observations.error_N.max() > 1:
            return (
                f"the losses of {studied.objective} and {rival.objective} measure different things; "
                "only error rates of a shared task compare"
            )
        if not set(side.fit.form.covariates) <= MENU_COLUMNS:
            missing = sorted(set(side.fit.form.covariates) - MENU_COLUMNS)
            return f"the law of {side.objective} needs {missing}, which does not follow from a compute and a tower"
        if side.fit.law is None:
            status = side.fit.status.value.replace("_", " ")
            return f"no law is stated for {side.objective} ({status}): {side.fit.reason}"
    mine, theirs = (side.fit.form.covariates for side in (studied, rival))
    if mine != theirs:
        return (
            f"{studied.objective} has a law of {' and '.join(mine)}, {rival.objective} one of {' and '.join(theirs)}: "
            "the best of several towers does not compare with a line of runs; train the same towers and samples for "
            "both"
        )
    return ""


def shared_range(studied: Side, rival: Side) -> tuple[float, float]:
    """The computes between which both sides have points; the first is larger than the second where there are none."""
    (low, high), (rival_low, rival_high) = studied.compute_range, rival.compute_range
    return max(low, rival_low), min(high, rival_high)
