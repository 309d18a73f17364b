"""A showing is a function of (seed, epoch, sample); what cannot be shown has a reason, or ends the run."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scaling.data.batches import NO_LABELS, CaptionSettings, Collator, make_targets
from scaling.data.images.augmentation import Augmentation
from scaling.data.images.decoding import ANIMATED_IMAGE
from scaling.data.images.showing import (
    MAX_CAPTION_CHARACTERS,
    OVERSIZED_CAPTION,
    BadSample,
    Showing,
    ShowSettings,
    show,
)
from scaling.data.samples import EMPTY_CAPTION, TRUNCATED_IMAGE, UNDECODABLE_IMAGE, UNREADABLE_CAPTION
from scaling.data.text.tokenizers import load_tokenizer


def jpeg(side: int = 24) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


GOOD = {"jpg": jpeg(), "caption": "a red star", "key": "000007"}
SKIP = ShowSettings(
    seed=3,
    image_size=16,
    augmentation=Augmentation(crop_scale_min=0.4),
    bad_samples="skip",
    where="data/train",
)
FAIL = ShowSettings(
    seed=3,
    image_size=16,
    augmentation=Augmentation(crop_scale_min=0.4),
    bad_samples="fail",
    where="data/train",
)


def shown(sample: dict[str, Any], *, sample_id: int = 0, epoch: int = 0, by: ShowSettings = SKIP) -> Showing:
    return show(sample, sample_id=sample_id, epoch=epoch, settings=by)


def test_a_showing_is_a_function_of_seed_epoch_and_sample() -> None:
    first, again = shown(GOOD), shown(GOOD)
    assert first["image"] is not None and again["image"] is not None
    assert torch.equal(first["image"], again["image"]) and first["seed"] == again["seed"]
    for other in (shown(GOOD, epoch=1), shown(GOOD, sample_id=1)):
        assert other["seed"] != first["seed"] and not torch.equal(other["image"], first["image"])
    assert first["reject"] is None and first["caption"] == "a red star"


def test_every_caption_of_a_sample_is_shown_equally_often() -> None:
    sample = {**GOOD, "captions": ["one", "two", "three"]}
    counts = Counter(shown(sample, sample_id=i % 50, epoch=i // 50)["caption"] for i in range(900))
    assert set(counts) == {"one", "two", "three"} and min(counts.values()) > 240  # 300 expected, 14 deviation


BAD = {
    "empty image": ({**GOOD, "jpg": b""}, UNDECODABLE_IMAGE),
    "cut image": ({**GOOD, "jpg": GOOD["jpg"][:-200]}, TRUNCATED_IMAGE),
    "caption of no UTF-8": (
        {**GOOD, "caption": b"caf\xe9".decode("utf-8", "surrogateescape")},
        UNREADABLE_CAPTION,
    ),
    "caption of 10 MB": ({**GOOD, "caption": "long " * 2_000_000}, OVERSIZED_CAPTION),
    "number for a caption": ({**GOOD, "caption": 5}, UNREADABLE_CAPTION),
    "number among captions": ({**GOOD, "captions": [5]}, UNREADABLE_CAPTION),
    "object for captions": ({**GOOD, "captions": {"a": "b"}}, UNREADABLE_CAPTION),
    "bad image and bad caption": ({**GOOD, "jpg": b"", "caption": 5}, UNDECODABLE_IMAGE),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_sample_is_left_out_by_its_reason_or_ends_the_run_by_its_name(kind: str) -> None:
    sample, reason = BAD[kind]
    showing = shown(sample)
    assert showing["reject"] == reason
    assert showing["image"] is None or showing["caption"] == ""
    with pytest.raises(BadSample, match=rf"data/train: sample 41 \(key '000007'\): {reason}\. Make.*skip"):
        shown(sample, sample_id=41, by=FAIL)
    assert shown(GOOD, by=FAIL)["reject"] is None


@pytest.mark.parametrize("caption", ["", " \n\t "])
def test_an_empty_caption_ends_a_run_that_is_to_fail(caption: str) -> None:
    with pytest.raises(BadSample, match=EMPTY_CAPTION):
        shown({**GOOD, "caption": caption}, by=FAIL)
    assert shown({**GOOD, "captions": []})["caption"] == ""


def test_the_longest_caption_that_counts_is_read() -> None:
    longest = "x" * MAX_CAPTION_CHARACTERS
    assert shown({**GOOD, "caption": longest})["reject"] is None
    assert shown({**GOOD, "caption": longest + "x"})["reject"] == OVERSIZED_CAPTION


@pytest.mark.parametrize("by", [SKIP, FAIL])
def test_shards_of_other_columns_are_an_error_under_either_policy(by: ShowSettings) -> None:
    with pytest.raises(ValueError, match="data/train: the samples have no column 'jpg', only caption, image"):
        shown({"image": b"", "caption": ""}, by=by)
    with pytest.raises(ValueError, match="no column 'caption', only jpg, text"):
        shown({"jpg": b"", "text": ""}, by=by)
    with pytest.raises(ValueError, match="'jpg' holds str, not bytes"):
        shown({**GOOD, "jpg": "text"}, by=by)


def test_a_batch_counts_what_is_left_out_by_reason_each_sample_once() -> None:
    samples = [
        GOOD,
        *(sample for sample, _ in BAD.values()),
        {**GOOD, "caption": " "},
        {**GOOD, "caption": "the of"},
        {**GOOD, "caption": " ", "jpg": b"GIF89a"},
    ]
    settings = CaptionSettings(kind="labels", context_length=16, remove_stop_words=True)
    collate = Collator(load_tokenizer("clip_bpe_4k"), settings, image_size=16)
    batch = collate([shown(sample, sample_id=place) for place, sample in enumerate(samples)])
    assert batch.rejects == {
        UNDECODABLE_IMAGE: 3,
        TRUNCATED_IMAGE: 1,
        UNREADABLE_CAPTION: 4,
        OVERSIZED_CAPTION: 1,
        EMPTY_CAPTION: 1,
        NO_LABELS: 1,
    }
    assert batch.targets.valid_B.tolist() == [True] + 11 * [False]
    assert sum(batch.rejects.values()) == 11
    assert (batch.num_undecodable, batch.num_empty_captions) == (4, 9)
    assert batch.seeds_B is not None and batch.seeds_B.tolist() == [
        shown(sample, sample_id=place)["seed"] for place, sample in enumerate(samples)
    ]


def test_a_rejected_caption_is_left_out_in_reference_compat_too() -> None:
    """There, an empty caption has labels: its padding."""
    settings = CaptionSettings(kind="labels", context_length=16, reference_compat=True)
    collate = Collator(load_tokenizer("clip_bpe"), settings, image_size=16)
    batch = collate([shown(GOOD), shown({**GOOD, "caption": 5}), shown({**GOOD, "caption": ""})])
    assert batch.targets.valid_B.tolist() == [True, False, True]
    assert batch.rejects == {UNREADABLE_CAPTION: 1} and batch.num_empty_captions == 1


TEXT = st.text(st.characters(), max_size=200)  # surrogates and NULs among them


@settings(max_examples=150, deadline=5000)
@given(caption=st.one_of(TEXT, TEXT.map(lambda text: 90 * text), st.lists(TEXT, max_size=3)))
def test_any_caption_gives_labels_and_rows_or_a_reason(caption: str | list[str]) -> None:
    column = "caption" if isinstance(caption, str) else "captions"
    showing = shown({"jpg": GOOD["jpg"], column: caption})
    assert showing["reject"] in (None, UNREADABLE_CAPTION)
    assert showing["caption"].encode() is not None
    for name in ("clip_bpe", "clip_bpe_4k"):
        targets, _ = make_targets(
            load_tokenizer(name), [showing["caption"]], CaptionSettings(kind="both", context_length=16)
        )
        assert len(targets) == 1


def test_reasons_are_told_apart() -> None:
    reasons = [
        ANIMATED_IMAGE,
        EMPTY_CAPTION,
        NO_LABELS,
        OVERSIZED_CAPTION,
        TRUNCATED_IMAGE,
        UNDECODABLE_IMAGE,
        UNREADABLE_CAPTION,
    ]
    assert all(one != other for one, other in itertools.combinations(reasons, 2))
