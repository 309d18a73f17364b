"""The points of a fit: one row per run, whatever form is fitted to them.

Shapes.  N points.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from analysis.forms.form import Floats

SMALLEST, LARGEST = 1e-100, 1e100  # squares of anything in between, and their sums, are finite


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Observations:
    """Errors (fractions or nats) with the covariates of their runs."""

    covariates: Mapping[
        str, Floats
    ]  # [N] each, in their own units: train_flops, parameters, samples_seen, ...
    error_N: Floats
    variance_N: Floats | None = None  # known variance of each error; None: one unknown variance for all
    clusters: tuple[
        str, ...
    ]  # [N] labels: points of one are not independent (seeds of a cell, a shared trunk)
    run_ids: tuple[str, ...]

    @classmethod
    def of(
        cls,
        error: npt.ArrayLike,
        *,
        variance: npt.ArrayLike | None = None,
        clusters: Sequence[object] | None = None,
        run_ids: Sequence[str] | None = None,
        **covariates: npt.ArrayLike,
    ) -> Observations:
        """Points from columns of one length; ValueError unless every number is positive and finite.

        `clusters` are labels of any kind (None: every point is its own cluster).
        """
        error_N = np.asarray(error, dtype=np.float64)
        columns = {name: np.asarray(values, dtype=np.float64) for name, values in covariates.items()}
        if variance is not None:
            columns["variance"] = np.asarray(variance, dtype=np.float64)
        for name, values_N in {"error": error_N, **columns}.items():
            if values_N.shape != (len(error_N),):
                raise ValueError(
                    f"{name}: {values_N.shape} values for {len(error_N)} errors; give one per point."
                )
            bad = np.flatnonzero(~((values_N >= SMALLEST) & (values_N <= LARGEST)))
            if len(bad):
                told = ", ".join(f"{values_N[row]:g} at row {row}" for row in bad[:3])
                raise ValueError(
                    f"{name}: every value must be positive and finite ({SMALLEST:g} to {LARGEST:g}), not {told}; "
                    "leave such rows out."
                )
        labels = [str(label) for label in (range(len(error_N)) if clusters is None else clusters)]
        names = tuple(str(row) for row in range(len(error_N))) if run_ids is None else tuple(run_ids)
        if len(labels) != len(error_N) or len(names) != len(error_N):
            raise ValueError(f"{len(labels)} clusters and {len(names)} run_ids for {len(error_N)} errors.")
        return cls(
            covariates={name: values_N for name, values_N in columns.items() if name != "variance"},
            error_N=error_N,
            variance_N=columns.get("variance"),
            clusters=tuple(labels),
            run_ids=names,
        )

    def __len__(self) -> int:
        return len(self.error_N)

    @property
    def num_clusters(self) -> int:
        """Number of distinct clusters."""
        return len(set(self.clusters))

    @property
    def cluster_N(self) -> npt.NDArray[np.int64]:
        """The number of each point's cluster, clusters counted in the order of their labels."""
        return np.unique(self.clusters, return_inverse=True)[1].astype(np.int64)

    def where(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Observations:
        """The chosen rows, by a mask or by indices (repeats allowed)."""
        chosen = np.arange(len(self))[rows]
        return Observations(
            covariates={name: values_N[chosen] for name, values_N in self.covariates.items()},
            error_N=self.error_N[chosen],
            variance_N=None if self.variance_N is None else self.variance_N[chosen],
            clusters=tuple(self.clusters[row] for row in chosen),
            run_ids=tuple(self.run_ids[row] for row in chosen),
        )
