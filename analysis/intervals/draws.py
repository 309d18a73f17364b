"""The signs of clusters in a wild bootstrap, one for every fit that has the cluster.

Shapes.  R refits, L labels.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from analysis.forms.form import Floats

NUM_REFITS = 1000
FEW_CLUSTERS = 12  # below it, two signs give too few distinct refits (2**G); Webb's six points do (6**G)
SIX_POINTS = np.sqrt([1.5, 1.0, 0.5]).tolist()  # Webb 2023, each with either sign: mean 0, variance 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """What the noise of each cluster is multiplied by in each refit."""

    labels: tuple[str, ...]
    sign_RL: Floats

    def of(self, labels: Sequence[str]) -> Floats:
        """Signs [R, n] of the given clusters; ValueError for a cluster that was not drawn."""
        missing = sorted(set(labels) - set(self.labels))
        if missing:
            raise ValueError(
                f"no draws for clusters {missing[:5]}; draw for the union of the fits' clusters."
            )
        column = {label: index for index, label in enumerate(self.labels)}
        return np.asarray(self.sign_RL[:, [column[label] for label in labels]])


def wild_draws(labels: Sequence[str], num_refits: int = NUM_REFITS, seed: int = 0) -> Draws:
    """Signs per distinct label: Webb's six points with fewer than 12 clusters, Rademacher's two otherwise.

    The signs of a label depend on it and the seed alone, not on which other labels there are.
    """
    distinct = tuple(sorted(set(labels)))
    points = SIX_POINTS if len(distinct) < FEW_CLUSTERS else [1.0]
    values = np.asarray([-value for value in points] + points)
    columns = [_random(label, seed).choice(values, size=num_refits) for label in distinct]
    return Draws(labels=distinct, sign_RL=np.stack(columns, axis=1) if columns else np.zeros((num_refits, 0)))


def _random(label: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, zlib.crc32(label.encode())])
