"""A rank's share of a checkpoint: copied from the live state at once, written to disk in the background."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
import xxhash
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from scaling.checkpoints.contents import Entry, EntryKind, Manifest, data_file, key_of, manifest_file, sealed
from scaling.checkpoints.state_hash import hash_of_values, sum_of_hashes
from scaling.disk import sync_entry
from scaling.records import WriteError, write_atomically
from scaling.train.engines.protocol import Piece


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A copy, on the CPU, of a flat part of a tensor."""

    name: str
    kind: EntryKind
    shape: tuple[int, ...]  # of the whole tensor
    start: int
    values: Tensor  # [n]


def copy_of_pieces(pieces: Iterable[Piece]) -> list[Part]:
    """Copies of those pieces that are this rank's."""
    return [
        Part(
            name=piece.name, kind=piece.kind, shape=piece.shape, start=piece.start, values=_copy(piece.values)
        )
        for piece in pieces
        if piece.is_mine and len(piece.values)
    ]


def copy_of_tensors(kind: EntryKind, tensors: Mapping[str, Tensor | None]) -> list[Part]:
    """Copies of whole tensors that do not belong to an engine; None is left out."""
    return [
        Part(name=name, kind=kind, shape=tuple(tensor.shape), start=0, values=_copy(tensor.reshape(-1)))
        for name, tensor in tensors.items()
        if tensor is not None
    ]


def _copy(values_N: Tensor) -> Tensor:
    return values_N.detach().to("cpu", copy=True).contiguous()


def write_share(folder: Path, rank: int, parts: Iterable[Part]) -> None:
    """Write this rank's data file, then its manifest, so that they survive a power cut.

    Raises WriteError (full disk, folder taken away); nothing half-written is left.
    """
    parts, data = list(parts), data_file(folder, rank)
    try:
        save_file({key_of(part.kind, part.name, part.start): part.values for part in parts}, data)
        data.chmod(0o644)  # save_file makes it readable by its owner alone, unlike a run's other files
        sync_entry(data)
        manifest = Manifest(
            data_bytes=data.stat().st_size,
            entries=tuple(_entry(part) for part in parts),
            state_hash=_state_hash(parts),
        )
        write_atomically(manifest_file(folder, rank), sealed(manifest))
    except (OSError, SafetensorError, WriteError) as error:
        data.unlink(missing_ok=True)
        raise WriteError(
            f"{folder}: checkpoint not written ({error}); the one before it is intact."
        ) from error


def _entry(part: Part) -> Entry:
    return Entry(
        name=part.name,
        kind=part.kind,
        dtype=str(part.values.dtype).removeprefix("torch."),
        shape=part.shape,
        start=part.start,
        length=len(part.values),
        xxh64=checksum(part.values),
    )


def _state_hash(parts: Iterable[Part]) -> dict[str, int]:
    """As scaling.checkpoints.state_hash.state_hash of the pieces that were copied."""
    return sum_of_hashes(
        {part.kind: hash_of_values(part.kind, part.name, part.start, part.values)}
        for part in parts
        if part.kind not in ("random_state", "label_statistics")
    )


def checksum(values_N: Tensor) -> str:
    """The xxh64 of a flat CPU tensor's bytes."""
    return str(xxhash.xxh64_hexdigest(values_N.view(torch.uint8).numpy().data))
