"""Checkpoints read back: verified, and into any cut of the training state."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from scaling.checkpoints.contents import (
    HEADER,
    DamagedCheckpoint,
    Entry,
    Header,
    Manifest,
    UnreadableCheckpoint,
    data_file,
    manifest_file,
    seal_of,
    unsealed,
)
from scaling.checkpoints.writing import checksum
from scaling.train.engines.protocol import Piece

POLL_SECONDS = 0.2

Tensors = dict[tuple[str, str], tuple[tuple[int, ...], str]]
"""Tensors of a training state: (kind, name) -> shape of the whole, data type."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint whose header and manifests were read and found intact."""

    folder: Path
    seal: str  # checksum of its header; tells it apart from another checkpoint of the same step
    header: Header
    manifests: tuple[Manifest, ...]  # by the rank that wrote it

    @classmethod
    def open(cls, folder: Path, *, seal: str | None = None, patience_seconds: float = 0.0) -> Checkpoint:
        """The checkpoint in `folder`; waits up to `patience_seconds` for files that a shared file system shows late.

        Raises DamagedCheckpoint, UnreadableCheckpoint if it is of another format.
        """
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                return cls._open(folder, seal)
            except DamagedCheckpoint:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(POLL_SECONDS)

    @classmethod
    def _open(cls, folder: Path, seal: str | None) -> Checkpoint:
        if (folder / "progress.json").exists() and not (folder / HEADER).exists():
            raise UnreadableCheckpoint(
                f"{folder} is in the format of an older version: finish the run with that version, or delete the "
                "folder checkpoints beside it to start anew."
            )
        header = unsealed(folder / HEADER, Header, seal)
        manifests = tuple(
            unsealed(manifest_file(folder, rank), Manifest, named)
            for rank, named in enumerate(header.manifests)
        )
        for rank, manifest in enumerate(manifests):
            _check_size(data_file(folder, rank), manifest.data_bytes)
        seal = seal_of((folder / HEADER).read_text())
        return cls(folder=folder, seal=seal, header=header, manifests=manifests)

    @property
    def num_ranks(self) -> int:
        """Ranks that wrote it."""
        return len(self.manifests)

    def verify(self, ranks: Iterable[int]) -> None:
        """Raise DamagedCheckpoint unless the data files that these ranks wrote hold what was written."""
        for rank in ranks:
            with _opened(data_file(self.folder, rank)) as file:
                for entry in self.manifests[rank].entries:
                    if checksum(file.get_tensor(entry.key)) != entry.xxh64:
                        raise DamagedCheckpoint(
                            f"rank-{rank:05d}.safetensors: {entry.kind} {entry.name} differs from its checksum"
                        )

    def tensors(self) -> Tensors:
        """The tensors of the training state in it."""
        return {
            (entry.kind, entry.name): (entry.shape, entry.dtype)
            for manifest in self.manifests
            for entry in manifest.entries
            if entry.kind not in ("random_state", "label_statistics")
        }

    def own(self, kind: str, rank: int) -> dict[str, Tensor]:
        """Whole tensors of one kind that one rank wrote, by name: its random state, or rank 0's label statistics."""
        entries = [entry for entry in self.manifests[rank].entries if entry.kind == kind]
        with _opened(data_file(self.folder, rank)) as file:
            return {entry.name: file.get_tensor(entry.key).reshape(entry.shape) for entry in entries}

    def fill(self, pieces: Sequence[Piece]) -> None:
        """Write the checkpoint's values into the pieces, file by file, reading only what overlaps."""
        wanted: dict[tuple[str, str], list[Piece]] = defaultdict(list)
        for piece in pieces:
            wanted[piece.kind, piece.name].append(piece)
        for rank, manifest in enumerate(self.manifests):
            overlaps = [
                (entry, piece)
                for entry in manifest.entries
                for piece in wanted.get((entry.kind, entry.name), ())
                if _overlap(entry, piece)
            ]
            if overlaps:
                _copy_overlaps(data_file(self.folder, rank), overlaps)


def _check_size(path: Path, size: int) -> None:
    try:
        found = os.stat(path).st_size
    except OSError as error:
        raise DamagedCheckpoint(f"{path.name} cannot be read ({error.strerror})") from error
    if found != size:
        raise DamagedCheckpoint(f"{path.name} has {found:,} bytes instead of {size:,}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A data file, read lazily; failures to read it are raised as DamagedCheckpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise DamagedCheckpoint(f"{path.name} cannot be read ({error})") from error


def _overlap(entry: Entry, piece: Piece) -> range:
    """The flat indices, in the whole tensor, of the elements that both hold."""
    return range(
        max(entry.start, piece.start), min(entry.start + entry.length, piece.start + len(piece.values))
    )


@torch.no_grad()
def _copy_overlaps(path: Path, overlaps: Iterable[tuple[Entry, Piece]]) -> None:
    with _opened(path) as file:
        for entry, piece in overlaps:
            both = _overlap(entry, piece)
            stored = file.get_slice(entry.key)[both.start - entry.start : both.stop - entry.start]
            piece.values[both.start - piece.start : both.stop - piece.start].copy_(stored)


def consolidate(folder: Path) -> dict[str, Tensor]:
    """The weights and buffers of the checkpoint in `folder` by their names in the objective's state_dict, on the CPU.

    Needs neither a process group nor a GPU, whatever wrote it; every file is verified. Raises DamagedCheckpoint or
    UnreadableCheckpoint.
    """
    checkpoint = Checkpoint.open(folder)
    checkpoint.verify(range(checkpoint.num_ranks))
    pieces = [
        Piece(
            name=name,
            kind="buffer" if kind == "buffer" else "weight",
            shape=shape,
            start=0,
            values=torch.empty(shape, dtype=getattr(torch, dtype)).view(-1),
            is_mine=False,
        )
        for (kind, name), (shape, dtype) in checkpoint.tensors().items()
        if kind in ("weight", "buffer")
    ]
    checkpoint.fill(pieces)
    return {piece.name: piece.values.view(piece.shape) for piece in pieces}
