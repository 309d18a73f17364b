"""Every objective, loss and kind of label through DeepSpeed's launcher, from a sweep file to records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from model_zoo.specification import CLASSIFICATION_LOSSES
from scaling.records import RunDirectory, read_lines, run_directories

pytestmark = pytest.mark.slow

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def launch(
    start_deepspeed: Start, small_rendering: Path, tmp_path: Path
) -> Callable[..., list[RunDirectory]]:
    """A function that launches a sweep with overrides on some ranks: its runs, all of which finished."""

    def run(sweep: str, folder: str, num_ranks: int, **changes: Any) -> list[RunDirectory]:
        output = tmp_path / f"{folder}.txt"
        changes |= {f"data.{part}": small_rendering / part for part in ("train", "validation", "labelled")}
        words = [word for key, value in changes.items() for word in ("--set", f"{key}={_yaml(value)}")]
        command = (f"sweeps/{sweep}.yaml", *words, "--runs", tmp_path / folder)
        process = start_deepspeed(*command, num_ranks=num_ranks, output=output, SMOKE_DATA=small_rendering)
        assert process.wait(timeout=400) == 0, output.read_text()
        return run_directories(tmp_path / folder / sweep)

    return run


def _yaml(value: object) -> str:
    return json.dumps(value) if isinstance(value, list) else str(value)


def _science(run: RunDirectory) -> dict[str, Any]:
    record = run.read_record()
    assert record is not None
    return record.science


def test_the_five_losses_train_on_all_four_kinds_of_labels(
    launch: Callable[..., list[RunDirectory]], small_rendering: Path
) -> None:
    made = small_rendering / "vocabularies"
    runs = launch(
        *("losses", "losses", 2),
        **{"samples_seen": 256, "warmup_samples": 64, "global_batch": 32, "evaluate.batch": 32},
        **{"evaluate.tasks": ["held_out_loss"], "data.vocabularies.words": made / "words.json"},
        **{f"data.vocabularies.{name}": made / name for name in ("bert_wordpiece", "llama_sentencepiece")},
    )
    trained = {(science["classification_loss"], science["tokenizer"]) for science in map(_science, runs)}
    assert {loss for loss, _ in trained} == set(CLASSIFICATION_LOSSES) and len(trained) == 20
    for run in runs:
        losses = [row["loss"] for row in read_lines(run.metrics) if "loss" in row]
        assert losses[-1] < losses[0], (run.path.name, losses)
        assert _science(run)["vocabulary_size"] < 5_000


def test_contrastive_objectives_train_alike_on_two_ranks_and_on_one_through_cached_features(
    launch: Callable[..., list[RunDirectory]], tmp_path: Path
) -> None:
    """The negatives of the global batch, the head's gradient and SigLIP's bias, however the batch is split.

    Then a text tower is tuned to one of the trained image towers, which stays as it is.
    """
    common = {
        "objective": ["siglip", "superclip"],
        "samples_seen": 512,
        "precision": "fp32",
        "evaluate.tasks": ["held_out_loss"],
    }
    alone = launch("smoke", "alone", 1, micro_batch=8, **common)
    together = launch("smoke", "together", 2, **common)
    for one, two in zip(alone, together, strict=True):
        assert one.path.name == two.path.name, "the same point is the same run"
        for key in ("loss", "gradient_norm", "logit_scale"):
            values, expected = (
                [row[key] for row in read_lines(run.metrics) if key in row] for run in (one, two)
            )
            assert values == pytest.approx(expected, rel=1e-3) and len(values) == 16
    superclip = next(run for run in alone if run.path.name.startswith("superclip"))
    assert {"contrastive_loss", "classification_loss"} <= list(read_lines(superclip.metrics))[0].keys()

    tuned = launch(
        *("lit", "tuned", 1),
        **{"image_tower": "vit_nano8", "samples_seen": 256, "warmup_samples": 64, "global_batch": 32},
        **{"context_length": 16, "evaluate.batch": 32, "evaluate.tasks": ["zero_shot"]},
        image_init=[f"run:{superclip.path}"],
    )
    (run,) = tuned
    assert _science(run)["image_init"] == f"run:{superclip.path.name}"
    before, after = _weights(superclip), _weights(run)
    towers = [name for name in after if name.startswith("image_tower.")]
    assert towers and all(before[name] == after[name] for name in towers), "the image tower is locked"
    assert before["text_tower.token_embedding.weight"] != after["text_tower.token_embedding.weight"]


def _weights(run: RunDirectory) -> dict[str, list[float]]:
    with safe_open(run.weights, framework="numpy") as file:
        return {name: file.get_tensor(name).ravel().tolist() for name in file.keys()}
