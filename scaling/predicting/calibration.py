"""Compares what finished runs measured with their predictions, to correct those of the next plan."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scaling.records import RunDirectory, RunRecord, run_directories, write_atomically
from scaling.suggest import explain

CALIBRATION_FILE = "calibration.json"  # in runs/<sweep>
QUANTITIES = ("utilisation", "memory", "checkpoint")

Ratio = Annotated[float, Field(ge=1e-12, le=1e12)]  # beyond, nothing was measured
Key = tuple[str, str, str]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CalibrationRow(_Frozen):
    """Measured over predicted, geometric means over the runs of one kind on one accelerator."""

    objective: str
    image_tower: str
    accelerator: str
    num_runs: Annotated[int, Field(gt=0)]
    utilisation: Ratio | None = None  # of the dense peak, by hardware FLOPs; None: not measured
    memory: Ratio | None = None  # peak of one device, without the allowance for fragmentation
    checkpoint: Ratio | None = None  # bytes of one checkpoint

    @property
    def key(self) -> Key:
        """The objective, tower and accelerator that it holds for."""
        return (self.objective, self.image_tower, self.accelerator)


class Calibration(_Frozen):
    """What was measured of finished runs; without rows, nothing is corrected."""

    calibration_version: Literal[1] = 1
    rows: tuple[CalibrationRow, ...] = ()
    left_out: int = 0  # records from before plans had hardware FLOPs

    def factors(self, objective: str, image_tower: str, accelerator: str) -> dict[str, float]:
        """Quantity -> measured over predicted: of the same objective and tower, else of all on this accelerator.

        What no run on the accelerator measured is absent.
        """
        here = [row for row in self.rows if row.accelerator == accelerator]
        alike = [row for row in here if row.key == (objective, image_tower, accelerator)]
        found = {}
        for quantity in QUANTITIES:
            mean = _pooled(alike, quantity) or _pooled(here, quantity)
            if mean is not None:
                found[quantity] = mean
        return found

    def with_rows_of(self, other: Calibration) -> Calibration:
        """Both, with the other's row where both have one."""
        rows = {row.key: row for row in (*self.rows, *other.rows)}
        return Calibration(rows=tuple(rows.values()), left_out=self.left_out + other.left_out)


NO_CALIBRATION = Calibration()


def measure(sweep_folder: Path) -> Calibration:
    """The calibration that the finished runs of runs/<sweep> give; unreadable records are left to the report."""
    found: dict[Key, list[dict[str, float]]] = defaultdict(list)
    left_out = 0
    for run, record in _records(sweep_folder):
        if record.planned.hardware_flops is None:
            left_out += 1
            continue
        science = record.science
        key = (str(science["objective"]), str(science["image_tower"]), record.planned.accelerator)
        found[key].append(_ratios(run, record))
    rows = tuple(_row(key, ratios) for key, ratios in sorted(found.items()))
    return Calibration(rows=rows, left_out=left_out)


def read_calibration(path: Path) -> Calibration:
    """A written calibration; ValueError naming file, field and rule if it is none."""
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a calibration, nor any text ({error}).") from error
    except ValidationError as error:
        raise ValueError(
            f"{path}: not a calibration ({explain(error)}). `scaling plan` writes one into runs/<sweep> once runs of "
            "the sweep are finished."
        ) from error


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write a calibration, whole or not at all."""
    write_atomically(path, calibration.model_dump_json(indent=1))


def _records(sweep_folder: Path) -> Iterable[tuple[RunDirectory, RunRecord]]:
    for run in run_directories(sweep_folder):
        try:
            record = run.read_record()
        except (ValueError, OSError):
            continue
        if record is not None:
            yield run, record


def _ratios(run: RunDirectory, record: RunRecord) -> dict[str, float]:
    """Measured over predicted before any calibration; only of what was measured."""
    planned, measured = record.planned, record.measured
    told: Mapping[str, float] = planned.calibration
    found: dict[str, float] = {}
    if measured.device_hours and measured.steps and planned.steps:
        planned_hours = planned.device_hours * told.get("utilisation", 1.0) / planned.steps
        found["utilisation"] = planned_hours / (measured.device_hours / measured.steps)
    allocated = sum(size for name, size in planned.memory_bytes.items() if name != "fragmentation")
    if measured.memory_source == "allocator" and allocated:  # a resident set counts Python and its libraries
        found["memory"] = measured.peak_memory_bytes / allocated
    written = _largest_checkpoint(run)
    if planned.checkpoint_bytes and written:
        found["checkpoint"] = written * told.get("checkpoint", 1.0) / planned.checkpoint_bytes
    return found


def _largest_checkpoint(run: RunDirectory) -> int:
    """Bytes of the largest checkpoint that is still there; 0 without any."""
    folders = [path for path in run.checkpoints.glob("*") if path.is_dir()]
    return max((_size(folder) for folder in folders), default=0)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _row(key: Key, ratios: Sequence[Mapping[str, float]]) -> CalibrationRow:
    means: dict[str, Any] = {}
    for quantity in QUANTITIES:
        values = [ratio[quantity] for ratio in ratios if quantity in ratio]
        means[quantity] = _geometric_mean(values) if values else None
    objective, image_tower, accelerator = key
    return CalibrationRow(
        objective=objective, image_tower=image_tower, accelerator=accelerator, num_runs=len(ratios), **means
    )


def _pooled(rows: Sequence[CalibrationRow], quantity: str) -> float | None:
    """Over all runs of the rows that measured the quantity; None if none did."""
    values: list[float] = []
    for row in rows:
        ratio = getattr(row, quantity)
        values += [] if ratio is None else [ratio] * row.num_runs
    return _geometric_mean(values) if values else None


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))
