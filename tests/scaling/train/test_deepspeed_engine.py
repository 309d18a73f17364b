"""The engine against plain PyTorch, in a process of its own: DeepSpeed keeps global state."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scaling.residue import remove_allreduce_buffers

pytestmark = pytest.mark.slow

PROGRAM = """
import json, os, sys
from pathlib import Path
case = json.loads(sys.argv[1])
os.environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", LOCAL_WORLD_SIZE="1", LOCAL_SIZE="1",
                  MASTER_ADDR="127.0.0.1", MASTER_PORT=str(case["port"]), DS_ACCELERATOR="cpu")
import deepspeed, torch
deepspeed.init_distributed(verbose=False)
from model_zoo.build import build_objective, weight_decay_groups
from model_zoo.specification import ObjectiveSpecification
from model_zoo.targets import KnownShare
from scaling.data.images.augmentation import Augmentation
from scaling.data.batches import Batch, CaptionSettings, make_targets
from scaling.data.text.tokenizers import load_tokenizer
from scaling.data.images.transforms import normalise
from scaling.train.accumulation import Accumulation
from scaling.train.idf import build_statistics
from scaling.train.engines import build_engine
from scaling.train.engines.protocol import EngineSettings

def objective():
    specification = ObjectiveSpecification(objective=case["objective"], image_tower="vit_nano8",
        text_tower="none" if case["objective"] == "superclass" else "text_nano", image_size=16, vocabulary_size=4096,
        context_length=8, logit_scale_init=4.6, logit_scale_max=4.605)
    return build_objective(specification, seed=0)

kind = {"superclass": "labels", "superclip": "both"}.get(case["objective"], "tokens")
captions = ["a red star", "two blue rings", "the moon", "green hearts on sand"] * 2
settings = CaptionSettings(kind=kind, context_length=8)
targets, _ = make_targets(load_tokenizer("clip_bpe_4k"), captions, settings)
pixels = torch.randint(0, 256, (8, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
images = normalise(pixels) * case.get("scale", 1)
rate = 1e-2

def plain():
    module = objective()
    decayed, rest = weight_decay_groups(module)
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.2}, {"params": rest, "weight_decay": 0.0}],
                                  lr=rate, betas=(0.9, 0.98), eps=1e-6)
    for _ in range(case["steps"]):
        loss = module(images, targets, KnownShare(8.0))["loss"]
        optimizer.zero_grad(); loss.backward(); optimizer.step(); module.after_step()
        yield float(loss.detach())

def build(micro_batch):
    settings = EngineSettings(global_batch=8, micro_batch=micro_batch, num_micro_batches=8 // micro_batch, zero_stage=1,
        learning_rate=rate, weight_decay=0.2, adam_beta1=0.9, adam_beta2=0.98, adam_epsilon=1e-6,
        gradient_clipping=0.0, bf16_autocast=False)
    return build_engine("deepspeed", objective(), settings)

def cached(micro_batch):
    engine = build(micro_batch)
    batch = Batch(images_BCHW=pixels, targets=targets, sample_ids_B=torch.arange(8), num_undecodable=0,
                  num_empty_captions=0)
    accumulation = Accumulation(engine, augmentation=Augmentation(), micro_batch=micro_batch, num_ranks=1)
    for _ in range(case["steps"]):
        counts = build_statistics("off", 4096, engine.device, None).observe(targets)
        yield float(accumulation.forward_backward(batch, targets, counts)["loss"])
        engine.step(rate)

def engined(micro_batch, save=None, load=None, steps=case["steps"]):
    engine = build(micro_batch)
    if load: engine.load(Path(load), 1)
    for _ in range(steps):
        total = 0.0
        for start in range(0, 8, micro_batch):
            rows = targets.rows(start, start + micro_batch)
            loss = engine.losses(images[start:start + micro_batch], rows, KnownShare(float(micro_batch)))["loss"]
            engine.backward(loss)
            total += float(loss.detach()) * micro_batch / 8
        report = engine.step(rate)
        print(json.dumps(["norm", float(report.gradient_norm)]))
        yield total
    if save: engine.save(Path(save))
    if case["objective"] == "clip":
        print(json.dumps(["logit_scale", float(engine.objective.logit_scale)]))

def tell(name, losses):
    print(json.dumps([name, list(losses)]), flush=True)

tell("plain", plain())
tell("whole", engined(8))
if case["objective"] == "superclass":
    tell("accumulated", engined(2))
else:
    tell("cached", cached(2))
if case["objective"] == "superclip":
    os._exit(0)
tell("first half", engined(8, save=case["folder"], steps=case["steps"] // 2))
tell("second half", engined(8, load=case["folder"], steps=case["steps"] - case["steps"] // 2))
os._exit(0)
"""


def _run(tmp_path: Path, **case: Any) -> dict[str, Any]:
    from scaling.agreement import free_port

    case = {"steps": 6, "port": free_port(), "folder": str(tmp_path / "checkpoint"), **case}
    Path(case["folder"]).mkdir()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(case)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PATH": programs},
    )
    remove_allreduce_buffers(case["port"])
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))


@pytest.fixture(scope="module")
def superclass(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Inputs scaled so that gradients are larger than 1, where DeepSpeed's default clipping would bite."""
    return _run(tmp_path_factory.mktemp("superclass"), objective="superclass", scale=30)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _run(tmp_path_factory.mktemp("clip"), objective="clip")


def test_zero_1_without_clipping_equals_plain_pytorch_where_gradients_exceed_1(
    superclass: dict[str, Any],
) -> None:
    assert superclass["norm"] > 1.0
    assert superclass["whole"] == pytest.approx(superclass["plain"], rel=1e-5)


@pytest.fixture(scope="module")
def superclip(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _run(tmp_path_factory.mktemp("superclip"), objective="superclip")


def test_cached_features_train_as_the_whole_batch_does(
    clip: dict[str, Any], superclip: dict[str, Any]
) -> None:
    """Gradients of the loss's own parameters (logit scale, head) come with one micro-batch of several only."""
    for losses in (clip, superclip):
        assert losses["cached"] == pytest.approx(losses["whole"], rel=1e-4)
        assert losses["whole"] == pytest.approx(losses["plain"], rel=1e-4)


def test_accumulation_over_micro_batches_is_exact_for_superclass(superclass: dict[str, Any]) -> None:
    assert superclass["accumulated"] == pytest.approx(superclass["whole"], rel=1e-5)


def test_a_saved_and_loaded_engine_continues_bit_for_bit(
    superclass: dict[str, Any], clip: dict[str, Any]
) -> None:
    for losses in (superclass, clip):
        assert losses["first half"] + losses["second half"] == losses["whole"]


def test_clip_equals_plain_pytorch_including_the_bound_on_its_logit_scale(clip: dict[str, Any]) -> None:
    """ZeRO steps a master copy: a bound applied to the module alone would drift back with the next step."""
    assert clip["whole"] == pytest.approx(clip["plain"], rel=1e-4)
    assert clip["logit_scale"] <= 4.605 + 1e-6
