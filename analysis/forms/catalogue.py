"""Every form by its name, as sweep files, reports and the command line call it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import MappingProxyType

from analysis.forms.bounded import Bounded
from analysis.forms.broken import BrokenPower
from analysis.forms.form import Form
from analysis.forms.isoflop import Polynomial
from analysis.forms.powers import PowerSum
from analysis.forms.repeated import RepeatedData
from analysis.forms.shifted import ShiftedPower

SURFACE = ("parameters", "samples_seen")

# what the one-covariate forms are laws of, and the floor (None: fitted) -> the form
_UNBOUNDED: Mapping[str, Callable[[str, float | None], Form]] = MappingProxyType(
    {
        "power": lambda covariate, floor: PowerSum((covariate,), floor or 0.0),
        "saturating_power": lambda covariate, floor: PowerSum((covariate,), floor),
        "shifted_power": ShiftedPower,
        "broken_power": BrokenPower,
        "additive_surface": lambda covariate, floor: PowerSum(SURFACE, floor),
        "repeated_data_surface": lambda covariate, floor: RepeatedData(PowerSum(SURFACE, floor)),
    }
)
# form: surface, coupled, repeated
_BOUNDED: Mapping[str, tuple[bool, bool, bool]] = MappingProxyType(
    {
        "bounded_power": (False, False, False),
        "bounded_surface": (True, False, False),
        "coupled_bounded_surface": (True, True, False),
        "repeated_data_bounded_surface": (True, False, True),
        "repeated_data_coupled_bounded_surface": (True, True, True),
    }
)
_ISOFLOP: Mapping[str, int] = MappingProxyType({"isoflop_parabola": 2, "isoflop_cubic": 3})

FORMS: tuple[str, ...] = (*_UNBOUNDED, *_BOUNDED, *_ISOFLOP)
WITHOUT_FLOOR = "_without_floor"


def form_named(
    name: str, *, ceiling: float | None = None, covariate: str | None = None, floor: float | None = None
) -> Form:
    """The form of this name; NAME_without_floor is the same with its floor fixed at 0.

    `ceiling` is the error of guessing, which bounded forms need; `covariate` is that of the forms of one covariate
    (default: train_flops, parameters for IsoFLOP); `floor` fixes the floor.  ValueError names what is wrong.
    """
    bare = name.removesuffix(WITHOUT_FLOOR)
    floor = 0.0 if bare != name else floor
    if bare in _ISOFLOP and bare == name:
        return Polynomial(covariate or "parameters", _ISOFLOP[name])
    if bare in _UNBOUNDED:
        return _UNBOUNDED[bare](covariate or "train_flops", floor)
    if bare in _BOUNDED:
        if ceiling is None:
            raise ValueError(
                f"{name} needs a ceiling: the error of guessing, 1 - 1 / classes for accuracies."
            )
        surface, coupled, repeated = _BOUNDED[bare]
        bounded = Bounded(SURFACE if surface else (covariate or "train_flops",), ceiling, floor, coupled)
        return RepeatedData(bounded) if repeated else bounded
    near = difflib.get_close_matches(name, FORMS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else f" Known forms: {', '.join(FORMS)}."
    raise ValueError(f"unknown form {name!r}.{hint}")
