"""How long the captions of a data set are and how many of them repeat: gathered chunk by chunk, then summed up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from scaling.data.text.captions import CaptionTokenizer, clean_caption
from scaling.inputs.vocabulary_files import QUANTILES, CaptionStatistics, Lengths

# Shapes.  B captions of a chunk, K lengths that occur, shortest first.


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Histogram:
    """How many captions have each length."""

    lengths_K: npt.NDArray[np.int64]
    counts_K: npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChunkStatistics:
    """The statistics of one chunk of captions."""

    words: Histogram
    tokens: Histogram | None  # None: the tokenizer has words for tokens
    hashes_B: npt.NDArray[np.uint64]  # of the cleaned captions


class MeasuringTokenizer:
    """Wraps a tokenizer and notes how many tokens it gave each caption."""

    def __init__(self, tokenizer: CaptionTokenizer) -> None:
        self._tokenizer = tokenizer
        self.num_tokens: list[int] = []  # of every caption so far, start and end left out

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)

    def encode_cleaned(self, captions: Sequence[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_cleaned(captions)
        self.num_tokens += map(len, encoded)
        return encoded


def chunk_statistics(captions: Sequence[str], num_tokens: Sequence[int] | None) -> ChunkStatistics:
    """The statistics of captions; `num_tokens` are theirs, None for a tokenizer whose tokens are words."""
    cleaned = [clean_caption(caption) for caption in captions]
    hashes = (xxhash.xxh3_64_intdigest(caption.encode("utf-8", "surrogatepass")) for caption in cleaned)
    return ChunkStatistics(
        words=_histogram([len(caption.split()) for caption in cleaned]),
        tokens=None if num_tokens is None else _histogram(num_tokens),
        hashes_B=np.fromiter(hashes, dtype=np.uint64, count=len(cleaned)),
    )


def summed_up(chunks: Sequence[ChunkStatistics]) -> CaptionStatistics:
    """The statistics of all chunks together; finding repeated captions exactly takes 16 bytes of memory each."""
    hashes = np.concatenate([chunk.hashes_B for chunk in chunks])
    tokens = [chunk.tokens for chunk in chunks if chunk.tokens is not None]
    return CaptionStatistics(
        num_captions=len(hashes),
        num_distinct=len(np.unique(hashes)),
        words=_lengths([chunk.words for chunk in chunks]),
        tokens=_lengths(tokens) if tokens else None,
    )


def _histogram(lengths: Sequence[int]) -> Histogram:
    lengths_K, counts_K = np.unique(np.array(lengths, dtype=np.int64), return_counts=True)
    return Histogram(lengths_K=lengths_K, counts_K=counts_K)


def _lengths(histograms: Sequence[Histogram]) -> Lengths:
    """Mean and quantiles; the quantile q is the shortest length that a share q of the captions does not exceed."""
    lengths = np.concatenate([histogram.lengths_K for histogram in histograms])
    counts = np.concatenate([histogram.counts_K for histogram in histograms])
    order = np.argsort(lengths, kind="stable")
    reached = np.cumsum(counts[order])
    places = np.searchsorted(reached, [share * reached[-1] for share in QUANTILES])
    return Lengths(
        mean=float((lengths * counts).sum() / counts.sum()),
        quantiles={share: int(lengths[order][place]) for share, place in zip(QUANTILES, places)},
        longest=int(lengths.max()),
    )
