"""Samples become batches: captions to labels, rows or both, with what cannot be learnt from masked and counted."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils.pin_memory import pin_memory

from model_zoo.targets import LabelledTokens, LabelSets, TokenRows
from scaling.data.batches import Batch, CaptionSettings, Collator, make_targets
from scaling.data.text.captions import CaptionTokenizer
from scaling.data.text.tokenizers import load_tokenizer
from scaling.inputs.labels import TokenizerChoice

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


def test_images_of_a_batch_are_the_samples_images_in_one_block_of_pixels() -> None:
    images = torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8)
    by_pixel = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in images]
    collate = Collator(load_tokenizer("clip_bpe_4k"), _settings("labels"), image_size=16)
    for stored in (images, by_pixel):
        batch = collate([{"id": i, "image": image, "caption": "a"} for i, image in enumerate(stored)])
        assert torch.equal(batch.images_BCHW, images)
        assert batch.images_BCHW.permute(0, 2, 3, 1).is_contiguous() and batch.seeds_B is None


class _Samples(Dataset[dict[str, object]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, object]:
        image = torch.full((3, 16, 16), index, dtype=torch.uint8) if index % 4 else None
        return {"id": index, "seed": 2**62 + index, "image": image, "caption": "a star", "reject": None}


def test_a_worker_sends_the_batch_that_the_main_process_would_make() -> None:
    collate = Collator(load_tokenizer("clip_bpe_4k"), _settings("both"), image_size=16)
    here, sent = (
        list(DataLoader(_Samples(), batch_size=4, num_workers=workers, collate_fn=collate))
        for workers in (0, 1)
    )
    for one, other in zip(here, sent, strict=True):
        assert torch.equal(one.images_BCHW, other.images_BCHW) and one.rejects == other.rejects
        assert one.seeds_B is not None and torch.equal(one.seeds_B, other.seeds_B)
        assert torch.equal(one.targets.tokens.tokens_BL, other.targets.tokens.tokens_BL)
    assert here[1].seeds_B.tolist() == [2**62 + index for index in range(4, 8)]
    assert here[0].rejects == {"undecodable image": 1}


def test_a_worker_writes_images_where_the_main_process_reads_them() -> None:
    collate = Collator(load_tokenizer("clip_bpe_4k"), _settings("labels"), image_size=16)

    def is_shared(samples: list[dict[str, object]]) -> bool:
        return collate(samples).images_BCHW.is_shared()

    for workers in (0, 1):
        loader = DataLoader(_Samples(), batch_size=4, num_workers=workers, collate_fn=is_shared)
        assert list(loader) == 2 * [workers == 1]


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_a_batch_can_be_pinned(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[torch.Tensor] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor + 0

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    collate = Collator(load_tokenizer("clip_bpe_4k"), _settings(kind), image_size=16)
    batch = collate([_Samples()[index] for index in range(3)])
    copy = pin_memory(batch)  # as the loader's thread does
    assert isinstance(copy, Batch) and copy is not batch and copy.rejects == batch.rejects
    assert len(pinned) == {"labels": 3 + 3, "tokens": 3 + 2, "both": 3 + 3 + 2}[kind]
    assert torch.equal(copy.images_BCHW, batch.images_BCHW)
    assert torch.equal(copy.targets.valid_B, batch.targets.valid_B)


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
    from scaling.data.images.transforms import decode, training_crop

    with tarfile.open(shared_data("realpairs") / "val" / "00000.tar") as tar:
        members = [tar.extractfile(name) for name in ("000000.jpg", "000000.txt")]
        assert all(member is not None for member in members)
        image, caption = (io.BytesIO(member.read()).getvalue() for member in members if member is not None)
    crop = training_crop(decode(image), 16, scale_min=0.9, scale_max=1.0, seed=1)
    collate = Collator(load_tokenizer("clip_bpe"), _settings("labels"), image_size=16)
    batch = collate([{"id": 0, "image": crop, "caption": caption.decode()}])
    assert isinstance(batch.targets, LabelSets)
    assert batch.targets.valid_B.all() and len(batch.targets.ids_N) > 3
