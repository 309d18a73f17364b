"""The counting pass finds what training would count, whatever the number of processes."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from scaling.data.batches import CaptionSettings, make_targets
from scaling.data.counting import caption_chunks
from scaling.data.counting.count import CountSettings, count_labels
from scaling.data.counting.count_words import WordSettings, make_word_vocabulary
from scaling.data.text.captions import clean_caption
from scaling.data.text.tokenizers import load_tokenizer
from scaling.inputs.labels import TokenizerChoice, read_label_counts, vocabulary_facts
from scaling.inputs.shard_index import read_shard_index

SAMPLES = [
    ["a dog and a dog"],
    ["two dogs", "the cat"],
    ["  "],
    ["a cat", "a dog", "of the"],
    ["zebra"],
    ["a very long caption about one dog and one cat by the sea"],
]
CLIP = CountSettings(choice=TokenizerChoice(name="clip_bpe_4k"), context_length=8)


@pytest.fixture(scope="module")
def folder(make_captions_set: Callable[..., Path]) -> Path:
    return make_captions_set(SAMPLES)


def _count(folder: Path, settings: Any) -> Any:
    if isinstance(settings, WordSettings):
        return make_word_vocabulary(folder, settings, progress=False)
    return count_labels(folder, settings, progress=False)


@pytest.mark.parametrize(
    "settings",
    [
        CLIP,
        dataclasses.replace(CLIP, remove_stop_words=True),
        dataclasses.replace(CLIP, reference_compat=True),
        dataclasses.replace(CLIP, context_length=3),
    ],
    ids=["plain", "without stop words", "as the reference", "one token"],
)
def test_a_count_is_that_of_the_labels_of_every_caption_as_training_makes_them(
    settings: CountSettings, folder: Path
) -> None:
    found = _count(folder, settings)
    captions = [caption for sample in SAMPLES for caption in sample]
    targets, worded_B = make_targets(
        load_tokenizer("clip_bpe_4k"),
        captions,
        CaptionSettings(
            kind="labels",
            context_length=settings.context_length,
            remove_stop_words=settings.remove_stop_words,
            reference_compat=settings.reference_compat,
        ),
    )
    expected = torch.bincount(targets.ids_N, minlength=4_096)  # type: ignore[union-attr]
    assert found.counts == expected.tolist()
    assert (found.num_samples, found.num_empty) == (int(worded_B.sum()), int((~worded_B).sum()))
    assert found.num_samples + found.num_empty == 9
    assert found.data_digest == read_shard_index(folder).digest


def test_a_counts_file_is_what_a_sweep_of_the_same_settings_reads(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    found = _count(folder, CLIP)
    path.write_text(found.model_dump_json())
    read = read_label_counts(
        path,
        choice=CLIP.choice,
        vocabulary=vocabulary_facts(CLIP.choice),
        context_length=8,
        remove_stop_words=False,
        reference_compat=False,
    )
    assert read.counts_V.tolist() == found.counts and read.num_samples == found.num_samples


@pytest.mark.parametrize("settings", [CLIP, WordSettings(analysis="plain", min_count=1)])
def test_where_chunks_end_changes_nothing(
    settings: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _count(folder, settings)
    for size in (1, 2, 6, 100):
        monkeypatch.setattr(caption_chunks, "SAMPLES_PER_CHUNK", size)
        assert _count(folder, settings) == whole


@pytest.mark.slow
def test_the_number_of_processes_changes_nothing(
    small_rendering: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caption_chunks, "SAMPLES_PER_CHUNK", 100)
    train = small_rendering / "train"
    plain = WordSettings(analysis="plain", min_count=2)
    assert count_labels(train, CLIP, workers=2, progress=False) == _count(train, CLIP)
    assert make_word_vocabulary(train, plain, workers=2, progress=False) == _count(train, plain)


def test_what_is_wrong_with_the_settings_is_said_before_any_caption_is_read(
    folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"context_length \(2\)"):
        _count(folder, dataclasses.replace(CLIP, context_length=2))
    with pytest.raises(ValueError, match="data.vocabularies.words is not set"):
        _count(folder, CountSettings(choice=TokenizerChoice(name="words")))
    with pytest.raises(ValueError, match="does not exist.*scaling data convert"):
        _count(tmp_path / "nowhere", CLIP)


def _brute_force(min_count: int, top: int | None) -> list[tuple[str, int]]:
    """The plain words of SAMPLES and in how many captions each stands, most frequent first, then by letters."""
    singular = {"dogs": "dog"}
    captions = [clean_caption(caption).split() for sample in SAMPLES for caption in sample]
    counts = Counter(word for words in captions for word in {singular.get(word, word) for word in words})
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [item for item in ranked if item[1] >= min_count][:top]


@pytest.mark.parametrize("min_count, top", [(1, None), (2, None), (3, None), (1, 2), (2, 3), (1, 1_000)])
def test_a_word_vocabulary_holds_the_frequent_words_in_order(
    min_count: int, top: int | None, folder: Path
) -> None:
    found = _count(folder, WordSettings(analysis="plain", min_count=min_count, top=top))
    assert list(zip(found.words, found.counts)) == _brute_force(min_count, top)
    assert (found.min_count, found.top, found.data_digest) == (
        min_count,
        top,
        read_shard_index(folder).digest,
    )


def test_coverage_is_of_all_captions_and_of_every_occurrence_of_a_word(folder: Path) -> None:
    """Kept are a (4 captions), dog (4), cat (3), the (3); of 28 words 16 are those; three captions have none."""
    found = _count(folder, WordSettings(analysis="plain", min_count=3))
    assert sorted(found.words) == ["a", "cat", "dog", "the"]
    words = [word for sample in SAMPLES for caption in sample for word in caption.split()]
    kept = [word for word in words if word in {"a", "cat", "dog", "dogs", "the"}]
    assert found.coverage.out_of_vocabulary_rate == pytest.approx(1 - len(kept) / len(words))
    captions = [set(caption.split()) for sample in SAMPLES for caption in sample]
    without = [words for words in captions if not words & {"a", "cat", "dog", "dogs", "the"}]
    assert found.num_empty == len(without) == 2 and found.num_samples == 7
    assert found.coverage.zero_label_rate == pytest.approx(2 / 9)
    assert found.coverage.mean_labels_per_caption == pytest.approx((4 + 4 + 3 + 3) / 9)
    assert found.coverage.sizes == {1: 15, 3: 4, 10: 0, 100: 0, 500: 0}
    assert "left out of the loss" in found.zero_label_policy


def test_a_vocabulary_without_stop_words_holds_none(folder: Path) -> None:
    found = _count(folder, WordSettings(analysis="plain", min_count=1, remove_stop_words=True))
    assert set(found.words) == {"dog", "two", "cat", "zebra", "long", "caption", "one", "sea"}
    assert found.remove_stop_words and found.num_empty == 2, 'of "" and "of the" nothing is left'


def test_counting_a_vocabulary_over_its_own_data_set_gives_its_counts(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    vocabulary = _count(folder, WordSettings(analysis="plain", min_count=2))
    path.write_text(vocabulary.model_dump_json())
    counts = _count(folder, CountSettings(choice=TokenizerChoice(name="words", vocabulary=path)))
    assert counts.counts == vocabulary.counts and counts.num_samples == vocabulary.num_samples


def test_nouns_of_wordnet_are_counted_as_catlip_labels_them(
    make_captions_set: Callable[..., Path], wordnet_data: Path
) -> None:
    from scaling.data.text.wordnet import open_wordnet

    folder = make_captions_set([["Dogs and mice"], ["an auto"], ["a dog's t-shirt"], ["the running men"]])
    found = _count(folder, WordSettings(analysis="wordnet", min_count=1))
    assert found.words == [open_wordnet().label("dog"), open_wordnet().label("mouse")]
    assert found.counts == [2, 1] and found.num_empty == 2 and found.wordnet_version == "3.0"


def test_a_threshold_that_no_word_reaches_is_refused_with_the_most_frequent_one(folder: Path) -> None:
    with pytest.raises(
        ValueError, match="at least 500 captions .the most frequent, 'a', is in 4.*lower --min-count"
    ):
        _count(folder, WordSettings(analysis="plain"))


@pytest.mark.parametrize("change", [{"min_count": 0}, {"top": 0}, {"top": -5}])
def test_senseless_limits_are_refused(change: dict[str, int]) -> None:
    [(name, value)] = change.items()
    with pytest.raises(ValueError, match=rf"{name} \({value}\) must be at least 1"):
        WordSettings(analysis="plain", **change)
