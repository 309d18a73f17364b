"""What a run leaves behind: the only contract between running (scaling) and meaning (analysis).

A run directory `runs/<sweep>/<run_id>/` holds `point.json` (what was asked), `status.json` (where it stands),
`metrics.jsonl`, `samples.jsonl` and `evaluations.jsonl` (appended), `checkpoints/`, `branch.json` (of a run that began
with another's checkpoint), `weights.safetensors` (once training is done) and, once every requested evaluation is done
too, `record.json` (both written once, atomically).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scaling.disk import WriteError, append_lines, cut_lines_from, read_lines, write_atomically

__all__ = [
    "FAILURES",
    "RECORD_VERSION",
    "DataCounts",
    "Evaluation",
    "Measured",
    "PlannedCost",
    "RunDirectory",
    "RunRecord",
    "State",
    "Status",
    "WriteError",
    "append_lines",
    "cut_lines_from",
    "read_lines",
    "run_directories",
    "write_atomically",
]

RECORD_VERSION = 1

State = Literal[
    "queued",
    "running",
    "trained",
    "done",
    "error",
    "oom",
    "diverged",
    "shard_corrupt",
    "hung",
    "killed",
    "preempted",
]
FAILURES: frozenset[State] = frozenset({"error", "oom", "diverged", "shard_corrupt"})
"""States that are retried only on request; "hung", "killed", "preempted" and a stale "running" simply continue."""

Model = TypeVar("Model", bound=BaseModel)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Evaluation(_Frozen):
    """One evaluation of one checkpoint."""

    task: str  # held_out_loss, linear_probe, zero_shot, zero_shot_head, retrieval, retrieval_head
    protocol: str  # name and version of the procedure, e.g. "lbfgs-logistic@1"
    metrics: dict[str, float]  # fractions in [0, 1] or nats
    num_samples: int  # evaluated samples
    samples_seen: int  # of training, when the evaluation ran
    seconds: float
    settings: dict[str, Any] = Field(default_factory=dict)


class PlannedCost(_Frozen):
    """What the planner expected of a point, before it ran."""

    parameters: dict[str, int]  # by part: image_tower, text_tower, head
    train_flops_per_sample: dict[str, int]  # forward and backward, 2 x multiply-adds, by part
    train_flops: int  # of the whole run, model FLOPs (no recomputation)
    steps: int
    accelerator: str
    # share of the accelerator's dense peak that hardware FLOPs reach (older records: model FLOPs)
    utilisation: float
    device_hours: float
    # train_flops_per_sample and what is recomputed, by part
    hardware_flops_per_sample: dict[str, int] = Field(default_factory=dict)
    hardware_flops: int | None = None  # of the whole run
    # bytes of one device at its peak, by class, not calibrated
    memory_bytes: dict[str, int] = Field(default_factory=dict)
    peak_memory_bytes: int | None = None  # their sum, calibrated; of a CPU with host_memory_bytes
    host_memory_bytes: int | None = None  # of one rank, offloaded to the CPU's memory; not calibrated
    data_bytes: int | None = None  # of shards, to be read by all ranks, repeats included
    checkpoint_bytes: int | None = None  # one checkpoint, calibrated
    disk_bytes: int | None = None  # checkpoints that stay and the trained weights
    calibration: dict[str, float] = Field(default_factory=dict)
    """Factors (measured / predicted of earlier runs) by which utilisation, memory and checkpoint were multiplied."""


class Measured(_Frozen):
    """What the run took, counted and timed while it ran (resumed parts included)."""

    samples_seen: int  # image-text pairs shown to the model, repeats included
    steps: int
    num_ranks: int  # of the last attempt
    train_seconds: float  # wall time inside the training loop, over all attempts
    device_hours: float  # train_seconds x ranks, of every attempt
    inherited_device_hours: float = 0.0  # of them, those of the run that this one branched from
    data_wait_seconds: float = 0.0  # of train_seconds, in which rank 0 waited for its next batch
    samples_per_second: float
    peak_memory_bytes: int  # of the largest rank, as memory_source says
    attempts: int
    model_flops_utilisation: float | None = None  # planned FLOPs of its samples / (peak of its device-hours)
    peak_flops_per_second: float | None = None  # of one rank's device, of which that is a share
    peak_flops_source: str = ""  # the data sheet, or the product that was measured
    # p50, p90, p99: medians over rows of metrics
    step_seconds: dict[str, float] = Field(default_factory=dict)
    # bytes of rank 0 at its peak by class, and on_host: those in the CPU's memory
    memory_bytes: dict[str, int] = Field(default_factory=dict)
    memory_source: str = ""
    """What the peak counts. "allocator": torch's bytes on the accelerator, and none of the host's. "resident set": all
    that the process holds of a CPU's memory, where device and host are one: Python, libraries, what is offloaded."""
    data_bytes: int | None = None  # of stored samples, read from shards by all ranks, repeats included
    goodput: dict[str, float] = Field(default_factory=dict)
    """Wall seconds of all attempts by what they went on (scaling/train/goodput.py): initialisation, productive,
    data_stall, checkpoint, evaluation, lost."""


class DataCounts(_Frozen):
    """What the data did to the run."""

    unique_samples: int  # size of the training set
    epochs: float  # samples_seen / unique_samples
    undecodable_images: int  # shown as masked rows, excluded from the loss
    empty_captions: int  # likewise
    rejects: dict[str, int] = Field(default_factory=dict)  # all masked samples, each by one reason


class RunRecord(_Frozen):
    """A finished run: the point as trained, what it cost, what it scored."""

    record_version: int = RECORD_VERSION
    sweep: str
    run_id: str
    science: dict[str, Any]
    placement: dict[str, Any]
    trunk: str | None = None  # runs that share it are one run until they decay, and so not independent
    branched_from: str | None = None  # the run whose checkpoint it began with
    branched_at_samples: int = 0
    data: DataCounts
    planned: PlannedCost
    measured: Measured
    final_loss: float  # training loss, mean of the last logged interval
    skipped_steps: int
    skipped_batches: list[int] = Field(default_factory=list)  # steps left out after a rollback
    num_rollbacks: int = 0  # to an earlier checkpoint, after a non-finite loss or gradient
    warnings: list[str] = Field(default_factory=list)  # what a reader should know of how it was trained
    evaluations: list[Evaluation]
    environment: dict[str, str]
    finished_at: str  # UTC, ISO 8601

    @model_validator(mode="after")
    def _no_duplicate_tasks(self) -> RunRecord:
        tasks = [evaluation.task for evaluation in self.evaluations]
        if len(tasks) != len(set(tasks)):
            raise ValueError(f"{self.run_id}: a task was recorded twice: {tasks}")
        return self


class Status(_Frozen):
    """The state of a run; a failure has a type and a reason."""

    state: State
    reason: str = ""  # one line for people; empty unless something went wrong
    detail: str = ""  # traceback or last log lines
    facts: dict[str, Any] = Field(default_factory=dict)
    """What the state is about. oom: micro_batch, peak_bytes. diverged: step, what (loss or gradient),
    checkpoint (the last good one's step). shard_corrupt: shard, and the reason it names. hung: step, seconds,
    median_step_seconds, rank."""
    samples_seen: int = 0
    samples_total: int = 0
    samples_per_second: float = 0.0
    num_ranks: int = 0
    attempts: int = 0
    updated_at: float = Field(default_factory=time.time)  # seconds since the epoch


def _read(model: type[Model], path: Path) -> Model:
    """The model in a JSON file; ValueError naming the file and what to do where it holds something else."""
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        why = ": ".join([*filter(None, [".".join(map(str, first["loc"]))]), first["msg"]])
    except UnicodeDecodeError as error:
        why = str(error)
    raise ValueError(
        f"{path} is damaged ({why}): move it away, and the next launch continues the run from its last checkpoint."
    )


class RunDirectory:
    """The files of one run, by name; `check_lease` runs before each change and raises when superseded."""

    def __init__(self, path: Path, check_lease: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self.check_lease = check_lease
        self.point = path / "point.json"
        self.status = path / "status.json"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.jsonl"
        self.evaluations = path / "evaluations.jsonl"
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.weights = path / "weights.safetensors"
        self.record = path / "record.json"

    def read_status(self) -> Status:
        """The last written status; "queued" if the run was never touched. ValueError if it is damaged."""
        if not self.status.exists():
            return Status(state="queued", updated_at=0.0)
        return _read(Status, self.status)

    def write_status(self, status: Status) -> None:
        self.check_lease()
        write_atomically(self.status, status.model_dump_json(indent=1))

    def read_record(self) -> RunRecord | None:
        """The record of a finished run, None if it is not finished. ValueError if it is damaged."""
        if not self.record.exists():
            return None
        return _read(RunRecord, self.record)

    def write_record(self, record: RunRecord) -> None:
        self.check_lease()
        write_atomically(self.record, record.model_dump_json(indent=1))

    def append(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append each JSON object as a line to one of the run's files."""
        self.check_lease()
        append_lines(path, rows)

    def cut_from(self, path: Path, key: str, value: int) -> None:
        """Drop the lines of one of the run's files whose `key` is `value` or more."""
        self.check_lease()
        cut_lines_from(path, key, value)

    def latest_checkpoint(self) -> Path | None:
        """The folder of the last whole checkpoint, None if there is none."""
        latest = self.checkpoints / "latest"
        return self.checkpoints / latest.read_text() if latest.exists() else None

    def read_evaluations(self) -> dict[str, Evaluation]:
        """The latest evaluation of each task."""
        rows = (Evaluation.model_validate(row) for row in read_lines(self.evaluations))
        return {row.task: row for row in rows}


def run_directories(sweep_folder: Path) -> list[RunDirectory]:
    """Every run below `runs/<sweep>/`, by name."""
    if not sweep_folder.is_dir():
        return []
    return [RunDirectory(path) for path in sorted(sweep_folder.iterdir()) if (path / "point.json").exists()]
