"""What every objective promises, whichever it is: two stages, one row per sample, exact cached features."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small_objectives import (
    IMAGE_SIZE,
    VARIANTS,
    WEIGHTS_V,
    L,
    V,
    a_specification,
    build_fp64,
    gradients,
    some_images,
    some_labels,
    some_targets,
    some_tokens,
)
from torch import Tensor, nn

from model_zoo.objective import Classifies, EmbedsText
from model_zoo.specification import OBJECTIVES
from model_zoo.targets import KnownShare, TokenRows

B = 6
VALID_B = torch.tensor([True, False, True, True, False, True])
EVERY_ONE_B = torch.ones(B, dtype=torch.bool)
SHARE = KnownShare(4.0, WEIGHTS_V)


class RecordingShare:
    """A share that notes when it is read."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    @property
    def divisor(self) -> float:
        self.events.append("divisor")
        return 4.0

    @property
    def label_weights_V(self) -> Tensor:
        self.events.append("label weights")
        return WEIGHTS_V


def note_after(module: nn.Module, events: list[str], name: str) -> None:
    module.register_forward_hook(lambda *_: events.append(name))


def losses_by_cached_features(
    objective: Any, images_BCHW: Tensor, targets: Any, cuts: tuple[int, ...]
) -> dict[str, Tensor]:
    """Encode piece by piece without grad, compare all at once, push the gradients back piece by piece."""
    pieces = list(zip(cuts, cuts[1:], strict=False))
    with torch.no_grad():
        encoded = [objective.encode(images_BCHW[a:b], targets.rows(a, b)) for a, b in pieces]
    whole = tuple(torch.cat(rows).requires_grad_() for rows in zip(*encoded, strict=True))
    losses: dict[str, Tensor] = objective.losses(whole, targets, SHARE)
    losses["loss"].backward()
    for a, b in pieces:
        again = objective.encode(images_BCHW[a:b], targets.rows(a, b))
        pairs = [
            (rows, cached.grad[a:b]) for rows, cached in zip(again, whole, strict=True) if rows.requires_grad
        ]
        torch.autograd.backward(*zip(*pairs, strict=True))
    return losses


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_is_the_losses_of_what_is_encoded(variant: str) -> None:
    objective, images_BCHW, targets = build_fp64(variant), some_images(B), some_targets(variant, VALID_B)
    losses = objective(images_BCHW, targets, SHARE)
    again = objective.losses(objective.encode(images_BCHW, targets), targets, SHARE)
    assert losses.keys() == again.keys() and all(torch.equal(losses[name], again[name]) for name in losses)
    assert losses["loss"].requires_grad and losses["loss"].ndim == 0
    assert not any(extra.requires_grad for name, extra in losses.items() if name != "loss")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_is_encoded_from_its_own_sample_only(variant: str) -> None:
    objective, images_BCHW, targets = build_fp64(variant), some_images(B), some_targets(variant, EVERY_ONE_B)
    whole = objective.encode(images_BCHW, targets)
    part = objective.encode(images_BCHW[2:5], targets.rows(2, 5))
    for rows, of_part in zip(whole, part, strict=True):
        assert len(rows) == B
        torch.testing.assert_close(rows[2:5], of_part, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_share_is_read_only_after_the_towers_have_run(variant: str) -> None:
    objective, events = build_fp64(variant), list[str]()
    note_after(objective.image_tower, events, "image tower")
    if isinstance(objective, EmbedsText):
        note_after(objective.text_tower, events, "text tower")
    share = RecordingShare(events)
    objective(some_images(B), some_targets(variant, VALID_B), share)
    towers = [event for event in events if event.endswith("tower")]
    assert events[: len(towers)] == towers and "divisor" in events[len(towers) :]
    assert ("label weights" in events) == a_specification(variant).kind.classifies


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cuts", [(0, 2, 4, 6), (0, 5, 6)])
def test_cached_features_give_the_losses_and_gradients_of_the_whole_batch(
    variant: str, cuts: tuple[int, ...]
) -> None:
    objective, images_BCHW, targets = build_fp64(variant), some_images(B), some_targets(variant, VALID_B)
    reference = copy.deepcopy(objective)
    expected = reference(images_BCHW, targets, SHARE)
    expected["loss"].backward()
    losses = losses_by_cached_features(objective, images_BCHW, targets, cuts)
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    assert gradients(objective).keys() == gradients(reference).keys()
    for name, gradient in gradients(reference).items():
        torch.testing.assert_close(gradients(objective)[name], gradient, rtol=1e-10, atol=1e-14, msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_micro_batches_one_by_one_give_another_loss_exactly_where_samples_are_coupled(variant: str) -> None:
    objective, images_BCHW, targets = build_fp64(variant), some_images(B), some_targets(variant, EVERY_ONE_B)
    whole = objective(images_BCHW, targets, SHARE)["loss"]
    parts = [objective(images_BCHW[a : a + 2], targets.rows(a, a + 2), SHARE)["loss"] for a in (0, 2, 4)]
    assert torch.isclose(sum(parts), whole, rtol=1e-6) != objective.couples_samples
    assert objective.couples_samples == a_specification(variant).couples_samples


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pixels_of_a_row_that_is_not_valid_change_nothing(variant: str) -> None:
    objective, images_BCHW, targets = build_fp64(variant), some_images(B), some_targets(variant, VALID_B)
    before = objective(images_BCHW, targets, SHARE)["loss"]
    images_BCHW[~VALID_B] = 100.0
    torch.testing.assert_close(objective(images_BCHW, targets, SHARE)["loss"], before, rtol=1e-14, atol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_without_valid_rows_has_no_loss_and_no_gradient_rather_than_nan(variant: str) -> None:
    objective = build_fp64(variant)
    loss = objective(some_images(B), some_targets(variant, torch.zeros(B).bool()), KnownShare(1.0))["loss"]
    loss.backward()
    assert loss == 0
    assert all((gradient == 0).all() for gradient in gradients(objective).values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_image_with_nan_gives_a_nan_loss_rather_than_a_wrong_one(variant: str) -> None:
    objective, images_BCHW, targets = build_fp64(variant), some_images(B), some_targets(variant, VALID_B)
    images_BCHW[0, 1, 3, 5] = float("nan")
    assert objective(images_BCHW, targets, SHARE)["loss"].isnan()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_trained_parameter_gets_a_gradient(variant: str) -> None:
    objective = build_fp64(variant)
    objective(some_images(B), some_targets(variant, VALID_B), SHARE)["loss"].backward()
    trained = {name for name, parameter in objective.named_parameters() if parameter.requires_grad}
    assert gradients(objective).keys() == trained


@pytest.mark.parametrize("variant", VARIANTS)
def test_image_features_are_pooled_and_before_any_head_or_projection(variant: str) -> None:
    objective, images_BCHW = build_fp64(variant).eval(), some_images(B)
    features_BD = objective.image_features(images_BCHW)
    assert features_BD.shape == (B, objective.feature_width)
    torch.testing.assert_close(features_BD, objective.image_tower(images_BCHW))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_evaluator_can_ask_what_an_objective_offers(name: str) -> None:
    objective, kind = build_fp64(name), OBJECTIVES[name]
    assert isinstance(objective, EmbedsText) == (kind.contrasts is not None)
    assert isinstance(objective, Classifies) == kind.classifies
    features_BD = objective.image_features(some_images(B))
    if isinstance(objective, EmbedsText):
        assert objective.encode_text(some_tokens(VALID_B).tokens_BL).shape == (B, 64)
    if isinstance(objective, Classifies):
        assert objective.head_logits(features_BD).shape == (B, V)


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_and_targets_of_different_numbers_are_refused_with_both(variant: str) -> None:
    targets = some_targets(variant, VALID_B).rows(0, 4)
    with pytest.raises(
        ValueError, match=rf"6 images \(shape \[6, 3, {IMAGE_SIZE}, 16\]\) with .* of 4 samples"
    ):
        build_fp64(variant)(some_images(B), targets, SHARE)


@pytest.mark.parametrize("objective", ["clip", "siglip", "superclip", "lit"])
def test_captions_that_the_text_tower_was_not_built_for_are_refused_with_their_shape(objective: str) -> None:
    built, tokens_BL = build_fp64(objective), some_tokens(VALID_B).tokens_BL
    with pytest.raises(ValueError, match=rf"11 tokens \(shape \[6, 11\]\).* context_length {L}"):
        built.encode_text(torch.ones(B, L + 1, dtype=torch.int64))
    tokens_BL[2, 3] = V
    with pytest.raises(ValueError, match=rf"token ids 1 to {V} \(shape \[6, 10\]\).* vocabulary_size {V}"):
        built.encode_text(tokens_BL)
    with pytest.raises(ValueError, match="token ids -1 to"):
        built.encode_text(tokens_BL.clamp(max=V - 1) - 2)


@pytest.mark.parametrize("variant", ["clip", "siglip", "lit"])
def test_a_caption_twice_in_a_batch_is_a_negative_of_itself_as_in_open_clip(variant: str) -> None:
    objective, images_BCHW = build_fp64(variant), some_images(2)
    tokens_BL = some_tokens(torch.ones(1).bool()).tokens_BL.expand(2, -1)
    twice = TokenRows(tokens_BL, torch.ones(2).bool())
    once = objective(images_BCHW[:1], twice.rows(0, 1), KnownShare(1.0))["loss"]
    assert objective(images_BCHW, twice, KnownShare(2.0))["loss"] > once


@pytest.mark.parametrize("variant", ["superclass", "clip", "siglip", "superclip"])
def test_the_statistics_of_batch_norms_move_once_per_step_however_often_a_batch_is_encoded(
    variant: str,
) -> None:
    network = {"image_tower": "resnet_nano", "image_size": 32, "batch_norm_samples": 3}
    once, cached = build_fp64(variant, **network), build_fp64(variant, **network)
    images_BCHW = torch.randn(B, 3, 32, 32, dtype=torch.float64)
    targets = some_targets(variant, VALID_B)
    before = {name: buffer.clone() for name, buffer in once.named_buffers()}
    once(images_BCHW, targets, SHARE)["loss"].backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in once.named_buffers())
    once.after_step()
    losses_by_cached_features(cached, images_BCHW, targets, (0, 3, 6))
    cached.after_step()
    assert any(not torch.equal(buffer, before[name]) for name, buffer in once.named_buffers())
    for (name, buffer), of_cached in zip(once.named_buffers(), cached.buffers(), strict=True):
        torch.testing.assert_close(of_cached, buffer, rtol=1e-10, atol=1e-12, msg=name)
    largest = max(float(gradient.abs().max()) for gradient in gradients(once).values())
    for name, gradient in gradients(once).items():
        torch.testing.assert_close(
            gradients(cached)[name], gradient, rtol=1e-8, atol=1e-13 * largest, msg=name
        )


def test_labels_without_weights_of_the_share_keep_the_targets_they_came_with() -> None:
    objective, images_BCHW, labels = build_fp64("superclass"), some_images(B), some_labels(VALID_B)
    weighted = objective(images_BCHW, labels, SHARE)["loss"]
    given = objective(images_BCHW, labels.with_probabilities(WEIGHTS_V), KnownShare(4.0))["loss"]
    uniform = objective(images_BCHW, labels, KnownShare(4.0))["loss"]
    assert torch.equal(weighted, given) and not torch.isclose(weighted, uniform)
