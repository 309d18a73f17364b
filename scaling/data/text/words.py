"""Words of captions as labels: CatLIP's nouns of WordNet, or plain words where there is no WordNet.

A vocabulary file (`scaling data count DIR --labels words`) says which words are labels and how they were found.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from scaling.data.text.captions import CaptionTokenizer
from scaling.data.text.wordnet import NoWordNet, open_wordnet
from scaling.inputs.labels import TokenizerChoice, read_word_vocabulary
from scaling.inputs.vocabulary_files import Analysis, WordVocabulary

CACHED_WORDS = 65_536  # words whose label is remembered

# Letters with inner apostrophes; WordNet also knows hyphens and digits within a word.
_WORDS: dict[Analysis, re.Pattern[str]] = {
    "plain": re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*"),
    "wordnet": re.compile(r"[^\W_]+(?:['-][^\W_]+)*"),
}


def words_of(caption: str, analysis: Analysis) -> list[str]:
    """The words of a cleaned caption in their order, without the possessive 's."""
    return [word.removesuffix("'s") for word in _WORDS[analysis].findall(caption)]


def singular(word: str) -> str:
    """The word without its plural ending, as far as a few rules know: "ponies" -> "pony", "dogs" -> "dog".

    The S stemmer (D. Harman, How effective is suffixing?, JASIS 42(1), 1991), and two rules more: the -es after a
    hissing sound goes ("dresses" -> "dress"), and words in -is ("tennis") or of up to three letters stay.
    """
    if len(word) <= 3 or word.endswith(("us", "ss", "is")):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes")):
        return word[:-2]
    return word.removesuffix("s")


@functools.cache
def labeller(analysis: Analysis) -> Callable[[str], str | None]:
    """A function from a word to its label, None where it has none; NoWordNet if WordNet is asked for and absent."""
    label = open_wordnet().label if analysis == "wordnet" else singular
    return functools.lru_cache(CACHED_WORDS)(label)


def available_analysis() -> Analysis:
    """ "wordnet" where nltk and its WordNet are on this machine, else "plain"."""
    try:
        open_wordnet()
    except NoWordNet:
        return "plain"
    return "wordnet"


class WordTokenizer(CaptionTokenizer):
    """Turns captions into the indices of their words in a word vocabulary; other words are ignored."""

    reads_whole_captions = True

    def __init__(self, choice: TokenizerChoice, vocabulary: WordVocabulary) -> None:
        self.name = choice.name
        self.vocabulary_size = len(vocabulary.words)
        self._choice = choice
        self._analysis = vocabulary.analysis
        self._id = functools.lru_cache(CACHED_WORDS)(_lookup(vocabulary, choice.vocabulary))

    def encode_cleaned(self, captions: Sequence[str]) -> list[list[int]]:
        found = ([self._id(word) for word in words_of(caption, self._analysis)] for caption in captions)
        return [[index for index in ids if index is not None] for ids in found]

    def __reduce__(self) -> tuple[object, tuple[TokenizerChoice]]:
        return load_words, (self._choice,)


@functools.lru_cache
def load_words(choice: TokenizerChoice) -> WordTokenizer:
    """The tokenizer of a word vocabulary file; ValueError if the file is none, or needs a WordNet that is absent."""
    assert choice.vocabulary is not None, "check_choice asks for it"
    return WordTokenizer(choice, read_word_vocabulary(choice.vocabulary))


def _lookup(vocabulary: WordVocabulary, path: Path | None) -> Callable[[str], int | None]:
    """A function from a word to its index; it reads no file, so that forked data workers can share it."""
    if vocabulary.analysis == "plain":
        plain_ids = {word: index for index, word in enumerate(vocabulary.words)}
        return lambda word: plain_ids.get(singular(word))
    try:
        wordnet = open_wordnet()
        if wordnet.version != vocabulary.wordnet_version:
            raise ValueError(f"WordNet {wordnet.version} is here, which numbers its nouns otherwise.")
        nouns = [wordnet.head_noun(label) for label in vocabulary.words]
    except ValueError as error:
        raise ValueError(
            f"data.vocabularies.words: {path} was made with WordNet {vocabulary.wordnet_version}, but {error} "
            "Or count again with --words plain."
        ) from error
    ids = {noun: index for index, noun in enumerate(nouns)}
    return lambda word: ids.get(wordnet.lemma(word))
