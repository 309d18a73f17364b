"""Label sets are the distinct tokens of a caption, and the reference's label sets where they are asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.targets import LabelSets, idf_weights
from scaling.data.text.captions import CaptionTokenizer, clean_caption
from scaling.data.text.stop_words import without_stop_words
from scaling.data.text.tokenizers import as_row_tokenizer, label_sets, load_tokenizer, token_rows
from scaling.inputs.labels import TokenizerChoice

# Shapes.  B captions, L tokens of a row, V vocabulary.

WORDS = st.sampled_from(
    "the a dog dogs isn't caf\u00e9 &amp; unicorn ! 2019 \u732b of <end_of_text> \U0001f436".split()
)
CAPTIONS = st.lists(st.lists(WORDS, max_size=90).map(" ".join), max_size=8)


def split(ids: Any, offsets: Any) -> list[list[int]]:
    return [ids[start:stop].tolist() for start, stop in zip(offsets, offsets[1:])]


@settings(max_examples=60, deadline=None)
@given(captions=CAPTIONS, context_length=st.sampled_from([3, 8, 77]), remove_stop_words=st.booleans())
def test_labels_are_the_sorted_distinct_ids_of_the_tokens_that_fit(
    captions: list[str], context_length: int, remove_stop_words: bool
) -> None:
    tokenizer = load_tokenizer("clip_bpe_4k")
    found = split(*label_sets(tokenizer, captions, context_length, remove_stop_words=remove_stop_words))
    for caption, labels in zip(captions, found, strict=True):
        read = without_stop_words(clean_caption(caption)) if remove_stop_words else caption
        expected: list[int] = []
        for index in tokenizer.encode([read])[0][: context_length - 2]:
            if index not in expected:
                expected.append(index)
        assert labels == sorted(expected)


@settings(max_examples=30, deadline=None)
@given(captions=CAPTIONS, order=st.randoms(use_true_random=False))
def test_captions_in_another_order_have_their_labels_in_that_order(captions: list[str], order: Any) -> None:
    tokenizer = load_tokenizer("clip_bpe_4k")
    places = list(range(len(captions)))
    order.shuffle(places)
    found = split(*label_sets(tokenizer, captions, 16))
    moved = split(*label_sets(tokenizer, [captions[place] for place in places], 16))
    assert moved == [found[place] for place in places]


def test_label_sets_stop_where_token_rows_do() -> None:
    tokenizer = as_row_tokenizer(load_tokenizer("clip_bpe"))
    caption = "one two three four five six seven eight nine ten"
    [row] = token_rows(tokenizer, [caption], 6)
    ids, _ = label_sets(tokenizer, [caption], 6)
    assert sorted(set(row[1:-1].tolist())) == ids.tolist()


def test_removed_stop_words_make_room_for_the_words_behind_them() -> None:
    tokenizer = load_tokenizer("clip_bpe")
    ids, _ = label_sets(tokenizer, ["the dog of the house"], 4, remove_stop_words=True)
    assert ids.tolist() == sorted(tokenizer.encode(["dog house"])[0])


def test_no_captions_give_no_rows_and_no_labels() -> None:
    tokenizer = as_row_tokenizer(load_tokenizer("clip_bpe"))
    for compat in (False, True):
        ids, offsets = label_sets(tokenizer, [], 77, reference_compat=compat)
        assert len(ids) == 0 and offsets.tolist() == [0]
    assert token_rows(tokenizer, [], 77).shape == (0, 77)


@pytest.fixture(scope="module")
def reference_rows() -> Any:
    """A function from captions to the reference's int64 [B, L]: open_clip's tokenizer, which it uses."""
    import open_clip.tokenizer

    return open_clip.tokenizer.SimpleTokenizer(additional_special_tokens=None)


BATCH = ["", "a dog", "a dog and a dog!", "!", "word " * 200, "caf\u00e9 & cr\u00eape", "  "]


def _reference_targets(rows_BL: torch.Tensor, size: int) -> torch.Tensor:
    """fp64 [B, V]: the documented arithmetic of x-cls/superclass cls_model.py and loss.py for one first batch."""
    hot_BV = torch.zeros(len(rows_BL), size, dtype=torch.float64).scatter_(1, rows_BL, 1.0)
    batch = len(rows_BL)
    frequency_V, steps = hot_BV.sum(0) / batch, 1.0
    weighted_BV = hot_BV * torch.log((steps + 1 / batch) / (frequency_V + 1 / batch))
    return weighted_BV / weighted_BV.sum(1, keepdim=True).clamp_min(1e-12)


def test_reference_compat_gives_the_targets_of_the_reference_code(reference_rows: Any) -> None:
    tokenizer = load_tokenizer("clip_bpe")
    ids, offsets = (
        torch.from_numpy(part) for part in label_sets(tokenizer, BATCH, 77, reference_compat=True)
    )
    labels = LabelSets(ids, offsets, torch.ones(len(BATCH), dtype=torch.bool))
    weights_V = idf_weights(torch.bincount(ids, minlength=tokenizer.vocabulary_size), len(BATCH))
    ours_BV = torch.zeros(len(BATCH), tokenizer.vocabulary_size)
    probabilities_N = labels.with_probabilities(weights_V).probabilities_N
    assert probabilities_N is not None
    ours_BV[labels.samples_N(), ids] = probabilities_N
    expected_BV = _reference_targets(reference_rows(BATCH, context_length=77), tokenizer.vocabulary_size)
    torch.testing.assert_close(ours_BV.double(), expected_BV, atol=1e-6, rtol=1e-5)
    assert ours_BV[0, 0] == 1, 'an empty caption is labelled "!" with probability 1 (quirk 2)'


def test_reference_compat_labels_are_every_id_of_the_row_and_no_caption_is_empty(reference_rows: Any) -> None:
    tokenizer = load_tokenizer("clip_bpe")
    found = split(*label_sets(tokenizer, BATCH, 77, reference_compat=True))
    expected = [torch.unique(row).tolist() for row in reference_rows(BATCH, context_length=77)]
    assert found == expected and found[0] == [0, 49_406, 49_407]


@pytest.mark.parametrize("kind", ["wordpiece", "sentencepiece"])
def test_reference_compat_is_for_clips_tokens_only(
    kind: str, wordpiece_folder: Path, sentencepiece_folder: Path
) -> None:
    name, folder = {
        "wordpiece": ("bert_wordpiece", wordpiece_folder),
        "sentencepiece": ("llama_sentencepiece", sentencepiece_folder),
    }[kind]
    tokenizer = load_tokenizer(TokenizerChoice(name=name, vocabulary=folder))
    with pytest.raises(ValueError, match=f"reference_compat: true with tokenizer '{name}'.*clip_bpe"):
        label_sets(tokenizer, ["a"], 77, reference_compat=True)


def test_a_text_tower_reads_clips_rows_only(wordpiece_folder: Path) -> None:
    tokenizer = load_tokenizer(TokenizerChoice(name="bert_wordpiece", vocabulary=wordpiece_folder))
    with pytest.raises(ValueError, match="'bert_wordpiece' has no start and end.*clip_bpe"):
        as_row_tokenizer(tokenizer)
    assert as_row_tokenizer(load_tokenizer("clip_bpe_4k")).end_id == 4_095


@pytest.mark.parametrize("context_length", [2, 0, -1])
def test_a_context_without_room_for_a_token_is_refused(context_length: int) -> None:
    tokenizer = as_row_tokenizer(load_tokenizer("clip_bpe"))
    for make in (token_rows, label_sets):
        with pytest.raises(ValueError, match=rf"context_length \({context_length}\)"):
            make(tokenizer, ["a"], context_length)


def test_an_unknown_tokenizer_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="clip_bpf.*clip_bpe"):
        load_tokenizer("clip_bpf")


def test_tokenizing_loads_neither_torch_nor_open_clip_nor_transformers(
    wordpiece_folder: Path, sentencepiece_folder: Path
) -> None:
    code = (
        "import sys; from pathlib import Path; from scaling.data.text.tokenizers import load_tokenizer\n"
        "from scaling.inputs.labels import TokenizerChoice\n"
        "load_tokenizer('clip_bpe').encode(['a'])\n"
        f"load_tokenizer(TokenizerChoice(name='bert_wordpiece', vocabulary=Path({str(wordpiece_folder)!r})))\n"
        f"load_tokenizer(TokenizerChoice(name='llama_sentencepiece', vocabulary=Path({str(sentencepiece_folder)!r})))\n"
        "sys.exit(bool({'torch', 'open_clip', 'transformers', 'nltk'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ids_are_below_the_vocabulary_size(wordpiece_folder: Path, sentencepiece_folder: Path) -> None:
    captions = ["a dog \u732b runs", "[CLS] </s> <unk>"]
    choices: Sequence[TokenizerChoice] = [
        TokenizerChoice(name="clip_bpe_4k"),
        TokenizerChoice(name="bert_wordpiece", vocabulary=wordpiece_folder),
        TokenizerChoice(name="llama_sentencepiece", vocabulary=sentencepiece_folder),
    ]
    for choice in choices:
        tokenizer: CaptionTokenizer = load_tokenizer(choice)
        ids, _ = label_sets(tokenizer, captions, 77)
        assert 0 <= np.min(ids) <= np.max(ids) < tokenizer.vocabulary_size
