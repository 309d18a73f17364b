"""Every filter of a study: whom it left out, and what it does to the conclusion."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

from analysis.comparison.cells import FEW_FAILED
from analysis.comparison.compare import Comparison
from analysis.filters import Rule
from analysis.intervals.interval import Interval
from analysis.study.study import MetricStudy, StudyOptions, study_metric
from analysis.study.tuned import NOT_COMPARED, OTHER_SETTINGS
from analysis.wording import num_runs

# filters whose runs have an error, so that they may be let in for a look
READMITTED = frozenset({"early score"})
NO_ERROR = "its runs have no error to fit"
EFFECTS = MappingProxyType(  # by rule, why its runs are not let in for a look
    {
        "sealed": "not looked at before the holdout is opened",
        OTHER_SETTINGS: "their errors are in what stands for the cell",
        NOT_COMPARED: "they take no part in the ratio",
        "failed": f"{NO_ERROR}; above {FEW_FAILED:.0%} of an objective they are imputed, in a row of their own",
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LedgerRow:
    """One rule and its effect on the equal-compute ratio at the reference compute."""

    rule: str
    description: str
    run_ids: tuple[str, ...]  # those it left out, or brought in
    ratio: Interval | None  # under the other choice; None where there is none to show
    reason: str = ""  # why there is none


def ledger(study: MetricStudy) -> tuple[LedgerRow, ...]:
    """One row per filter that left a run out, then one per change of rules that the comparison was repeated under."""
    rows = [_of_filter(study, rule) for rule in study.selection.rules if rule.run_ids]
    if study.comparison is None:
        return tuple(rows)
    repeated = [
        LedgerRow(
            rule=told.rule,
            description=num_runs(told.num_points),
            run_ids=(),
            ratio=told.ratio,
            reason=told.reason,
        )
        for told in study.comparison.sensitivities
    ]
    return (*rows, *repeated)


def _of_filter(study: MetricStudy, rule: Rule) -> LedgerRow:
    row = LedgerRow(
        rule=rule.name,
        description=rule.description,
        run_ids=rule.run_ids,
        ratio=None,
        reason=EFFECTS.get(rule.name, NO_ERROR),
    )
    if rule.name not in READMITTED:
        return row
    options: StudyOptions = dataclasses.replace(study.options, admitted=study.options.admitted | {rule.name})
    ratio, reason = _ratio(study_metric(study.table, study.metric, options).comparison, study.comparison)
    return dataclasses.replace(row, ratio=ratio, reason=reason)


def _ratio(again: Comparison | None, before: Comparison | None) -> tuple[Interval | None, str]:
    """The ratio of the repeated comparison where the first one stated it."""
    if again is None or before is None or before.reference_compute is None:
        return None, "there is no comparison that it could change"
    if again.ratio is None:
        return None, again.reason
    try:
        return again.ratio_at(before.reference_compute), ""
    except ValueError as error:
        return None, str(error)
