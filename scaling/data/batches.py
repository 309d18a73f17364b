"""Samples of one rank -> the batch an objective is trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from model_zoo.targets import LabelledTokens, LabelSets, TokenRows
from scaling.data.captions import CaptionTokenizer
from scaling.data.tokenizers import as_row_tokenizer, label_sets, token_rows

# Shapes.  B samples of this rank's share of one global batch, L caption tokens, N labels, C channels, H W pixels.

Targets = LabelSets | TokenRows | LabelledTokens
TargetKind = Literal["labels", "tokens", "both"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CaptionSettings:
    """What a caption becomes."""

    kind: TargetKind  # sets of ids to classify, rows of tokens to read, or both
    context_length: int  # tokens, start and end included
    remove_stop_words: bool = False  # from the labels; rows keep every word
    reference_compat: bool = False  # labels as the reference code makes them, see label_sets


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """This rank's share of one global batch."""

    images_BCHW: Tensor  # uint8; zeros where the image did not decode
    targets: Targets
    sample_ids_B: Tensor  # int64, index into the training set
    num_undecodable: int
    num_empty_captions: int  # captions that give not one label (or, without labels, not one token)

    def __len__(self) -> int:
        return len(self.sample_ids_B)


class Collator:
    """Samples of one rank -> Batch."""

    def __init__(self, tokenizer: CaptionTokenizer, settings: CaptionSettings, *, image_size: int) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._image_size = image_size

    def __call__(self, samples: Sequence[dict[str, Any]]) -> Batch:
        blank = torch.zeros(3, self._image_size, self._image_size, dtype=torch.uint8)
        images = [sample["image"] for sample in samples]
        decoded_B = torch.tensor([image is not None for image in images])
        captions = [sample["caption"] for sample in samples]
        targets, worded_B = make_targets(self._tokenizer, captions, self._settings)
        return Batch(
            images_BCHW=torch.stack([blank if image is None else image for image in images]),
            targets=_with_validity(targets, decoded_B & worded_B),
            sample_ids_B=torch.tensor([sample["id"] for sample in samples]),
            num_undecodable=int((~decoded_B).sum()),
            num_empty_captions=int((~worded_B).sum()),
        )


def make_targets(
    tokenizer: CaptionTokenizer, captions: Sequence[str], settings: CaptionSettings
) -> tuple[Targets, Tensor]:
    """What an objective is asked to predict, and bool [B]: whether a caption has a label (or else a token).

    Raises ValueError for an id outside the vocabulary, and for a tokenizer that makes no rows where rows are
    asked for.
    """
    if settings.kind == "tokens":
        rows, worded_B = _make_rows(tokenizer, captions, settings)
        return rows, worded_B
    labels = _make_labels(tokenizer, captions, settings)
    if settings.kind == "labels":
        return labels, labels.valid_B
    rows, _ = _make_rows(tokenizer, captions, settings)
    return _with_validity(LabelledTokens(labels, rows), labels.valid_B), labels.valid_B


def _make_labels(
    tokenizer: CaptionTokenizer, captions: Sequence[str], settings: CaptionSettings
) -> LabelSets:
    ids_N, offsets = label_sets(
        tokenizer,
        captions,
        settings.context_length,
        remove_stop_words=settings.remove_stop_words,
        reference_compat=settings.reference_compat,
    )
    _check_ids(tokenizer, int(ids_N.max(initial=-1)))
    worded_B = torch.from_numpy(np.diff(offsets) > 0)
    return LabelSets(torch.from_numpy(ids_N), torch.from_numpy(offsets), worded_B)


def _make_rows(
    tokenizer: CaptionTokenizer, captions: Sequence[str], settings: CaptionSettings
) -> tuple[TokenRows, Tensor]:
    reader = as_row_tokenizer(tokenizer)
    rows_BL = token_rows(reader, captions, settings.context_length)
    _check_ids(tokenizer, int(rows_BL.max(initial=-1)))
    worded_B = torch.from_numpy(rows_BL[:, 1] != reader.end_id)
    return TokenRows(torch.from_numpy(rows_BL), worded_B), worded_B


def _with_validity(targets: Targets, valid_B: Tensor) -> Targets:
    if isinstance(targets, LabelledTokens):
        return LabelledTokens(
            dataclasses.replace(targets.labels, valid_B=valid_B),
            dataclasses.replace(targets.tokens, valid_B=valid_B),
        )
    return dataclasses.replace(targets, valid_B=valid_B)


def _check_ids(tokenizer: CaptionTokenizer, highest: int) -> None:
    if highest >= tokenizer.vocabulary_size:
        raise ValueError(
            f"tokenizer {tokenizer.name!r} gave the id {highest:,}, but its vocabulary has "
            f"{tokenizer.vocabulary_size:,} ids (0 to {tokenizer.vocabulary_size - 1:,}): its file is damaged "
            "or of another tokenizer; give the right one as "
            f"data.vocabularies.{tokenizer.name}."
        )
