"""Every image once, in order, on any number of ranks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scaling.data.images.transforms import decode, evaluation_crop, normalise
from scaling.data.indexed import IndexedDataset
from scaling.data.shards import IMAGE_TEXT_COLUMNS, write_shards
from scaling.evaluate.features import ImageBatch, ImageReader, Ranks, Rows, extract_rows

READER = ImageReader(image_size=8, pixel_statistics="clip", batch=4, device=torch.device("cpu"))


def measure(images: ImageBatch) -> Rows:
    return {
        "pixels": images.images_BCHW.flatten(1).numpy(),
        "indices": np.array(images.indices),
        "lengths": np.array([len(word) for sample in images.samples for word in sample["captions"]]),
    }


@pytest.mark.parametrize(("length", "num_ranks"), [(23, 1), (23, 4), (8, 8), (3, 5), (0, 2)])
def test_the_shares_of_the_ranks_cover_the_set_once_and_in_order(
    length: int, num_ranks: int, tmp_path: Path
) -> None:
    shares = [
        Ranks(scratch=tmp_path, rank=rank, num_ranks=num_ranks).share(length) for rank in range(num_ranks)
    ]
    assert [index for share in shares for index in share] == list(range(length))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_rows_are_those_of_the_images_one_by_one(validation: IndexedDataset, tmp_path: Path) -> None:
    rows = extract_rows(measure, validation, reader=READER, ranks=Ranks(scratch=tmp_path))
    expected = torch.stack([evaluation_crop(decode(sample["jpg"]), 8) for sample in validation])
    assert rows is not None
    np.testing.assert_array_equal(rows["pixels"], normalise(expected).flatten(1).numpy())
    assert rows["indices"].tolist() == list(range(23))


@pytest.mark.parametrize("num_ranks", [2, 3, 30])
def test_several_ranks_gather_on_the_first_what_one_rank_finds(
    validation: IndexedDataset, on_ranks: Callable[..., list[Any]], tmp_path: Path, num_ranks: int
) -> None:
    alone = extract_rows(measure, validation, reader=READER, ranks=Ranks(scratch=tmp_path))
    first, *others = on_ranks(
        num_ranks, lambda ranks, _: extract_rows(measure, validation, reader=READER, ranks=ranks)
    )
    assert alone is not None and first.keys() == alone.keys()
    for name, rows in alone.items():
        np.testing.assert_array_equal(first[name], rows)
    assert others == [None] * (num_ranks - 1)
    assert not list(tmp_path.glob("*.npy"))


def test_a_rank_that_is_ahead_does_not_disturb_the_rows_before(
    validation: IndexedDataset, on_ranks: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = np.load
    monkeypatch.setattr(np, "load", lambda *args, **options: (time.sleep(0.05), load(*args, **options))[1])

    def twice(ranks: Ranks, _: Any) -> list[Rows | None]:
        def scaled(factor: int) -> Callable[[ImageBatch], Rows]:
            return lambda images: {"row": factor * np.array(images.indices)}

        return [extract_rows(scaled(factor), validation, reader=READER, ranks=ranks) for factor in (1, 10)]

    first, second = on_ranks(2, twice)[0]
    assert first["row"].tolist() == list(range(23)) and second["row"].tolist() == list(range(0, 230, 10))


def test_threads_decode_the_same_images_in_the_same_order(validation: IndexedDataset) -> None:
    threaded = ImageReader(
        image_size=8, pixel_statistics="clip", batch=7, device=torch.device("cpu"), num_threads=3
    )
    [one] = [torch.cat([b.images_BCHW for b in READER.batches(validation, range(23))])]
    assert torch.equal(torch.cat([b.images_BCHW for b in threaded.batches(validation, range(23))]), one)


def test_an_undecodable_image_is_an_error_that_names_its_key(
    validation: IndexedDataset, tmp_path: Path
) -> None:
    samples = [{"jpg": validation[0]["jpg"], "caption": "fine", "key": "good"}]
    samples.append({"jpg": b"<html>", "caption": "broken", "key": "000042"})
    write_shards(tmp_path / "set", IMAGE_TEXT_COLUMNS, samples, size_limit=10_000)
    with pytest.raises(ValueError, match="sample '000042': the image .6 bytes. does not decode"):
        list(READER.batches(IndexedDataset(tmp_path / "set"), range(2)))


def test_a_diverged_model_is_said_to_have_diverged(validation: IndexedDataset, tmp_path: Path) -> None:
    def diverged(images: ImageBatch) -> Rows:
        return {"features": np.full((len(images.samples), 2), np.nan)}

    with pytest.raises(ValueError, match="features are not finite: it has diverged"):
        extract_rows(diverged, validation, reader=READER, ranks=Ranks(scratch=tmp_path))


def test_measuring_needs_no_gradients(validation: IndexedDataset, tmp_path: Path) -> None:
    weight = torch.ones(1, requires_grad=True)
    seen: list[Tensor] = []

    def weighed(images: ImageBatch) -> Rows:
        seen.append(images.images_BCHW * weight)
        return {"row": np.zeros(1)}

    extract_rows(weighed, validation, reader=READER, ranks=Ranks(scratch=tmp_path))
    assert not any(tensor.requires_grad for tensor in seen)
