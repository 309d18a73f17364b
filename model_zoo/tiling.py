"""How a matrix of logits is cut into blocks, slices and pieces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiling:
    """How many logits are held, and how many are worked on, at a time."""

    block_bytes: int  # of the logits that are held
    slice_columns: int  # of one matrix product, and of the copy of the weight made for it
    piece_elements: int  # of one elementwise operation; at least a row of a slice

    def row_blocks(self, num_rows: int, num_columns: int, itemsize: int) -> list[slice]:
        """Blocks of all columns: at least one, of nearly equal size."""
        return _equal_shares(num_rows, self.block_bytes // (num_columns * itemsize))

    def column_blocks(self, num_rows: int, num_columns: int, itemsize: int) -> list[slice]:
        """Blocks of all rows: at least one, of nearly equal size."""
        return _equal_shares(num_columns, self.block_bytes // (max(1, num_rows) * itemsize))


def _equal_shares(size: int, most: int) -> list[slice]:
    num_shares = max(1, -(-size // max(1, most)))
    bounds = [size * share // num_shares for share in range(num_shares + 1)]
    return [slice(start, stop) for start, stop in zip(bounds, bounds[1:], strict=False)]


# Measured on two cores of a Zen 5 server (1 MiB of L2 each): products of 1,024 to 4,096 columns are as fast as of all,
# and a piece of 2^18 in float32 fills half of the cores' L2.
ON_CPU = Tiling(block_bytes=2**26, slice_columns=2048, piece_elements=2**18)
# Not measured: 2,700 rows of 49,408 bfloat16 logits, so that the weight gradient is rarely read and written; a fused
# kernel needs no pieces.
ON_ACCELERATOR = Tiling(block_bytes=2**28, slice_columns=2**14, piece_elements=2**62)
