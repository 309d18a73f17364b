"""A sweep in TensorBoard: read back as its own reader reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from simulated_sweep import SAMPLES, SweepFolder, science
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata

from analysis.load import load_sweep
from analysis.tensorboard import write_tensorboard
from scaling.records import WriteError


@pytest.fixture
def written(sweep_folder: SweepFolder) -> tuple[Path, list[str]]:
    """The folder of a sweep with three finished runs and a failed one, and their run ids."""
    run_ids = [
        sweep_folder.add(science("superclass", "vit_nano8", samples), "done", error=0.9 - index / 10)
        for index, samples in enumerate(SAMPLES)
    ]
    run_ids.append(sweep_folder.add(science("clip", "vit_tiny8", SAMPLES[0]), "oom", reason="too large"))
    return write_tensorboard(sweep_folder.path, load_sweep(sweep_folder.path)), run_ids


def events(folder: Path) -> Any:
    reader = EventAccumulator(str(folder))
    reader.Reload()
    return reader


def plugin_data(reader: Any, tag: str) -> Any:
    return reader.SummaryMetadata(tag).plugin_data.content


def test_every_run_is_a_session_with_its_axes_and_outcome(written: tuple[Path, list[str]]) -> None:
    folder, run_ids = written
    assert sorted(path.name for path in (folder / "runs").iterdir()) == sorted(run_ids)
    reader = events(folder / "runs" / run_ids[1])
    started = hparams_metadata.parse_session_start_info_plugin_data(
        plugin_data(reader, hparams_metadata.SESSION_START_INFO_TAG)
    )
    assert started.group_name == run_ids[1]
    assert started.hparams["samples_seen"].number_value == SAMPLES[1]
    assert started.hparams["objective"].string_value == "superclass"
    assert "precision" not in started.hparams  # it is the same in every run
    assert status_of(folder / "runs" / run_ids[1]) == api_pb2.STATUS_SUCCESS
    assert status_of(folder / "runs" / run_ids[3]) == api_pb2.STATUS_FAILURE


def status_of(folder: Path) -> int:
    data = plugin_data(events(folder), hparams_metadata.SESSION_END_INFO_TAG)
    return int(hparams_metadata.parse_session_end_info_plugin_data(data).status)


def test_scores_and_costs_of_a_run_are_its_metrics_and_a_failed_run_has_no_score(
    written: tuple[Path, list[str]],
) -> None:
    folder, run_ids = written
    reader = events(folder / "runs" / run_ids[2])
    (score,) = reader.Tensors("scores/linear_probe.top1")
    assert (score.step, score.tensor_proto.float_val[0]) == (SAMPLES[2], pytest.approx(0.3))
    experiment = hparams_metadata.parse_experiment_plugin_data(
        plugin_data(events(folder), hparams_metadata.EXPERIMENT_TAG)
    )
    tags = {info.name.tag for info in experiment.metric_infos}
    assert {"scores/linear_probe.top1", "cost/train_flops", "cost/device_hours"} <= tags
    assert {info.name for info in experiment.hparam_infos} >= {"objective", "image_tower", "samples_seen"}
    assert "scores/linear_probe.top1" not in events(folder / "runs" / run_ids[3]).Tags()["tensors"]


def test_scores_lie_on_a_line_along_samples_seen_per_objective_and_tower(
    written: tuple[Path, list[str]],
) -> None:
    folder, _ = written
    (line,) = (folder / "scores").iterdir()
    points = events(line).Tensors("by_samples_seen/linear_probe.top1")
    assert line.name == "superclass-vit_nano8" and [point.step for point in points] == list(SAMPLES)
    told = [point.tensor_proto.float_val[0] for point in points]
    assert told == pytest.approx([0.1, 0.2, 0.3])


def test_custom_scalars_lay_training_curves_and_scores_over_each_other(
    written: tuple[Path, list[str]],
) -> None:
    (event,) = events(written[0]).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: chart.multiline.tag[0] for one in layout.category for chart in one.chart}
    assert charts["loss"] == "^loss$"
    assert charts["linear_probe.top1"] == r"^by_samples_seen/linear_probe\.top1$"


def test_writing_again_replaces_what_was_there_with_the_same_bytes(
    sweep_folder: SweepFolder, written: tuple[Path, list[str]]
) -> None:
    folder, _ = written
    before = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "runs" / "gone").mkdir()
    write_tensorboard(sweep_folder.path, load_sweep(sweep_folder.path))
    after = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert after == before and not (folder / "runs" / "gone").exists()
    assert [path.name for path in sweep_folder.path.iterdir() if path.name.startswith(".")] == []


def test_a_sweep_without_runs_gives_an_empty_experiment(sweep_folder: SweepFolder) -> None:
    folder = write_tensorboard(sweep_folder.path, load_sweep(sweep_folder.path))
    assert "custom_scalars__config__" in events(folder).Tags()["tensors"]


def test_a_folder_that_cannot_be_written_is_a_typed_error(sweep_folder: SweepFolder, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="not written"):
        write_tensorboard(tmp_path / "nothing", load_sweep(sweep_folder.path))


def test_neither_torch_nor_tensorflow_is_loaded() -> None:
    code = "import sys, analysis.tensorboard; sys.exit(bool({'torch', 'tensorflow'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
