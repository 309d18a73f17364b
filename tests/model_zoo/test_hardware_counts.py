"""What a step computes besides the model, against what torch's dispatcher sees of real steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from small_objectives import IMAGE_SIZE, a_specification, some_images, some_targets
from torch.testing._internal.distributed.fake_pg import FakeStore

from model_zoo.build import build_objective
from model_zoo.counts import train_flops_per_sample
from model_zoo.hardware_counts import CAUSES, Execution, hardware_flops_per_sample, overheads
from model_zoo.specification import OBJECTIVES, ObjectiveSpecification
from model_zoo.targets import KnownShare
from scaling.data.batches import Batch
from scaling.data.images.augmentation import Augmentation
from scaling.profile.flops import count_dispatched
from scaling.train.accumulation import Accumulation
from scaling.train.idf import build_statistics

BATCH = 4
TOWERS = ("vit_nano8", "resnet_nano", "convnext_nano")


def specify(objective: str, image_tower: str = "vit_nano8", **changes: Any) -> ObjectiveSpecification:
    size = IMAGE_SIZE if image_tower == "vit_nano8" else 32
    fields = {"image_tower": image_tower, "image_size": size, "batch_norm_samples": 2}
    return a_specification(objective, **fields | changes)


def built(specification: ObjectiveSpecification, execution: Execution) -> Any:
    return build_objective(
        specification,
        seed=0,
        activation_checkpointing=execution.activation_checkpointing,
        activation_checkpointing_every=execution.activation_checkpointing_every,
        head_recompute=execution.head_recompute,
    )


def counted(specification: ObjectiveSpecification, execution: Execution) -> int:
    """Per sample of a real step of BATCH samples."""
    objective = built(specification, execution)
    size = specification.image_size
    targets = some_targets(specification.objective, torch.ones(BATCH, dtype=torch.bool))

    def step() -> None:
        objective(torch.randn(BATCH, 3, size, size), targets, KnownShare(float(BATCH)))["loss"].backward()

    return count_dispatched(step, fused_attention=execution.fused_attention) // BATCH


def expected(specification: ObjectiveSpecification, execution: Execution) -> int:
    return sum(hardware_flops_per_sample(specification, execution, BATCH).values())


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("mode", ["none", "blocks", "operations", "offload"])
@pytest.mark.parametrize("image_tower", TOWERS)
def test_every_way_of_checkpointing_computes_again_what_is_counted(
    image_tower: str, mode: Any, every: int
) -> None:
    specification = specify("clip", image_tower)
    execution = Execution(
        activation_checkpointing=mode, activation_checkpointing_every=every, fused_attention=False
    )
    assert counted(specification, execution) == expected(specification, execution)


@pytest.mark.parametrize("head_recompute", [False, True])
@pytest.mark.parametrize("objective", [*OBJECTIVES, "superclass_two_way", "superclass_bce"])
def test_every_objective_computes_what_is_counted(objective: str, head_recompute: bool) -> None:
    specification = specify(objective)
    execution = Execution(
        activation_checkpointing="blocks", head_recompute=head_recompute, fused_attention=False
    )
    assert counted(specification, execution) == expected(specification, execution)


@pytest.mark.parametrize("changes", [{"drop_path": 0.2}, {"patch_dropout": 0.5}])
def test_random_depth_and_dropped_patches_change_what_is_computed_again(changes: dict[str, float]) -> None:
    specification = specify("superclass", **changes)
    execution = Execution(activation_checkpointing="blocks", fused_attention=False)
    assert counted(specification, execution) == expected(specification, execution)


@pytest.mark.parametrize("image_tower", TOWERS)
def test_fused_attention_computes_its_scores_again(image_tower: str) -> None:
    specification = specify("clip", image_tower)
    fused, unfused = Execution(), Execution(fused_attention=False)
    assert counted(specification, fused) == expected(specification, fused)
    assert expected(specification, fused) > expected(specification, unfused)


class DirectEngine:
    """As much of an engine as accumulation needs."""

    def __init__(self, objective: Any) -> None:
        self.objective, self.device = objective, torch.device("cpu")
        self.encode, self.losses_of = objective.encode, objective.losses

    def losses(self, *arguments: Any) -> Any:
        return self.objective(*arguments)

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


@pytest.mark.parametrize("num_micro_batches", [1, 2, 4])
@pytest.mark.parametrize("objective", [*OBJECTIVES, "superclass_two_way"])
def test_cached_features_are_one_more_forward_of_all_micro_batches_but_the_first(
    objective: str, num_micro_batches: int
) -> None:
    specification = specify(objective)
    execution = Execution(num_micro_batches=num_micro_batches, fused_attention=False)
    images = some_images(BATCH).mul(255).to(torch.uint8)
    targets = some_targets(objective, torch.ones(BATCH, dtype=torch.bool))
    batch = Batch(
        images_BCHW=images,
        targets=targets,
        sample_ids_B=torch.arange(BATCH),
        num_undecodable=0,
        num_empty_captions=0,
    )
    accumulation = Accumulation(
        DirectEngine(built(specification, execution)),  # type: ignore[arg-type]
        augmentation=Augmentation(),
        micro_batch=BATCH // num_micro_batches,
        num_ranks=1,
    )
    counts = build_statistics("off", specification.vocabulary_size, torch.device("cpu"), None).observe(
        targets
    )
    flops = count_dispatched(lambda: accumulation.forward_backward(batch, targets, counts)) / BATCH
    assert flops == pytest.approx(expected(specification, execution), abs=len(CAUSES))  # fractions are cut


@pytest.fixture
def of_two_ranks() -> Iterator[None]:
    """A process group whose other rank answers with anything."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("of_two_ranks")
@pytest.mark.parametrize("objective", ["clip", "siglip", "superclip", "lit"])
def test_over_two_ranks_rows_and_columns_of_the_similarity_are_formed_apart(objective: str) -> None:
    specification = specify(objective)
    execution = Execution(num_ranks=2, fused_attention=False)
    flops = sum(hardware_flops_per_sample(specification, execution, 2 * BATCH).values())
    assert counted(specification, execution) == flops
    again = [overhead.flops for overhead in overheads(specification, execution, 2 * BATCH)]
    similarity = train_flops_per_sample(specification, 2 * BATCH)["similarity"]
    assert again == ([] if objective == "siglip" else [similarity])


def test_every_cause_is_explained_and_none_is_told_where_there_is_none() -> None:
    execution = Execution(
        activation_checkpointing="blocks", head_recompute=True, num_micro_batches=2, num_ranks=2
    )
    found = overheads(specify("superclip"), execution, BATCH)
    assert {overhead.cause for overhead in found} == set(CAUSES)
    assert not overheads(specify("superclass"), Execution(fused_attention=False), BATCH)
