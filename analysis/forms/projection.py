"""Variable projection (Golub & Pereyra 1973): the best non-negative amplitudes in closed form, over a grid.

Shapes.  N points, K covariates, M amplitudes, G laws of the grid, L coordinates of the grid, S seeds.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from analysis.forms.form import Floats
from analysis.forms.terms import exponent_bounds

GRID_EXPONENTS = {1: 160, 2: 32, 3: 12}  # per covariate: 160 in all, 1,024, 1,728
APART = 1.5  # seeds differ by more steps of the grid in some coordinate: neighbours lead to one minimum
RIDGE = 1e-13  # of a scaled basis: a flat one has a solution too
VANISHING = 1e-4  # amplitudes of 0 start at this share of the smallest error, where they can still grow


def log_exponent_axes(x_NK: Floats, num: int | None = None) -> list[Floats]:
    """Evenly spread log exponents between the bounds of each covariate."""
    count = GRID_EXPONENTS[x_NK.shape[1]] if num is None else num
    return [np.linspace(low, high, count) for low, high in zip(*exponent_bounds(x_NK), strict=True)]


def grid(axes: Sequence[Floats]) -> Floats:
    """Every combination [G, L] of the values of the axes."""
    return np.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes)))


def spread_best(
    squared_G: Floats, place_GL: Floats, axes: Sequence[Floats], count: int
) -> npt.NDArray[np.int64]:
    """Rows [S] of the least squared errors, each more than `APART` steps from the others while there are such."""
    step_L = np.asarray([np.ptp(axis) / max(len(axis) - 1, 1) for axis in axes])
    left_G = np.ones(len(squared_G), dtype=bool)
    chosen: list[int] = []
    while left_G.any() and len(chosen) < count:
        best = int(np.argmin(np.where(left_G, squared_G, np.inf)))
        chosen.append(best)
        left_G &= np.any(np.abs(place_GL - place_GL[best]) > APART * step_L, axis=1)
    beside = np.setdiff1d(np.arange(len(squared_G)), chosen)
    filled = beside[np.argsort(squared_G[beside], kind="stable")][: count - len(chosen)]
    return np.concatenate([np.asarray(chosen, dtype=np.int64), filled])


def project(basis_GNM: Floats, target_N: Floats, weight_N: Floats) -> tuple[Floats, Floats]:
    """Amplitudes >= 0 [G, M] of least weighted squared error, and that error [G].

    Exact: the optimum of non-negative least squares is the free optimum of the amplitudes that are not 0, so the
    best feasible one of all subsets is it (M <= 4: at most 15 small solves, all laws at once).
    """
    root_N = np.sqrt(weight_N)
    scaled_GNM, goal_N = basis_GNM * root_N[:, None], target_N * root_N
    gram_GMM = np.einsum("gnm,gnk->gmk", scaled_GNM, scaled_GNM)
    moment_GM = np.einsum("gnm,n->gm", scaled_GNM, goal_N)
    num_laws, num_amplitudes = moment_GM.shape
    best_GM, gain_G = np.zeros((num_laws, num_amplitudes)), np.zeros(num_laws)
    for size in range(1, num_amplitudes + 1):
        for subset in itertools.combinations(range(num_amplitudes), size):
            amplitude_GS = _solve(gram_GMM[:, subset][:, :, subset], moment_GM[:, subset])
            explained_G = np.einsum("gs,gs->g", amplitude_GS, moment_GM[:, subset])
            better_G = np.all(amplitude_GS > 0, axis=1) & (explained_G > gain_G)
            best_GM[better_G] = 0.0
            best_GM[np.ix_(better_G, subset)] = amplitude_GS[better_G]
            gain_G[better_G] = explained_G[better_G]
    return best_GM, np.asarray(float(goal_N @ goal_N) - gain_G)


def _solve(gram_GSS: Floats, moment_GS: Floats) -> Floats:
    """Solutions [G, S] of the normal equations, scaled and lightly ridged so that a flat basis has one too."""
    size_GS = np.sqrt(np.einsum("gss->gs", gram_GSS)) + 1e-300
    scaled_GSS = gram_GSS / (size_GS[:, :, None] * size_GS[:, None, :])
    scaled_GSS = scaled_GSS + RIDGE * np.eye(gram_GSS.shape[1])
    return np.asarray(np.linalg.solve(scaled_GSS, (moment_GS / size_GS)[..., None])[..., 0] / size_GS)
