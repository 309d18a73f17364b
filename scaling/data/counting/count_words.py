"""The counting pass for a word vocabulary: which words become labels, and how much of the captions they cover."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections import Counter
from pathlib import Path

from scaling.data.counting.caption_chunks import map_captions
from scaling.data.counting.count import CountSettings, count_labels
from scaling.data.text.captions import clean_caption
from scaling.data.text.stop_words import without_stop_words
from scaling.data.text.wordnet import open_wordnet
from scaling.data.text.words import labeller, words_of
from scaling.inputs.labels import TokenizerChoice
from scaling.inputs.shard_index import read_shard_index
from scaling.inputs.vocabulary_files import Analysis, Coverage, WordVocabulary
from scaling.records import write_atomically

CATLIP_MIN_COUNT = 500  # V_tau of CatLIP, arXiv 2404.15653, appendix B: 100 and 500 are equally good
THRESHOLDS = (1, 10, 100, 500)  # whose vocabulary sizes are reported


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WordSettings:
    """Which words become labels."""

    analysis: Analysis
    min_count: int = CATLIP_MIN_COUNT  # captions that a label must stand in
    top: int | None = None  # at most so many labels, the most frequent; None: no limit
    remove_stop_words: bool = False

    def __post_init__(self) -> None:
        for name, value in {"min_count": self.min_count, "top": self.top}.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} ({value}) must be at least 1.")


@dataclasses.dataclass(slots=True)
class _Tally:
    """Counts over some captions."""

    captions_with: Counter[str] = dataclasses.field(default_factory=Counter)  # by label
    occurrences: Counter[str] = dataclasses.field(default_factory=Counter)  # words by label
    num_words: int = 0  # with a label and without


def make_word_vocabulary(
    folder: Path, settings: WordSettings, *, workers: int = 1, progress: bool = True
) -> WordVocabulary:
    """The word vocabulary of the captions of an MDS folder; the same for any number of workers.

    Two passes: one finds the words, one counts their labels just as training will.  Raises ValueError if no word
    is frequent enough, or for a data set that cannot be read.
    """
    tally = _Tally()
    parts = map_captions(
        functools.partial(_tally_chunk, settings), folder, workers=workers, progress=progress
    )
    for part in parts:
        tally.captions_with.update(part.captions_with)
        tally.occurrences.update(part.occurrences)
        tally.num_words += part.num_words
    draft = _draft(folder, settings, tally)
    return _with_coverage(draft, folder, tally, workers=workers, progress=progress)


def _tally_chunk(settings: WordSettings, captions: list[str]) -> _Tally:
    label_of, tally = labeller(settings.analysis), _Tally()
    for caption in map(clean_caption, captions):
        kept = without_stop_words(caption) if settings.remove_stop_words else caption
        words = words_of(kept, settings.analysis)
        labels = [label for word in words if (label := label_of(word)) is not None]
        tally.occurrences.update(labels)
        tally.captions_with.update(set(labels))
        tally.num_words += len(words)
    return tally


def _draft(folder: Path, settings: WordSettings, tally: _Tally) -> WordVocabulary:
    """The vocabulary before it is known which captions have none of its words."""
    counts = tally.captions_with
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    kept = [word for word in ranked if counts[word] >= settings.min_count][: settings.top]
    if not kept:
        told = f"{ranked[0]!r}, is in {counts[ranked[0]]:,} captions" if ranked else "there is none at all"
        raise ValueError(
            f"{folder}: no word stands in at least {settings.min_count:,} captions (the most frequent, {told}): "
            "lower --min-count."
        )
    thresholds = sorted({*THRESHOLDS, settings.min_count})
    return WordVocabulary(
        analysis=settings.analysis,
        wordnet_version=open_wordnet().version if settings.analysis == "wordnet" else None,
        remove_stop_words=settings.remove_stop_words,
        min_count=settings.min_count,
        top=settings.top,
        data_digest=read_shard_index(folder).digest,
        num_samples=sum(counts.values()),  # until counted: no fewer than there are
        num_empty=0,
        coverage=Coverage(
            mean_labels_per_caption=0,
            out_of_vocabulary_rate=1 - sum(tally.occurrences[word] for word in kept) / tally.num_words,
            zero_label_rate=0,
            sizes={least: sum(count >= least for count in counts.values()) for least in thresholds},
        ),
        words=kept,
        counts=[counts[word] for word in kept],
    )


def _with_coverage(
    draft: WordVocabulary, folder: Path, tally: _Tally, *, workers: int, progress: bool
) -> WordVocabulary:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "words.json"
        write_atomically(path, draft.model_dump_json())
        settings = CountSettings(
            choice=TokenizerChoice(name="words", vocabulary=path), remove_stop_words=draft.remove_stop_words
        )
        counted = count_labels(folder, settings, workers=workers, progress=progress)
    assert counted.counts == draft.counts, "training would label captions otherwise than the count did"
    num_captions = counted.num_samples + counted.num_empty
    coverage = {
        **draft.coverage.model_dump(),
        "mean_labels_per_caption": sum(draft.counts) / num_captions,
        "zero_label_rate": counted.num_empty / num_captions,
    }
    return WordVocabulary.model_validate(
        {
            **draft.model_dump(),
            "num_samples": counted.num_samples,
            "num_empty": counted.num_empty,
            "captions": counted.captions,
            "coverage": coverage,
        }
    )
