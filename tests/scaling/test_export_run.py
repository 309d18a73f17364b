"""`scaling export`: a finished run in, a folder another library loads out; anything else is one clear message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from model_zoo.build import build_objective
from scaling.checkpoints.contents import Header, seal_of, sealed
from scaling.checkpoints.state_hash import state_hash
from scaling.checkpoints.writing import copy_of_pieces, write_share
from scaling.cli import app
from scaling.export import export_run
from scaling.inputs.data_paths import DataPaths
from scaling.placement import Placement
from scaling.points import EvaluationPlan, RunPoint, run_id
from scaling.records import RunDirectory, Status
from scaling.sweep.science import Science
from scaling.train.engines.protocol import Piece

SCIENCE = Science(
    objective="superclass",
    image_tower="vit_nano8",
    samples_seen=512,
    global_batch=64,
    warmup_samples=64,
    image_size=32,
    tokenizer="clip_bpe_4k",
    vocabulary_size=4096,
)


def a_point() -> RunPoint:
    return RunPoint(
        sweep="smoke",
        run_id=run_id(SCIENCE),
        science=SCIENCE,
        data=DataPaths(train=Path("train"), validation=Path("validation"), labelled=None),
        placement=Placement(
            engine="deepspeed",
            zero_stage=1,
            shard_ranks=1,
            num_ranks=1,
            micro_batch=64,
            num_workers=0,
            checkpoint_every_samples=0,
        ),
        evaluation=EvaluationPlan(tasks=()),
    )


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run as training leaves it."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.point.write_text(a_point().model_dump_json())
    save_file(build_objective(SCIENCE.specification, seed=3).state_dict(), run.weights)
    return run


def test_the_command_writes_a_folder_that_loads_and_names_its_run(run: RunDirectory, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "exported"
    done = CliRunner().invoke(
        app, ["export", str(run.path), "--format", "timm", "--output", str(output)], catch_exceptions=False
    )
    assert done.exit_code == 0 and f"{output}/README.md" in done.output.replace("\n", "")
    tower = timm.create_model(f"local-dir:{output}", pretrained=True)
    weights = load_file(run.weights)
    assert all(
        torch.equal(tensor, weights[f"image_tower.{name}"]) for name, tensor in tower.state_dict().items()
    )
    origin = json.loads((output / "run.json").read_text())
    assert (origin["run_id"], origin["sweep"], origin["tokenizer"]) == (
        run_id(SCIENCE),
        "smoke",
        "clip_bpe_4k",
    )
    assert origin["specification"]["image_tower"] == "vit_nano8"


def test_an_unfinished_run_is_refused_with_its_state(run: RunDirectory, tmp_path: Path) -> None:
    run.weights.unlink()
    run.write_status(Status(state="running", updated_at=0.0))
    with pytest.raises(ValueError, match="run is running, not finished: it has no weights.safetensors"):
        export_run(run.path, tmp_path / "exported", format="timm")


def test_a_checkpoint_of_an_unfinished_run_is_exported_as_its_weights_would_be(
    run: RunDirectory, tmp_path: Path
) -> None:
    """Three steps of a run that never got further; wrong steps and damage are one clear message each."""
    run.weights.unlink()
    objective = build_objective(SCIENCE.specification, seed=5)
    pieces = [
        Piece(
            name=name,
            kind="weight",
            shape=tuple(value.shape),
            start=0,
            values=value.detach().reshape(-1),
            is_mine=True,
        )
        for name, value in objective.state_dict().items()
    ]
    folder = run.checkpoints / "step-000000003"
    folder.mkdir(parents=True)
    write_share(folder, 0, copy_of_pieces(pieces))
    header = Header(
        progress={},
        optimizer_steps=3,
        environment={},
        state_hash=state_hash(pieces),
        manifests=(seal_of((folder / "rank-00000.json").read_text()),),
    )
    (folder / "checkpoint.json").write_text(sealed(header))
    export_run(run.path, tmp_path / "exported", format="timm", checkpoint=3)
    tower = timm.create_model(f"local-dir:{tmp_path / 'exported'}", pretrained=True)
    weights = objective.state_dict()
    assert all(
        torch.equal(value, weights[f"image_tower.{name}"]) for name, value in tower.state_dict().items()
    )
    with pytest.raises(ValueError, match=r"not finished: .* or give --checkpoint STEP \(there are 3\)"):
        export_run(run.path, tmp_path / "other", format="timm")
    with pytest.raises(ValueError, match=r"no checkpoint of step 4 \(there are 3\)"):
        export_run(run.path, tmp_path / "other", format="timm", checkpoint=4)
    (folder / "rank-00000.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="step 3 .* cannot be exported: rank-00000.safetensors has 0 bytes"):
        export_run(run.path, tmp_path / "other", format="timm", checkpoint=3)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no run: it has no point.json. Give the folder of one run"):
        export_run(tmp_path, tmp_path / "exported", format="timm")


def test_damaged_weights_and_those_of_another_run_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    save_file({"head.weight": torch.zeros(2, 2)}, run.weights)
    with pytest.raises(ValueError, match=f"weights of {run_id(SCIENCE)} do not fit: head.bias, .* missing"):
        export_run(run.path, tmp_path / "exported", format="timm")
    run.weights.write_bytes(b"\x08" * 100)
    with pytest.raises(ValueError, match="weights.safetensors is damaged"):
        export_run(run.path, tmp_path / "exported", format="timm")
    assert not (tmp_path / "exported").exists()


def test_an_unknown_format_is_refused_with_the_nearest(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown format 'tim'. Did you mean 'timm'"):
        export_run(run.path, tmp_path / "exported", format="tim")
