"""`scaling data count` writes the file that a sweep reads, and refuses options without effect."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scaling.data.counting.command import CountRequest, count
from scaling.inputs.labels import TokenizerChoice, vocabulary_facts
from scaling.inputs.vocabulary_files import CountsFile, WordVocabulary


@pytest.fixture(scope="module")
def folder(make_captions_set: Callable[..., Path]) -> Path:
    return make_captions_set([["a dog"], ["two dogs and a cat"], [""]])


def run(folder: Path, labels: str, **options: Any) -> str:
    """What the command prints."""
    console = Console(file=io.StringIO(), width=200)
    count(CountRequest(folder=folder, labels=labels, **options), workers=1, console=console, progress=False)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_words_become_a_vocabulary_file_and_a_coverage_report(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    told = run(folder, "words", output=path, words="plain", min_count=1)
    assert vocabulary_facts(TokenizerChoice(name="words", vocabulary=path)).size == 5
    for part in ("plain words", "5 at 1", "33.33%", "a 100.0%", f"data.vocabularies.words={path}"):
        assert part in told


def test_counts_are_written_where_the_command_stands(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = run(folder, "clip_bpe_4k", context_length=8, remove_stop_words=True)
    found = CountsFile.model_validate_json((tmp_path / "counts-clip_bpe_4k.json").read_text())
    assert (found.context_length, found.remove_stop_words, found.num_samples, found.num_empty) == (
        8,
        True,
        2,
        1,
    )
    assert "data.label_counts.clip_bpe_4k=counts-clip_bpe_4k.json" in told and "of 4,096" in told


def test_words_with_a_vocabulary_are_counted_and_not_found_anew(folder: Path, tmp_path: Path) -> None:
    run(folder, "words", output=tmp_path / "words.json", words="plain", min_count=1, top=2)
    run(folder, "words", output=tmp_path / "counts.json", vocabulary=tmp_path / "words.json")
    found = CountsFile.model_validate_json((tmp_path / "counts.json").read_text())
    made = WordVocabulary.model_validate_json((tmp_path / "words.json").read_text())
    assert (
        found.tokenizer == "words" and found.counts == made.counts and found.vocabulary_digest == made.digest
    )


def test_auto_says_which_words_it_took(folder: Path, tmp_path: Path, no_wordnet: None) -> None:
    told = run(folder, "words", output=tmp_path / "words.json", min_count=1)
    assert "--words auto: plain words" in told


def test_auto_takes_wordnet_where_it_is(folder: Path, tmp_path: Path, wordnet_data: Path) -> None:
    told = run(folder, "words", output=tmp_path / "words.json", min_count=1)
    assert "--words auto: nouns of WordNet" in told and "nouns of WordNet 3.0" in told


def test_wordnet_asked_for_and_absent_is_an_error(folder: Path, tmp_path: Path, no_wordnet: None) -> None:
    with pytest.raises(ValueError, match="WordNet needs the package nltk"):
        run(folder, "words", output=tmp_path / "words.json", words="wordnet")


@pytest.mark.parametrize(
    "labels, options, told",
    [
        ("wrods", {}, "unknown name 'wrods'. Did you mean 'words'"),
        ("clip_bpe", {"min_count": 5}, r"--min-count \(5\) has no effect here"),
        ("clip_bpe", {"words": "plain"}, r"--words \(plain\) has no effect here"),
        ("clip_bpe", {"vocabulary": Path("x")}, "data.vocabularies.clip_bpe: x was given"),
        ("words", {"vocabulary": Path("x"), "top": 5}, r"--top \(5\) has no effect here"),
        ("words", {"words": "wordnett"}, "--words: unknown 'wordnett'. Did you mean 'wordnet'"),
        ("words", {"reference_compat": True}, "--reference-compat has no effect on words"),
        ("clip_bpe", {"output": Path("no/such/folder/c.json")}, "the folder no/such/folder does not exist"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_is_counted(
    labels: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        run(Path("not read"), labels, **options)


def test_every_option_of_the_command_line_reaches_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from scaling.cli import app
    from scaling.data.counting import command as count_command

    asked: list[tuple[CountRequest, int]] = []
    monkeypatch.setattr(
        count_command, "count", lambda request, workers, console: asked.append((request, workers))
    )
    options = (
        "--labels words --output o --vocabulary v --context-length 9 --remove-stop-words --reference-compat"
    )
    options += " --words plain --min-count 3 --top 4 --workers 5"
    done = CliRunner().invoke(app, ["data", "count", "somewhere", *options.split()], catch_exceptions=False)
    assert done.exit_code == 0
    expected = CountRequest(
        folder=Path("somewhere"),
        labels="words",
        output=Path("o"),
        vocabulary=Path("v"),
        context_length=9,
        remove_stop_words=True,
        reference_compat=True,
        words="plain",
        min_count=3,
        top=4,
    )
    assert asked == [(expected, 5)]
    CliRunner().invoke(app, ["data", "count", "somewhere", "--labels", "clip_bpe"], catch_exceptions=False)
    assert asked[1][0] == CountRequest(folder=Path("somewhere"), labels="clip_bpe")
