"""Words of captions become indices of a vocabulary file."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaling.data.text.tokenizers import label_sets, load_tokenizer
from scaling.data.text.words import available_analysis, singular, words_of
from scaling.inputs.labels import TokenizerChoice
from scaling.inputs.vocabulary_files import Coverage, WordVocabulary


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., TokenizerChoice]:
    """A function from words to the choice of a vocabulary file that holds them."""

    def make(words: list[str], **changes: Any) -> TokenizerChoice:
        coverage = Coverage(
            mean_labels_per_caption=1, out_of_vocabulary_rate=0, zero_label_rate=0, sizes={1: len(words)}
        )
        values = dict(analysis="plain", wordnet_version=None, remove_stop_words=False, min_count=1, top=None)
        vocabulary = WordVocabulary(
            **{**values, **changes},  # type: ignore[arg-type]
            data_digest="d",
            num_samples=9,
            num_empty=0,
            coverage=coverage,
            words=words,
            counts=[1] * len(words),
        )
        path = tmp_path / "words.json"
        path.write_text(vocabulary.model_dump_json())
        return TokenizerChoice(name="words", vocabulary=path)

    return make


@pytest.mark.parametrize(
    "words, expected",
    [
        ("dogs cats wheels trees shoes horses", "dog cat wheel tree shoe horse"),
        ("ponies babies cookies", "pony baby cooky"),
        ("boxes dresses watches dishes", "box dress watch dish"),
        ("bus grass gas is his this tennis as us the its", "bus grass gas is his this tennis as us the its"),
        ("dog grass snow children", "dog grass snow children"),
    ],
)
def test_plurals_lose_their_ending(words: str, expected: str) -> None:
    assert " ".join(map(singular, words.split())) == expected


def test_a_singular_is_its_own_singular_and_so_is_that_of_a_plural() -> None:
    for word in "dogs boxes dresses horses ponies glasses trees grass".split():
        assert singular(singular(word)) == singular(word)


def test_plain_words_are_letters_with_inner_apostrophes() -> None:
    caption = "the boys' dog's 'tail' isn't mid-sized in 2019, o'neil's caf\u00e9 3d_x!"
    expected = "the boys dog tail isn't mid sized in o'neil caf\u00e9 d x"
    assert words_of(caption, "plain") == expected.split()


def test_words_for_wordnet_keep_hyphens_and_digits() -> None:
    assert words_of("a dog's t-shirt, 3d - 2019", "wordnet") == ["a", "dog", "t-shirt", "3d", "2019"]


def test_ids_are_the_indices_of_known_words_in_their_order(write: Callable[..., TokenizerChoice]) -> None:
    tokenizer = load_tokenizer(write(["dog", "ball", "cat"]))
    captions = ["A Cat &amp; two DOGS, dogs with balls", "nothing here", ""]
    assert tokenizer.encode(captions) == [[2, 0, 0, 1], [], []]
    assert tokenizer.vocabulary_size == 3


def test_words_are_labels_wherever_they_stand(write: Callable[..., TokenizerChoice]) -> None:
    tokenizer = load_tokenizer(write(["dog", "cat"]))
    ids, offsets = label_sets(tokenizer, ["dog " * 100 + "cat", "no"], 8)
    assert ids.tolist() == [0, 1] and offsets.tolist() == [0, 2, 2]


def test_stop_words_are_no_labels_when_they_are_removed(write: Callable[..., TokenizerChoice]) -> None:
    tokenizer = load_tokenizer(write(["the", "dog"]))
    assert label_sets(tokenizer, ["the dog"], 8)[0].tolist() == [0, 1]
    assert label_sets(tokenizer, ["the dog"], 8, remove_stop_words=True)[0].tolist() == [1]


def test_a_word_tokenizer_survives_the_way_to_another_process(write: Callable[..., TokenizerChoice]) -> None:
    tokenizer = load_tokenizer(write(["dog"]))
    assert pickle.loads(pickle.dumps(tokenizer)).encode(["a dog"]) == [[0]]


def _nouns(data: Path, *nouns: str) -> list[str]:
    from scaling.data.text.wordnet import open_wordnet

    labels = [open_wordnet().label(noun) for noun in nouns]
    assert None not in labels
    return [str(label) for label in labels]


def test_nouns_of_wordnet_are_found_by_their_forms(
    write: Callable[..., TokenizerChoice], wordnet_data: Path
) -> None:
    words = _nouns(wordnet_data, "mouse", "dog")
    tokenizer = load_tokenizer(write(words, analysis="wordnet", wordnet_version="3.0"))
    captions = ["Mice and dogs", "an auto, a dog's mouse", "a church"]
    assert tokenizer.encode(captions) == [[0, 1], [1, 0], []]


def test_a_wordnet_vocabulary_reads_no_file_once_it_is_loaded(
    write: Callable[..., TokenizerChoice], wordnet_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked data workers share open files and the positions in them."""
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    words = _nouns(wordnet_data, "mouse", "dog")
    tokenizer = load_tokenizer(write(words, analysis="wordnet", wordnet_version="3.0"))
    monkeypatch.setattr(WordNetCorpusReader, "_data_file", None)
    monkeypatch.setattr(WordNetCorpusReader, "open", None)
    assert tokenizer.encode(["mice", "run", "churches", "auto", "dogs"]) == [[0], [], [], [], [1]]


@pytest.mark.parametrize(
    "words, version, told",
    [
        (["n5"], "3.0", "has no noun 'n5'"),
        (["n1"], "3.1", "WordNet 3.0 is here, which numbers its nouns otherwise"),
    ],
)
def test_a_vocabulary_of_another_wordnet_is_refused(
    words: list[str], version: str, told: str, write: Callable[..., TokenizerChoice], wordnet_data: Path
) -> None:
    with pytest.raises(
        ValueError, match=rf"data.vocabularies.words: .*words.json was made with WordNet {version}.*{told}"
    ):
        load_tokenizer(write(words, analysis="wordnet", wordnet_version=version))


def test_a_wordnet_vocabulary_without_nltk_is_refused_with_the_ways_out(
    write: Callable[..., TokenizerChoice], no_wordnet: None
) -> None:
    choice = write(["n5"], analysis="wordnet", wordnet_version="3.0")
    with pytest.raises(
        ValueError, match="made with WordNet 3.0, but WordNet needs the package nltk.*--words plain"
    ):
        load_tokenizer(choice)
    assert available_analysis() == "plain"


def test_wordnet_is_taken_where_it_is(wordnet_data: Path) -> None:
    assert available_analysis() == "wordnet"


@pytest.mark.parametrize(
    "change, told",
    [
        ({"words": []}, "it holds no words"),
        ({"words": ["dog"]}, "1 words and 2 counts"),
        ({"words": ["dog", "dog"]}, "'dog' stands 2 times"),
        ({"counts": [1, 10]}, "outside 0 to its num_samples \\(9\\)"),
        ({"counts": [-1, 1]}, "from -1 to 1"),
        ({"version": 2}, "version"),
        ({"analysis": "fancy"}, "analysis"),
        ({"format": "label_counts"}, "its format is 'label_counts', not 'word_vocabulary'"),
    ],
)
def test_a_file_that_is_no_word_vocabulary_is_refused_with_the_reason(
    change: dict[str, Any], told: str, write: Callable[..., TokenizerChoice]
) -> None:
    choice = write(["dog", "cat"])
    assert choice.vocabulary is not None
    content = {**json.loads(choice.vocabulary.read_text()), **change}
    choice.vocabulary.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"data.vocabularies.words: .*{told}.*scaling data count"):
        load_tokenizer(choice)
