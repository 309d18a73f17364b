"""A hash of the training state that does not depend on how the state is cut into pieces.

Each element contributes a mix of its bits, its position and its tensor's name; the contributions are summed modulo
2^64. So ranks hash what they hold, and the sums of any two cuts of the same state are equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import torch
import xxhash
from torch import Tensor

from scaling.train.engines.protocol import Piece

CHUNK_ELEMENTS = 2**20  # hashed at a time: a few copies of 8 bytes each, small beside any model

# Multipliers of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", section 5),
# as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes per element


def hash_of_values(kind: str, name: str, start: int, values_N: Tensor) -> int:
    """The hash, in [0, 2^64), of a flat part of a tensor that begins at its element `start`."""
    salt = xxhash.xxh64_intdigest(f"{kind}/{name}/{values_N.dtype}") - 2**63
    bits_N = values_N.detach().view(_INTEGERS[values_N.element_size()])
    total = 0
    for first in range(0, len(bits_N), CHUNK_ELEMENTS):
        total += _hash_of_chunk(bits_N[first : first + CHUNK_ELEMENTS], start + first, salt)
    return total % 2**64


def _hash_of_chunk(bits_N: Tensor, start: int, salt: int) -> int:
    mixed_N = torch.arange(start, start + len(bits_N), dtype=torch.int64, device=bits_N.device)
    mixed_N.mul_(_GOLDEN).add_(salt)
    _mix(mixed_N)
    mixed_N.add_(bits_N)
    _mix(mixed_N)
    return int(mixed_N.sum())


def _mix(values_N: Tensor) -> None:
    """Mix the bits of each value in place (splitmix64's finalizer); integers wrap modulo 2^64."""
    for shift, factor in ((30, _MIX_1), (27, _MIX_2)):
        values_N.bitwise_xor_(_shifted(values_N, shift)).mul_(factor)
    values_N.bitwise_xor_(_shifted(values_N, 31))


def _shifted(values_N: Tensor, bits: int) -> Tensor:
    return (values_N >> bits).bitwise_and_(2 ** (64 - bits) - 1)  # torch's shift repeats the sign


def sum_of_hashes(hashes: Iterable[dict[str, int]]) -> dict[str, int]:
    """The hash of a whole from those of its parts, by kind."""
    totals: Counter[str] = Counter()
    for part in hashes:
        totals.update(part)
    return {kind: total % 2**64 for kind, total in sorted(totals.items())}


def state_hash(pieces: Iterable[Piece]) -> dict[str, int]:
    """The hash of those pieces that are this rank's, by kind."""
    mine = [piece for piece in pieces if piece.is_mine]
    return sum_of_hashes(
        {piece.kind: hash_of_values(piece.kind, piece.name, piece.start, piece.values)} for piece in mine
    )
