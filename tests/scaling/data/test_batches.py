"""Samples become batches: captions to labels, rows or both, with what cannot be learnt from masked and counted."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch

from model_zoo.targets import LabelledTokens, LabelSets, TokenRows
from scaling.data.batches import CaptionSettings, Collator, make_targets
from scaling.data.captions import CaptionTokenizer
from scaling.data.tokenizers import load_tokenizer
from scaling.labels import TokenizerChoice

Kind = Literal["labels", "tokens", "both"]
KINDS: tuple[Kind, ...] = ("labels", "tokens", "both")


def _settings(
    kind: Kind, *, remove_stop_words: bool = False, reference_compat: bool = False
) -> CaptionSettings:
    return CaptionSettings(
        kind=kind, context_length=16, remove_stop_words=remove_stop_words, reference_compat=reference_compat
    )


@pytest.mark.parametrize("kind", KINDS)
def test_undecodable_images_and_empty_captions_are_masked_and_counted(kind: Kind) -> None:
    image = torch.ones(3, 16, 16, dtype=torch.uint8)
    samples = [
        {"id": 5, "image": image, "caption": "a red star"},
        {"id": 6, "image": None, "caption": "a blue ring"},
        {"id": 7, "image": image, "caption": "  "},
    ]
    batch = Collator(load_tokenizer("clip_bpe_4k"), _settings(kind), image_size=16)(samples)
    assert batch.targets.valid_B.tolist() == [True, False, False]
    assert (batch.num_undecodable, batch.num_empty_captions) == (1, 1)
    assert batch.images_BCHW.shape == (3, 3, 16, 16) and not batch.images_BCHW[1].any()
    assert batch.sample_ids_B.tolist() == [5, 6, 7] and len(batch) == 3
    if isinstance(batch.targets, LabelledTokens):
        assert torch.equal(batch.targets.labels.valid_B, batch.targets.tokens.valid_B)


def test_the_kinds_of_targets_agree_on_the_same_captions() -> None:
    tokenizer = load_tokenizer("clip_bpe")
    captions = ["red red star", ""]
    labels, worded_B = make_targets(tokenizer, captions, _settings("labels"))
    rows, rows_worded_B = make_targets(tokenizer, captions, _settings("tokens"))
    both, both_worded_B = make_targets(tokenizer, captions, _settings("both"))
    assert isinstance(labels, LabelSets) and isinstance(rows, TokenRows) and isinstance(both, LabelledTokens)
    assert set(rows.tokens_BL[0].tolist()) - {0, 49_406, 49_407} == set(labels.ids_N.tolist())
    assert torch.equal(both.labels.ids_N, labels.ids_N) and torch.equal(both.tokens.tokens_BL, rows.tokens_BL)
    for found in (worded_B, rows_worded_B, both_worded_B):
        assert found.tolist() == [True, False]


def test_stop_words_leave_the_labels_and_stay_in_the_rows() -> None:
    tokenizer = load_tokenizer("clip_bpe")
    captions = ["the star", "of the"]
    both, worded_B = make_targets(tokenizer, captions, _settings("both", remove_stop_words=True))
    plain, _ = make_targets(tokenizer, captions, _settings("tokens"))
    assert isinstance(both, LabelledTokens) and isinstance(plain, TokenRows)
    assert both.labels.ids_N.tolist() == tokenizer.encode(["star"])[0]
    assert torch.equal(both.tokens.tokens_BL, plain.tokens_BL)
    assert (
        worded_B.tolist() == both.valid_B.tolist() == [True, False]
    ), "nothing to classify, so left out of both"
    assert torch.equal(both.tokens.valid_B, both.labels.valid_B)
    assert plain.valid_B.all(), "a text tower reads stop words"


def test_in_reference_compat_no_caption_is_empty() -> None:
    labels, worded_B = make_targets(
        load_tokenizer("clip_bpe"), ["", "star"], _settings("labels", reference_compat=True)
    )
    assert worded_B.all() and labels.valid_B.all()


def test_captions_without_a_word_of_the_vocabulary_count_as_empty(wordpiece_folder: Path) -> None:
    tokenizer = load_tokenizer(TokenizerChoice(name="bert_wordpiece", vocabulary=wordpiece_folder))
    _, worded_B = make_targets(tokenizer, ["a dog", "zebra zebra"], _settings("labels"))
    assert worded_B.tolist() == [True, False]


def test_rows_of_a_tokenizer_without_start_and_end_are_refused(wordpiece_folder: Path) -> None:
    tokenizer = load_tokenizer(TokenizerChoice(name="bert_wordpiece", vocabulary=wordpiece_folder))
    for kind in KINDS[1:]:
        with pytest.raises(ValueError, match="'bert_wordpiece' has no start and end"):
            make_targets(tokenizer, ["a dog"], _settings(kind))


def test_no_captions_make_empty_targets() -> None:
    for kind in KINDS:
        targets, worded_B = make_targets(load_tokenizer("clip_bpe"), [], _settings(kind))
        assert len(targets) == 0 and worded_B.shape == (0,)


class _Damaged(CaptionTokenizer):
    """A tokenizer whose file has an id too many."""

    name, vocabulary_size, reads_whole_captions = "bert_wordpiece", 10, False

    def encode_cleaned(self, captions: Sequence[str]) -> list[list[int]]:
        return [[int(word) for word in caption.split()] for caption in captions]


def test_an_id_outside_the_vocabulary_is_refused_with_its_number() -> None:
    labels, _ = make_targets(_Damaged(), ["1 9"], _settings("labels"))
    assert isinstance(labels, LabelSets) and labels.ids_N.tolist() == [1, 9]
    with pytest.raises(
        ValueError, match=r"'bert_wordpiece' gave the id 10.*has 10 ids.*data.vocabularies.bert"
    ):
        make_targets(_Damaged(), ["1 10", "2"], _settings("labels"))


def test_shared_pairs_flow_through_the_collator(shared_data: Callable[[str], Path]) -> None:
    from scaling.data.transforms import decode, training_crop

    with tarfile.open(shared_data("realpairs") / "val" / "00000.tar") as tar:
        members = [tar.extractfile(name) for name in ("000000.jpg", "000000.txt")]
        assert all(member is not None for member in members)
        image, caption = (io.BytesIO(member.read()).getvalue() for member in members if member is not None)
    crop = training_crop(decode(image), 16, scale_min=0.9, scale_max=1.0, seed=1)
    collate = Collator(load_tokenizer("clip_bpe"), _settings("labels"), image_size=16)
    batch = collate([{"id": 0, "image": crop, "caption": caption.decode()}])
    assert isinstance(batch.targets, LabelSets)
    assert batch.targets.valid_B.all() and len(batch.targets.ids_N) > 3
