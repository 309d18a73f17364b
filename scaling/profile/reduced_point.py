"""Makes a point small enough to be profiled in one process: one rank, one micro-batch, synthetic pictures."""

# Shapes.  B samples, C channels, H W pixels, L caption tokens, N labels of all samples together.

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from model_zoo.targets import LabelledTokens, LabelSets, TokenRows
from scaling.data.batches import Batch, Targets
from scaling.points import RunPoint
from scaling.predicting.workload import workload_of
from scaling.sweep.science import Science

SAMPLES = {"cpu": 8, "cuda": 256}  # of a micro-batch at most: seconds per step of ViT-B/16 on one CPU core
LABELS_PER_SAMPLE = 16  # captions have 10 to 20 words; no product depends on it
CHANNELS = 3


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ReducedPoint:
    """A point as it is profiled, and in words how it differs from the sweep's."""

    point: RunPoint
    changes: tuple[str, ...]


def points_to_profile(points: Sequence[RunPoint], point_id: str | None) -> list[RunPoint]:
    """The point asked for, or of points whose steps are alike (other length, seed, learning rate) the first.

    ValueError where no point has the id.
    """
    if point_id is not None:
        chosen = [point for point in points if point.run_id == point_id]
        if not chosen:
            known = ", ".join(point.run_id for point in points)
            raise ValueError(f"--point {point_id}: no run of this sweep has this id. Its runs: {known}.")
        return chosen
    alike: dict[object, RunPoint] = {}
    for point in points:
        alike.setdefault((workload_of(point.science), point.placement), point)
    return list(alike.values())


def reduced(point: RunPoint, device_type: str) -> ReducedPoint:
    """The point with one micro-batch as its global batch, and no larger one than the device computes in seconds."""
    science, placement = point.science, point.placement
    samples = min(placement.micro_batch, science.global_batch, SAMPLES.get(device_type, SAMPLES["cpu"]))
    changes = []
    if samples != science.global_batch:
        less = f"global_batch is {samples:,} samples instead of {science.global_batch:,}"
        changes.append(f"{less}: one micro-batch on one rank")
    if samples != placement.micro_batch:
        changes.append(f"micro_batch is {samples:,} instead of {placement.micro_batch:,}")
    updates = {"global_batch": samples}
    if science.specification.image.has_batch_norm and science.batch_norm_samples > samples:
        changes.append(f"batch_norm_samples is {samples:,} instead of {science.batch_norm_samples:,}")
        updates["batch_norm_samples"] = samples
    if science.idf == "frozen":
        changes.append("idf is online instead of frozen: the counts are not read")
    if science.image_init != "random":
        changes.append("image_init is random: no weights are read")
    if placement.offload != "none" and device_type == "cpu":
        changes.append(f"offload is {placement.offload}, but into the same memory: a CPU's is the host's")
    small = science.model_copy(
        update={
            **updates,
            "idf": "online" if science.idf == "frozen" else science.idf,
            "image_init": "random",
        }
    )
    on_one = placement.model_copy(update={"micro_batch": samples, "num_ranks": 1, "shard_ranks": 1})
    return ReducedPoint(
        point=point.model_copy(update={"science": small, "placement": on_one}), changes=tuple(changes)
    )


def synthetic_batch(science: Science) -> Batch:
    """A global batch of grey noise and arbitrary captions; the same every time."""
    generator = torch.Generator().manual_seed(science.seed)
    samples, size = science.global_batch, science.image_size
    images_BHWC = torch.randint(
        0, 256, (samples, size, size, CHANNELS), dtype=torch.uint8, generator=generator
    )
    return Batch(
        images_BCHW=images_BHWC.permute(0, 3, 1, 2),
        targets=_targets(science, generator),
        sample_ids_B=torch.arange(samples),
        num_undecodable=0,
        num_empty_captions=0,
        seeds_B=torch.arange(samples),
    )


def _targets(science: Science, generator: torch.Generator) -> Targets:
    kind, samples = science.specification.kind, science.global_batch
    valid_B = torch.ones(samples, dtype=torch.bool)
    if not kind.classifies:
        return _tokens(science, valid_B)
    number = min(LABELS_PER_SAMPLE, science.vocabulary_size)
    ids = [torch.randperm(science.vocabulary_size, generator=generator)[:number] for _ in range(samples)]
    labels = LabelSets(torch.cat(ids), torch.arange(samples + 1) * number, valid_B)
    return LabelledTokens(labels, _tokens(science, valid_B)) if kind.contrasts else labels


def _tokens(science: Science, valid_B: torch.Tensor) -> TokenRows:
    """Rows that differ, start with the start token and end with the end token, the highest id."""
    tokens_BL = torch.zeros(science.global_batch, science.context_length, dtype=torch.int64)
    tokens_BL[:, 0] = science.vocabulary_size - 2
    tokens_BL[:, 1] = torch.arange(science.global_batch) % (science.vocabulary_size - 2)
    tokens_BL[:, 2] = science.vocabulary_size - 1
    return TokenRows(tokens_BL, valid_B)
