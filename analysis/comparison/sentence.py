"""The conclusion in one sentence, and the numbers it is made of."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt

from analysis.comparison.ratio import RatioBand
from analysis.forms.form import Floats
from analysis.intervals.interval import Interval


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The ratio at one compute, and how far up the same can be said."""

    compute: float  # FLOPs
    ratio: Interval
    extrapolated: bool  # uses a frontier beyond its points
    # largest compute up to which a ratio of 1 stays excluded; None: it is not excluded
    decided_until: float | None
    # largest compute up to which both ends stay closed; None: they are not here
    identified_until: float | None
    limit: float  # largest compute that was looked at

    @classmethod
    def of(cls, ratio: RatioBand, beyond: RatioBand | None, compute: float) -> Finding:
        """The finding at a compute within the band or beyond it."""
        bands = [ratio] if beyond is None else [ratio, beyond]
        band = bands[-1] if compute > ratio.compute_M[-1] * (1 + 1e-9) else ratio
        compute_M = np.concatenate([part.compute_M for part in bands])
        return cls(
            compute=compute,
            ratio=band.at(compute),
            extrapolated=band.is_extrapolated(compute),
            decided_until=_until(compute_M, np.concatenate([part.decided_M for part in bands]), compute),
            identified_until=_until(
                compute_M, np.concatenate([part.identified_M for part in bands]), compute
            ),
            limit=float(compute_M[-1]),
        )


def sentence(studied: str, rival: str, metric: str, finding: Finding | None, reason: str) -> str:
    """Such as: superclass reaches clip's error with 0.8x the compute [0.7, 0.95] at 1e21 FLOPs, ...."""
    error = metric or "error"
    if finding is None:
        return f"{studied} and {rival} cannot be compared on {error}: {reason}."
    ratio, at = finding.ratio, f"at {flops(finding.compute)} FLOPs"
    if ratio.lower is None and ratio.upper is None:
        told = f"The compute {studied} needs for {rival}'s {error} is not identified {at}"
        return f"{told} ({_estimate_words(ratio)}{reason or ratio.reason})."
    told = f"{studied} {_reach_words(rival, error, ratio)} {_ends(ratio)} {at}"
    if finding.extrapolated:
        told += ", beyond the points of one of them"
    return f"{told}, {_how_far(finding)}."


def flops(compute: float) -> str:
    """Two digits: 1e+21 as 1e21, 4.7e20."""
    mantissa, exponent = f"{compute:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _until(compute_M: Floats, holds_M: npt.NDArray[np.bool_], compute: float) -> float | None:
    """The largest compute up to which something holds without a gap from the given one on."""
    first = int(np.argmin(np.abs(np.log(compute_M / compute))))
    if not holds_M[first]:
        return None
    ends = np.flatnonzero(~holds_M[first:])
    return float(compute_M[-1] if not len(ends) else compute_M[first + int(ends[0]) - 1])


def _how_far(finding: Finding) -> str:
    """What can be said beyond the compute of the finding."""
    limit = f"up to {flops(finding.limit)}, as far as extrapolation is believed"
    if finding.decided_until is not None:
        if finding.decided_until >= finding.limit:
            return f"and the sign of the difference holds {limit}"
        return f"and we cannot tell beyond {flops(finding.decided_until)}"
    tied = "which does not tell the two apart"
    if finding.identified_until is None:
        return f"{tied}: {finding.ratio.reason}"
    if finding.identified_until >= finding.limit:
        return f"{tied}; the ratio stays bounded {limit}"
    return f"{tied}; the ratio is not identified beyond {flops(finding.identified_until)}"


def _reach_words(rival: str, error: str, ratio: Interval) -> str:
    if math.isinf(ratio.estimate):
        return f"does not reach {rival}'s {error} with any compute that is believed"
    if ratio.estimate == 0:
        return f"has less than {rival}'s {error} at every compute that is believed"
    return f"reaches {rival}'s {error} with {ratio.estimate:.2g}x the compute"


def _ends(ratio: Interval) -> str:
    lower = "0" if ratio.lower is None else f"{ratio.lower:.2g}"
    upper = "no upper end" if ratio.upper is None else f"{ratio.upper:.2g}"
    return f"[{lower}, {upper}]"


def _estimate_words(ratio: Interval) -> str:
    if ratio.estimate == 0 or math.isinf(ratio.estimate):
        return ""
    return f"estimate {ratio.estimate:.2g}x; "
