"""How many bytes training reads: counted sample by sample, as they lie in the shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from stream_children import Reading, in_children, open_stream, settings_of

STEPS = 14  # of 24 samples of 300: into the second epoch


def stored_bytes(folder: Path) -> list[int]:
    """The size of every sample, by the table of offsets with which each MDS file begins."""
    sizes: list[int] = []
    for shard in json.loads((folder / "index.json").read_text())["shards"]:
        content = (folder / shard["raw_data"]["basename"]).read_bytes()
        (number,) = np.frombuffer(content[:4], np.uint32)
        offsets = np.frombuffer(content[4 : 8 + 4 * int(number)], np.uint32)
        sizes += np.diff(offsets.astype(np.int64)).tolist()
    return sizes


def told_and_stored(folder: Path, scratch: Path, *, ranks: int, workers: int) -> np.ndarray:
    """By rank and step, the bytes that a batch tells and those that its samples take."""
    sizes = stored_bytes(folder)

    def note() -> list[tuple[int, int]]:
        reading = Reading(settings=settings_of(folder), stop=STEPS, ranks=ranks, workers=workers)
        return [
            (batch.num_bytes, sum(sizes[number] for number in batch.sample_ids_B.tolist()))
            for batch in open_stream(reading).batches(0, STEPS)
        ]

    return np.array(in_children(note, ranks=ranks, scratch=scratch))


def test_a_batch_tells_the_bytes_that_its_samples_take_in_the_shards(
    small_rendering: Path, tmp_path: Path
) -> None:
    alone = told_and_stored(small_rendering / "train", tmp_path / "a", ranks=1, workers=0)
    assert alone.shape == (1, STEPS, 2) and (alone > 0).all()
    assert (alone[..., 0] == alone[..., 1]).all() and len({*alone[0, :, 0]}) > 1
    shared = told_and_stored(small_rendering / "train", tmp_path / "b", ranks=2, workers=1)
    assert (shared[..., 0] == shared[..., 1]).all() and (shared.sum(axis=0) == alone[0]).all()
