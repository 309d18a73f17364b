"""What an evaluator is given: a model, data, the other ranks; and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model_zoo.clip import Clip
from model_zoo.superclass import SuperClass
from model_zoo.targets import LabelSets, TokenRows
from scaling.data.indexed import IndexedDataset
from scaling.data.labelled import LabelledSet
from scaling.data.tokenizers import CaptionTokenizer, label_sets, token_rows
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
    """One checkpoint and all it takes to evaluate it; every rank has its own."""

    objective: SuperClass | Clip  # on the device
    tokenizer: CaptionTokenizer
    image_size: int  # pixels
    context_length: int  # tokens, start and end included
    batch: int  # images at a time; also the number of captions among which CLIP's held-out loss decides
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
            image_size=self.image_size, batch=self.batch, device=self.device, num_threads=self.num_threads
        )

    @property
    def label_weights_name(self) -> str:
        """How SuperClass's labels are weighted, for a record's settings."""
        return "uniform" if self.label_weights_V is None else "training"

    def rows(self, measure: Callable[[ImageBatch], Rows], dataset: IndexedDataset) -> Rows | None:
        """What `measure` makes of every batch in the precision of the run, on rank 0; None on the others."""

        def measure_in_precision(images: ImageBatch) -> Rows:
            with self.autocast():
                return measure(images)

        return extract_rows(measure_in_precision, dataset, reader=self.reader, ranks=self.ranks)

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Token rows int64 [B, L] on the device; ValueError for a text without a token."""
        tokens_BL = token_rows(self.tokenizer, texts, self.context_length)
        _refuse_empty(texts, tokens_BL[:, 1] == self.tokenizer.end_id)
        return torch.from_numpy(tokens_BL).to(self.device)

    def labels(self, texts: Sequence[str]) -> LabelSets:
        """Label sets on the device, all of them valid; ValueError for a text without a token."""
        ids_N, offsets = label_sets(self.tokenizer, texts, self.context_length)
        _refuse_empty(texts, offsets[1:] == offsets[:-1])
        valid_B = torch.ones(len(texts), dtype=torch.bool)
        return LabelSets(torch.from_numpy(ids_N), torch.from_numpy(offsets), valid_B).to(self.device)

    def targets(self, samples: Sequence[Mapping[str, Any]]) -> LabelSets | TokenRows:
        """What the objective predicts for stored samples: the main caption as weighted labels or tokens."""
        captions = [sample["caption"] for sample in samples]
        if isinstance(self.objective, SuperClass):
            return self.labels(captions).with_probabilities(self.label_weights_V)
        valid_B = torch.ones(len(captions), dtype=torch.bool, device=self.device)
        return TokenRows(self.tokens(captions), valid_B)

    def clip(self, task: str) -> Clip:
        """The objective, which must be CLIP."""
        if not isinstance(self.objective, Clip):
            raise ValueError(
                f"{task} needs a text tower, which superclass has not: ask for {task}_head instead."
            )
        return self.objective

    def superclass(self, task: str) -> SuperClass:
        """The objective, which must be SuperClass."""
        if not isinstance(self.objective, SuperClass):
            name = task.removesuffix("_head")
            raise ValueError(
                f"{task} needs a classification head, which clip has not: ask for {name} instead."
            )
        return self.objective

    def labelled_set(self, task: str) -> LabelledSet:
        """The labelled set, which must be there."""
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
