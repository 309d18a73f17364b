"""The counting pass: in how many captions of a data set each label stands, for `idf: frozen`."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from scaling.data.counting.caption_chunks import map_captions
from scaling.data.counting.caption_statistics import (
    ChunkStatistics,
    MeasuringTokenizer,
    chunk_statistics,
    summed_up,
)
from scaling.data.text.captions import CaptionTokenizer
from scaling.data.text.tokenizers import label_sets, load_tokenizer
from scaling.inputs.labels import TokenizerChoice, vocabulary_facts
from scaling.inputs.shard_index import read_shard_index
from scaling.inputs.vocabulary_files import CountsFile

# Shapes.  V vocabulary, K distinct labels of one chunk.


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CountSettings:
    """Which labels are counted."""

    choice: TokenizerChoice
    context_length: int = 77  # tokens, start and end included; without meaning for words
    remove_stop_words: bool = False
    reference_compat: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _ChunkCounts:
    ids_K: npt.NDArray[np.int64]
    counts_K: npt.NDArray[np.int64]
    num_samples: int  # captions with a label
    num_empty: int  # captions without
    captions: ChunkStatistics


def count_labels(
    folder: Path, settings: CountSettings, *, workers: int = 1, progress: bool = True
) -> CountsFile:
    """How often each label stands in the captions of an MDS folder; the same for any number of workers.

    A caption counts as training counts it (DocumentFrequencies): once for each of its distinct labels, and not at
    all, nor in `num_samples`, if it has none.  Where a sample has several captions, of which an epoch shows one,
    all are counted.  Raises ValueError for a tokenizer or data set that cannot be read.
    """
    facts = vocabulary_facts(settings.choice)
    _count_chunk(settings, [])  # raises here, not in a worker, if the settings are wrong
    counts_V = np.zeros(facts.size, dtype=np.int64)
    num_samples = num_empty = 0
    statistics: list[ChunkStatistics] = []
    for chunk in map_captions(
        functools.partial(_count_chunk, settings), folder, workers=workers, progress=progress
    ):
        counts_V[chunk.ids_K] += chunk.counts_K
        num_samples += chunk.num_samples
        num_empty += chunk.num_empty
        statistics.append(chunk.captions)
    return CountsFile(
        tokenizer=settings.choice.name,
        vocabulary_digest=facts.digest,
        context_length=settings.context_length,
        remove_stop_words=settings.remove_stop_words,
        reference_compat=settings.reference_compat,
        data_digest=read_shard_index(folder).digest,
        num_samples=num_samples,
        num_empty=num_empty,
        captions=summed_up(statistics),
        counts=counts_V.tolist(),
    )


def _count_chunk(settings: CountSettings, captions: list[str]) -> _ChunkCounts:
    tokenizer = MeasuringTokenizer(load_tokenizer(settings.choice))
    ids_N, offsets = label_sets(
        cast(CaptionTokenizer, tokenizer),
        captions,
        settings.context_length,
        remove_stop_words=settings.remove_stop_words,
        reference_compat=settings.reference_compat,
    )
    ids_K, counts_K = np.unique(ids_N, return_counts=True)
    num_samples = int((np.diff(offsets) > 0).sum())
    return _ChunkCounts(
        ids_K=ids_K,
        counts_K=counts_K,
        num_samples=num_samples,
        num_empty=len(captions) - num_samples,
        captions=chunk_statistics(
            captions, None if settings.choice.name == "words" else tokenizer.num_tokens
        ),
    )
