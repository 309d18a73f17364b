"""What `scaling data count` says of the captions themselves: their lengths, and how many repeat."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from scaling.data.counting import caption_chunks
from scaling.data.counting.count import CountSettings, count_labels
from scaling.data.counting.count_tables import counts_table
from scaling.data.counting.count_words import WordSettings, make_word_vocabulary
from scaling.data.text.captions import clean_caption
from scaling.data.text.tokenizers import load_tokenizer
from scaling.inputs.labels import TokenizerChoice, read_label_counts, vocabulary_facts
from scaling.inputs.vocabulary_files import CaptionStatistics, CountsFile

RNG = np.random.default_rng(0)
CAPTIONS = ["A dog", "a  DOG ", "a cat &amp; a dog", ""] + [
    " ".join(RNG.choice(["red", "zebra", "unhappiness"], size=length))
    for length in RNG.integers(1, 60, size=80)
]
SETTINGS = CountSettings(choice=TokenizerChoice(name="clip_bpe_4k"), context_length=8)


@pytest.fixture(scope="module")
def folder(make_captions_set: Callable[..., Path]) -> Path:
    return make_captions_set([[caption] for caption in CAPTIONS])


def statistics(counts: CountsFile) -> CaptionStatistics:
    assert counts.captions is not None
    return counts.captions


def test_lengths_are_those_of_the_cleaned_captions_before_any_token_is_cut(folder: Path) -> None:
    found = statistics(count_labels(folder, SETTINGS, progress=False))
    cleaned = [clean_caption(caption) for caption in CAPTIONS]
    words = [len(caption.split()) for caption in cleaned]
    tokens = [len(ids) for ids in load_tokenizer("clip_bpe_4k").encode_cleaned(cleaned)]
    assert max(tokens) > SETTINGS.context_length and found.tokens is not None
    for lengths, expected in ((found.words, words), (found.tokens, tokens)):
        assert lengths.mean == pytest.approx(np.mean(expected)) and lengths.longest == max(expected)
        assert lengths.quantiles == {
            share: int(np.quantile(expected, share, method="inverted_cdf")) for share in lengths.quantiles
        }


def test_captions_that_differ_in_nothing_that_a_tokenizer_sees_are_duplicates(folder: Path) -> None:
    found = statistics(count_labels(folder, SETTINGS, progress=False))
    distinct = len({clean_caption(caption) for caption in CAPTIONS})
    assert distinct < len(CAPTIONS) and clean_caption("A dog") == clean_caption("a  DOG ")
    assert (found.num_captions, found.num_distinct) == (len(CAPTIONS), distinct)
    assert found.duplicate_share == pytest.approx(1 - distinct / len(CAPTIONS))


def test_duplicates_are_found_across_chunks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = count_labels(folder, SETTINGS, progress=False)
    monkeypatch.setattr(caption_chunks, "SAMPLES_PER_CHUNK", 1)
    assert count_labels(folder, SETTINGS, progress=False) == whole


def test_a_word_vocabulary_tells_of_its_captions_too_and_of_no_tokens(folder: Path) -> None:
    found = make_word_vocabulary(folder, WordSettings(analysis="plain", min_count=1), progress=False)
    assert found.captions is not None and found.captions.tokens is None
    assert found.captions.words == statistics(count_labels(folder, SETTINGS, progress=False)).words


def test_stop_words_that_are_removed_are_no_tokens(folder: Path) -> None:
    kept = statistics(count_labels(folder, SETTINGS, progress=False)).tokens
    fewer = CountSettings(choice=SETTINGS.choice, context_length=8, remove_stop_words=True)
    left = statistics(count_labels(folder, fewer, progress=False)).tokens
    assert kept is not None and left is not None and left.mean < kept.mean


def test_counts_with_and_without_statistics_are_read_alike(folder: Path, tmp_path: Path) -> None:
    counts = count_labels(folder, SETTINGS, progress=False)
    digests = []
    for number, text in enumerate((counts.model_dump_json(), counts.model_dump_json(exclude={"captions"}))):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        read = read_label_counts(
            path,
            choice=SETTINGS.choice,
            vocabulary=vocabulary_facts(SETTINGS.choice),
            context_length=8,
            remove_stop_words=False,
            reference_compat=False,
        )
        digests.append(read.digest)
    assert digests[0] == digests[1]
    assert CountsFile.model_validate_json((tmp_path / "0.json").read_text()) == counts


def test_the_table_shows_lengths_and_repetition(folder: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(counts_table(count_labels(folder, SETTINGS, progress=False)))
    told = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("words per caption", "tokens per caption", "99 % at most", "captions that repeat another"):
        assert part in told
