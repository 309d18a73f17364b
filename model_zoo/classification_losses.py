"""The five classification losses of SuperClass's Table 6, each from what its negatives and its labels say."""

# Shapes.  B samples, V vocabulary, N labels of all samples together; R samples and C classes of a block of logits.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from model_zoo.negatives import LogSumExp, Negatives, SumOf
from model_zoo.positives import Positives, floor_of, logsumexp_at
from model_zoo.specification import CLASSIFICATION_LOSSES


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationLoss:
    """A classification loss, named, and its constants; the defaults are the papers'."""

    name: str = "softmax"
    asl_gamma_negative: float = 4.0  # arXiv 2009.14119, section 4
    asl_gamma_positive: float = 0.0
    asl_margin: float = 0.05
    two_way_temperature: float = 4.0  # of the positives; Kobayashi, CVPR 2023

    def __post_init__(self) -> None:
        if self.name not in CLASSIFICATION_LOSSES:
            known = ", ".join(CLASSIFICATION_LOSSES)
            raise ValueError(f"Unknown classification loss {self.name!r}: use one of {known}.")
        for field in ("asl_gamma_negative", "asl_gamma_positive"):
            if not getattr(self, field) >= 0:
                raise ValueError(f"{field} is {getattr(self, field)}, an exponent: use 0 or more.")
        if not 0 <= self.asl_margin < 1:
            raise ValueError(f"asl_margin is {self.asl_margin}, a probability: use 0 or more, below 1.")
        if not self.two_way_temperature > 0:
            raise ValueError(f"two_way_temperature is {self.two_way_temperature}: use a number above 0.")


class Loss(Protocol):
    """A loss of the negatives' statistic and the labels' logits.  Its gradient is autograd's, label by label."""

    @property
    def negatives(self) -> Negatives:
        """The statistic of each row that `of_rows` takes."""
        ...

    def of_rows(self, negative_B: Tensor, positives: Positives) -> Tensor:
        """The loss of each sample, [B], in nats."""
        ...


class Softmax:
    """sum_c target_c (log sum exp(logits) - logit_c): SuperClass, arXiv 2411.03313, equation 2."""

    negatives: Negatives = LogSumExp()

    def of_rows(self, negative_B: Tensor, positives: Positives) -> Tensor:
        logsumexp_B = torch.logaddexp(negative_B, positives.logsumexp(positives.logits_N))
        mass_B = positives.total(positives.probabilities_N)  # 1, or 0 without labels
        return mass_B * logsumexp_B - positives.total(positives.probabilities_N * positives.logits_N)


@dataclass(frozen=True, slots=True)
class BinaryCrossEntropy:
    """scale x sum_c of softplus(-logit) for labels, softplus(logit) for all others.

    `bce`, scale 1: summed over classes as CatLIP (arXiv 2404.15653) does.  `soft_margin`, scale 1/V: torch's
    MultiLabelSoftMarginLoss, the same function averaged over classes.  Adam is blind to the factor V between
    them but for its epsilon and gradient clipping, so that the paper's Table 6 finds 73.6 and 73.5.
    """

    scale: float = 1.0

    @property
    def negatives(self) -> Negatives:
        return SumOf(softplus, torch.sigmoid)

    def of_rows(self, negative_B: Tensor, positives: Positives) -> Tensor:
        return self.scale * (
            negative_B + positives.total(positives.weights_N * softplus(-positives.logits_N))
        )


@dataclass(frozen=True, slots=True)
class Asymmetric:
    """ASL, arXiv 2009.14119, equations 4 to 7, summed over classes, gradient through the focusing weights too.

    With p = sigmoid(logit) and q = max(p - margin, 0): -(1 - p)^gamma_positive log(p) for labels,
    -q^gamma_negative log(1 - q) for all others.
    """

    gamma_negative: float
    gamma_positive: float
    margin: float

    @property
    def negatives(self) -> Negatives:
        return SumOf(self._value, self._slope)

    def of_rows(self, negative_B: Tensor, positives: Positives) -> Tensor:
        focus_N = (-self.gamma_positive * softplus(positives.logits_N)).exp()  # (1 - p)^gamma
        surprise_N = softplus(-positives.logits_N)
        return negative_B + positives.total(positives.weights_N * focus_N * surprise_N)

    def _shifted(self, logits_RC: Tensor) -> tuple[Tensor, Tensor]:
        """q and -log(1 - q)."""
        q_RC = (torch.sigmoid(logits_RC) - self.margin).clamp_min(0)
        return q_RC, -torch.log1p(-q_RC) if self.margin else softplus(logits_RC)

    def _value(self, logits_RC: Tensor) -> Tensor:
        q_RC, surprise_RC = self._shifted(logits_RC)
        return _power(q_RC, self.gamma_negative) * surprise_RC

    def _slope(self, logits_RC: Tensor) -> Tensor:
        q_RC, surprise_RC = self._shifted(logits_RC)
        # rest: 1 - p without cancellation
        p_RC, rest_RC = torch.sigmoid(logits_RC), torch.sigmoid(-logits_RC)
        share_RC = rest_RC / (1 - q_RC) if self.margin else 1.0
        focusing_RC = self.gamma_negative * _power(q_RC, self.gamma_negative - 1) * surprise_RC * rest_RC
        slope_RC = p_RC * (focusing_RC + _power(q_RC, self.gamma_negative) * share_RC)
        return slope_RC.masked_fill(q_RC <= 0, 0.0)


def _power(x: Tensor, exponent: float) -> Tensor:
    """x^exponent; a fourth power, ASL's, as two squares: pow itself takes many times longer."""
    return x.square().square() if exponent == 4 else x.pow(exponent)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), exact to float64: beyond 40 it is x."""
    return F.softplus(x, threshold=40)


@dataclass(frozen=True, slots=True)
class TwoWay:
    """Two-way multi-label loss, Kobayashi, CVPR 2023: softplus(negatives + positives) of samples and of classes.

    negatives = log sum exp(logit), positives = T log sum weight exp(-logit / T): over the classes of a sample,
    and over the samples of a class for each class that is somewhere a label.
    """

    temperature: float
    negatives: Negatives = LogSumExp()

    def of_rows(self, negative_B: Tensor, positives: Positives) -> Tensor:
        return softplus(negative_B + self.temperature * positives.logsumexp(self._values_N(positives)))

    def of_classes(
        self, negative_V: Tensor, positives: Positives, of_all_ranks: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Mean over the classes with a label in any rank's batch; every rank returns the same, whole.

        `of_all_ranks` stacks the ranks' [1, 2, V].  Mean over ranks, as engines take it, keeps the term and,
        with the gradient of `across_ranks.gather_rows` (the sum over the ranks' losses), its gradient.
        """
        positive_V = logsumexp_at(self._values_N(positives), positives.ids_N, len(negative_V))
        negative_V, positive_V = of_all_ranks(torch.stack([negative_V, positive_V])[None]).logsumexp(0)
        is_label_V = ~(positive_V <= floor_of(positive_V.dtype) / 2)  # a NaN is one, and shows
        loss_V = softplus(negative_V + self.temperature * positive_V)
        total: Tensor = torch.where(is_label_V, loss_V, 0.0).sum() / is_label_V.sum().clamp_min(1)
        return total

    def _values_N(self, positives: Positives) -> Tensor:
        return positives.weights_N.log() - positives.logits_N / self.temperature


def loss_of(loss: ClassificationLoss, vocabulary_size: int) -> Loss:
    """The loss that is specified."""
    losses: dict[str, Loss] = {
        "softmax": Softmax(),
        "bce": BinaryCrossEntropy(),
        "asl": Asymmetric(loss.asl_gamma_negative, loss.asl_gamma_positive, loss.asl_margin),
        "soft_margin": BinaryCrossEntropy(1 / vocabulary_size),
        "two_way": TwoWay(loss.two_way_temperature),
    }
    return losses[loss.name]
