"""What an evaluator gets (a model, data, the other ranks) and what it returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_zoo.objective import Classifies, EmbedsText
from model_zoo.specification import ObjectiveSpecification
from model_zoo.targets import LabelSets
from scaling.data.batches import CaptionSettings, Targets, make_targets
from scaling.data.images.augmentation import PixelStatistics
from scaling.data.indexed import IndexedDataset, IndexedSamples
from scaling.data.labelled import LabelledSet
from scaling.data.text.captions import CaptionTokenizer
from scaling.data.text.tokenizers import as_row_tokenizer, label_sets, token_rows
from scaling.evaluate.features import ImageBatch, ImageReader, Ranks, Rows, extract_rows

# Shapes.  B captions, V vocabulary.


def _sum_of_one_rank(total: Tensor) -> None:
    """The all_reduce of a single rank."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What an evaluator found."""

    protocol: str  # name and version of the procedure
    metrics: dict[str, float]
    num_samples: int  # evaluated
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationContext:
    """One checkpoint and everything needed to evaluate it; every rank has its own."""

    objective: Any  # model_zoo.objective.Objective, on the device
    specification: ObjectiveSpecification  # of the objective
    tokenizer: CaptionTokenizer
    pixel_statistics: PixelStatistics  # that training took out of the pixels
    captions: CaptionSettings  # what the objective learns from a caption
    batch: int  # images at a time; also the captions among which a contrastive held-out loss decides
    samples_seen: int  # of training, by this checkpoint
    device: torch.device
    validation: IndexedDataset  # held-out pairs
    labelled: LabelledSet | None
    label_weights_V: Tensor | None  # the IDF weights of training, on the device; None: uniform
    ranks: Ranks
    all_reduce: Callable[[Tensor], None] = _sum_of_one_rank  # sums a tensor over the ranks, in place
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext  # the precision of the run
    num_threads: int = 1  # that decode images

    @property
    def reader(self) -> ImageReader:
        return ImageReader(
            image_size=self.specification.image_size,
            pixel_statistics=self.pixel_statistics,
            batch=self.batch,
            device=self.device,
            num_threads=self.num_threads,
        )

    @property
    def label_weights_name(self) -> str:
        """How training weighs labels, for a record's settings."""
        return "uniform" if self.label_weights_V is None else "training"

    def rows(self, measure: Callable[[ImageBatch], Rows], dataset: IndexedSamples) -> Rows | None:
        """The rows of `measure` for every image, computed in the run's precision, on rank 0; None on the others."""

        def measure_in_precision(images: ImageBatch) -> Rows:
            with self.autocast():
                return measure(images)

        return extract_rows(measure_in_precision, dataset, reader=self.reader, ranks=self.ranks)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Token rows int64 [B, L] on the device; ValueError for a text without a token."""
        tokenizer = as_row_tokenizer(self.tokenizer)
        tokens_BL = token_rows(tokenizer, texts, self.captions.context_length)
        _refuse_empty(texts, tokens_BL[:, 1] == tokenizer.end_id)
        return torch.from_numpy(tokens_BL).to(self.device)

    def labels(self, texts: Sequence[str]) -> LabelSets:
        """The labels of texts in the head's vocabulary, on the device; a text without any is not valid."""
        ids_N, offsets = label_sets(
            self.tokenizer,
            texts,
            self.captions.context_length,
            remove_stop_words=self.captions.remove_stop_words,
        )
        valid_B = torch.from_numpy(np.diff(offsets) > 0)
        return LabelSets(torch.from_numpy(ids_N), torch.from_numpy(offsets), valid_B).to(self.device)

    def targets(self, samples: Sequence[Mapping[str, Any]]) -> Targets:
        """The objective's targets for stored samples, from their main captions, on the device."""
        targets, _ = make_targets(self.tokenizer, [sample["caption"] for sample in samples], self.captions)
        return targets.to(self.device)

    def embedder(self, task: str) -> EmbedsText:
        """The objective; ValueError naming `task` unless it has a text tower."""
        if not isinstance(self.objective, EmbedsText):
            name = self.specification.objective
            raise ValueError(f"{task} needs a text tower, which {name} has not: ask for {task}_head instead.")
        return self.objective

    def classifier(self, task: str) -> Classifies:
        """The objective; ValueError naming `task` unless it has a classification head."""
        if not isinstance(self.objective, Classifies):
            name, other = self.specification.objective, task.removesuffix("_head")
            raise ValueError(
                f"{task} needs a classification head, which {name} has not: ask for {other} instead."
            )
        return self.objective

    def labelled_set(self, task: str) -> LabelledSet:
        """The labelled set; ValueError naming `task` if the sweep has none."""
        if self.labelled is None:
            raise ValueError(
                f"{task} needs a labelled set: set data.labelled, or leave {task} out of evaluate."
            )
        return self.labelled


def _refuse_empty(texts: Sequence[str], is_empty_B: npt.NDArray[np.bool_]) -> None:
    if is_empty_B.any():
        raise ValueError(
            f"the text {texts[int(is_empty_B.argmax())]!r} has no token, so nothing can be scored by it: "
            "make the data set again without it."
        )


def captions_of(sample: Mapping[str, Any]) -> list[str]:
    """Every caption of a stored sample, the main one first."""
    return list(sample.get("captions") or [sample["caption"]])
