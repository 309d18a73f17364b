"""Computes rows of numbers (features, predictions, ...) for all images of a data set, and joins them on rank 0.

Ranks take contiguous ranges of indices, without padding, so every image counts exactly once.  Rows travel through a
shared folder, which works on every backend and does not fill an accelerator's memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scaling.data.images.augmentation import PixelStatistics
from scaling.data.images.transforms import UndecodableImage, decode, evaluation_crop, normalise
from scaling.data.indexed import IndexedSamples

# Shapes.  B images of a batch, C channels, H W pixels.

Rows = dict[str, npt.NDArray[Any]]  # arrays by name; the first dimension runs over items


def _alone() -> None:
    """The barrier of a single rank."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """This rank among all that evaluate together."""

    scratch: Path  # a folder that every rank sees
    rank: int = 0
    num_ranks: int = 1
    barrier: Callable[[], None] = _alone  # returns once every rank has called it

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, length: int) -> range:
        """This rank's contiguous part of 0 to `length`; the first ranks take what does not divide."""
        each, rest = divmod(length, self.num_ranks)
        start = self.rank * each + min(self.rank, rest)
        return range(start, start + each + (self.rank < rest))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageBatch:
    """Consecutive samples of a data set and their images."""

    images_BCHW: Tensor  # float32, normalised, on the device
    samples: Sequence[Mapping[str, Any]]  # as stored
    indices: range  # in the data set


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageReader:
    """How images are brought to a model."""

    image_size: int  # pixels
    pixel_statistics: PixelStatistics  # those of training
    batch: int  # images
    device: torch.device
    num_threads: int = 1  # that decode; decoding lets go of the interpreter lock

    def batches(self, dataset: IndexedSamples, indices: range) -> Iterator[ImageBatch]:
        """The samples of `indices` in order, the last batch shorter; ValueError naming an undecodable one."""
        with ThreadPoolExecutor(self.num_threads) as pool:
            for start in range(0, len(indices), self.batch):
                chosen = indices[start : start + self.batch]
                samples = [dataset[index] for index in chosen]
                crops = list(pool.map(lambda sample: self._crop(dataset, sample), samples))
                crops_BCHW = torch.stack(crops).to(self.device, non_blocking=True)
                images_BCHW = normalise(crops_BCHW, self.pixel_statistics)
                yield ImageBatch(images_BCHW=images_BCHW, samples=samples, indices=chosen)

    def _crop(self, dataset: IndexedSamples, sample: Mapping[str, Any]) -> Tensor:
        try:
            return evaluation_crop(decode(sample["jpg"]), self.image_size)
        except UndecodableImage as error:
            raise ValueError(
                f"{dataset.folder}: sample {sample['key']!r}: {error}. A score over fewer images would not "
                "compare: make the data set again, without this one."
            ) from error


def extract_rows(
    measure: Callable[[ImageBatch], Rows], dataset: IndexedSamples, *, reader: ImageReader, ranks: Ranks
) -> Rows | None:
    """The rows of `measure` for every batch, joined in the order of the data set, on rank 0; None on the others.

    Every rank calls this.  `measure` runs without gradients and may return any number of rows per image.  ValueError
    for rows that are not finite.
    """
    with torch.no_grad():
        parts = [measure(images) for images in reader.batches(dataset, ranks.share(len(dataset)))]
    for name in parts[0] if parts else ():
        rows = np.concatenate([part[name] for part in parts])
        if not np.isfinite(rows).all():
            raise ValueError(f"{dataset.folder}: the model's {name} are not finite: it has diverged.")
        np.save(_part(ranks, name, ranks.rank), rows)
    ranks.barrier()
    num_parts = min(ranks.num_ranks, len(dataset))  # further ranks have no images
    joined = {name: _join(ranks, name, num_parts) for name in parts[0]} if ranks.is_main else None
    ranks.barrier()  # or a faster rank would overwrite parts that rank 0 still reads
    return joined


def to_rows(rows: Tensor) -> npt.NDArray[Any]:
    """The rows as a float32 array in main memory."""
    array: npt.NDArray[Any] = rows.float().cpu().numpy()
    return array


def _part(ranks: Ranks, name: str, rank: int) -> Path:
    return ranks.scratch / f"{name}-{rank:05d}.npy"


def _join(ranks: Ranks, name: str, num_parts: int) -> npt.NDArray[Any]:
    files = [_part(ranks, name, rank) for rank in range(num_parts)]
    rows: npt.NDArray[Any] = np.concatenate([np.load(file, mmap_mode="r") for file in files])
    for file in files:
        file.unlink()
    return rows
