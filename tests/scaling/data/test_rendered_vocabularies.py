"""The rendered data set brings vocabularies of every kind, the same ones wherever it is rendered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.data.indexed import IndexedDataset
from scaling.data.rendering.rendered import RenderSettings, render
from scaling.data.rendering.vocabularies import make_vocabularies, train_sentencepiece, train_wordpiece
from scaling.data.text.tokenizers import label_sets, load_tokenizer
from scaling.inputs.labels import TokenizerChoice, read_label_counts, vocabulary_facts

CAPTIONS = ["a red star", "a blue ring on sand", "two red rings", "a striped star"] * 5
FILES = {
    "words": "words.json",
    "bert_wordpiece": "bert_wordpiece/tokenizer.json",
    "llama_sentencepiece": "llama_sentencepiece/tokenizer.json",
}


@pytest.mark.parametrize("name", FILES)
def test_every_caption_has_labels_in_every_vocabulary(name: str, small_rendering: Path) -> None:
    choice = TokenizerChoice(name=name, vocabulary=small_rendering / "vocabularies" / FILES[name])
    tokenizer = load_tokenizer(choice)
    captions = [sample["caption"] for sample in IndexedDataset(small_rendering / "train")]
    ids, offsets = label_sets(tokenizer, captions, 24)
    assert (offsets[1:] > offsets[:-1]).all() and ids.max() < tokenizer.vocabulary_size
    assert vocabulary_facts(choice).size == tokenizer.vocabulary_size


def test_the_counts_are_those_of_the_training_captions(small_rendering: Path) -> None:
    choice = TokenizerChoice(name="clip_bpe_4k")
    counts = read_label_counts(
        small_rendering / "vocabularies" / "counts-clip_bpe_4k.json",
        choice=choice,
        vocabulary=vocabulary_facts(choice),
        context_length=24,
        remove_stop_words=False,
        reference_compat=False,
    )
    assert counts.num_samples == 300 and counts.counts_V.max() <= 300 and counts.counts_V.sum() > 300


@pytest.mark.parametrize("missing", ["words.json", "bert_wordpiece/tokenizer.json"])
def test_a_rendering_that_lacks_a_vocabulary_gets_the_same_one_again(
    missing: str, small_rendering: Path
) -> None:
    path = small_rendering / "vocabularies" / missing
    before = path.read_text()
    path.unlink()
    settings = RenderSettings(**json.loads((small_rendering / "settings.json").read_text()))
    assert render(small_rendering, settings, workers=1, progress=False) is True
    assert path.read_text() == before
    assert make_vocabularies(small_rendering) is False


def test_training_again_in_another_process_gives_the_same_tokenizers() -> None:
    code = (
        "from scaling.data.rendering.vocabularies import *\n"
        f"print(train_wordpiece({CAPTIONS!r}, 60), train_sentencepiece({CAPTIONS!r}, 290))"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert other == f"{train_wordpiece(CAPTIONS, 60)} {train_sentencepiece(CAPTIONS, 290)}\n"


def test_the_order_of_captions_does_not_matter_for_wordpiece() -> None:
    assert train_wordpiece(CAPTIONS, 60) == train_wordpiece(CAPTIONS[::-1], 60)


def test_bytes_are_ordinary_tokens_of_the_sentencepiece_file() -> None:
    content = json.loads(train_sentencepiece(CAPTIONS, 290))
    assert [token["content"] for token in content["added_tokens"]] == ["<unk>", "<s>", "</s>"]
    assert content["model"]["vocab"]["<0x00>"] == 3 and len(content["model"]["vocab"]) == 290
