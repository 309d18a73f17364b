"""The sweep in TensorBoard: a row per run in its HParams tab, and charts that lay the runs over each other.

`tensorboard --logdir runs/SWEEP` then shows, beside the curves that each run logged while it trained: what varied and
what came of it (HParams), and in Custom Scalars the training curves of all runs and every score along samples_seen,
a line per objective, tower and seed.  Only TensorBoard's own protocol buffers are used: no torch, no TensorFlow.
"""

from __future__ import annotations

import datetime
import math
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import plugin_data_pb2, summary_v2
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from analysis.filters import FAILED_STATUSES
from analysis.load import metric_columns
from analysis.varied import what_varied
from scaling.records import WriteError

FOLDER = "tensorboard"  # below the sweep folder; it is written anew each time
EVENTS = "events.out.tfevents.0000000000.sweep"  # one fixed name: the same sweep gives the same files
FILE_VERSION = "brain.Event:2"
TRAINING_TAGS = ("loss", "gradient_norm", "learning_rate", "samples_per_second")  # that every run logs
COSTS = {
    "cost/train_flops": "train_flops",
    "cost/device_hours": "measured_device_hours",
    "cost/samples_per_second": "measured_samples_per_second",
    "cost/peak_memory_bytes": "measured_peak_memory_bytes",
}
CURVE_AXES = ("objective", "image_tower", "seed")  # a line of scores along samples_seen has one of each


def write_tensorboard(runs: Path, table: pd.DataFrame) -> Path:
    """The folder written, runs/<sweep>/tensorboard, from the table of the sweep folder (analysis.load).

    What stands there is replaced as a whole.  WriteError where it cannot be written.
    """
    folder = runs / FOLDER
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{FOLDER}.", dir=runs))
        try:
            aside.chmod(0o755)
            _write_all(aside, table)
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise WriteError(f"{folder}: not written ({error.strerror or error}).") from error
    return folder


def _write_all(folder: Path, table: pd.DataFrame) -> None:
    axes, tags = _axes(table), _score_tags(table)
    metrics = {tag: column for tag, column in (*tags.items(), *COSTS.items()) if column in table}
    created = min((_seconds(run) for run in _rows(table)), default=0.0)
    _write(folder, created, [(0, _experiment(table, axes, metrics, created)), (0, _layout(tags))])
    for run in _rows(table):
        _write(folder / "runs" / str(run["run_id"]), _seconds(run), _session(run, axes, metrics))
    for name, points in _curves(table, axes):
        scores = [
            (int(run["samples_seen"]), scalar_pb(tag, float(run[column])))
            for run in points
            for tag, column in tags.items()
            if _is_number(run.get(column))
        ]
        _write(folder / "scores" / name, max(map(_seconds, points)), scores)


def _axes(table: pd.DataFrame) -> list[str]:
    """The science fields that vary, in the order of the report."""
    return [row["field"] for row in what_varied(table) if row["kind"] != "constant"] if len(table) else []


def _score_tags(table: pd.DataFrame) -> dict[str, str]:
    """Tag of every recorded score -> its column."""
    return {f"scores/{name}": name for name in metric_columns(table)}


def _experiment(
    table: pd.DataFrame, axes: Sequence[str], metrics: Mapping[str, str], created: float
) -> summary_pb2.Summary:
    """The columns of the HParams tab: every axis with its values, every score and cost."""
    hparams = [
        summary_v2.HParam(axis, domain=summary_v2.Discrete(values))
        for axis in axes
        if (values := _values(table[axis]))
    ]
    shown = [summary_v2.Metric(tag, display_name=column) for tag, column in metrics.items()]
    return summary_v2.hparams_config_pb(hparams=hparams, metrics=shown, time_created_secs=created)


def _values(column: pd.Series[Any]) -> list[Any]:
    """The distinct values of an axis, all numbers or all texts."""
    values = [_plain(value) for value in column.dropna().unique()]
    if all(isinstance(value, bool) for value in values) or all(isinstance(value, str) for value in values):
        return sorted(values)
    if all(isinstance(value, (int, float)) for value in values):
        return sorted(float(value) for value in values)
    return sorted(map(str, values))


def _session(
    run: Mapping[str, Any], axes: Sequence[str], metrics: Mapping[str, str]
) -> Iterable[tuple[int, summary_pb2.Summary]]:
    """One row of the HParams tab: what the run was asked for, what came of it, and how it ended."""
    asked = {axis: _plain(run[axis]) for axis in axes if not pd.isna(run.get(axis))}
    seconds = _seconds(run)
    yield 0, summary_v2.hparams_pb(asked, trial_id=str(run["run_id"]), start_time_secs=seconds)
    step = int(run["samples_seen"]) if _is_number(run.get("samples_seen")) else 0
    for tag, column in metrics.items():
        if _is_number(run.get(column)):
            yield step, scalar_pb(tag, float(run[column]))
    ended = api_pb2.STATUS_RUNNING
    if run["status"] == "done":
        ended = api_pb2.STATUS_SUCCESS
    elif run["status"] in FAILED_STATUSES:
        ended = api_pb2.STATUS_FAILURE
    yield step, _session_end(ended, seconds)


def _session_end(status: int, seconds: float) -> summary_pb2.Summary:
    data = plugin_data_pb2.HParamsPluginData(
        session_end_info=plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=seconds)
    )
    summary = summary_pb2.Summary()
    summary.value.add(
        tag=hparams_metadata.SESSION_END_INFO_TAG,
        metadata=hparams_metadata.create_summary_metadata(data),
        tensor=hparams_metadata.NULL_TENSOR,
    )
    return summary


def _layout(tags: Mapping[str, str]) -> summary_pb2.Summary:
    """The Custom Scalars tab: training curves of all runs, then a chart per score."""
    categories = [
        _category("training curves of all runs", {tag: rf"^{tag}$" for tag in TRAINING_TAGS}),
        _category(
            "scores along samples_seen",
            {column: rf"^{tag}$".replace(".", r"\.") for tag, column in tags.items()},
        ),
    ]
    layout = layout_pb2.Layout(category=[category for category in categories if category.chart])
    summary = summary_pb2.Summary()
    summary.value.add(
        tag=layout_metadata.CONFIG_SUMMARY_TAG,
        metadata=layout_metadata.create_summary_metadata(),
        tensor=tensor_util.make_tensor_proto(np.asarray(layout.SerializeToString(), dtype=object)),
    )
    return summary


def _category(title: str, charts: Mapping[str, str]) -> layout_pb2.Category:
    """Charts by title, each of the scalars whose tag a pattern matches, in every run that has them."""
    return layout_pb2.Category(
        title=title,
        chart=[
            layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=[pattern]))
            for name, pattern in charts.items()
        ],
    )


def _curves(table: pd.DataFrame, axes: Sequence[str]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Finished runs that differ in samples_seen (and what follows it) alone, under a name of the rest."""
    if table.empty or "samples_seen" not in table:
        return []
    kinds = {row["field"]: row["kind"] for row in what_varied(table)}
    fixed = [
        axis for axis in axes if axis in CURVE_AXES or (kinds[axis] == "axis" and axis != "samples_seen")
    ]
    named = fixed or ["objective"]
    lines: dict[str, list[dict[str, Any]]] = {}
    for run in _rows(table[table["status"] == "done"].sort_values("samples_seen", kind="stable")):
        name = "-".join(_file_part(run[axis]) for axis in named)
        lines.setdefault(name, []).append(run)
    return sorted(lines.items())


def _write(folder: Path, seconds: float, summaries: Iterable[tuple[int, summary_pb2.Summary]]) -> None:
    """One event file with the summaries at their steps."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / EVENTS, "wb") as stream:
        writer = RecordWriter(stream)
        writer.write(event_pb2.Event(wall_time=seconds, file_version=FILE_VERSION).SerializeToString())
        for step, summary in summaries:
            event = event_pb2.Event(wall_time=seconds, step=step, summary=summary)
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in run.items()} for run in table.to_dict("records")]


def _seconds(run: Mapping[str, Any]) -> float:
    """When a run finished, in seconds since the epoch; 0 where it did not."""
    finished = run.get("finished_at")
    return datetime.datetime.fromisoformat(finished).timestamp() if isinstance(finished, str) else 0.0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and math.isfinite(value)


def _plain(value: Any) -> Any:
    """A value as HParams knows it: bool, number or text."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _file_part(value: Any) -> str:
    """A value as a part of a folder name."""
    return "".join(sign if sign.isalnum() or sign in "._" else "_" for sign in str(value))
