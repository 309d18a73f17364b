"""Points: complete, checked, ordered, and known by what they learn from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scaling.inputs.shard_index import read_shard_index
from scaling.points import RunPoint, Science, num_steps, resolve_points, run_id
from scaling.spec import SweepError, load_sweep

TINY = """
name: tiny
question: does it learn?
vary:
  objective: [superclass, clip]
  image_tower: [vit_micro8, vit_nano8]
fixed: {samples_seen: 12K, warmup_samples: 2K, global_batch: 128, image_size: 64}
"""

Resolve = Callable[..., list[RunPoint]]


@pytest.fixture
def resolve(tmp_path: Path) -> Resolve:
    def from_text(
        text: str, *overrides: str, num_ranks: int = 2, require_data: bool = False
    ) -> list[RunPoint]:
        path = tmp_path / "tiny.yaml"
        path.write_text(text)
        return resolve_points(load_sweep(path, overrides), num_ranks=num_ranks, require_data=require_data)

    return from_text


def science(**values: Any) -> Science:
    return Science(**{"objective": "clip", "image_tower": "vit_b16", "samples_seen": "512M", **values})


def write_shards(folder: Path, samples: tuple[int, ...] = (5, 3), content: str = "a") -> Path:
    """An MDS folder by its index, with shard files that hold nothing."""
    folder.mkdir(parents=True)
    shards = []
    for i, count in enumerate(samples):
        name = f"shard.{i:05d}.mds"
        (folder / name).touch()
        raw = {"basename": name, "bytes": 1000 + i, "hashes": {"xxh64": f"{content}{i}"}}
        shards.append({"raw_data": raw, "zip_data": None, "samples": count, "format": "mds", "version": 2})
    (folder / "index.json").write_text(json.dumps({"shards": shards, "version": 2}))
    return folder


def write_data(root: Path) -> list[str]:
    """Overrides that name a complete set of data below `root`."""
    for part in ("train", "validation", "labelled/train", "labelled/test"):
        write_shards(root / part)
    for name in ("classnames.txt", "zeroshot_classification_templates.txt"):
        (root / "labelled" / name).write_text("x\n")
    return [f"data.{key}={root / key}" for key in ("train", "validation", "labelled")]


# How a sweep spreads


def test_points_are_the_product_of_axes_and_seeds_small_before_large(resolve: Resolve) -> None:
    points = resolve(TINY, "seeds=[0, 1]")
    assert len(points) == 8
    towers = [point.science.image_tower for point in points]
    assert towers == ["vit_nano8"] * 4 + ["vit_micro8"] * 4
    assert [point.run_id for point in points] == [point.run_id for point in resolve(TINY, "seeds=[1, 0]")]


def test_a_skipped_combination_is_dropped(resolve: Resolve) -> None:
    points = resolve(TINY + "skip: [{objective: clip, image_tower: [vit_micro8, vit_tiny8]}]\n")
    kept = {(point.science.objective, point.science.image_tower) for point in points}
    assert kept == {("superclass", "vit_micro8"), ("superclass", "vit_nano8"), ("clip", "vit_nano8")}


def test_a_skip_rule_sees_typed_values_and_defaults(resolve: Resolve) -> None:
    assert len(resolve(TINY + 'skip: [{samples_seen: "12_000", objective: clip}]\n')) == 2
    assert len(resolve(TINY + "skip: [{precision: bf16_autocast, idf: online}]\n")) == 2


def test_a_combination_that_cannot_be_trained_may_be_skipped(resolve: Resolve) -> None:
    with pytest.raises(
        SweepError, match=r"idf: 'online' with objective clip.*skip: \[\{objective: clip, idf: online"
    ):
        resolve(TINY, "idf=[online, off]")
    points = resolve(TINY + "skip: [{objective: clip, idf: online}]\n", "idf=[online, off]")
    assert len(points) == 6


def test_skipping_everything_is_an_error(resolve: Resolve) -> None:
    with pytest.raises(SweepError, match="tiny.yaml: no point is left"):
        resolve(TINY + "skip: [{objective: [clip, superclass]}]\n")


def test_extra_points_are_laid_over_what_is_fixed_and_equal_points_count_once(resolve: Resolve) -> None:
    extra = "also: [{objective: clip, image_tower: vit_tiny8}, {objective: clip, image_tower: vit_nano8}]\n"
    points = resolve(TINY + extra)
    assert len(points) == 5
    assert points[-1].science.image_tower == "vit_tiny8"
    assert points[-1].science.samples_seen == 12_000


def test_a_sweep_of_extra_points_needs_no_axes_product(resolve: Resolve) -> None:
    text = "name: one\nquestion: q\nfixed: {samples_seen: 12K, warmup_samples: 1K, global_batch: 64}\n"
    points = resolve(text + "also: [{objective: superclass, image_tower: vit_nano8}]\n")
    assert [point.science.objective for point in points] == ["superclass"]


def test_a_missing_field_is_named_with_the_place_to_write_it(resolve: Resolve) -> None:
    with pytest.raises(SweepError, match="samples_seen is missing: write it under vary or fixed"):
        resolve(TINY.replace("samples_seen: 12K, ", ""))


# What a point is completed with


def test_the_text_tower_follows_the_image_tower_for_clip_only(resolve: Resolve) -> None:
    towers = {(p.science.objective, p.science.image_tower): p.science.text_tower for p in resolve(TINY)}
    assert towers["clip", "vit_nano8"] == "text_nano"
    assert towers["clip", "vit_micro8"] == "text_micro"
    assert towers["superclass", "vit_nano8"] == "none"


def test_idf_is_online_for_superclass_and_off_for_clip(resolve: Resolve) -> None:
    assert {p.science.objective: p.science.idf for p in resolve(TINY)} == {
        "superclass": "online",
        "clip": "off",
    }


def test_tasks_carry_the_names_of_their_objective(resolve: Resolve) -> None:
    points = resolve(TINY, "data.labelled=/somewhere", "evaluate.tasks=[held_out_loss, zero_shot, retrieval]")
    tasks = {point.science.objective: point.evaluation.tasks for point in points}
    assert tasks["clip"] == ("held_out_loss", "zero_shot", "retrieval")
    assert tasks["superclass"] == ("held_out_loss", "zero_shot_head", "retrieval_head")


def test_every_task_the_data_allow_runs_by_default(resolve: Resolve) -> None:
    without = {point.science.objective: point.evaluation.tasks for point in resolve(TINY)}
    assert without == {
        "superclass": ("held_out_loss", "retrieval_head"),
        "clip": ("held_out_loss", "retrieval"),
    }
    with_labels = {p.science.objective: p.evaluation.tasks for p in resolve(TINY, "data.labelled=/somewhere")}
    assert with_labels["clip"] == ("held_out_loss", "linear_probe", "zero_shot", "retrieval")


@pytest.mark.parametrize("task", ["linear_probe", "zero_shot"])
def test_a_task_that_needs_labels_is_refused_without_them(resolve: Resolve, task: str) -> None:
    with pytest.raises(SweepError, match=f"evaluate.tasks: {task} needs a labelled set: set data.labelled"):
        resolve(TINY, f"evaluate.tasks=[{task}]")


def test_a_point_survives_its_json(resolve: Resolve) -> None:
    for point in resolve(TINY):
        assert RunPoint.model_validate_json(point.model_dump_json()) == point


def test_a_point_is_frozen_and_takes_no_unknown_field(resolve: Resolve) -> None:
    point = resolve(TINY)[0]
    with pytest.raises(ValueError, match="frozen"):
        point.science.seed = 3  # type: ignore[misc]
    with pytest.raises(ValueError, match="Extra inputs"):
        RunPoint.model_validate({**point.model_dump(), "comment": "x"})


# Rules between fields


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("warmup_samples=12K", r"warmup_samples \(12,000\) must be below samples_seen \(12,000\)"),
        ("samples_seen=100", r"samples_seen \(100\) must be at least global_batch \(128\)"),
        (
            "image_size=60",
            r"image_size 60 must be a positive multiple of the 8-pixel patches of .*vit_.*: use 64",
        ),
        ("crop_scale_max=0.5", r"crop_scale_min \(0.9\) must not exceed crop_scale_max \(0.5\)"),
        (
            "tokenizer=words",
            "tokenizer: 'words' makes labels only, and the text tower of objective clip reads",
        ),
        ("text_tower=none", "text_tower: 'none' with objective clip, which needs one"),
        ("global_batch=127", r"global_batch \(127\) does not divide over 2 ranks: use 1 or 127 ranks"),
        ("logit_scale_init=5", r"logit_scale_init \(5.0\) must not exceed logit_scale_max \(4.605"),
    ],
)
def test_fields_that_contradict_each_other_are_refused_with_the_point_named(
    resolve: Resolve, override: str, message: str
) -> None:
    with pytest.raises(SweepError, match=f"tiny.yaml: point objective=.*: {message}"):
        resolve(TINY, override)


def test_a_point_that_differs_in_something_not_varied_is_refused(resolve: Resolve) -> None:
    extra = "also: [{objective: clip, image_tower: vit_tiny8, gradient_clipping: 1.0}]\n"
    with pytest.raises(SweepError, match=r"tiny.yaml: gradient_clipping: points differ \(0.0 and 1.0\)"):
        resolve(TINY + extra)


@pytest.mark.parametrize(
    ("samples_seen", "global_batch", "steps"),
    [
        (512_000_000, 16_384, 31_250),
        (1_280_000_000, 16_384, 78_125),
        (12_000, 128, 94),
        (128, 128, 1),
        (129, 128, 2),
    ],
)
def test_a_run_takes_the_fewest_whole_batches_that_show_its_samples(
    samples_seen: int, global_batch: int, steps: int
) -> None:
    assert num_steps(samples_seen, global_batch) == steps


# Identity


def test_a_run_id_hashes_the_fields_that_differ_from_their_default() -> None:
    told = {
        "objective": "clip",
        "image_tower": "vit_b16",
        "samples_seen": 512_000_000,
        "data_digest": "d",
        "seed": 2,
    }
    blob = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    expected = f"clip-vit_b16-512M-s2-{hashlib.sha256(blob).hexdigest()[:8]}"
    assert run_id(science(data_digest="d", seed=2)) == expected


def test_a_default_written_out_is_the_same_run() -> None:
    written_out = science(
        text_tower="text_b", idf="off", learning_rate="5e-4", warmup_samples="8.192M", seed=0
    )
    assert run_id(written_out) == run_id(science())


OTHER_VALUES = {
    "objective": "superclass",
    "image_tower": "vit_l16",
    "samples_seen": "1.28B",
    "data_digest": "other",
    "seed": 1,
    "text_tower": "text_s",
    "image_init": "timm:vit_base_patch16_clip_224.openai",
    "pooling": "class_token",
    "patch_dropout": 0.5,
    "drop_path": 0.1,
    "non_finite": "rollback",
    "image_size": 208,
    "tokenizer": "clip_bpe_4k",
    "vocabulary_size": 512,
    "vocabulary_digest": "other",
    "context_length": 32,
    "global_batch": 4096,
    "warmup_samples": 0,
    "learning_rate": 1e-3,
    "schedule": "wsd",
    "weight_decay": 0.1,
    "adam_beta1": 0.8,
    "adam_beta2": 0.95,
    "adam_epsilon": 1e-8,
    "gradient_clipping": 1.0,
    "crop_scale_min": 0.4,
    "crop_scale_max": 0.95,
    "flip_probability": 0.5,
    "jitter_probability": 0.8,
    "grayscale_probability": 0.2,
    "pixel_statistics": "imagenet",
    "unique_samples": "10M",
    "precision": "fp32",
    "logit_scale_init": 0.0,
    "logit_scale_max": 4.0,
}


OTHER_VALUES_BESIDE: dict[str, dict[str, Any]] = {
    "most_rollbacks": {"non_finite": "rollback", "most_rollbacks": 1},
    "idf": {"objective": "superclass", "idf": "off"},
    "label_counts_digest": {"objective": "superclass", "idf": "frozen", "label_counts_digest": "other"},
    "classification_loss": {"objective": "superclass", "classification_loss": "bce"},
    "head_layers": {"objective": "superclass", "head_layers": 1},
    "remove_stop_words": {"objective": "superclass", "remove_stop_words": True},
    "reference_compat": {"objective": "superclass", "reference_compat": True},
    "asl_gamma_negative": {"objective": "superclass", "classification_loss": "asl", "asl_gamma_negative": 2},
    "asl_gamma_positive": {"objective": "superclass", "classification_loss": "asl", "asl_gamma_positive": 1},
    "asl_margin": {"objective": "superclass", "classification_loss": "asl", "asl_margin": 0.1},
    "two_way_temperature": {
        "objective": "superclass",
        "classification_loss": "two_way",
        "two_way_temperature": 1,
    },
    "contrastive_weight": {"objective": "superclip", "contrastive_weight": 0.5},
    "classification_weight": {"objective": "superclip", "classification_weight": 0.5},
    "logit_bias_init": {"objective": "siglip", "logit_bias_init": 0},
    **{
        f"jitter_{what}": {"jitter_probability": 0.5, f"jitter_{what}": 0.1}
        for what in ("brightness", "contrast", "saturation", "hue")
    },
    "batch_norm_samples": {"image_tower": "resnet50", "batch_norm_samples": 64},
    "decay_share": {"schedule": "wsd", "decay_share": 0.1},
    "decay_shape": {"schedule": "wsd", "decay_shape": "linear"},
}
"""Fields that have an effect only beside certain values of others."""


def test_every_science_field_that_has_a_choice_is_part_of_the_identity() -> None:
    assert OTHER_VALUES.keys() | OTHER_VALUES_BESIDE.keys() == Science.model_fields.keys()
    ids = {run_id(science(**{field: value})) for field, value in OTHER_VALUES.items()} | {run_id(science())}
    assert len(ids) == len(OTHER_VALUES) + 1
    for field, values in OTHER_VALUES_BESIDE.items():
        others = {key: value for key, value in values.items() if key != field}
        assert run_id(science(**values)) != run_id(science(**others)), field


def test_a_field_added_later_orphans_no_finished_run() -> None:
    """The id that the first version of this harness gave to the recipe's run, before these fields existed."""
    assert run_id(science(objective="superclass")) == "superclass-vit_b16-512M-s0-846b39f5"


# Fields that have an effect on some points only


def test_what_is_fixed_reaches_the_points_on_which_it_has_an_effect(resolve: Resolve) -> None:
    points = resolve(TINY, "head_layers=1", "idf=off", "logit_scale_max=3", "text_tower=text_nano")
    found = {p.science.objective: p.science for p in points}
    assert (found["superclass"].head_layers, found["clip"].head_layers) == (1, 0)
    assert (found["superclass"].text_tower, found["clip"].text_tower) == ("none", "text_nano")
    assert found["clip"].logit_scale_max == 3 and found["superclass"].logit_scale_max > 4


def test_what_is_fixed_and_reaches_no_point_is_refused(resolve: Resolve) -> None:
    with pytest.raises(SweepError, match="fixed.asl_margin has no effect on any point of this sweep"):
        resolve(TINY, "asl_margin=0.1")


def test_a_value_without_effect_on_an_axis_is_refused_with_the_rule_that_drops_it(resolve: Resolve) -> None:
    text = TINY.replace("vary:", "vary:\n  classification_loss: [softmax, bce]")
    with pytest.raises(
        SweepError, match=r"classification_loss: 'softmax' with objective clip: it has no effect"
    ):
        resolve(text)
    dropped = text + "skip: [{objective: clip, classification_loss: [softmax, bce]}]\n"
    assert len(resolve(dropped)) == 4


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            "lit",
            "image_init: 'random' with objective lit, which never trains its image tower: name a finished",
        ),
        ("siglip", ""),
        ("superclip", ""),
    ],
)
def test_every_objective_resolves_unless_something_is_missing(
    objective: str, message: str, resolve: Resolve
) -> None:
    if not message:
        assert {point.science.objective for point in resolve(TINY, f"objective={objective}")} == {objective}
        return
    with pytest.raises(SweepError, match=message):
        resolve(TINY, f"objective={objective}")


def test_objectives_with_a_text_tower_are_scored_by_it(resolve: Resolve) -> None:
    first, *_ = resolve(TINY, "objective=superclip", "data.labelled=/somewhere")
    assert first.evaluation.tasks == ("held_out_loss", "linear_probe", "zero_shot", "retrieval")


def test_ranks_micro_batches_and_evaluations_do_not_change_the_run(resolve: Resolve) -> None:
    ids = [point.run_id for point in resolve(TINY)]
    changes = [
        "num_workers=3",
        "checkpoint_every_samples=4K",
        "activation_checkpointing=blocks",
        "evaluate.batch=64",
    ]
    assert [point.run_id for point in resolve(TINY, *changes, num_ranks=8)] == ids


def test_placement_that_a_sweep_varies_makes_runs_of_their_own(resolve: Resolve, tmp_path: Path) -> None:
    usual = {point.run_id for point in resolve(TINY)}
    compared = resolve(TINY.replace("vary:", "vary:\n  engine: [deepspeed, fsdp]"))
    assert len({point.run_id for point in compared}) == len(compared) == 2 * len(usual)
    assert {point.placement.engine for point in compared} == {"deepspeed", "fsdp"}
    assert not usual & {point.run_id for point in compared}


def test_points_of_two_engines_are_refused_unless_the_sweep_compares_them(resolve: Resolve) -> None:
    mixed = f"{TINY}\nalso: [{{objective: clip, image_tower: vit_s16, engine: fsdp}}]\n"
    with pytest.raises(SweepError, match=r"engine: points differ \(.*fsdp.*\) .* vary: {engine"):
        resolve(mixed)


# Data


def test_points_without_data_are_provisional(resolve: Resolve, tmp_path: Path) -> None:
    assert all(point.is_provisional for point in resolve(TINY))
    data = write_data(tmp_path / "data")
    assert not any(point.is_provisional for point in resolve(TINY, *data))


def test_what_makes_a_point_provisional_is_named_by_its_keys(resolve: Resolve, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    absent = ("objective=superclass", "tokenizer=words", "idf=frozen", "image_init=run:absent")
    point = resolve(TINY, *absent)[0]
    assert point.unresolved == (
        "data.train",
        "data.vocabularies.words",
        "data.label_counts.words",
        "image_init",
    )
    assert resolve(TINY, *data, "objective=superclass", "idf=frozen")[0].unresolved == (
        "data.label_counts.clip_bpe",
    )


def test_unset_data_are_named_with_the_two_commands_that_make_them(resolve: Resolve) -> None:
    with pytest.raises(SweepError) as caught:
        resolve(TINY, require_data=True)
    for part in ("tiny.yaml", "data.train is not set", "--set data.train=DIR", "data.validation is not set"):
        assert part in str(caught.value)
    assert "scaling data convert SRC DST" in str(caught.value)
    assert "scaling data render DST" in str(caught.value)


@pytest.mark.parametrize("part", ["train", "validation", "labelled/train", "labelled/test"])
@pytest.mark.parametrize("fault", ["no folder", "no index", "no samples", "no shard", "no json"])
def test_a_data_set_that_cannot_be_read_is_named_before_any_training(
    resolve: Resolve, tmp_path: Path, part: str, fault: str
) -> None:
    data = write_data(tmp_path / "data")
    folder = tmp_path / "data" / part
    match fault:
        case "no folder":
            shutil.rmtree(folder)
        case "no index":
            (folder / "index.json").unlink()
        case "no samples":
            (folder / "index.json").write_text('{"shards": [], "version": 2}')
        case "no shard":
            (folder / "shard.00001.mds").unlink()
        case "no json":
            (folder / "index.json").write_text('{"shards": [{}]}')
    with pytest.raises(SweepError) as caught:
        resolve(TINY, *data, require_data=True)
    assert f"data.{part.partition('/')[0]}: {folder}" in str(caught.value)
    assert "scaling data convert SRC DST" in str(caught.value)


def test_a_labelled_set_without_class_names_is_refused(resolve: Resolve, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (tmp_path / "data/labelled/classnames.txt").unlink()
    with pytest.raises(SweepError, match="data.labelled: .*/labelled has no classnames.txt"):
        resolve(TINY, *data, require_data=True)


def test_complete_data_are_accepted(resolve: Resolve, tmp_path: Path) -> None:
    points = resolve(TINY, *write_data(tmp_path / "data"), require_data=True)
    assert {point.science.data_digest for point in points} == {
        read_shard_index(tmp_path / "data/train").digest
    }


def test_the_digest_of_a_data_set_is_its_content_and_not_its_place(tmp_path: Path) -> None:
    here = read_shard_index(write_shards(tmp_path / "here"))
    there = read_shard_index(write_shards(tmp_path / "there"))
    assert here == there
    assert here.num_samples == 8
    assert read_shard_index(write_shards(tmp_path / "other", content="b")).digest != here.digest
    assert read_shard_index(write_shards(tmp_path / "fewer", samples=(5, 2))).digest != here.digest


def test_the_digest_does_not_depend_on_the_order_of_the_index(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "data")
    before = read_shard_index(folder)
    index = json.loads((folder / "index.json").read_text())
    index["shards"].reverse()
    (folder / "index.json").write_text(json.dumps(index))
    assert read_shard_index(folder) == before


def test_the_same_data_elsewhere_is_the_same_run(resolve: Resolve, tmp_path: Path) -> None:
    first = resolve(TINY, *write_data(tmp_path / "first"), require_data=True)
    second = resolve(TINY, *write_data(tmp_path / "second"), require_data=True)
    assert [point.run_id for point in first] == [point.run_id for point in second]
    assert first[0].data != second[0].data
