"""What a plan's figures assume or were measured by, when it is done and what a budget buys of it, in sentences."""

from __future__ import annotations

from scaling.cost import CPU_UTILISATION, GPU_UTILISATION
from scaling.plan import Plan, format_hours
from scaling.planning.budget import Purchase
from scaling.planning.plan_table import BRANCHES, TOO_LARGE, format_bytes, is_too_large
from scaling.planning.schedule import Schedule
from scaling.predicting.storage import ASSUMED_SAMPLE_BYTES


def plan_notes(plan: Plan) -> list[str]:
    """What the figures assume or were measured by, the schedule and the purchase: one paragraph each."""
    notes = [
        "FLOPs are 2 x multiply-adds, forward and backward; model FLOPs count what is learned from, hardware FLOPs "
        "also what is computed again.",
        _utilisation_note(plan),
        _data_note(plan),
        *_memory_notes(plan),
    ]
    if any(planned.branch for planned in plan.points):
        notes.append(_trunks_note(plan))
    if plan.holdout:
        notes.append(_holdout_note(plan))
    if plan.done:
        notes.append(_done_note(plan))
    if plan.schedule is not None:
        notes.append(_schedule_note(plan.schedule, plan))
    if plan.purchase is not None:
        notes.append(_purchase_note(plan.purchase))
    if plan.is_provisional:
        keys = dict.fromkeys(key for planned in plan.points for key in planned.point.unresolved)
        notes.append(
            f"run ids are provisional: they will hold the digests of {', '.join(keys)} once those exist"
        )
    return notes


def _utilisation_note(plan: Plan) -> str:
    totals = plan.totals
    reached = [planned.cost.utilisation for planned in plan.points]
    ends = dict.fromkeys(f"{share:.1%}" for share in (min(reached), max(reached)))
    told = f"{' to '.join(ends)} of the dense peak"
    num_runs = sum(row.num_runs for row in plan.calibration.rows if row.accelerator == plan.accelerator)
    if num_runs:
        change = totals.device_hours / totals.uncalibrated_device_hours - 1
        before, now = format_hours(totals.uncalibrated_device_hours), format_hours(totals.device_hours)
        runs = _counted(num_runs, "run")
        return f"Utilisation ({told}) by what {runs} reached: {before} -> {now} device-hours ({change:+.0%})."
    left_out = plan.calibration.left_out
    if left_out:
        told += f"; {_counted(left_out, 'finished run')} of before hardware FLOPs were planned left out"
    share = CPU_UTILISATION if plan.accelerator == "cpu_core" else GPU_UTILISATION
    return (
        f"Utilisation ({told}) is an assumption, {share:.0%} while a device computes (scaling/cost.py), until runs of "
        "this sweep are finished."
    )


def _memory_notes(plan: Plan) -> list[str]:
    """What the mark in the table of bytes says, where it stands."""
    marked = sum(is_too_large(told.cost, plan) for told in plan.points)
    if not marked:
        return []
    return [
        f"{TOO_LARGE} {_counted(marked, 'run')} would not fit into {format_bytes(plan.usable_memory_bytes)} by the "
        "memory that finished runs took: write a smaller micro_batch, or activation_checkpointing: blocks. A launch "
        "that runs out of memory halves the micro-batch."
    ]


def _data_note(plan: Plan) -> str:
    known = all(planned.point.data.sample_bytes for planned in plan.points)
    source = (
        "the mean sample of the training set's index"
        if known
        else f"an assumed {ASSUMED_SAMPLE_BYTES / 1e3:.0f} kB a sample, DataComp's, until data.train exists"
    )
    return (
        f"Data read: by {source}; repeats included. Disk: weights, and checkpoints that stay (fp32 weights and AdamW's "
        "moments)."
    )


def _trunks_note(plan: Plan) -> str:
    totals, number = plan.totals, len(plan.points)
    branching = sum(planned.branch is not None for planned in plan.points)
    saved = totals.saved_train_flops / (totals.train_flops + totals.saved_train_flops)
    return (
        f"Shared trunks: {branching} of {_counted(number, 'run')} branch from an earlier run of their trunk "
        f"({BRANCHES}: what they add to it); {saved:.0%} of the FLOPs and {format_hours(totals.saved_device_hours)} "
        "device-hours are saved. Runs of one trunk are not independent: analysis clusters them."
    )


def _holdout_note(plan: Plan) -> str:
    told = f"Sealed until `scaling report --unseal`, no law is fitted to it: {', '.join(plan.holdout)}."
    trunks = {planned.point.trunk for planned in plan.points if planned.point.run_id not in plan.holdout}
    sealed = [planned.point for planned in plan.points if planned.point.run_id in plan.holdout]
    sharing = sum(point.trunk is not None and point.trunk in trunks for point in sealed)
    if not sharing:
        return told
    return (
        f"{told} {sharing} of them share a trunk with runs that are fitted, and so do not test a law independently: "
        "seal whole trunks instead."
    )


def _done_note(plan: Plan) -> str:
    left = sum(plan.hours().values()) * plan.num_devices
    done, number = "\n".join(f"  {run_id}" for run_id in plan.done), len(plan.points)
    if len(plan.done) == number:
        return f"All {number} runs are done already, and cost nothing more."
    return (
        f"{len(plan.done)} of {number} runs are done already, and cost nothing more; {format_hours(left)} device-hours "
        f"are left:\n{done}"
    )


def _schedule_note(schedule: Schedule, plan: Plan) -> str:
    path = schedule.critical_path
    if not path:
        return "No run is left to train."
    if len(schedule.jobs) == 1:
        return f"Runs one after the other: done after {format_hours(schedule.hours)} hours."
    return (
        f"{len(schedule.jobs)} jobs of {plan.num_devices:,} devices each ({schedule.rule}): done after "
        f"{format_hours(schedule.hours)} hours, at best {format_hours(schedule.at_least_hours)}. Critical path: "
        f"{', '.join(path)}."
    )


def _purchase_note(purchase: Purchase) -> str:
    budget = purchase.budget
    if not purchase.run_ids:
        return f"{budget.amount:,g} {budget.unit} buy nothing: every run is done already."
    rows = [
        f"  {run_id}  {format_hours(cost)} {budget.unit}"
        for run_id, cost in zip(purchase.run_ids, purchase.costs, strict=True)
    ]
    left = format_hours(budget.amount - purchase.spent)
    following = (
        "That is all that is left of the sweep."
        if purchase.next_run_id is None or purchase.next_cost is None
        else f"Next would be {purchase.next_run_id}: {format_hours(purchase.next_cost)} {budget.unit}."
    )
    runs = _counted(len(purchase.run_ids), "run")
    head = (
        f"{budget.amount:,g} {budget.unit} buy {runs}, {_counted(purchase.num_comparisons, 'comparison')} "
        f"({purchase.rule}):"
    )
    return "\n".join([head, *rows, f"{left} {budget.unit} are left. {following}"])


def _counted(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number} {noun}s"
