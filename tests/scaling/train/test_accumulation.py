"""Micro-batches: the gradients of the whole global batch, whatever its loss couples, and draws it once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from model_zoo.build import build_objective
from model_zoo.specification import ObjectiveSpecification
from model_zoo.targets import LabelledTokens, LabelSets, TokenRows
from scaling.data.batches import Batch, Targets
from scaling.data.images.augmentation import Augmentation
from scaling.train.accumulation import Accumulation
from scaling.train.idf import build_statistics

NUM_SAMPLES, VOCABULARY, CONTEXT = 12, 40, 6
CPU = torch.device("cpu")
CASES = [
    ("superclass", "softmax"),
    ("superclass", "bce"),
    ("superclass", "two_way"),
    ("clip", "softmax"),
    ("siglip", "softmax"),
    ("superclip", "softmax"),
    ("superclip", "two_way"),
]


class PlainEngine:
    """The Engine protocol on plain torch, in float64: gradients of loss / micro-batches add up."""

    device = CPU

    def __init__(self, objective: Any, num_micro_batches: int) -> None:
        self.objective = objective
        self._num_micro_batches = num_micro_batches
        self.encoded: list[tuple[Tensor, ...]] = []

    def losses(self, images_BCHW: Tensor, targets: Any, share: Any) -> Any:
        return self.objective(images_BCHW.double(), targets, share)

    def encode(self, images_BCHW: Tensor, targets: Any) -> Any:
        self.encoded.append(self.objective.encode(images_BCHW.double(), targets))
        return self.encoded[-1]

    def losses_of(self, encoded: tuple[Tensor, ...], targets: Any, share: Any) -> Any:
        return self.objective.losses(encoded, targets, share)

    def backward(self, loss: Tensor) -> None:
        (loss / self._num_micro_batches).backward()


def _objective(objective: str, loss: str, **changes: Any) -> nn.Module:
    has_text = objective != "superclass"
    specification = ObjectiveSpecification(
        objective=objective,
        image_tower="vit_nano8",
        text_tower="text_nano" if has_text else "none",
        image_size=16,
        vocabulary_size=VOCABULARY,
        context_length=CONTEXT,
        classification_loss=loss if objective.startswith("super") else "none",
        **changes,
    )
    return build_objective(specification, seed=3).double()


def _targets(objective: str) -> Targets:
    draw = torch.Generator().manual_seed(5)
    sets = [
        torch.randperm(VOCABULARY - 2, generator=draw)[: 1 + n % 4].sort().values for n in range(NUM_SAMPLES)
    ]
    offsets = torch.tensor([0, *(len(labels) for labels in sets)]).cumsum(0)
    valid_B = torch.arange(NUM_SAMPLES) % 5 != 2
    labels = LabelSets(torch.cat(sets), offsets, valid_B)
    rows_BL = torch.randint(1, VOCABULARY - 2, (NUM_SAMPLES, CONTEXT), generator=draw)
    rows_BL[:, -1] = VOCABULARY - 1
    tokens = TokenRows(rows_BL, valid_B)
    return {"superclass": labels, "superclip": LabelledTokens(labels, tokens)}.get(objective, tokens)


def _batch(objective: str) -> Batch:
    draw = torch.Generator().manual_seed(7)
    return Batch(
        images_BCHW=torch.randint(0, 256, (NUM_SAMPLES, 3, 16, 16), generator=draw, dtype=torch.uint8),
        targets=_targets(objective),
        sample_ids_B=torch.arange(NUM_SAMPLES),
        num_undecodable=0,
        num_empty_captions=0,
    )


def _train_once(
    objective: str, module: nn.Module, micro_batch: int
) -> tuple[dict[str, float], dict[str, Tensor], Any]:
    """Losses and gradients of one global batch in micro-batches, and the engine."""
    module.zero_grad()
    engine = PlainEngine(module, NUM_SAMPLES // micro_batch)
    batch = _batch(objective)
    idf = "online" if objective.startswith("super") else "off"
    counts = build_statistics(idf, VOCABULARY, CPU, None).observe(batch.targets)
    accumulation = Accumulation(engine, augmentation=Augmentation(), micro_batch=micro_batch, num_ranks=1)
    losses = accumulation.forward_backward(batch, batch.targets, counts)
    gradients = {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    return {name: float(value) for name, value in losses.items()}, gradients, engine


@pytest.mark.parametrize(("objective", "loss"), CASES)
@pytest.mark.parametrize("micro_batch", [6, 4, 1])
def test_micro_batches_give_the_losses_and_gradients_of_the_whole_batch(
    objective: str, loss: str, micro_batch: int
) -> None:
    module = _objective(objective, loss)
    whole_losses, whole, _ = _train_once(objective, module, NUM_SAMPLES)
    losses, gradients, _ = _train_once(objective, module, micro_batch)
    assert losses == pytest.approx(whole_losses, rel=1e-7)  # the divisor is float32
    assert gradients.keys() == whole.keys() == dict(module.named_parameters()).keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-6, atol=1e-12, msg=name)


class OnTheDevice(LabelSets):
    """Labels whose offsets cannot be read without waiting for the device."""

    def rows(self, start: int, stop: int) -> LabelSets:
        raise AssertionError("cut on the device")


@pytest.mark.parametrize("loss", ["softmax", "two_way"])
def test_micro_batches_are_cut_from_the_targets_on_the_host(loss: str) -> None:
    module, batch = _objective("superclass", loss), _batch("superclass")
    labels: Any = batch.targets
    moved = OnTheDevice(labels.ids_N, labels.offsets, labels.valid_B)
    counts = build_statistics("off", VOCABULARY, CPU, None).observe(moved)
    accumulation = Accumulation(
        PlainEngine(module, 3), augmentation=Augmentation(), micro_batch=4, num_ranks=1
    )
    assert accumulation.forward_backward(batch, moved, counts)["loss"] > 0


@pytest.mark.parametrize("changes", [{"patch_dropout": 0.5}, {"drop_path": 0.5}])
def test_a_micro_batch_encoded_twice_drops_the_same_parts_twice(changes: dict[str, float]) -> None:
    """Otherwise the gradient of the loss would be passed on through other features than the loss saw."""
    torch.manual_seed(0)
    module = _objective("clip", "softmax", **changes).train()
    _, _, engine = _train_once("clip", module, 4)
    second, third, _, second_again, third_again = engine.encoded
    assert torch.equal(second[0], second_again[0]) and torch.equal(third[0], third_again[0])
    first, again = (
        engine.encode(_batch("clip").images_BCHW[:4] / 255, _targets("clip").rows(0, 4)) for _ in "ab"
    )
    assert not torch.equal(
        first[0], again[0]
    ), "without a replay the draws differ, or this test shows nothing"
