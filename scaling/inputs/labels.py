"""Which labels captions get: the tokenizer a sweep chooses, its size, its content, and counts of its labels.

Read by the planner: no torch and no `tokenizers` here.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scaling.inputs.tokenizer_files import TokenizerFile, read_tokenizer_file
from scaling.inputs.vocabulary_files import (
    CountsFile,
    WordVocabulary,
    content_digest,
    file_format,
    read_file,
)
from scaling.suggest import did_you_mean
from scaling.sweep.field_types import TOKENIZERS

# Shapes.  V vocabulary.

FIXED_VOCABULARIES = ("clip_bpe", "clip_bpe_4k")
READ_WHOLE_CAPTIONS = ("words",)
"""Tokenizers whose labels do not stop at the context length."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerChoice:
    """A tokenizer by name, and the file or folder of its vocabulary, None for the usual one."""

    name: str
    vocabulary: Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VocabularyFacts:
    """What a plan needs to know of a vocabulary without loading its tokenizer."""

    size: int  # highest id + 1
    digest: str  # of its content; "" where the tokenizer's name alone fixes it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LabelCounts:
    """In how many captions each label stands: the frozen document frequencies of a sweep."""

    counts_V: npt.NDArray[np.int64]
    num_samples: int  # captions with at least one label
    digest: str  # of the two above
    data_digest: str  # of the data set that was counted


def check_choice(choice: TokenizerChoice) -> None:
    """Raise ValueError unless the tokenizer is known and has the vocabulary that it needs."""
    if choice.name not in TOKENIZERS:
        raise ValueError(f"tokenizer: unknown name {choice.name!r}. {did_you_mean(choice.name, TOKENIZERS)}")
    if choice.name in FIXED_VOCABULARIES and choice.vocabulary is not None:
        raise ValueError(
            f"data.vocabularies.{choice.name}: {choice.vocabulary} was given, but the vocabulary of "
            f"{choice.name} is fixed: leave the key out."
        )
    if choice.name == "words" and choice.vocabulary is None:
        raise ValueError(
            "data.vocabularies.words is not set: a word vocabulary belongs to its data set. Make one with "
            "`scaling data count DIR --labels words --output FILE` and set data.vocabularies.words=FILE."
        )


def vocabulary_facts(choice: TokenizerChoice) -> VocabularyFacts:
    """Size and content digest of the vocabulary; ValueError naming the key, the file and the fix."""
    check_choice(choice)
    if choice.vocabulary is None:
        return VocabularyFacts(size=TOKENIZERS[choice.name], digest="")
    if choice.name == "words":
        words = read_word_vocabulary(choice.vocabulary)
        return VocabularyFacts(size=len(words.words), digest=words.digest)
    file = tokenizer_file(choice.name, choice.vocabulary)
    return VocabularyFacts(size=file.size, digest=file.digest)


def read_word_vocabulary(path: Path) -> WordVocabulary:
    """The word vocabulary in a file made by `scaling data count`; ValueError if it holds none."""
    try:
        return read_file(path, WordVocabulary, what="a word vocabulary")
    except ValueError as error:
        raise ValueError(
            f"data.vocabularies.words: {error} Make one with "
            "`scaling data count DIR --labels words --output FILE`."
        ) from error


def tokenizer_file(name: str, path: Path) -> TokenizerFile:
    """The tokenizer.json at or in `path`; ValueError if it is none, or of another kind than `name` says."""
    try:
        file = read_tokenizer_file(path)
    except ValueError as error:
        raise ValueError(f"data.vocabularies.{name}: {error}") from error
    if name == "bert_wordpiece":
        wanted, fits = "WordPiece", file.kind == "WordPiece"
    else:
        wanted = "Unigram, or BPE with byte_fallback (SentencePiece)"
        fits = file.kind == "Unigram" or (file.kind == "BPE" and file.byte_fallback)
    if not fits:
        raise ValueError(
            f"data.vocabularies.{name}: {file.path} holds a {file.kind} model, {name} needs {wanted}: give the "
            "tokenizer.json of such a model, or leave the key out for the usual vocabulary."
        )
    return file


def read_label_counts(
    path: Path,
    *,
    choice: TokenizerChoice,
    vocabulary: VocabularyFacts,
    context_length: int,
    remove_stop_words: bool,
    reference_compat: bool,
) -> LabelCounts:
    """The counts in a file made by `scaling data count`, a counts file or, for words, the vocabulary itself.

    Raises ValueError if the labels were counted otherwise than the sweep uses them.
    """
    found = _counted(path)
    wanted = {
        "tokenizer": choice.name,
        "vocabulary_digest": vocabulary.digest,
        "vocabulary_size": vocabulary.size,
        "context_length": found["context_length"] if choice.name in READ_WHOLE_CAPTIONS else context_length,
        "remove_stop_words": remove_stop_words,
        "reference_compat": reference_compat,
    }
    different = [
        f"{key}: {found[key]!r} there, {wanted[key]!r} here" for key in wanted if found[key] != wanted[key]
    ]
    if different:
        command = _command(choice, context_length, remove_stop_words, reference_compat)
        raise ValueError(
            f"{path} counts other labels than the sweep uses ({'; '.join(different)}): make the right file with "
            f"`{command}`."
        )
    return _label_counts(path)


def _counted(path: Path) -> dict[str, object]:
    """How the labels in a file were counted, by the sweep's field names."""
    if file_format(path) == "word_vocabulary":
        words = read_word_vocabulary(path)
        return {
            "tokenizer": "words",
            "vocabulary_digest": words.digest,
            "vocabulary_size": len(words.words),
            "context_length": None,
            "remove_stop_words": words.remove_stop_words,
            "reference_compat": False,
        }
    counts = _read_counts(path)
    return {**counts.model_dump(exclude={"counts"}), "vocabulary_size": len(counts.counts)}


def _label_counts(path: Path) -> LabelCounts:
    is_vocabulary = file_format(path) == "word_vocabulary"
    file = read_word_vocabulary(path) if is_vocabulary else _read_counts(path)
    return LabelCounts(
        counts_V=np.array(file.counts, dtype=np.int64),
        num_samples=file.num_samples,
        digest=content_digest([file.num_samples, file.counts]),
        data_digest=file.data_digest,
    )


def _read_counts(path: Path) -> CountsFile:
    try:
        return read_file(path, CountsFile, what="a file of label counts")
    except ValueError as error:
        raise ValueError(
            f"{error} Make one with `scaling data count DIR --labels TOKENIZER --output FILE`."
        ) from error


def _command(
    choice: TokenizerChoice, context_length: int, remove_stop_words: bool, reference_compat: bool
) -> str:
    """The command that counts the labels of a sweep."""
    whole = choice.name in READ_WHOLE_CAPTIONS
    parts = [
        f"scaling data count DIR --labels {choice.name}",
        f"--vocabulary {choice.vocabulary}" if choice.vocabulary is not None else "",
        "" if whole else f"--context-length {context_length}",
        "--remove-stop-words" if remove_stop_words else "",
        "--reference-compat" if reference_compat else "",
        "--output FILE",
    ]
    return " ".join(filter(None, parts))
