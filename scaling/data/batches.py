"""Samples of one rank -> the batch an objective is trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_zoo.targets import LabelSets, TokenRows
from scaling.data.tokenizers import CaptionTokenizer, label_sets, token_rows

# Shapes.  B samples of this rank's share of one global batch, L caption tokens, C channels, H W pixels.

Targets = LabelSets | TokenRows


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """This rank's share of one global batch."""

    images_BCHW: Tensor  # uint8; zeros where the image did not decode
    targets: Targets
    sample_ids_B: Tensor  # int64, index into the training set
    num_undecodable: int
    num_empty_captions: int

    def __len__(self) -> int:
        return len(self.sample_ids_B)


class Collator:
    """Samples of one rank -> Batch."""

    def __init__(
        self, tokenizer: CaptionTokenizer, *, image_size: int, context_length: int, label_kind: str
    ) -> None:
        self._tokenizer = tokenizer
        self._image_size = image_size
        self._context_length = context_length
        self._label_kind = label_kind

    def __call__(self, samples: Sequence[dict[str, Any]]) -> Batch:
        blank = torch.zeros(3, self._image_size, self._image_size, dtype=torch.uint8)
        images = [sample["image"] for sample in samples]
        decoded_B = torch.tensor([image is not None for image in images])
        captions = [sample["caption"] for sample in samples]
        targets, worded_B = make_targets(self._tokenizer, captions, self._context_length, self._label_kind)
        return Batch(
            images_BCHW=torch.stack([blank if image is None else image for image in images]),
            targets=dataclasses.replace(targets, valid_B=decoded_B & worded_B),
            sample_ids_B=torch.tensor([sample["id"] for sample in samples]),
            num_undecodable=int((~decoded_B).sum()),
            num_empty_captions=int((~worded_B).sum()),
        )


def make_targets(
    tokenizer: CaptionTokenizer, captions: Sequence[str], context_length: int, label_kind: str
) -> tuple[Targets, Tensor]:
    """What an objective is asked to predict, and bool [B]: whether a caption has any token."""
    ids, offsets = label_sets(tokenizer, captions, context_length)
    worded_B = torch.from_numpy(np.diff(offsets) > 0)
    if label_kind == "labels":
        return LabelSets(torch.from_numpy(ids), torch.from_numpy(offsets), worded_B), worded_B
    rows_BL = torch.from_numpy(token_rows(tokenizer, captions, context_length))
    return TokenRows(rows_BL, worded_B), worded_B
