"""Which cells both objectives have, and how much the conclusion hangs on the others and on failed runs.

Shapes.  N points.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from analysis.comparison.side import Side
from analysis.fitting.fit import fit_form
from analysis.fitting.observations import Observations
from analysis.forms.form import Floats
from analysis.intervals.interval import Interval

# share of an objective's runs above which the conclusion is repeated with the failed ones imputed
FEW_FAILED = 0.05


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Pairing:
    """Clusters (cells, or trunks that cells share) by who has them."""

    shared: tuple[str, ...]
    studied_only: tuple[str, ...]
    rival_only: tuple[str, ...]

    @property
    def statement(self) -> str:
        """What is done with them, in words."""
        if not (self.studied_only or self.rival_only):
            return f"both objectives have the same {len(self.shared)} clusters; each is drawn jointly"
        alone = len(self.studied_only) + len(self.rival_only)
        return (
            f"clusters of both objectives, drawn jointly: {len(self.shared)}; of one alone: {alone} "
            f"({len(self.studied_only)} studied, {len(self.rival_only)} rival), fitted too, drawn alone"
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Sensitivity:
    """The ratio at the reference compute under another rule for what is fitted."""

    rule: str
    num_points: int  # that the rule removes or adds
    ratio: Interval | None  # None: no law is stated under this rule
    reason: str = ""  # why there is none


def pairing(studied: Side, rival: Side) -> Pairing:
    """Who has which clusters."""
    mine, theirs = set(studied.fit.observations.clusters), set(rival.fit.observations.clusters)
    return Pairing(
        shared=tuple(sorted(mine & theirs)),
        studied_only=tuple(sorted(mine - theirs)),
        rival_only=tuple(sorted(theirs - mine)),
    )


def on_shared_cells(side: Side, pairs: Pairing) -> Side:
    """The side refitted to the clusters that both objectives have."""
    points = side.fit.observations
    kept_N = np.isin(points.clusters, pairs.shared)
    return dataclasses.replace(side, fit=fit_form(points.where(kept_N), side.asked.form, side.fit.options))


def with_failed_as_worst(side: Side) -> Side:
    """The side refitted with every failed run counted as bad as the worst completed run of its tower, or of all.

    Nothing is known of a failed run; that it is no better than the worst that was seen is a stated assumption.  A law
    that falls with samples cannot pass through such points, and a robust loss counts them as outliers: they widen the
    interval more than they move the estimate.
    """
    points, failed = side.fit.observations, side.failed
    if failed is None or not len(failed):
        return side
    names = side.fit.form.covariates
    worst_F = _worst(points, failed.covariates.get("parameters"), len(failed))
    joined = Observations.of(
        np.concatenate([points.error_N, worst_F]),
        variance=_joined_variance(points, len(failed)),
        clusters=(*points.clusters, *failed.clusters),
        run_ids=(*points.run_ids, *failed.run_ids),
        **{name: np.concatenate([points.covariates[name], failed.covariates[name]]) for name in names},
        **_train_flops(side),
    )
    return dataclasses.replace(side, fit=fit_form(joined, side.asked.form, side.fit.options))


def _worst(points: Observations, parameters_F: Floats | None, num_failed: int) -> Floats:
    """The largest error [F] of the completed runs of each failed run's tower, of all where it has none."""
    worst_F = np.full(num_failed, points.error_N.max())
    if parameters_F is None or "parameters" not in points.covariates:
        return worst_F
    for row, parameters in enumerate(parameters_F):
        same_N = np.isclose(points.covariates["parameters"], parameters, rtol=1e-3)
        if same_N.any():
            worst_F[row] = points.error_N[same_N].max()
    return worst_F


def _joined_variance(points: Observations, num_failed: int) -> Floats | None:
    if points.variance_N is None:
        return None
    typical = float(np.median(points.variance_N))
    return np.append(points.variance_N, [typical] * num_failed)


def _train_flops(side: Side) -> dict[str, Floats]:
    """train_flops of points and failed runs where both have them and the form does not bring them already."""
    points, failed = side.fit.observations, side.failed
    assert failed is not None, "asked for a side with failed runs"
    if "train_flops" in side.fit.form.covariates or not (
        "train_flops" in points.covariates and "train_flops" in failed.covariates
    ):
        return {}
    return {
        "train_flops": np.concatenate([points.covariates["train_flops"], failed.covariates["train_flops"]])
    }
