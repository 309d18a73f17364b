"""Laws for a study of which no run exists: what CLIP's published errors suggest, and a stated ratio."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from scipy.optimize import brentq

from analysis.design.beliefs import Belief, Beliefs
from analysis.design.noise import PRIOR_NOISE, Noise
from analysis.design.ratio import log_ratio
from analysis.forms.bounded import Bounded
from analysis.forms.form import Law
from analysis.frontier import Menu
from analysis.published.pairs import image_parameters, train_flops

TOWERS = ("vit_s16", "vit_b16", "vit_l16", "vit_h14")
CHANCE_ERROR = 0.999  # of 1,000 classes
REFERENCES: Mapping[str, float] = MappingProxyType({"parameters": 1.5e8, "samples_seen": 1e9})
# CLIP's ImageNet zero-shot error. Floor and exponents are assumed; the amplitudes are least squares through the five
# runs of Tables 8 and 9 of arXiv:2411.03313, which they miss by 1.5 points (root mean square).
CLIP_VALUES: Mapping[str, float] = MappingProxyType(
    {
        "scale_parameters": 0.158,
        "scale_samples_seen": 0.273,
        "exponent_parameters": 0.5,
        "exponent_samples_seen": 0.5,
        "floor": 0.05,
    }
)
RATIO = 1 / 1.3  # assumed: SuperClass needs 1.3x less compute than CLIP
COMPUTE = 4.5e20  # training FLOPs at which it does: 1.5e11 forward GFLOPs, the middle of the paper's runs


def menu_of(objective: str, towers: Sequence[str] = TOWERS) -> Menu:
    """The menu of published costs of an objective, clip or superclass."""
    return Menu(
        towers=tuple(towers),
        parameters_T=np.asarray([float(image_parameters(tower)) for tower in towers]),
        flops_per_sample_T=np.asarray([train_flops(tower, objective, 1) for tower in towers]),
    )


def assumed_beliefs(
    *,
    ratio: float = RATIO,
    compute: float = COMPUTE,
    noise: Noise = PRIOR_NOISE,
    towers: Sequence[str] = TOWERS,
    clip_values: Mapping[str, float] = CLIP_VALUES,
) -> Beliefs:
    """CLIP as assumed, and a SuperClass that makes the same of a multiple of parameters and samples.

    The multiple is such that the equal-compute ratio is `ratio` at `compute`; ValueError where none does.
    """
    form = Bounded(tuple(REFERENCES), CHANCE_ERROR)
    rival = Belief(objective="clip", law=_law(form, clip_values), menu=menu_of("clip", towers))

    def studied(log_multiple: float) -> Belief:
        values = dict(clip_values)
        for name in REFERENCES:
            values[f"scale_{name}"] *= math.exp(-values[f"exponent_{name}"] * log_multiple)
        return Belief(objective="superclass", law=_law(form, values), menu=menu_of("superclass", towers))

    def excess(log_multiple: float) -> float:
        return log_ratio(studied(log_multiple), rival, compute).value - math.log(ratio)

    if not excess(math.log(8)) < 0 < excess(-math.log(8)):
        raise ValueError(f"ratio {ratio:g} at {compute:.3g} FLOPs: choose one between about 0.1 and 10.")
    found = float(brentq(excess, -math.log(8), math.log(8), xtol=1e-10))
    return Beliefs(studied=studied(found), rival=rival, noise=noise)


def _law(form: Bounded, values: Mapping[str, float]) -> Law:
    return Law(form=form, theta=tuple(map(float, form.theta(values))), references=dict(REFERENCES))
