"""Whether a sweep is still what was planned: a launch keeps to the plan that `scaling plan` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scaling.placement import PLACEMENT_AXES
from scaling.plan import Plan
from scaling.planning.spending import PlannedPoint
from scaling.spec import SweepError
from scaling.sweep.science import COMPUTED_FIELDS, UNRESOLVED

MOST_NAMED = 4  # runs that a line of differences names

Science = Mapping[str, Any]


def plan_to_keep(new: Plan, path: Path, *, replan: bool) -> Plan:
    """The plan that a launch writes to `path`; SweepError if the sweep changed since `scaling plan` wrote it.

    A plan that only a launch wrote binds nobody, and neither do ranks, micro-batches and the like: they change nothing
    that is learned. With `replan` the sweep as it is now is agreed to.
    """
    old = _read_plan(path)
    if old is None or not old.is_agreed:
        return new
    found = [] if replan else differences(old, new)
    if found:
        raise SweepError(
            f"{path}: the sweep changed since `scaling plan` wrote this:\n  "
            + "\n  ".join(found)
            + "\nRun `scaling plan` again to see what it costs now, or launch with --replan."
        )
    if (old.contract_hash, old.holdout, old.accelerator) == (new.contract_hash, new.holdout, new.accelerator):
        return old
    return new.model_copy(update={"is_agreed": True, "usd_per_hour": old.usd_per_hour})


def _read_plan(path: Path) -> Plan | None:
    """The written plan; None if there is none, or one of another version of the harness."""
    if not path.exists():
        return None
    try:
        return Plan.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:
        return None


def differences(old: Plan, new: Plan) -> list[str]:
    """One line per way in which points were changed, added or removed, or are evaluated differently; placement aside.

    A digest that the old plan could not know, for want of the data, is no difference.
    """
    axes = {row.field for plan in (old, new) for row in plan.varied if row.kind == "axis"} & PLACEMENT_AXES
    unknown = _unknown_fields(old)
    before = {_key(told): (planned, told) for planned, told in _told(old, axes, unknown)}
    after = {_key(told): (planned, told) for planned, told in _told(new, axes, unknown)}
    removed = [before[key] for key in before if key not in after]
    added = [after[key] for key in after if key not in before]
    lines: dict[str, list[str]] = {}
    for planned, told in added:
        twin = min(removed, key=lambda other: len(_changed(other[1], told)), default=None)
        if twin is None:
            lines.setdefault("added", []).append(planned.point.run_id)
            continue
        removed.remove(twin)
        lines.setdefault(_changes(twin[1], told), []).append(planned.point.run_id)
    for planned, _ in removed:
        lines.setdefault("removed", []).append(planned.point.run_id)
    for key in before.keys() & after.keys():
        was, now = (side[key][0].point.evaluation.model_dump(mode="json") for side in (before, after))
        if was != now:
            changes = _changes(
                *({f"evaluate.{name}": value for name, value in told.items()} for told in (was, now))
            )
            lines.setdefault(changes, []).append(after[key][0].point.run_id)
    opened = [run_id for run_id in old.holdout if run_id not in new.holdout]
    if opened:
        lines.setdefault("no longer in the holdout", []).extend(opened)
    return [f"{change}: {_names(run_ids)}" for change, run_ids in lines.items()]


def _unknown_fields(plan: Plan) -> set[str]:
    """Science fields whose values were not known when a plan was made without its data."""
    sciences = [planned.point.science.model_dump(mode="json") for planned in plan.points]
    unknown = {name for told in sciences for name, value in told.items() if UNRESOLVED in str(value)}
    return unknown | (COMPUTED_FIELDS if unknown & COMPUTED_FIELDS else set())


def _told(plan: Plan, axes: Iterable[str], unknown: set[str]) -> list[tuple[PlannedPoint, Science]]:
    """Each point with what identifies its run: the science that was known, and placement where it is compared."""
    found: list[tuple[PlannedPoint, Science]] = []
    for planned in plan.points:
        science = planned.point.science.model_dump(mode="json", exclude=unknown)
        placed = {axis: getattr(planned.point.placement, axis) for axis in sorted(axes)}
        found.append((planned, {**science, **placed}))
    return found


def _key(told: Science) -> str:
    return json.dumps(told, sort_keys=True)


def _changed(was: Science, now: Science) -> list[str]:
    return [name for name in now if was.get(name) != now[name]]


def _changes(was: Science, now: Science) -> str:
    return ", ".join(f"{name} {was.get(name)} -> {now[name]}" for name in _changed(was, now))


def _names(run_ids: list[str]) -> str:
    named = ", ".join(run_ids[:MOST_NAMED])
    more = f" and {len(run_ids) - MOST_NAMED} more" if len(run_ids) > MOST_NAMED else ""
    return f"{len(run_ids)} {'run' if len(run_ids) == 1 else 'runs'}, {named}{more}"
