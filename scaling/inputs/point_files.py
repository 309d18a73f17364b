"""The files that a point reads besides its data sets: vocabulary, label counts, weights to start from.

A file's content is part of the point's science and so of its id; its path is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling.inputs.data_paths import DataSection
from scaling.inputs.labels import TokenizerChoice, VocabularyFacts, read_label_counts, vocabulary_facts
from scaling.inputs.written_paths import resolve_path
from scaling.records import RunDirectory
from scaling.sweep.field_types import FROM_RUN, TOKENIZERS
from scaling.sweep.science import UNRESOLVED, documented_defaults
from scaling.sweep.sweep_file import SweepError

Values = Mapping[str, Any]


def resolve_files(
    written: Values, section: DataSection, *, require_data: bool
) -> tuple[dict[str, Any], dict[str, Path | None]]:
    """The science fields that files decide, and where the files stand, for a point as written.

    SweepError for a file that is missing or does not fit; without `require_data` what is missing stays unresolved.
    """
    values = {**documented_defaults(written), **written}
    choice = TokenizerChoice(
        name=values["tokenizer"], vocabulary=section.vocabularies.get(values["tokenizer"])
    )
    facts = _vocabulary(choice, require_data)
    counts, counts_digest = _label_counts(values, choice, facts, section, require_data)
    image_init, weights = _image_init(values, require_data)
    science = {
        "vocabulary_size": facts.size,
        "vocabulary_digest": facts.digest,
        "label_counts_digest": counts_digest,
        "image_init": image_init,
    }
    return science, {"vocabulary": choice.vocabulary, "label_counts": counts, "image_weights": weights}


def _vocabulary(choice: TokenizerChoice, require_data: bool) -> VocabularyFacts:
    is_absent = choice.name == "words" if choice.vocabulary is None else not choice.vocabulary.exists()
    if is_absent and not require_data:
        return VocabularyFacts(size=TOKENIZERS[choice.name], digest=UNRESOLVED)
    return vocabulary_facts(choice)


def _label_counts(
    values: Values,
    choice: TokenizerChoice,
    facts: VocabularyFacts,
    section: DataSection,
    require_data: bool,
) -> tuple[Path | None, str]:
    """The file that frozen IDF reads and its digest; a word vocabulary holds its own counts."""
    if values["idf"] != "frozen":
        return None, ""
    path = section.label_counts.get(choice.name, choice.vocabulary if choice.name == "words" else None)
    if (path is None or not path.exists() or facts.digest == UNRESOLVED) and not require_data:
        return path, UNRESOLVED
    if path is None:
        raise SweepError(
            f"idf: frozen with tokenizer {choice.name} reads counts that data.label_counts.{choice.name} does not "
            f"name: make them with `scaling data count DIR --labels {choice.name} --output FILE` and set "
            f"data.label_counts.{choice.name}, or use idf: online."
        )
    counts = read_label_counts(
        path,
        choice=choice,
        vocabulary=facts,
        context_length=values["context_length"],
        remove_stop_words=values["remove_stop_words"],
        reference_compat=values["reference_compat"],
    )
    return path, counts.digest


def _image_init(values: Values, require_data: bool) -> tuple[str, Path | None]:
    """The source by its content (a run is known by its id), and the file of a run's weights."""
    source = str(values["image_init"])
    if not source.startswith(FROM_RUN):
        return source, None
    pattern = resolve_path(source.removeprefix(FROM_RUN), "image_init")
    found = sorted(pattern.parent.glob(pattern.name)) if pattern.parent.is_dir() else []
    if len(found) != 1:
        if not require_data and not found:
            return f"{FROM_RUN}{UNRESOLVED}/{pattern.name}", None
        told = ", ".join(path.name for path in found) or "none"
        raise SweepError(
            f"image_init: {source} must name exactly one finished run, found {told}: train it first, or write the "
            "whole name of its folder below runs/."
        )
    run = RunDirectory(found[0])
    _check_run(run, values)
    return FROM_RUN + run.path.name, run.weights


def _check_run(run: RunDirectory, values: Values) -> None:
    record = run.read_record()
    if record is None or not run.weights.exists():
        raise SweepError(
            f"image_init: {run.path} has no {run.record.name if record is None else run.weights.name}: the run is not "
            "finished; launch its sweep again."
        )
    trained = {**documented_defaults(record.science), **record.science}
    # the weights fit any pooling, but they were trained for one
    for field in ("image_tower", "pooling"):
        if trained[field] != values[field]:
            raise SweepError(
                f"image_init: {run.path} was trained with {field} {trained[field]!r}, but {field} is "
                f"{values[field]!r}: use {field}: {trained[field]}, or another run."
            )
