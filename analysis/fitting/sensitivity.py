"""How much a fit depends on where Huber's loss turns from squares to absolute values.

On nearly noise-free losses a delta of 1e-3 counts almost every residual linearly, and the exponents follow it
(Besiroglu 2024's data: from .365 to .406 between 1e-4 and 1e-1), so a fit is shown with its neighbours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from analysis.fitting.fit import Fit, fit_form
from analysis.forms.form import Form

SCALES = (0.1, 0.3, 1.0, 1.345, 3.0, 10.0)  # robust standard deviations, around the default


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class DeltaFit:
    """A fit with one Huber delta."""

    huber_delta: float
    fit: Fit


def delta_sensitivity(fit: Fit, deltas: Sequence[float] | None = None) -> tuple[DeltaFit, ...]:
    """The same form and points with other Huber deltas, ascending (None: `SCALES` times the residual scale).

    ValueError with the reason where the fit has no law, and where deltas are left to residuals that are all 0.
    """
    law, form = fit.found, fit.asked or fit.form
    assert fit.evidence is not None, "a law has evidence"
    chosen = [scale * fit.evidence.residual_scale for scale in SCALES] if deltas is None else list(deltas)
    if not all(delta > 0 for delta in chosen):
        raise ValueError(
            f"{fit.form.name}: deltas must be positive, not {chosen}; give them for an exact fit."
        )
    return tuple(
        DeltaFit(huber_delta=delta, fit=_refit(fit, form, law.references, delta)) for delta in sorted(chosen)
    )


def _refit(fit: Fit, form: Form, references: Mapping[str, float], delta: float) -> Fit:
    options = dataclasses.replace(fit.options, loss="huber", huber_delta=delta)
    return fit_form(fit.observations, form, options, references=references)
