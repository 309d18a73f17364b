"""Objectives that train in milliseconds, batches for them, and their gradients."""

# Shapes.  B samples, C channels, H W pixels, L caption tokens, V vocabulary, N labels of all samples together.

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from model_zoo.build import BuiltObjective, build_objective
from model_zoo.specification import NO_TEXT_TOWER, ObjectiveSpecification
from model_zoo.targets import LabelledTokens, LabelSets, TokenRows

V, L, IMAGE_SIZE = 40, 10, 16
WEIGHTS_V = torch.linspace(0.2, 9.0, V, dtype=torch.float64)  # such as IDF gives

VARIANTS = ("superclass", "superclass_bce", "superclass_two_way", "clip", "siglip", "superclip", "lit")
"""Every objective, superclass with a loss of every sort: ragged, over all classes, coupling samples."""

Targets = LabelSets | TokenRows | LabelledTokens


def a_specification(variant: str, **changes: Any) -> ObjectiveSpecification:
    """A specification of a small objective; a classification loss may follow the objective's name."""
    objective, _, loss = variant.partition("_")
    fields = {
        "objective": objective,
        "image_tower": "vit_nano8",
        "text_tower": NO_TEXT_TOWER if objective == "superclass" else "text_nano",
        "image_size": IMAGE_SIZE,
        "vocabulary_size": V,
        "context_length": L,
        "classification_loss": loss or "softmax",
    }
    return ObjectiveSpecification(**fields | changes)


def build(variant: str, *, seed: int = 0, **changes: Any) -> BuiltObjective:
    """A small objective in float32."""
    return build_objective(a_specification(variant, **changes), seed=seed)


def build_fp64(variant: str, **changes: Any) -> Any:
    """A small objective in float64 whose LayerNorms, biases and locked tower are not at their initial values."""
    built = build(variant, **changes).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if not name.startswith("logit_"):
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return built


def some_images(num_samples: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(num_samples, 3, IMAGE_SIZE, IMAGE_SIZE, dtype=dtype)


def some_tokens(valid_B: Tensor) -> TokenRows:
    tokens_BL = torch.randint(1, V - 1, [len(valid_B), L])
    tokens_BL[:, -1] = V - 1  # the end of the text
    return TokenRows(tokens_BL, valid_B)


def some_labels(valid_B: Tensor) -> LabelSets:
    """1 to 7 unique labels per valid sample, in increasing order; none for the others."""
    rows = [
        (
            torch.randperm(V)[: 1 + 3 * sample % 7].sort().values
            if valid
            else torch.tensor([], dtype=torch.int64)
        )
        for sample, valid in enumerate(valid_B.tolist())
    ]
    return LabelSets(torch.cat(rows), torch.tensor([0, *map(len, rows)]).cumsum(0), valid_B)


def some_targets(variant: str, valid_B: Tensor) -> Any:
    """Targets of the kind the objective wants."""
    kind = a_specification(variant).kind
    if not kind.classifies:
        return some_tokens(valid_B)
    if kind.contrasts is None:
        return some_labels(valid_B)
    return LabelledTokens(some_labels(valid_B), some_tokens(valid_B))


def gradients(module: nn.Module) -> dict[str, Tensor]:
    """The gradients by name, of the parameters that have one."""
    return {
        name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None
    }


def dense_targets(labels: LabelSets, weights_V: Tensor) -> Tensor:
    """Target probabilities [B, V] as the reference makes them: multi-hot, weighted, normalised."""
    multi_hot_BV = torch.zeros(len(labels), V, dtype=weights_V.dtype)
    for sample in range(len(labels)):
        multi_hot_BV[sample, labels.rows(sample, sample + 1).ids_N] = 1.0
    return nn.functional.normalize(multi_hot_BV * weights_V, p=1.0, dim=1, eps=1e-12)
