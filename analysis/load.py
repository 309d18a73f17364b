"""The table of a sweep: one row per run directory, whatever became of the run.

A number that was not recorded stays absent (NaN), never 0; a run without a record has no measured figure and
no score. Column names are the words of the sweep file and of the record:

sweep, run_id, status, reason               "done" once there is a record; "unreadable": broken files
trunk, branched_from                        of a run under wsd; the run whose checkpoint it began with
<science field>                             image_tower, samples_seen, seed, ...; objective as asked
train_flops                                 model FLOPs as they happened: planned per sample x samples counted
planned_train_flops, planned_device_hours   before the run (record, else the sweep's plan.json)
planned_hardware_flops, planned_peak_memory_bytes   likewise, where they were planned
parameters, parameters.<part>               image_tower, text_tower, head
measured_<figure>, data.<count>             as in records.Measured and records.DataCounts
measured_<figure>.<part>                    those of goodput, step_seconds and memory_bytes
faults.<name>                               warnings (one per line), num_rollbacks, skipped_batches (steps)
<task>.<metric>                             scores of the finished run
<task>.chance, <task>.<metric>.chance       what guessing scores
evaluation.<task>.<field>                   protocol, num_samples, samples_seen, seconds of that score
environment.<name>                          versions and device
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from scaling.records import Measured, PlannedCost, RunDirectory, RunRecord, Status, run_directories

BASE_COLUMNS = ("sweep", "run_id", "status", "reason", "train_flops", "planned_train_flops")
UNREADABLE = "unreadable"
PLAN_FILE = "plan.json"

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SweepPlan:
    """The parts of a sweep's plan.json (scaling.plan) that the analysis reads."""

    question: str = ""
    holdout: tuple[str, ...] = ()  # run ids that stay sealed until they are opened
    costs: Mapping[str, PlannedCost] = dataclasses.field(default_factory=dict)  # by run_id
    varied: tuple[Mapping[str, Any], ...] = ()  # rows with field, kind, values


def load_sweep(runs: Path) -> pd.DataFrame:
    """One row per run directory of the sweep folder `runs` (runs/<sweep>), ordered by run_id.

    ValueError if the folder does not exist; a folder without runs gives an empty table.
    """
    check_folder(runs)
    costs = read_plan(runs).costs
    rows = [_row(directory, costs) for directory in run_directories(runs)]
    table = pd.DataFrame(rows)
    return table.reindex(columns=[*BASE_COLUMNS, *(c for c in table.columns if c not in BASE_COLUMNS)])


def check_folder(runs: Path) -> None:
    """ValueError where there is no sweep folder."""
    if not runs.is_dir():
        raise ValueError(
            f"{runs}: no such folder; give the folder of a sweep, runs/<sweep>, that was launched before."
        )


def metric_columns(table: pd.DataFrame) -> list[str]:
    """Every `<task>.<metric>` that some finished run recorded, without the chance levels."""
    tasks = [column.split(".")[1] for column in table.columns if column.startswith("evaluation.")]
    metrics = [column for column in table.columns if column.partition(".")[0] in set(tasks)]
    return [column for column in metrics if not column.endswith(".chance")]


def read_plan(runs: Path) -> SweepPlan:
    """What the sweep's plan.json says; an empty plan if there is none, ValueError if it does not parse."""
    path = runs / PLAN_FILE
    if not path.exists():
        return SweepPlan()
    try:
        plan: dict[str, Any] = json.loads(path.read_text())
        costs = {row["point"]["run_id"]: PlannedCost.model_validate(row["cost"]) for row in plan["points"]}
        sealed = tuple(plan.get("holdout", ()))  # plans of before there were holdouts have none
        return SweepPlan(question=plan["question"], holdout=sealed, costs=costs, varied=tuple(plan["varied"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a plan ({error!r}); write it again with `scaling plan`.") from error


def _row(directory: RunDirectory, costs: Mapping[str, PlannedCost]) -> Row:
    row: Row = {"sweep": directory.path.parent.name, "run_id": directory.path.name}
    reading = directory.point
    try:
        row |= _asked(json.loads(reading.read_text()))
        reading = directory.status
        status = directory.read_status()
        reading = directory.record
        record = directory.read_record()
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        return row | _as_planned(row, costs) | {"status": UNREADABLE, "reason": _why(error, reading)}
    if record is None:
        return row | _standing(status) | _as_planned(row, costs)
    return row | {"status": "done", "reason": ""} | _planned(record.planned) | _finished(record)


def _asked(point: dict[str, Any]) -> Row:
    """What point.json says; KeyError, TypeError or AttributeError where that is not a point."""
    trunk = {} if point.get("trunk") is None else {"trunk": point["trunk"]}
    return {"sweep": point["sweep"], "run_id": point["run_id"], **trunk, **_flat(point["science"])}


def _why(error: Exception, file: Path) -> str:
    """What is wrong with a file, on one line that names it, with the key where there is one."""
    if str(file) in str(error):
        return " ".join(str(error).split())
    if isinstance(error, (KeyError, TypeError, AttributeError)):
        return f"{file.name} cannot be read: it is not what a run writes there ({' '.join(repr(error).split())})"
    return f"{file.name} cannot be read: {' '.join(str(error).split())}"


def _as_planned(row: Row, costs: Mapping[str, PlannedCost]) -> Row:
    plan = costs.get(row["run_id"])
    return _planned(plan) if plan else {}


def _standing(status: Status) -> Row:
    if status.state == "done":
        return {"status": UNREADABLE, "reason": "status.json says done, but there is no record.json"}
    progress = {"progress": status.samples_seen / status.samples_total} if status.samples_total else {}
    return {"status": status.state, "reason": status.reason, **progress}


def _planned(cost: PlannedCost) -> Row:
    return {
        "planned_train_flops": float(cost.train_flops),
        "planned_device_hours": cost.device_hours,
        "planned_accelerator": cost.accelerator,
        **({} if cost.hardware_flops is None else {"planned_hardware_flops": float(cost.hardware_flops)}),
        **({} if cost.peak_memory_bytes is None else {"planned_peak_memory_bytes": cost.peak_memory_bytes}),
        **({} if cost.data_bytes is None else {"planned_data_bytes": float(cost.data_bytes)}),
        "parameters": sum(cost.parameters.values()),
        **{f"parameters.{part}": count for part, count in cost.parameters.items()},
    }


def _finished(record: RunRecord) -> Row:
    per_sample = sum(record.planned.train_flops_per_sample.values())
    row: Row = _flat(record.science) | {"train_flops": float(per_sample * record.measured.samples_seen)}
    row |= _measured(record.measured)
    row |= {f"data.{name}": value for name, value in record.data}
    row |= {f"environment.{name}": value for name, value in record.environment.items()}
    row |= {"final_loss": record.final_loss, "skipped_steps": record.skipped_steps}
    row |= {"faults.warnings": "\n".join(record.warnings), "faults.num_rollbacks": record.num_rollbacks}
    row |= {"faults.skipped_batches": ", ".join(f"{step:,}" for step in record.skipped_batches)}
    row |= {"finished_at": record.finished_at}
    row |= {} if record.branched_from is None else {"branched_from": record.branched_from}
    for evaluation in record.evaluations:
        row |= {f"{evaluation.task}.{name}": value for name, value in evaluation.metrics.items()}
        chances = evaluation.settings.get("chance")
        if isinstance(chances, dict):
            row |= {f"{evaluation.task}.{name}.chance": value for name, value in chances.items()}
        for name in ("protocol", "num_samples", "samples_seen", "seconds"):
            row[f"evaluation.{evaluation.task}.{name}"] = getattr(evaluation, name)
    return row


def _measured(measured: Measured) -> Row:
    """What was measured; what an older record does not hold stays absent."""
    row: Row = {}
    for name, value in measured:
        if isinstance(value, dict):
            row |= {f"measured_{name}.{part}": number for part, number in value.items()}
        elif value is not None:
            row[f"measured_{name}"] = value
    return row


def _flat(science: dict[str, Any]) -> Row:
    """Science fields as columns; lists become text so that rows can be compared and grouped."""
    return {
        key: json.dumps(value) if isinstance(value, (list, dict)) else value for key, value in science.items()
    }
