"""A word is a label if its noun is the head of its first sense, as in CatLIP."""

from __future__ import annotations

from pathlib import Path

import pytest

from scaling.data.text.wordnet import NoWordNet, open_wordnet


def _offset(data: Path, noun: str) -> str:
    lines = (data / "corpora" / "wordnet" / "data.noun").read_text().splitlines()
    return next(f"n{int(line[:8])}" for line in lines if f" {noun} 0 " in line)


@pytest.mark.parametrize("word", ["dog", "dogs", "mouse", "mice", "churches", "run", "x-axis"])
def test_a_form_of_a_head_noun_has_the_offset_of_its_synset_as_label(word: str, wordnet_data: Path) -> None:
    nouns = {"dogs": "dog", "mice": "mouse", "churches": "church"}
    assert open_wordnet().label(word) == _offset(wordnet_data, nouns.get(word, word))


@pytest.mark.parametrize("word", ["auto", "automobiles", "t-shirt", "running", "unicorn", "hot", "2019", ""])
def test_synonyms_other_parts_of_speech_and_unknown_words_have_no_label(
    word: str, wordnet_data: Path
) -> None:
    assert open_wordnet().label(word) is None


def test_the_head_noun_of_a_label_has_that_label(wordnet_data: Path) -> None:
    for noun in ("dog", "church", "run"):
        assert open_wordnet().head_noun(_offset(wordnet_data, noun)) == noun


def test_a_sense_that_is_not_the_first_of_its_noun_is_no_label(wordnet_data: Path) -> None:
    with pytest.raises(ValueError, match="has no noun"):
        open_wordnet().head_noun(_offset(wordnet_data, "streak"))


@pytest.mark.parametrize("label", ["n5", "n0", "dog", "n"])
def test_a_label_of_another_wordnet_is_refused(label: str, wordnet_data: Path) -> None:
    with pytest.raises(ValueError, match=f"WordNet 3.0 has no noun '{label}'"):
        open_wordnet().head_noun(label)


def test_without_nltk_the_error_says_how_to_get_wordnet(no_wordnet: None) -> None:
    with pytest.raises(
        NoWordNet, match="needs the package nltk.*superclass-scaling.wordnet.*nltk.downloader"
    ):
        open_wordnet()


@pytest.mark.parametrize("missing", ["lexnames", "data.noun", ""])
def test_an_absent_or_partial_wordnet_is_said_to_be_absent(missing: str, wordnet_data: Path) -> None:
    folder = wordnet_data / "corpora" / "wordnet"
    if missing:
        (folder / missing).unlink()
    else:
        folder.rename(wordnet_data / "elsewhere")
    with pytest.raises(NoWordNet, match="no whole WordNet.*NLTK_DATA"):
        open_wordnet()
