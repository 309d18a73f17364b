"""`scaling data count`: checks the options, counts, writes the file and prints the table."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, get_args

from rich.console import Console

from scaling.data.counting.count import CountSettings, count_labels
from scaling.data.counting.count_tables import counts_table, vocabulary_table
from scaling.data.counting.count_words import CATLIP_MIN_COUNT, WordSettings, make_word_vocabulary
from scaling.data.text.words import available_analysis
from scaling.inputs.labels import TokenizerChoice, check_choice
from scaling.inputs.vocabulary_files import Analysis
from scaling.records import write_atomically
from scaling.suggest import did_you_mean

WordsOption = Literal["auto", "wordnet", "plain"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CountRequest:
    """The options of the command; None for one that was left out."""

    folder: Path
    labels: str
    output: Path | None = None
    vocabulary: Path | None = None
    context_length: int = 77
    remove_stop_words: bool = False
    reference_compat: bool = False
    words: str | None = None
    min_count: int | None = None
    top: int | None = None

    @property
    def makes_vocabulary(self) -> bool:
        """Whether the command makes a word vocabulary rather than counting a given one."""
        return self.labels == "words" and self.vocabulary is None


def count(request: CountRequest, *, workers: int, console: Console, progress: bool = True) -> None:
    """Write the file that was asked for and print its table; ValueError for options that do not fit together."""
    _check(request)
    if request.makes_vocabulary:
        path = request.output or Path("words.json")
        settings = _word_settings(request, console)
        vocabulary = make_word_vocabulary(request.folder, settings, workers=workers, progress=progress)
        text, table = vocabulary.model_dump_json(indent=1), vocabulary_table(vocabulary)
        use = f"data.vocabularies.words={path}; it holds its own counts for idf: frozen"
    else:
        path = request.output or Path(f"counts-{request.labels}.json")
        counts = count_labels(request.folder, _count_settings(request), workers=workers, progress=progress)
        text, table = counts.model_dump_json(), counts_table(counts)
        use = f"data.label_counts.{request.labels}={path}"
    write_atomically(path, text + "\n")
    console.print(table)
    console.print(f"{path}: use it with {use}", soft_wrap=True)


def _check(request: CountRequest) -> None:
    """ValueError, before minutes of counting, for options without effect and for a file that cannot be written."""
    if not request.makes_vocabulary:
        check_choice(TokenizerChoice(name=request.labels, vocabulary=request.vocabulary))
    for option, value in {"words": request.words, "min-count": request.min_count, "top": request.top}.items():
        if value is not None and not request.makes_vocabulary:
            raise ValueError(
                f"--{option} ({value}) has no effect here: it belongs to --labels words without --vocabulary, "
                "which makes a vocabulary. Leave it out."
            )
    if request.makes_vocabulary and request.reference_compat:
        raise ValueError("--reference-compat has no effect on words: leave it out, or use --labels clip_bpe.")
    folder = (request.output or Path()).parent
    if not folder.is_dir():
        raise ValueError(
            f"--output {request.output}: the folder {folder} does not exist: make it, or choose another."
        )


def _word_settings(request: CountRequest, console: Console) -> WordSettings:
    return WordSettings(
        analysis=_analysis(request.words or "auto", console),
        min_count=CATLIP_MIN_COUNT if request.min_count is None else request.min_count,
        top=request.top,
        remove_stop_words=request.remove_stop_words,
    )


def _analysis(option: str, console: Console) -> Analysis:
    if option == "wordnet":
        return "wordnet"
    if option == "plain":
        return "plain"
    if option != "auto":
        raise ValueError(f"--words: unknown {option!r}. {did_you_mean(option, get_args(WordsOption))}")
    found = available_analysis()
    console.print(
        "--words auto: "
        + ("nouns of WordNet" if found == "wordnet" else "plain words, as WordNet is not here"),
        soft_wrap=True,
    )
    return found


def _count_settings(request: CountRequest) -> CountSettings:
    return CountSettings(
        choice=TokenizerChoice(name=request.labels, vocabulary=request.vocabulary),
        context_length=request.context_length,
        remove_stop_words=request.remove_stop_words,
        reference_compat=request.reference_compat,
    )
