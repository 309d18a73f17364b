"""Makes the batch that an objective is trained on from the samples of one rank."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from model_zoo.targets import LabelledTokens, LabelSets, TokenRows
from scaling.data.samples import EMPTY_CAPTION, UNDECODABLE_IMAGE
from scaling.data.text.captions import CaptionTokenizer
from scaling.data.text.tokenizers import as_row_tokenizer, label_sets, token_rows

# Shapes.  B samples of this rank's share of one global batch, L caption tokens, N labels, C channels, H W pixels.

Targets = LabelSets | TokenRows | LabelledTokens
TargetKind = Literal["labels", "tokens", "both"]

NO_LABELS = "caption without labels"  # it has text, none of it in the vocabulary or all of it stop words


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CaptionSettings:
    """How captions become targets."""

    kind: TargetKind  # sets of ids to classify, rows of tokens to read, or both
    context_length: int  # tokens, start and end included
    remove_stop_words: bool = False  # from the labels; rows keep every word
    reference_compat: bool = False  # labels as the reference code makes them, see label_sets


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """This rank's share of one global batch."""

    images_BCHW: Tensor  # uint8, stored as B H W C; zeros where the image did not decode
    targets: Targets
    sample_ids_B: Tensor  # int64, index into the training set
    num_undecodable: int
    num_empty_captions: int  # captions that give not one label (or, without labels, not one token)
    seeds_B: Tensor | None = None  # int64, of each showing's draws; None: nothing may be drawn on the device
    # samples left out, each by one reason
    rejects: Mapping[str, int] = dataclasses.field(default_factory=dict)
    num_bytes: int = 0  # of the stored samples, as they were read from shards

    def __len__(self) -> int:
        return len(self.sample_ids_B)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, for asynchronous copies to an accelerator; DataLoader calls this."""
        pinned: Batch = _pinned(self)
        return pinned


class Collator:
    """Samples of one rank -> Batch."""

    def __init__(self, tokenizer: CaptionTokenizer, settings: CaptionSettings, *, image_size: int) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._image_size = image_size

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> Batch:
        """The batch of samples with "id", "image" and "caption"; "seed", "reject" and "num_bytes" as in Showing."""
        decoded_B = torch.tensor([sample["image"] is not None for sample in samples])
        captions = [sample["caption"] for sample in samples]
        targets, worded_B = make_targets(self._tokenizer, captions, self._settings)
        accepted_B = torch.tensor([sample.get("reject") is None for sample in samples])
        told_B = worded_B & (accepted_B | ~decoded_B)  # a sample without an image was rejected for its image
        has_seeds = all("seed" in sample for sample in samples)
        return Batch(
            images_BCHW=self._images(samples),
            targets=_with_validity(targets, decoded_B & told_B),
            sample_ids_B=torch.tensor([sample["id"] for sample in samples]),
            num_undecodable=int((~decoded_B).sum()),
            num_empty_captions=int((~told_B).sum()),
            seeds_B=torch.tensor([sample["seed"] for sample in samples]) if has_seeds else None,
            rejects=_count_rejects(samples, decoded_B.tolist(), worded_B.tolist()),
            num_bytes=sum(sample.get("num_bytes", 0) for sample in samples),
        )

    def _images(self, samples: Sequence[Mapping[str, Any]]) -> Tensor:
        """uint8 [B, C, H, W], stored as B H W C like the decoders' pictures, so that each is copied as one block."""
        images_BHWC = _empty_to_send(len(samples), self._image_size, self._image_size, 3)
        for image_HWC, sample in zip(images_BHWC, samples, strict=True):
            if sample["image"] is None:
                image_HWC.zero_()
            else:
                image_HWC.copy_(sample["image"].permute(1, 2, 0))
        return images_BHWC.permute(0, 3, 1, 2)


def _empty_to_send(*shape: int) -> Tensor:
    """An uninitialised uint8 tensor; in a worker in shared memory, as torch's own collate does, to spare a copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(int(np.prod(shape)))  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def _count_rejects(
    samples: Sequence[Mapping[str, Any]], decoded_B: list[bool], worded_B: list[bool]
) -> dict[str, int]:
    """How many samples are left out, by reason; a sample with a bad image and a bad caption counts for its image."""
    rejects: Counter[str] = Counter()
    for sample, is_decoded, is_worded in zip(samples, decoded_B, worded_B, strict=True):
        reason = sample.get("reject") or (None if is_decoded else UNDECODABLE_IMAGE)
        if reason is None and not is_worded:
            reason = NO_LABELS if sample["caption"].strip() else EMPTY_CAPTION
        if reason is not None:
            rejects[reason] += 1
    return dict(rejects)


def _pinned(fields: Any) -> Any:
    """The same dataclass with every tensor in it pinned."""
    pinned: dict[str, Any] = {}
    for field in dataclasses.fields(fields):
        value = getattr(fields, field.name)
        if isinstance(value, Tensor):
            pinned[field.name] = value.pin_memory()
        elif isinstance(value, (LabelSets, TokenRows, LabelledTokens)):
            pinned[field.name] = _pinned(value)
    return dataclasses.replace(fields, **pinned)


def make_targets(
    tokenizer: CaptionTokenizer, captions: Sequence[str], settings: CaptionSettings
) -> tuple[Targets, Tensor]:
    """The targets of captions, and whether each caption has a label (or, without labels, a token), bool [B].

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
