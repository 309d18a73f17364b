"""Nouns of WordNet as labels, as CatLIP makes them.

CatLIP (arXiv 2404.15653; apple/corenet @ 8862eb0, wordnet_tagged_classification.py) lemmatises a word as a noun, and
the word is a label if the lemma is the name of its own first sense: "dogs" -> dog.n.01 -> "n2084071".  Words whose
first sense bears another name, and nouns of several words, are none.  Its code tags parts of speech too, and then
makes no use of the tags: "run" is a label whether it is a noun in the caption or not.
"""

from __future__ import annotations

import functools
import warnings

HOW_TO_GET_WORDNET = (
    "pip install 'superclass-scaling[wordnet]' and `python -m nltk.downloader wordnet` (offline: copy the folder "
    "nltk_data of another machine and set NLTK_DATA)"
)


class NoWordNet(ValueError):
    """nltk or its WordNet data are not on this machine."""


class WordNet:
    """The nouns of the WordNet that nltk finds."""

    def __init__(self) -> None:
        try:
            from nltk.corpus import wordnet
            from nltk.corpus.reader.wordnet import WordNetError
            from nltk.stem import WordNetLemmatizer

            next(wordnet.all_synsets("n"), None)  # loads the indexes, and opens the file of nouns
        except ImportError as error:
            raise NoWordNet(f"WordNet needs the package nltk: {HOW_TO_GET_WORDNET}.") from error
        except (LookupError, OSError) as error:
            raise NoWordNet(f"nltk finds no whole WordNet in its data: {HOW_TO_GET_WORDNET}.") from error
        self._reader = wordnet
        self._missing = WordNetError
        self._lemmatizer = WordNetLemmatizer()
        self.version = str(wordnet.get_version())

    def lemma(self, word: str) -> str:
        """The noun that `word` is a form of, the word itself if there is none; reads no file."""
        return str(self._lemmatizer.lemmatize(word))

    def label(self, word: str) -> str | None:
        """CatLIP's key of the noun ("n2084071"), None if the word is no label; reads files of WordNet.

        A process and its forks share these open files and their positions: use `lemma` and `head_noun` there.
        """
        return self._label_of_lemma(self.lemma(word))

    def head_noun(self, label: str) -> str:
        """The lemma whose label this is; ValueError if this WordNet has no such label."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # nltk only warns of an offset where no synset starts
                synset = self._reader.synset_from_pos_and_offset("n", int(label.removeprefix("n")))
            lemma = str(synset.name()).rsplit(".", 2)[0]
        except (self._missing, ValueError, UserWarning) as error:
            raise ValueError(f"WordNet {self.version} has no noun {label!r}.") from error
        if self._label_of_lemma(lemma) != label:
            raise ValueError(f"WordNet {self.version} has no noun {label!r}.")
        return lemma

    def _label_of_lemma(self, lemma: str) -> str | None:
        try:
            synset = self._reader.synset(f"{lemma}.n.01")
        except self._missing:
            return None
        return f"n{synset.offset()}" if synset.name() == f"{lemma}.n.01" else None


@functools.cache
def open_wordnet() -> WordNet:
    """WordNet, read once; NoWordNet if it is not on this machine."""
    return WordNet()
