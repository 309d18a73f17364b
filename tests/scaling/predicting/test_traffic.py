"""Closed forms of what ranks send against the collectives that the engines really issue, on a fake process group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scaling.placement import Placement
from scaling.predicting import traffic
from scaling.predicting.traffic import step_traffic
from scaling.sweep.science import Science

ROOT = Path(__file__).resolve().parents[3]

Case = dict[str, Any]


def a_case(engine: str, zero_stage: int, objective: str, micro_batch: int, **changes: Any) -> Case:
    """32 samples over four ranks."""
    fields = {
        "engine": engine,
        "zero_stage": zero_stage,
        "objective": objective,
        "micro_batch": micro_batch,
        "num_ranks": 4,
        "shard_ranks": 4,
        "global_batch": 32,
        "idf": "off",
    }
    return fields | changes


TWO_WAY = {"classification_loss": "two_way"}

FSDP_CASES = [
    a_case("fsdp", 3, "superclass", 8, idf="online"),
    a_case("fsdp", 3, "superclass", 4, shard_ranks=2),
    a_case("fsdp", 2, "superclass", 4),
    a_case("fsdp", 3, "superclass", 4, changes=TWO_WAY),
    a_case("fsdp", 3, "clip", 8),
    a_case("fsdp", 3, "clip", 4),
    a_case("fsdp", 2, "clip", 2),
    a_case("fsdp", 3, "siglip", 4),
    a_case("fsdp", 3, "superclip", 4, idf="online"),
    a_case("fsdp", 2, "lit", 8),
    a_case(
        "fsdp",
        2,
        "superclass",
        8,
        image_tower="resnet_nano",
        image_size=32,
        changes={"batch_norm_samples": 8},
    ),
]

DEEPSPEED_CASES = [
    a_case("deepspeed", 0, "superclass", 4),
    a_case("deepspeed", 1, "superclip", 4, idf="online"),
    a_case("deepspeed", 2, "clip", 2),
    a_case("deepspeed", 3, "superclass", 4),
    a_case("deepspeed", 3, "superclass", 8, live_elements=220_000),
    a_case("deepspeed", 3, "superclip", 4),
    a_case("deepspeed", 3, "lit", 4),
]


def counted(cases: list[Case]) -> list[dict[str, int]]:
    """Bytes sent by collective, of each case."""
    script = Path(__file__).with_name("counted_collectives.py")
    command = [sys.executable, "-W", "ignore", str(script), json.dumps(cases)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=500
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: list[dict[str, int]] = json.loads(done.stdout.splitlines()[-1])
    return found


def a_science(case: Case) -> Science:
    has_text = case["objective"] != "superclass"
    towers = {"text_tower": "text_nano"} if has_text else {}
    init = {"image_init": "timm:vit_tiny_patch16_224"} if case["objective"] == "lit" else {}
    return Science(
        objective=case["objective"],
        image_tower=case.get("image_tower", "vit_nano8"),
        image_size=case.get("image_size", 16),
        samples_seen=320,
        warmup_samples=0,
        global_batch=case["global_batch"],
        vocabulary_size=4096,
        context_length=8,
        idf=case["idf"],
        **towers,
        **init,
        **case.get("changes", {}),
    )


def a_placement(case: Case) -> Placement:
    names = ("engine", "zero_stage", "shard_ranks", "num_ranks", "micro_batch")
    return Placement(num_workers=0, **{name: case[name] for name in names})


def check(case: Case, sent: dict[str, int]) -> None:
    predicted = step_traffic(a_science(case), a_placement(case))
    print(f"{case} sent {sum(sent.values()):,} predicted {predicted.network:,}")
    assert predicted.network == pytest.approx(sum(sent.values()), rel=0.005), (case, sent, predicted)


@pytest.mark.slow
def test_fsdp_sends_what_is_predicted() -> None:
    for case, sent in zip(FSDP_CASES, counted(FSDP_CASES), strict=True):
        check(case, sent)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", DEEPSPEED_CASES, ids=lambda case: f"{case['zero_stage']}-{case['objective']}"
)
def test_deepspeed_sends_what_is_predicted(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each: DeepSpeed remembers its first process group."""
    if "live_elements" in case:
        monkeypatch.setattr(traffic, "REUSE_ELEMENTS", case["live_elements"])
    (sent,) = counted([case])
    check(case, sent)


def test_weights_reused_within_deepspeeds_reach_are_those_of_its_configuration() -> None:
    from scaling.train.engines.deepspeed_configuration import LIVE_ELEMENTS

    assert traffic.REUSE_ELEMENTS == LIVE_ELEMENTS


def test_one_rank_sends_nothing() -> None:
    case = a_case("deepspeed", 1, "clip", 8, num_ranks=1, shard_ranks=1, global_batch=8)
    assert step_traffic(a_science(case), a_placement(case)).network == 0


@pytest.mark.parametrize("offload, in_shards", [("none", 0), ("optimizer", 2), ("all", 2 + 1)])
def test_what_is_offloaded_travels_down_and_up_once_and_weights_with_every_gathering(
    offload: str, in_shards: int
) -> None:
    case = a_case("deepspeed", 3, "superclass", 8)
    placement = a_placement(case).model_copy(update={"offload": offload})
    traffic_of_step = step_traffic(a_science(case), placement)
    shard_bytes = 4 * 295_312 // 4
    assert traffic_of_step.host == in_shards * shard_bytes
