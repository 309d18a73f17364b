"""Files that a counting pass writes: a word vocabulary, and counts of labels.  No torch, no `tokenizers`."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

Analysis = Literal["wordnet", "plain"]

ZERO_LABEL_POLICY = "captions without any label are left out of the loss and counted as empty"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Coverage(_Frozen):
    """How much of its captions a word vocabulary covers."""

    mean_labels_per_caption: float  # over all captions, those without any included
    out_of_vocabulary_rate: float  # share of the word occurrences that are no label
    zero_label_rate: float  # share of the captions without any label
    sizes: dict[int, int]  # labels that stand in at least so many captions


QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)  # shares of the captions


class Lengths(_Frozen):
    """How long captions are."""

    mean: float
    quantiles: dict[float, int]  # by share of the captions: the length that so many do not exceed
    longest: int


class CaptionStatistics(_Frozen):
    """What captions a data set has, cleaned as every tokenizer gets them."""

    num_captions: int
    num_distinct: int
    words: Lengths
    tokens: Lengths | None  # of the counted tokenizer, before any is cut off; None where its tokens are words

    @property
    def duplicate_share(self) -> float:
        """The share of the captions that repeat another one."""
        return 1 - self.num_distinct / max(1, self.num_captions)


class WordVocabulary(_Frozen):
    """`words.json`: the labels of a word vocabulary by falling count, ties by word, and what they were counted on."""

    format: Literal["word_vocabulary"] = "word_vocabulary"
    version: Literal[1] = 1
    analysis: Analysis
    wordnet_version: str | None  # synset offsets differ between versions; None for plain words
    remove_stop_words: bool
    min_count: int  # captions that a label must stand in
    top: int | None  # at most so many labels; None: no limit
    data_digest: str  # of the counted data set, as in a run's science
    num_samples: int  # captions with at least one label
    num_empty: int  # captions without
    zero_label_policy: str = ZERO_LABEL_POLICY
    coverage: Coverage
    captions: CaptionStatistics | None = None  # None in files made before they were counted
    words: list[str]
    counts: list[int]  # captions that have the label

    @model_validator(mode="after")
    def _fits_together(self) -> WordVocabulary:
        if not self.words:
            raise ValueError("it holds no words")
        if len(self.words) != len(self.counts):
            raise ValueError(f"it holds {len(self.words):,} words and {len(self.counts):,} counts")
        word, times = Counter(self.words).most_common(1)[0]
        if times > 1:
            raise ValueError(f"the word {word!r} stands {times} times among its words")
        return _counts_are_possible(self)

    @property
    def digest(self) -> str:
        """16 hex digits of what turns a caption into labels."""
        return content_digest([self.version, self.analysis, self.wordnet_version, self.words])


class CountsFile(_Frozen):
    """`counts-*.json`: in how many captions each label stands, and what was counted."""

    format: Literal["label_counts"] = "label_counts"
    version: Literal[1] = 1
    tokenizer: str
    vocabulary_digest: str  # "" where the tokenizer's name fixes its vocabulary
    context_length: int  # tokens, start and end included; without meaning for words
    remove_stop_words: bool
    reference_compat: bool
    data_digest: str  # of the counted data set, as in a run's science
    num_samples: int  # captions with at least one label: the N of the inverse document frequency
    num_empty: int  # captions without
    captions: CaptionStatistics | None = None  # None in files made before they were counted
    counts: list[int]  # captions that have the label, by id

    @model_validator(mode="after")
    def _fits_together(self) -> CountsFile:
        return _counts_are_possible(self)


_File = TypeVar("_File", WordVocabulary, CountsFile)


def _counts_are_possible(file: _File) -> _File:
    if file.counts and not 0 <= min(file.counts) <= max(file.counts) <= file.num_samples:
        raise ValueError(
            f"its counts reach from {min(file.counts):,} to {max(file.counts):,}, outside 0 to its num_samples "
            f"({file.num_samples:,})"
        )
    return file


def content_digest(content: object) -> str:
    """16 hex digits; equal content gives equal digests whatever its layout in a file."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_file(path: Path, kind: type[_File], *, what: str) -> _File:
    """The content of a file of ours, read once; ValueError saying that it is not `what`, and why."""
    content: _File = remembered(_read_model, path, kind, what)
    return content


def _read_model(path: Path, kind: type[_File], what: str) -> _File:
    content, wanted = read_json(path), kind.model_fields["format"].default
    if content.get("format") != wanted:
        raise ValueError(f"{path} is not {what}: its format is {content.get('format')!r}, not {wanted!r}.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path} is not {what} ({_first_finding(error)}).") from error


def _first_finding(error: ValidationError) -> str:
    """The first of perhaps thousands of findings, without the value, which may be the whole file."""
    item = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in item["loc"])
    told = str(item["ctx"]["error"]) if item["type"] == "value_error" else item["msg"]
    return f"{place}: {told}" if place else told


def file_format(path: Path) -> str:
    """What the `format` of a file of ours says; "" without one."""
    return str(remembered(read_json, path).get("format", ""))


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError naming the file if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a JSON object.")
    return content


_Read = TypeVar("_Read")


def remembered(read: Callable[..., _Read], path: Path, *arguments: object) -> _Read:
    """`read(path, *arguments)`, cached until the file changes, because every point of a sweep reads it."""
    try:
        stat = path.stat()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    content: _Read = _read_once(read, path, arguments, (stat.st_mtime_ns, stat.st_size))
    return content


@functools.lru_cache(maxsize=32)
def _read_once(read: Callable[..., Any], path: Path, arguments: tuple[object, ...], _: object) -> Any:
    return read(path, *arguments)
