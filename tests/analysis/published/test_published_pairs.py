"""CLIP and SuperClass of the paper become rows of a study, with the compute that model_zoo counts."""

from __future__ import annotations

import pandas as pd
import pytest

from analysis.published.pairs import FORWARD_FLOPS, published_pairs
from model_zoo.architectures import IMAGE_TOWERS
from model_zoo.counts import count_parameters, forward_flops_per_sample, train_flops_per_sample
from model_zoo.specification import ObjectiveSpecification

BATCH, VOCABULARY = 16_384, 49_408
TOWERS = ("vit_s16", "vit_b16", "vit_l16", "resnet50", "convnext_tiny")


def specification(image_tower: str, objective: str) -> ObjectiveSpecification:
    text_tower = {} if objective == "superclass" else {"text_tower": IMAGE_TOWERS[image_tower].text_tower}
    return ObjectiveSpecification(
        objective=objective, image_tower=image_tower, vocabulary_size=VOCABULARY, **text_tower
    )


@pytest.mark.parametrize("objective", ["clip", "superclass"])
@pytest.mark.parametrize("image_tower", (*TOWERS, "vit_h14"))
def test_the_carried_flops_and_parameters_are_those_that_model_zoo_counts(
    image_tower: str, objective: str
) -> None:
    counts = pd.read_csv(FORWARD_FLOPS)
    rows = counts[(counts["image_tower"] == image_tower) & (counts["objective"] == objective)].set_index(
        "part"
    )
    counted = forward_flops_per_sample(specification(image_tower, objective), BATCH)
    assert rows["forward_flops"].to_dict() == {part: flops for part, flops in counted.items() if flops}
    parameters = count_parameters(specification(image_tower, objective))
    assert rows["parameters"].to_dict() == {part: parameters.get(part, 0) for part in rows.index}


@pytest.mark.parametrize("image_tower", TOWERS)
def test_training_compute_is_within_two_percent_of_the_planner(image_tower: str) -> None:
    pairs = published_pairs()
    probe = pairs[(pairs["metric"] == "imagenet_linear_probe_top1") & (pairs["image_tower"] == image_tower)]
    for objective, samples, flops in zip(
        probe["objective"], probe["samples_seen"], probe["train_flops"], strict=True
    ):
        planned = sum(train_flops_per_sample(specification(image_tower, objective), BATCH).values()) * samples
        assert flops == pytest.approx(planned, rel=0.02)


def test_every_tower_and_number_of_samples_has_both_objectives_for_every_metric() -> None:
    pairs = published_pairs()
    sides = pairs.groupby(["image_tower", "samples_seen", "metric"])["objective"].agg(sorted)
    assert sides.map(lambda names: names == ["clip", "superclass"]).all()
    cells = {(tower, samples) for tower, samples, _ in sides.index}
    assert len(cells) == 7 and not pairs.duplicated(["run_id", "metric"]).any()
    assert pairs["parameters"].groupby(pairs["image_tower"]).nunique().eq(1).all()


def test_an_error_is_what_is_missing_from_the_printed_accuracy() -> None:
    pairs = published_pairs([8]).set_index(["run_id", "metric"])["error"]
    assert pairs["clip-vit_l16-128M", "imagenet_zero_shot_top1"] == pytest.approx(1 - 0.488)
    assert pairs["superclass-vit_l16-1280M", "imagenet_zero_shot_top1"] == pytest.approx(1 - 0.736)


def test_zero_shot_of_superclass_pays_for_its_lit_phase_and_says_so() -> None:
    pairs = published_pairs([8]).set_index(["run_id", "metric"])
    zero_shot = pairs.loc[("superclass-vit_l16-512M", "imagenet_zero_shot_top1")]
    probe = pairs.loc[("superclass-vit_l16-512M", "imagenet_linear_probe_top1")]
    lit = sum(train_flops_per_sample(specification("vit_l16", "lit"), BATCH).values()) * 512_000_000
    assert zero_shot["train_flops"] - probe["train_flops"] == pytest.approx(lit, rel=0.01)
    assert "LiT" in zero_shot["compute_convention"] and "LiT" not in probe["compute_convention"]


def test_at_equal_samples_clip_costs_a_third_more_at_s16_and_a_tenth_more_at_l16() -> None:
    pairs = published_pairs([9]).query("metric == 'imagenet_linear_probe_top1'")
    flops = pairs.pivot(index="image_tower", columns="objective", values="train_flops")
    ratio = flops["clip"] / flops["superclass"]
    assert ratio["vit_s16"] == pytest.approx(1.36, abs=0.01)
    assert ratio["vit_l16"] == pytest.approx(1.11, abs=0.01)


def test_a_table_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match=r"tables \[1\]: CLIP stands beside SuperClass"):
        published_pairs([1, 8])
