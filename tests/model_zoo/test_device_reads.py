"""A step on the meta device, which holds no numbers: what would wait for an accelerator cannot be done there at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_objectives import VARIANTS, V, build, some_images, some_labels, some_targets

from model_zoo.specification import CLASSIFICATION_LOSSES
from model_zoo.targets import KnownShare, LabelSets, idf_weights

VALID_B = torch.tensor([True, False, True, True])
LABELS = some_labels(VALID_B).to("meta")
EVERY_VARIANT = list(dict.fromkeys([*VARIANTS, *(f"superclass_{name}" for name in CLASSIFICATION_LOSSES)]))


@pytest.mark.parametrize("variant", EVERY_VARIANT)
@pytest.mark.parametrize("recompute", [False, True])
def test_no_objective_reads_a_number_or_a_size_from_the_device(variant: str, recompute: bool) -> None:
    objective = build(variant).to("meta")
    if hasattr(objective, "head"):
        objective.head.recompute |= recompute
    weights_V = idf_weights(LABELS.counts_V(V), VALID_B.to("meta").sum())
    share = KnownShare(torch.ones((), device="meta"), weights_V)
    images_BCHW = some_images(len(VALID_B), torch.float32).to("meta")
    loss = objective(images_BCHW, some_targets(variant, VALID_B).to("meta"), share)["loss"]
    loss.backward()
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    assert loss.shape == () and all(parameter.grad is not None for parameter in trained)


@pytest.mark.parametrize(
    "reading",
    [
        lambda labels: labels.ids_N[labels.valid_B[labels.samples_N()]],
        lambda labels: torch.bincount(labels.ids_N, minlength=V),
        lambda labels: labels.rows(0, 2),
    ],
)
def test_what_is_read_from_the_device_would_be_noticed(reading: Callable[[LabelSets], object]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        reading(LABELS)
