"""Random numbers that are a function of a seed and of their purpose, so that one draw never shifts another.

SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) as a counter: number k of a seed is mix(seed + (k + 1) * gamma).  A
generator with a state would have to be seeded per sample, which with torch's takes a tenth of the time of a JPEG.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xxhash

# Shapes.  B samples.

GAMMA, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # the paper's constants
MASK = (1 << 64) - 1

# The number k of each draw for a showing.
CROP = 0  # four of each of ten attempts
CAPTION = 40
FLIP, JITTER, BRIGHTNESS, CONTRAST, SATURATION, HUE, GRAYSCALE = range(41, 48)
JITTER_ORDER = 48  # four


def showing_seed(seed: int, epoch: int, sample_id: int) -> int:
    """The number, 0 to 2**63 - 1, that all draws for one showing of one sample are made from."""
    return int(xxhash.xxh64_intdigest(f"{seed}/{epoch}/{sample_id}")) >> 1


def uniform(seed: int, number: int) -> float:
    """A draw from [0, 1): number `number` of that seed."""
    mixed = (seed + (number + 1) * GAMMA) & MASK
    mixed = ((mixed ^ (mixed >> 30)) * MIX_1) & MASK
    mixed = ((mixed ^ (mixed >> 27)) * MIX_2) & MASK
    return float(((mixed ^ (mixed >> 31)) >> 11) * 2.0**-53)


def uniforms(seeds_B: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.float64]:
    """`uniform` of many seeds, float64 [B]."""
    mixed_B = seeds_B.astype(np.uint64) + np.uint64(((number + 1) * GAMMA) & MASK)  # wraps around
    mixed_B = (mixed_B ^ (mixed_B >> np.uint64(30))) * np.uint64(MIX_1)
    mixed_B = (mixed_B ^ (mixed_B >> np.uint64(27))) * np.uint64(MIX_2)
    draws_B: npt.NDArray[np.float64] = ((mixed_B ^ (mixed_B >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53
    return draws_B
