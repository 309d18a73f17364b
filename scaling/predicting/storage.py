"""Bytes that a run reads and writes: samples of its training set, checkpoints, trained weights.  No torch."""

from __future__ import annotations

from model_zoo.counts import count_parameters
from scaling.cost import decay_step, samples_shown
from scaling.placement import Placement
from scaling.sweep.science import Science

ASSUMED_SAMPLE_BYTES = 450e12 / 12.8e9
"""Of one image-text pair: an assumption, replaced by the mean sample of the training set's index once that is there.

35 kB: the tars of DataComp's pool of 12.8B pairs take 450 TB (Gadre et al. 2023, arXiv 2304.14108; table of disk
requirements in the README of mlfoundations/datacomp), images at most 512 pixels on their longer side
(download_upstream.py there).
"""

BYTES_PER_NUMBER = 4  # float32 in every precision mode: weights and AdamW's two moments


def data_bytes(science: Science, sample_bytes: float) -> int:
    """Bytes of stored samples that all ranks together read, repeats included."""
    return round(samples_shown(science) * sample_bytes)


def weight_bytes(science: Science) -> int:
    """Bytes of the trained objective's weights, a locked tower's included."""
    return BYTES_PER_NUMBER * sum(count_parameters(science.specification).values())


def checkpoint_bytes(science: Science) -> int:
    """Bytes of one checkpoint: all weights, and two moments of those that are trained, whatever the engine."""
    parameters = count_parameters(science.specification)
    locked = parameters["image_tower"] if science.specification.kind.locks_image_tower else 0
    return BYTES_PER_NUMBER * (3 * sum(parameters.values()) - 2 * locked)


def num_checkpoints_kept(science: Science, placement: Placement, branch_step: int = 0) -> int:
    """Checkpoints of its own that a run has on the disk when it ends, if its first branch_step steps are another's.

    The latest, those at or after multiples of keep_every_samples and, with a schedule that has one, the one before the
    decay, from which other runs may branch.
    """
    shown, before, every = (
        samples_shown(science),
        branch_step * science.global_batch,
        placement.keep_every_samples,
    )
    num_written = _num_written(shown, before, science, placement)
    stays_besides = 0
    if branch_step < decay_step(science) < shown // science.global_batch:
        num_written += not _is_at_interval(decay_step(science), science, placement)
        stays_besides = not _stays_anyway(decay_step(science), before, science, placement)
    latest = min(placement.keep_checkpoints, num_written)
    for_ever = min(shown // every - before // every, num_written) if every else 0
    # a latest one that stays for ever counts twice
    return min(num_written, latest + for_ever + stays_besides)


def _num_written(shown: int, before: int, science: Science, placement: Placement) -> int:
    """Checkpoints at intervals after `before` samples and at the end."""
    interval = _interval(science, placement)
    return -(-shown // interval) - before // interval if interval else 1


def _stays_anyway(step: int, before: int, science: Science, placement: Placement) -> bool:
    """Whether the checkpoint of this step is among the latest when the run ends, or the first after a multiple."""
    seen, every = step * science.global_batch, placement.keep_every_samples
    if _num_written(samples_shown(science), seen, science, placement) < placement.keep_checkpoints:
        return True
    return bool(every) and seen // every > _written_before(step, before, science, placement) // every


def _written_before(step: int, before: int, science: Science, placement: Placement) -> int:
    """Samples of the last checkpoint at an interval that precedes the one of this step, at least `before`."""
    interval, batch = _interval(science, placement), science.global_batch
    multiple = (step - 1) * batch // interval * interval if interval else 0
    return max(before, -(-multiple // batch) * batch)


def _is_at_interval(step: int, science: Science, placement: Placement) -> bool:
    interval, batch = _interval(science, placement), science.global_batch
    return bool(interval) and step * batch // interval > (step - 1) * batch // interval


def _interval(science: Science, placement: Placement) -> int:
    """Samples between checkpoints, at least those of a step; 0: only at the end."""
    asked = placement.checkpoint_every_samples
    return max(asked, science.global_batch) if asked else 0
