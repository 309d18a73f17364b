"""Tiny sets and models, and several ranks played by threads."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from model_zoo.build import build_objective
from model_zoo.specification import ObjectiveSpecification
from scaling.data.batches import CaptionSettings
from scaling.data.indexed import IndexedDataset
from scaling.data.labelled import LabelledSet, read_labelled_set
from scaling.data.shards import IMAGE_TEXT_COLUMNS, write_shards
from scaling.data.text.tokenizers import load_tokenizer
from scaling.evaluate.context import EvaluationContext
from scaling.evaluate.features import Ranks

IMAGE_SIZE = 16
CONTEXT_LENGTH = 12
WORDS = "a red green blue big small dog cat bird on the grass snow beach with two three happy wet old".split()
KINDS: dict[str, Any] = {"superclass": "labels", "clip": "tokens", "siglip": "tokens", "superclip": "both"}
CLASS_NAMES = ("dog", "red bird", "old cat")


def jpeg(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def sentence(draw: np.random.Generator) -> str:
    return " ".join(draw.choice(WORDS, size=draw.integers(2, 7)))


def pair(number: int) -> dict[str, Any]:
    draw = np.random.default_rng(100 + number)
    captions = [sentence(draw) for _ in range(1 + number % 3)]
    return {"jpg": jpeg(number), "caption": captions[0], "captions": captions, "key": f"{number:04d}"}


@pytest.fixture(scope="session")
def validation(tmp_path_factory: pytest.TempPathFactory) -> IndexedDataset:
    folder = tmp_path_factory.mktemp("validation") / "mds"
    columns = {**IMAGE_TEXT_COLUMNS, "captions": "json"}
    write_shards(folder, columns, map(pair, range(23)), size_limit=8_000)
    return IndexedDataset(folder)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> LabelledSet:
    folder = tmp_path_factory.mktemp("labelled")
    for name, first, count in (("train", 0, 40), ("test", 1000, 17)):
        samples = [
            {"jpg": jpeg(first + n), "caption": "", "key": f"{name}{n}", "label": np.int32(n % 3)}
            for n in range(count)
        ]
        write_shards(folder / name, {**IMAGE_TEXT_COLUMNS, "label": "int32"}, samples, size_limit=20_000)
    (folder / "classnames.txt").write_text("\n".join(CLASS_NAMES) + "\n")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nthe {c}\n")
    return read_labelled_set(folder)


def model(objective: str) -> Any:
    return build_objective(specification(objective), seed=0).eval()


def specification(objective: str) -> ObjectiveSpecification:
    return ObjectiveSpecification(
        objective=objective,
        image_tower="vit_nano8",
        text_tower="none" if objective == "superclass" else "text_nano",
        image_size=IMAGE_SIZE,
        vocabulary_size=4_096,
        context_length=CONTEXT_LENGTH,
    )


@pytest.fixture(scope="session")
def model_of() -> Callable[[str], Any]:
    """A function from an objective's name to a tiny one in evaluation mode."""
    return model


@pytest.fixture(scope="session")
def superclass() -> Any:
    return model("superclass")


@pytest.fixture(scope="session")
def clip() -> Any:
    return model("clip")


@pytest.fixture
def context_of(
    validation: IndexedDataset, labelled: LabelledSet, tmp_path: Path
) -> Callable[..., EvaluationContext]:
    """A function from an objective to its context; keywords replace fields."""

    def make(objective: Any, **changes: Any) -> EvaluationContext:
        name = type(objective).__name__.lower()
        fields: dict[str, Any] = {
            "objective": objective,
            "specification": specification(name),
            "tokenizer": load_tokenizer("clip_bpe_4k"),
            "pixel_statistics": "clip",
            "captions": CaptionSettings(kind=KINDS[name], context_length=CONTEXT_LENGTH),
            "batch": 5,
            "samples_seen": 1_234,
            "device": torch.device("cpu"),
            "validation": validation,
            "labelled": labelled,
            "label_weights_V": None,
            "ranks": Ranks(scratch=tmp_path),
        }
        return EvaluationContext(**{**fields, **changes})

    return make


@pytest.fixture
def on_ranks(tmp_path: Path) -> Callable[[int, Callable[[Ranks, Callable[[Tensor], None]], Any]], list[Any]]:
    """A function that runs `work(ranks, all_reduce)` on several ranks at once: what each one returned."""

    def run(num_ranks: int, work: Callable[[Ranks, Callable[[Tensor], None]], Any]) -> list[Any]:
        barrier = threading.Barrier(num_ranks, timeout=30)
        totals: list[Tensor] = []

        def all_reduce(total: Tensor) -> None:
            totals.append(total.clone())
            barrier.wait()
            total.copy_(torch.stack(totals).sum(dim=0))

        def wait() -> None:
            barrier.wait()

        with ThreadPoolExecutor(num_ranks) as pool:
            ranks = [
                Ranks(scratch=tmp_path, rank=r, num_ranks=num_ranks, barrier=wait) for r in range(num_ranks)
            ]
            return list(pool.map(lambda one: work(one, all_reduce), ranks))

    return run
