"""Twenty steps of AdamW in float32 against a plain dense implementation of the same training."""

# Shapes.  B samples, C channels, H W pixels, D features, E joint embedding, V vocabulary.

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from dense_classification import dense_loss
from small_objectives import V, build, some_images, some_targets
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.build import weight_decay_groups
from model_zoo.targets import KnownShare, LabelledTokens, LabelSets, TokenRows, idf_weights

B, NUM_STEPS = 8, 20
LEARNING_RATE, WEIGHT_DECAY = 2e-4, 0.2
ADAM = {"betas": (0.9, 0.98), "eps": 1e-6}


def batches(variant: str) -> Iterator[tuple[Tensor, Any]]:
    """The same sequence of batches at every call; in each, some rows are not valid."""
    generator = torch.Generator().manual_seed(3)
    torch.manual_seed(4)
    for _ in range(NUM_STEPS):
        valid_B = torch.rand(B, generator=generator) > 0.2
        valid_B[0] = True
        yield some_images(B, torch.float32), some_targets(variant, valid_B)


class OnlineIdf:
    """Label weights from the captions seen so far, as a training loop counts them."""

    def __init__(self) -> None:
        self.counts_V, self.num_samples = torch.zeros(V, dtype=torch.int64), 0

    def after(self, targets: Any) -> Tensor:
        labels = targets.labels if isinstance(targets, LabelledTokens) else targets
        self.counts_V += torch.bincount(labels.ids_N, minlength=V)
        self.num_samples += int(labels.valid_B.sum())
        return idf_weights(self.counts_V, self.num_samples)


def our_losses(variant: str) -> tuple[list[float], nn.Module]:
    """The loss of every step, and the module after the last."""
    objective, idf, losses = build(variant), OnlineIdf(), []
    decayed, not_decayed = weight_decay_groups(objective)
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": not_decayed, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, **ADAM)
    for images_BCHW, targets in batches(variant):
        weights_V = None if isinstance(targets, TokenRows) or "_" in variant else idf.after(targets)
        loss = objective(images_BCHW, targets, KnownShare(targets.valid_B.sum(), weights_V))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step()
        losses.append(float(loss.detach()))
    return losses, objective


class Plain(nn.Module):
    """The same weights, and a forward pass of dense formulas over the valid rows."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        built: Any = build(variant)
        self.towers = copy.deepcopy(nn.ModuleDict({n: m for n, m in built.named_children() if "tower" in n}))
        self.rest = nn.ParameterDict(
            {
                name.replace(".", "_"): parameter.detach().clone()
                for name, parameter in built.named_parameters()
                if "tower" not in name
            }
        )
        self.loss = variant.partition("_")[2]
        self.seen_V, self.num_seen = torch.zeros(V), 0

    def dense_targets(self, labels: LabelSets, with_idf: bool) -> tuple[Tensor, Tensor]:
        """Multi-hot labels and the probabilities that the online IDF makes of them, valid rows only."""
        multi_hot_BV = torch.zeros(len(labels), V)
        for row, (start, stop) in zip(multi_hot_BV, labels.offsets.unfold(0, 2, 1).tolist(), strict=True):
            row[labels.ids_N[start:stop]] = 1.0
        multi_hot_BV = multi_hot_BV[labels.valid_B]
        self.seen_V += multi_hot_BV.sum(dim=0)
        self.num_seen += len(multi_hot_BV)
        idf_V = torch.log((self.num_seen + 1) / (self.seen_V + 1)) if with_idf else torch.ones(V)
        return multi_hot_BV, F.normalize(multi_hot_BV * idf_V, p=1.0, dim=1)

    def logits(self, features_BD: Tensor) -> Tensor:
        normed_BD = F.layer_norm(
            features_BD, features_BD.shape[1:], self.rest["head_norm_weight"], self.rest["head_norm_bias"]
        )
        return normed_BD @ self.rest["head_weight"].T + self.rest["head_bias"]

    def softmax(self, features_BD: Tensor, labels: LabelSets) -> Tensor:
        _, target_BV = self.dense_targets(labels, with_idf=True)
        return -(target_BV * self.logits(features_BD).log_softmax(dim=1)).sum(dim=1).mean()

    def bce(self, features_BD: Tensor, labels: LabelSets) -> Tensor:
        multi_hot_BV, _ = self.dense_targets(labels, with_idf=False)
        loss = F.binary_cross_entropy_with_logits(self.logits(features_BD), multi_hot_BV, reduction="sum")
        return loss / len(features_BD)

    def of_table_6(self, features_BD: Tensor, labels: LabelSets) -> Tensor:
        """The loss of the variant's name, dense; rows that are not valid have no labels."""
        offsets = torch.cat([labels.offsets[:1], labels.offsets.diff()[labels.valid_B].cumsum(0)])
        valid = LabelSets(labels.ids_N, offsets, torch.ones(len(features_BD), dtype=torch.bool))
        return dense_loss(self.loss, self.logits(features_BD), valid, len(features_BD))

    def similarities(self, features_BD: Tensor, tokens: TokenRows) -> Tensor:
        image_BE = features_BD @ self.rest["image_projection_weight"].T
        text_BE = self.towers["text_tower"](tokens.tokens_BL[tokens.valid_B])
        text_BE = text_BE @ self.rest["text_projection_weight"].T
        image_BE, text_BE = (x / x.norm(dim=1, keepdim=True) for x in (image_BE, text_BE))
        return self.rest["logit_scale"].exp() * image_BE @ text_BE.T

    def info_nce(self, features_BD: Tensor, tokens: TokenRows) -> Tensor:
        logits_BB = self.similarities(features_BD, tokens)
        own_B = torch.arange(len(logits_BB))
        return (F.cross_entropy(logits_BB, own_B) + F.cross_entropy(logits_BB.T, own_B)) / 2

    def sigmoid(self, features_BD: Tensor, tokens: TokenRows) -> Tensor:
        logits_BB = self.similarities(features_BD, tokens) + self.rest["logit_bias"]
        matched_BB = torch.eye(len(logits_BB))
        return F.binary_cross_entropy_with_logits(logits_BB, matched_BB, reduction="sum") / len(logits_BB)

    def both(self, features_BD: Tensor, targets: LabelledTokens) -> Tensor:
        return self.info_nce(features_BD, targets.tokens) + self.softmax(features_BD, targets.labels)


PLAIN_LOSSES: dict[str, Callable[[Plain, Tensor, Any], Tensor]] = {
    "superclass": Plain.softmax,
    "superclass_bce": Plain.bce,
    "superclass_asl": Plain.of_table_6,
    "superclass_soft_margin": Plain.of_table_6,
    "superclass_two_way": Plain.of_table_6,
    "clip": Plain.info_nce,
    "siglip": Plain.sigmoid,
    "superclip": Plain.both,
}


def plain_losses(variant: str) -> tuple[list[float], Plain]:
    """The loss of every step, and the weights after the last."""
    plain, losses = Plain(variant), []
    parameters = dict(plain.named_parameters())
    exempt = [name for name in parameters if parameters[name].squeeze().ndim < 2]
    optimizer = torch.optim.AdamW(
        [
            {"params": [parameters[n] for n in exempt], "weight_decay": 0.0},
            {"params": [p for n, p in parameters.items() if n not in exempt], "weight_decay": WEIGHT_DECAY},
        ],
        lr=LEARNING_RATE,
        **ADAM,
    )
    for images_BCHW, targets in batches(variant):
        features_BD = plain.towers["image_tower"](images_BCHW[targets.valid_B])
        loss = PLAIN_LOSSES[variant](plain, features_BD, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, plain


@pytest.mark.parametrize("variant", PLAIN_LOSSES)
def test_every_loss_of_twenty_steps_equals_that_of_the_plain_implementation(variant: str) -> None:
    (ours, objective), (plain, _) = our_losses(variant), plain_losses(variant)
    assert len(ours) == NUM_STEPS and abs(ours[-1] - ours[0]) > 1e-2 * ours[0]
    assert ours == pytest.approx(plain, rel=1e-5)
    again, repeated = our_losses(variant)
    assert again == ours
    for (name, value), (_, of_again) in zip(
        objective.state_dict().items(), repeated.state_dict().items(), strict=True
    ):
        assert torch.equal(value, of_again), name
