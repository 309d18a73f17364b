"""The vocabulary that a run trains with is the one it was planned with: its weights' rows belong to those ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scaling.inputs.data_paths import DataPaths
from scaling.inputs.labels import TokenizerChoice, vocabulary_facts
from scaling.inputs.vocabulary_files import Coverage, WordVocabulary
from scaling.placement import PlacementSettings, place
from scaling.points import EvaluationPlan, RunPoint, run_id
from scaling.sweep.science import Science
from scaling.train.assembly import assemble_stream


def write_words(path: Path, words: list[str]) -> None:
    coverage = Coverage(
        mean_labels_per_caption=1, out_of_vocabulary_rate=0, zero_label_rate=0, sizes={1: len(words)}
    )
    vocabulary = WordVocabulary(
        analysis="plain",
        wordnet_version=None,
        remove_stop_words=False,
        min_count=1,
        top=None,
        data_digest="d",
        num_samples=9,
        num_empty=0,
        coverage=coverage,
        words=words,
        counts=[1] * len(words),
    )
    path.write_text(vocabulary.model_dump_json())


def planned_with(path: Path) -> RunPoint:
    facts = vocabulary_facts(TokenizerChoice(name="words", vocabulary=path))
    science = Science(
        objective="superclass",
        image_tower="vit_nano8",
        samples_seen=512,
        global_batch=64,
        warmup_samples=64,
        image_size=32,
        tokenizer="words",
        vocabulary_size=facts.size,
        vocabulary_digest=facts.digest,
    )
    return RunPoint(
        sweep="words",
        run_id=run_id(science),
        science=science,
        data=DataPaths(train=path.parent, validation=path.parent, labelled=None, vocabulary=path),
        placement=place(science, PlacementSettings(), num_ranks=1, ranks_per_node=1),
        evaluation=EvaluationPlan(tasks=()),
    )


@pytest.mark.parametrize(("words", "found"), [(["cat", "dog", "bird"], "3 ids"), (["dog", "cat"], "2 ids")])
def test_a_vocabulary_that_was_changed_since_the_plan_is_refused_with_sizes_and_digests(
    tmp_path: Path, words: list[str], found: str
) -> None:
    """A word more, or the same words with other ids: the head of a checkpoint would speak of other labels."""
    path = tmp_path / "words.json"
    write_words(path, ["cat", "dog"])
    point = planned_with(path)
    assignment: Any = None  # not asked before the vocabulary is looked at
    write_words(path, words)
    now = vocabulary_facts(point.tokenizer).digest
    with pytest.raises(ValueError, match="tokenizer words: the vocabulary .* was changed meanwhile") as error:
        assemble_stream(point, assignment, lambda: None, pin_memory=False)
    for told in (str(path), found, now, "planned with 2", point.science.vocabulary_digest):
        assert told in str(error.value)
