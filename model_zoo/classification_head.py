"""SuperClass's head: every token of the vocabulary is a class, and its loss never holds all logits at once."""

# Shapes.  B samples, D features, V vocabulary, N labels of all samples together.

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.across_ranks import gather_rows
from model_zoo.classification_losses import ClassificationLoss, TwoWay, loss_of
from model_zoo.fused_classification import Task, formed_in_forward, recomputed
from model_zoo.precision import at_least_fp32, without_autocast
from model_zoo.targets import LabelSets, known_ids
from model_zoo.tiling import ON_ACCELERATOR, ON_CPU, Tiling

HIDDEN_RATIO = 4  # of the reference's MixClsHead


class HiddenLayer(nn.Module):
    """x + Linear(GELU(Linear(LayerNorm(x)))): a layer of the reference's `MixClsHead`, which it leaves unused."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, HIDDEN_RATIO * width)
        self.contract = nn.Linear(HIDDEN_RATIO * width, width)

    def forward(self, features_BD: Tensor) -> Tensor:
        """Features [B, D]."""
        hidden: Tensor = self.contract(F.gelu(self.expand(self.norm(features_BD))))
        return features_BD + hidden


class ClassificationHead(nn.Module):
    """Image features [B, D] and label sets to a loss; LayerNorm, a linear layer with bias, one class per token.

    Weights N(0, 1/D): the reference's `MixClsHead` (the paper says "a linear layer" and does not mention the
    LayerNorm).  `recompute`: make the logits again in the backward pass (one more matrix product) instead of
    keeping the weight's gradient from the forward to the backward pass; a two-way loss always does.
    """

    def __init__(
        self,
        feature_width: int,
        vocabulary_size: int,
        *,
        loss: ClassificationLoss = ClassificationLoss(),
        hidden_layers: int = 0,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.loss = loss_of(loss, vocabulary_size)
        self.recompute = recompute or isinstance(self.loss, TwoWay)
        self.tiling: Tiling | None = None  # None: by device
        self.compiled: bool | None = None  # None: on CUDA; a CPU's eager pieces take 7% of the head's time
        self.hidden = nn.ModuleList(HiddenLayer(feature_width) for _ in range(hidden_layers))
        self.norm = nn.LayerNorm(feature_width)
        self.weight = nn.Parameter(torch.randn(vocabulary_size, feature_width) * feature_width**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))

    def forward(self, features_BD: Tensor, labels: LabelSets, divisor: Tensor | float) -> Tensor:
        """The loss summed over valid samples / divisor, in nats and at least float32.

        Two-way adds its class term, whole: over the batches of all ranks in training, of this one otherwise.
        A sample without labels adds nothing to softmax and two-way; to the others it is all negatives.
        """
        self._check(features_BD, labels)
        features_BD = self._normalised(torch.where(labels.valid_B[:, None], features_BD, 0.0))
        dtype = _product_dtype(features_BD)
        with without_autocast(features_BD.device):
            task = self._task(labels, dtype, features_BD.device)
            inputs = (features_BD, self.weight, self.bias, task)
            if not self.recompute:
                return formed_in_forward(*inputs) / divisor
            total, negative_V, positives = recomputed(*inputs)
            if not isinstance(self.loss, TwoWay):
                return total / divisor
            assert negative_V is not None
            of_all_ranks = gather_rows if self.training else torch.Tensor.contiguous
            return total / divisor + self.loss.of_classes(negative_V, positives, of_all_ranks)

    def logits(self, features_BD: Tensor) -> Tensor:
        """One logit per token, [B, V], for evaluation."""
        return F.linear(self._normalised(features_BD), self.weight, self.bias)

    def _normalised(self, features_BD: Tensor) -> Tensor:
        for layer in self.hidden:
            features_BD = layer(features_BD)
        normalised_BD: Tensor = self.norm(features_BD)
        return normalised_BD

    def _check(self, features_BD: Tensor, labels: LabelSets) -> None:
        """ValueError for shapes that do not fit and, where looking does not wait for an accelerator, for ids."""
        vocabulary_size, width = self.weight.shape
        if features_BD.shape != (len(labels), width):
            raise ValueError(
                f"features have shape {list(features_BD.shape)}, but the head takes [{len(labels)}, {width}]: "
                "one row for each label set, as wide as the image tower's features."
            )
        if labels.ids_N.is_cpu:
            wrong_N = labels.ids_N[~known_ids(labels.ids_N, vocabulary_size)]
            if len(wrong_N):
                raise ValueError(
                    f"label id {wrong_N[0].item()} is not one of the head's {vocabulary_size:,} classes (0 to "
                    f"{vocabulary_size - 1:,}): use the tokenizer that this vocabulary_size belongs to."
                )

    def _task(self, labels: LabelSets, dtype: torch.dtype, device: torch.device) -> Task:
        """The loss of these labels.  An id out of range that could not be looked at: NaN, which training reports."""
        samples_N, counts_B = labels.samples_N(), labels.offsets.diff().to(at_least_fp32(self.bias).dtype)
        probabilities_N = labels.probabilities_N
        if probabilities_N is None:
            probabilities_N = 1 / counts_B[samples_N]
        known_N = known_ids(labels.ids_N, len(self.bias))
        probabilities_N = torch.where(known_N, probabilities_N.to(counts_B.dtype), torch.nan)
        on_cuda = device.type == "cuda"
        return Task(
            loss=self.loss,
            samples_N=samples_N,
            ids_N=torch.where(known_N, labels.ids_N, 0),
            probabilities_N=probabilities_N,
            weights_N=torch.where(labels.valid_B[samples_N], probabilities_N * counts_B[samples_N], 0.0),
            valid_B=labels.valid_B,
            dtype=dtype,
            tiling=self.tiling or (ON_CPU if device.type == "cpu" else ON_ACCELERATOR),
            compiled=on_cuda if self.compiled is None else self.compiled,
        )


def _product_dtype(features_BD: Tensor) -> torch.dtype:
    """What autocast, where it is on, multiplies in (float64 stays as it is); otherwise that of the features."""
    device = features_BD.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        if features_BD.dtype != torch.float64:
            return torch.get_autocast_dtype(device)
    return features_BD.dtype
