"""What the figures of a comparison rest on, and what they are called."""

from __future__ import annotations

from typing import Any

from analysis.comparison.compare import Comparison


def comparison_name(comparison: Comparison) -> str:
    """zero_shot_top1_superclass_and_clip."""
    metric = comparison.metric.replace(".", "_") or "error"
    return f"{metric}_{comparison.studied}_and_{comparison.rival}"


def comparison_facts(comparison: Comparison) -> dict[str, Any]:
    """Status, reason, rules and options of a comparison, without its curves (those are the data)."""
    band = comparison.difference
    return {
        "metric": comparison.metric,
        "studied": comparison.studied,
        "rival": comparison.rival,
        "status": comparison.status,
        "reason": comparison.reason,
        "level": None if band is None else band.level,
        "method": None if band is None else band.method,
        "reference_compute": comparison.reference_compute,
        "sentence": comparison.sentence(),
        "notes": comparison.notes,
        "crossing": comparison.crossing,
    }
