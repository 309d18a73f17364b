"""Bytes that a run reads and writes: samples of its training set, checkpoints, trained weights.  No torch."""

from __future__ import annotations

from model_zoo.counts import count_parameters
from scaling.cost import samples_shown
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


def num_checkpoints_kept(science: Science, placement: Placement) -> int:
    """Checkpoints on the disk when a run ends: the latest, and those at or after multiples of keep_every_samples."""
    shown, interval = samples_shown(science), placement.checkpoint_every_samples
    num_written = -(-shown // max(interval, science.global_batch)) if interval else 1
    latest = min(placement.keep_checkpoints, num_written)
    if not placement.keep_every_samples:
        return latest
    for_ever = min(shown // placement.keep_every_samples, num_written)
    return min(num_written, latest + for_ever)  # a latest one that also stays for ever counts twice
