"""What the planner knows of vocabularies and counts, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scaling.inputs.labels import TokenizerChoice, VocabularyFacts, read_label_counts, vocabulary_facts
from scaling.inputs.vocabulary_files import CountsFile, Coverage, WordVocabulary
from scaling.sweep.field_types import TOKENIZERS

CLIP = TokenizerChoice(name="clip_bpe_4k")
SWEEP: dict[str, Any] = {
    "choice": CLIP,
    "vocabulary": VocabularyFacts(size=4_096, digest=""),
    "context_length": 16,
    "remove_stop_words": False,
    "reference_compat": False,
}


def write_tokenizer(path: Path, **changes: Any) -> Path:
    """A tokenizer.json of five ids and one more among its added tokens."""
    content = {
        "added_tokens": [
            {"id": 0, "content": "[UNK]", "special": True},
            {"id": 5, "content": "[NEW]", "special": False},
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "vocab": {"[UNK]": 0, "a": 1, "dog": 2, "##s": 3, "b": 4},
        },
        **changes,
    }
    path.write_text(json.dumps(content))
    return path


def write_counts(path: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "tokenizer": "clip_bpe_4k",
        "vocabulary_digest": "",
        "context_length": 16,
        "remove_stop_words": False,
        "reference_compat": False,
        "data_digest": "data",
        "num_samples": 7,
        "num_empty": 1,
        "counts": [3] + [0] * 4_094 + [7],
        **changes,
    }
    path.write_text(CountsFile(**values).model_dump_json())
    return path


def write_words(path: Path, words: list[str], **changes: Any) -> Path:
    values: dict[str, Any] = {
        "analysis": "plain",
        "wordnet_version": None,
        "remove_stop_words": False,
        "min_count": 1,
        "top": None,
        "data_digest": "data",
        "num_samples": 9,
        "num_empty": 0,
        "coverage": Coverage(
            mean_labels_per_caption=1, out_of_vocabulary_rate=0, zero_label_rate=0, sizes={}
        ),
        "words": words,
        "counts": list(range(len(words), 0, -1)),
        **changes,
    }
    path.write_text(WordVocabulary(**values).model_dump_json())
    return path


def facts(name: str, path: Path | None = None) -> VocabularyFacts:
    return vocabulary_facts(TokenizerChoice(name=name, vocabulary=path))


@pytest.mark.parametrize("name", ["clip_bpe", "clip_bpe_4k", "bert_wordpiece", "llama_sentencepiece"])
def test_a_usual_vocabulary_is_known_by_its_name(name: str) -> None:
    assert facts(name) == VocabularyFacts(size=TOKENIZERS[name], digest="")


def test_the_size_of_a_tokenizer_file_counts_its_added_tokens(tmp_path: Path) -> None:
    assert facts("bert_wordpiece", write_tokenizer(tmp_path / "tokenizer.json")).size == 6
    assert facts("bert_wordpiece", tmp_path).size == 6, "the folder is as good as the file"


def test_unigram_and_byte_fallback_models_are_sentencepiece(tmp_path: Path) -> None:
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.5]]}
    path = write_tokenizer(tmp_path / "u.json", model=unigram, added_tokens=[])
    assert facts("llama_sentencepiece", path).size == 3
    bpe = {
        "type": "BPE",
        "unk_token": "<unk>",
        "byte_fallback": True,
        "vocab": {"<unk>": 0, "a": 1},
        "merges": [],
    }
    path = write_tokenizer(tmp_path / "b.json", model=bpe, added_tokens=[])
    assert facts("llama_sentencepiece", path).size == 2
    path = write_tokenizer(tmp_path / "g.json", model={**bpe, "byte_fallback": False}, added_tokens=[])
    with pytest.raises(ValueError, match="data.vocabularies.llama_sentencepiece: .*g.json holds a BPE model"):
        facts("llama_sentencepiece", path)


def test_the_digest_is_of_the_content_that_decides_ids(tmp_path: Path) -> None:
    digest = facts("bert_wordpiece", write_tokenizer(tmp_path / "a.json")).digest
    assert len(digest) == 16
    (tmp_path / "b.json").write_text(json.dumps(json.loads((tmp_path / "a.json").read_text()), indent=3))
    assert facts("bert_wordpiece", tmp_path / "b.json").digest == digest, "layout is no content"
    same = write_tokenizer(tmp_path / "c.json", truncation={"max_length": 3}, post_processor=None)
    assert facts("bert_wordpiece", same).digest == digest, "special tokens and truncation are not used"
    lower = write_tokenizer(tmp_path / "d.json", normalizer={"type": "Lowercase"})
    assert facts("bert_wordpiece", lower).digest != digest


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    before = facts("words", write_words(path, ["dog"]))
    after = facts("words", write_words(path, ["dog", "cat"]))
    assert (before.size, after.size) == (1, 2) and before.digest != after.digest


def test_the_digest_of_words_is_of_words_and_analysis_and_of_no_counts(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    digest = facts("words", write_words(path, ["dog", "cat"])).digest
    assert facts("words", write_words(path, ["dog", "cat"], counts=[9, 9], min_count=5)).digest == digest
    assert facts("words", write_words(path, ["cat", "dog"])).digest != digest
    assert (
        facts("words", write_words(path, ["dog", "cat"], analysis="wordnet", wordnet_version="3.0")).digest
        != digest
    )


@pytest.mark.parametrize("name", ["clip_bpe", "clip_bpe_4k"])
def test_clips_vocabulary_cannot_be_another(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"data.vocabularies.{name}: .*is fixed: leave the key out"):
        facts(name, tmp_path)


def test_words_without_a_file_are_refused_with_the_command_that_makes_one() -> None:
    with pytest.raises(
        ValueError, match="data.vocabularies.words is not set.*scaling data count DIR --labels words"
    ):
        facts("words")


def test_an_unknown_tokenizer_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="'bert_wordpeice'. Did you mean 'bert_wordpiece'"):
        facts("bert_wordpeice")


@pytest.mark.parametrize("name", ["bert_wordpiece", "words"])
@pytest.mark.parametrize(
    "content, told",
    [
        (None, "cannot be read"),
        ("{", "is not a JSON file"),
        ("[1]", "is not a JSON object"),
        ("{}", "is not a"),
        ('{"model": {"type": "WordPiece", "vocab": {}}}', "is not a"),
        ('{"model": {"type": "WordPiece", "vocab": {"a": "b"}}}', "is not a"),
    ],
)
def test_a_damaged_or_absent_file_is_named_with_its_key(
    name: str, content: str | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"data.vocabularies.{name}: .*file.json {told}"):
        facts(name, path)


def test_a_folder_without_tokenizer_json_is_refused_with_the_way_to_write_one(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").touch()
    with pytest.raises(
        ValueError, match="data.vocabularies.llama_sentencepiece: .*holds no tokenizer.json.*save_pre"
    ):
        facts("llama_sentencepiece", tmp_path)


def test_counts_come_back_as_they_were_counted(tmp_path: Path) -> None:
    found = read_label_counts(write_counts(tmp_path / "c.json"), **SWEEP)
    assert found.counts_V.dtype == "int64" and found.counts_V.tolist() == [3] + [0] * 4_094 + [7]
    assert found.num_samples == 7 and found.data_digest == "data" and len(found.digest) == 16


def test_the_digest_of_counts_is_of_the_numbers_alone(tmp_path: Path) -> None:
    digest = read_label_counts(write_counts(tmp_path / "a.json"), **SWEEP).digest
    same = write_counts(tmp_path / "b.json", data_digest="other", num_empty=9)
    assert read_label_counts(same, **SWEEP).digest == digest
    for change in ({"num_samples": 8}, {"counts": [4] + [0] * 4_094 + [7]}):
        assert read_label_counts(write_counts(tmp_path / "c.json", **change), **SWEEP).digest != digest


@pytest.mark.parametrize(
    "change, told",
    [
        ({"tokenizer": "clip_bpe"}, "tokenizer: 'clip_bpe' there, 'clip_bpe_4k' here"),
        ({"context_length": 77}, "context_length: 77 there, 16 here.*--context-length 16"),
        ({"remove_stop_words": True}, "remove_stop_words: True there, False here"),
        ({"reference_compat": True}, "reference_compat: True there, False here"),
        ({"vocabulary_digest": "x"}, "vocabulary_digest: 'x' there, '' here"),
        ({"counts": [1]}, "vocabulary_size: 1 there, 4096 here"),
    ],
)
def test_counts_of_other_labels_are_refused_with_both_values_and_the_command(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    command = "scaling data count DIR --labels clip_bpe_4k --context-length 16 --output FILE"
    with pytest.raises(ValueError, match=f"c.json counts other labels.*{told}.*") as error:
        read_label_counts(write_counts(tmp_path / "c.json", **change), **SWEEP)
    assert command in str(error.value)


def test_the_command_repeats_every_setting_of_the_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    folder.mkdir()
    choice = TokenizerChoice(name="bert_wordpiece", vocabulary=write_tokenizer(folder / "tokenizer.json"))
    sweep = {**SWEEP, "choice": choice, "vocabulary": vocabulary_facts(choice), "remove_stop_words": True}
    with pytest.raises(ValueError) as error:
        read_label_counts(write_counts(tmp_path / "c.json"), **sweep)
    told = f"--labels bert_wordpiece --vocabulary {choice.vocabulary} --context-length 16 --remove-stop-words"
    assert told in str(error.value)


def test_a_word_vocabulary_is_its_own_file_of_counts_at_any_context_length(tmp_path: Path) -> None:
    path = write_words(tmp_path / "words.json", ["dog", "cat"])
    choice = TokenizerChoice(name="words", vocabulary=path)
    for context_length in (16, 77):
        sweep = {
            **SWEEP,
            "choice": choice,
            "vocabulary": vocabulary_facts(choice),
            "context_length": context_length,
        }
        found = read_label_counts(path, **sweep)
        assert found.counts_V.tolist() == [2, 1] and found.num_samples == 9
    with pytest.raises(ValueError, match="remove_stop_words: False there, True here"):
        read_label_counts(path, **{**sweep, "remove_stop_words": True})
    other = write_words(tmp_path / "other.json", ["dog", "bird"])
    with pytest.raises(ValueError, match="vocabulary_digest"):
        read_label_counts(other, **sweep)


def test_counts_of_words_over_another_data_set_fit_their_vocabulary(tmp_path: Path) -> None:
    choice = TokenizerChoice(name="words", vocabulary=write_words(tmp_path / "words.json", ["dog", "cat"]))
    known = vocabulary_facts(choice)
    path = write_counts(tmp_path / "c.json", tokenizer="words", vocabulary_digest=known.digest, counts=[5, 0])
    found = read_label_counts(path, **{**SWEEP, "choice": choice, "vocabulary": known, "context_length": 24})
    assert found.counts_V.tolist() == [5, 0] and found.num_samples == 7


@pytest.mark.parametrize(
    "content, told",
    [
        (None, "cannot be read"),
        ("{", "is not a JSON file"),
        ('{"format": "label_counts"}', "is not a file of label counts .tokenizer: Field required"),
        ("{}", "its format is None, not 'label_counts'"),
    ],
)
def test_a_file_without_counts_is_named_with_the_reason(
    content: str | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"c.json {told}|c.json is not a file of label counts: {told}"):
        read_label_counts(path, **SWEEP)


def test_impossible_counts_are_refused(tmp_path: Path) -> None:
    path = write_counts(tmp_path / "c.json")
    path.write_text(path.read_text().replace('"num_samples":7', '"num_samples":6'))
    with pytest.raises(ValueError, match=r"its counts reach from 0 to 7, outside 0 to its num_samples \(6\)"):
        read_label_counts(path, **SWEEP)


def test_planning_labels_loads_neither_torch_nor_tokenizers() -> None:
    heavy = "{'torch', 'tokenizers', 'transformers'}"
    code = f"import sys, scaling.inputs.labels; sys.exit(bool({heavy} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
