"""What the numbers of a figure rest on: code, filters, conventions, fits and options, as plain JSON values."""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import subprocess
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from analysis.filters import Selection
from analysis.fitting.fit import Fit

PACKAGE = "superclass-scaling"
COMPUTE_CONVENTION = (
    "training FLOPs of the model: 2 per multiply-add, forward and backward, everything that is trained; "
    "no recomputation"
)


def provenance(**facts: Any) -> dict[str, Any]:
    """Code and compute convention, then the given facts, all as JSON values: non-finite numbers become null."""
    return {"code": dict(code_version()), "compute_convention": COMPUTE_CONVENTION, **plain(facts)}


@functools.cache
def code_version() -> Mapping[str, str]:
    """Version of this package and the commit it was checked out from, with a mark if it was changed since."""
    try:
        installed = version(PACKAGE)
    except PackageNotFoundError:
        installed = "unknown: not installed"
    return {"package": PACKAGE, "version": installed, "commit": _commit()}


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except FileNotFoundError:
        return "unknown: no git on this machine"
    return found.stdout.strip() if found.returncode == 0 else "unknown: not a git checkout"


def fit_facts(fit: Fit | None) -> dict[str, Any]:
    """Form, status, reason, options, parameters and evidence of a fit; the run_ids and clusters it saw."""
    if fit is None:
        return {"status": "no points"}
    facts: dict[str, Any] = plain(
        {
            "form": fit.form.name,
            "formula": fit.form.formula,
            "status": fit.status,
            "reason": fit.reason,
            "options": fit.options,
            "parameters": fit.law.values if fit.law else None,
            "references": fit.law.references if fit.law else None,
            "evidence": fit.evidence,
            "run_ids": fit.observations.run_ids,
            "num_clusters": fit.observations.num_clusters,
        }
    )
    return facts


def filter_facts(selection: Selection) -> list[dict[str, Any]]:
    """Every rule that left runs out, with their run_ids."""
    return [
        {"name": rule.name, "description": rule.description, "run_ids": list(rule.run_ids)}
        for rule in selection.rules
    ]


def plain(value: Any) -> Any:
    """The value as JSON knows it: dataclasses as objects, arrays as lists, sets sorted, non-finite numbers as null."""
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, (str, bool, int)) or value is None:
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(one) for one in value)
    if isinstance(value, Collection):
        return [plain(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    raise TypeError(f"{value!r}: a provenance holds plain values, not {type(value).__name__}.")
