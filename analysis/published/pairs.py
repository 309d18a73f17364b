"""CLIP and SuperClass of the paper at equal image tower and samples, as rows of a study.

The paper prints no compute. Here: model FLOPs, 2 per multiply-add, backward twice the forward, so 3 x forward of
everything that is trained: both towers, head, similarity matrix; at 224 pixels, 77 tokens, 49,408 classes and a batch
of 16,384. SuperClass's zero-shot accuracy needs a second run, of a text tower on the locked image tower (LiT) with as
many samples: 1 x forward of the image tower and 3 x of the rest, which is added.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from analysis.published.tables import published_table

PAIRED_TABLES = (8, 9, 10)  # those that print CLIP beside SuperClass at equal tower and samples
OBJECTIVES = {"CLIP": "clip", "SuperClass": "superclass"}
FORWARD_FLOPS = Path(__file__).with_name("forward_flops.csv")  # as model_zoo counts them, which a test holds
TRAIN_PER_FORWARD = 3  # backward is twice the forward
CONVENTION = "training FLOPs: 2 per multiply-add, 3 x forward of both towers, head and similarity matrix"
LIT_CONVENTION = f"{CONVENTION}; with LiT on as many samples: 1 x image tower, 3 x text tower"
AFTER_LIT = "_after_LiT"


def published_pairs(tables: Iterable[int] = PAIRED_TABLES) -> pd.DataFrame:
    """One row per run and metric in percent: objective, image_tower, samples_seen, parameters, train_flops, error, ...

    `parameters` are the image tower's, `error` is 1 - accuracy; a run printed in two tables appears once, under the
    first. SuperClass after LiT is the rival of CLIP's imagenet_zero_shot_top1, and `train_flops` holds both phases.
    Scores without an upper end of 100 are left out. ValueError for a table without pairs.
    """
    chosen = list(tables)
    unpaired = [number for number in chosen if number not in PAIRED_TABLES]
    if unpaired:
        raise ValueError(f"tables {unpaired}: CLIP stands beside SuperClass in Tables {PAIRED_TABLES} only.")
    printed = pd.concat([published_table(number) for number in chosen], ignore_index=True)
    printed = printed[printed["unit"] == "percent"]
    after_lit = printed["metric"].str.endswith(AFTER_LIT)
    pairs = pd.DataFrame(
        {
            "objective": printed["method"].map(OBJECTIVES),
            "image_tower": printed["image_tower"],
            "samples_seen": printed["samples_seen"].astype("int64"),
            "global_batch": printed["global_batch"].astype("int64"),
            "metric": printed["metric"].str.removesuffix(AFTER_LIT),
            "error": 1 - printed["value"] / 100,
            "compute_convention": after_lit.map({True: LIT_CONVENTION, False: CONVENTION}),
            "table": printed["table"],
            "source": printed["source"],
        }
    )
    tower, objective, samples = pairs["image_tower"], pairs["objective"], pairs["samples_seen"]
    pairs["parameters"] = [image_parameters(name) for name in tower]
    pairs["train_flops"] = [
        train_flops(*of_run) for of_run in zip(tower, objective, samples, after_lit, strict=True)
    ]
    pairs["run_id"] = objective + "-" + tower + "-" + (samples // 10**6).astype(str) + "M"
    return pairs.drop_duplicates(["run_id", "metric"]).reset_index(drop=True)


def train_flops(image_tower: str, objective: str, samples_seen: int, after_lit: bool = False) -> float:
    """Training FLOPs of a run by the convention of this module."""
    parts = _forward_flops()
    per_sample = TRAIN_PER_FORWARD * sum(parts[image_tower, objective].values())
    if after_lit:
        contrastive = dict(parts[image_tower, "clip"])
        per_sample += contrastive.pop("image_tower") + TRAIN_PER_FORWARD * sum(contrastive.values())
    return float(per_sample) * samples_seen


def image_parameters(image_tower: str) -> int:
    """Parameters of the image tower, the same for both objectives."""
    rows = _counts()
    chosen = rows[(rows["image_tower"] == image_tower) & (rows["part"] == "image_tower")]
    return int(chosen["parameters"].iloc[0])


@functools.cache
def _counts() -> pd.DataFrame:
    return pd.read_csv(FORWARD_FLOPS)


@functools.cache
def _forward_flops() -> dict[tuple[str, str], dict[str, int]]:
    """Forward FLOPs per sample by part, of each (image_tower, objective)."""
    rows = _counts()
    parts: dict[tuple[str, str], dict[str, int]] = {}
    for tower, objective, part, flops in zip(
        rows["image_tower"], rows["objective"], rows["part"], rows["forward_flops"], strict=True
    ):
        parts.setdefault((tower, objective), {})[part] = int(flops)
    return parts
