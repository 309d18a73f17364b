"""A sweep file: what it may say, and what its author is told when it says something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scaling.spec import Sweep, SweepError, load_sweep

MINIMAL = """
name: tiny
question: does it learn?
vary:
  objective: [superclass, clip]
  image_tower: [vit_nano8, vit_micro8]
fixed:
  samples_seen: 12K
  warmup_samples: 2K
  global_batch: 128
  image_size: 64
"""

Load = Callable[..., Sweep]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def from_text(text: str, *overrides: str) -> Sweep:
        path = tmp_path / "tiny.yaml"
        path.write_text(text)
        return load_sweep(path, overrides)

    return from_text


def test_axes_and_fixed_values_are_typed(load: Load) -> None:
    sweep = load(MINIMAL)
    assert sweep.vary == {"objective": ("superclass", "clip"), "image_tower": ("vit_nano8", "vit_micro8")}
    assert sweep.fixed["samples_seen"] == 12_000
    assert sweep.seeds == (0,)


def test_a_number_that_yaml_reads_as_text_is_still_a_number(load: Load) -> None:
    assert load(MINIMAL + "  learning_rate: 5e-4\n").fixed["learning_rate"] == 5e-4


def test_a_bare_off_is_the_idf_mode_and_not_a_truth_value(load: Load) -> None:
    assert load(MINIMAL + "  idf: off\n").fixed["idf"] == "off"
    assert load(MINIMAL, "idf=[online, off]").vary["idf"] == ("online", "off")


@pytest.mark.parametrize(
    ("addition", "intended"),
    [
        ("fixde: {}", "fixed"),
        ("evaluate: {task: [retrieval]}", "tasks"),
        ("data: {trian: x}", "train"),
        ("also: [{image_towr: vit_tiny8}]", "image_tower"),
        ("skip: [{objectiv: clip}]", "objective"),
        ("  lerning_rate: 1e-3", "learning_rate"),
        ("  micro_bach: 8", "micro_batch"),
    ],
)
def test_an_unknown_key_at_any_level_names_the_intended_one(load: Load, addition: str, intended: str) -> None:
    with pytest.raises(SweepError, match=rf"tiny.yaml: .*unknown key .*Did you mean '{intended}'\?"):
        load(MINIMAL + addition + "\n")


def test_an_unknown_axis_names_the_intended_one(load: Load) -> None:
    with pytest.raises(SweepError, match="vary: unknown key 'img_tower'. Did you mean 'image_tower'"):
        load(MINIMAL.replace("image_tower:", "img_tower:"))


def test_a_field_at_the_top_level_is_sent_to_fixed_or_vary(load: Load) -> None:
    with pytest.raises(SweepError, match="learning_rate stands at the top level: write it under fixed"):
        load(MINIMAL + "learning_rate: 1e-3\n")


def test_a_wrong_unit_names_file_key_value_rule_and_fix(load: Load) -> None:
    with pytest.raises(
        SweepError, match=r"tiny.yaml: fixed.samples_seen: '12X' has the unknown unit 'X': use one of"
    ):
        load(MINIMAL.replace("12K", "12X"))


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("  learning_rate: fast", "fixed.learning_rate: 'fast' is not a number"),
        ("  learning_rate: 0", "must be above 0"),
        ("  learning_rate: .nan", "is not a number"),
        ("  learning_rate: true", "True is not a number"),
        ("  adam_beta2: 1.0", "must be below 1"),
        ("  seed: -1", "-1 must be at least 0"),
        ("  context_length: 7.5", "is not a whole number"),
        ("  context_length: 2", "2 must be at least 3"),
        ("  crop_scale_min: 1.1", "1.1 must be at most 1"),
        ("  tokenizer: clip_bpe4k", "unknown tokenizer 'clip_bpe4k'. Did you mean 'clip_bpe_4k'"),
        ("  text_tower: text_nan", "text_nano"),
        ("  precision: fp16", "'fp16' is not one of bf16_autocast, fp32"),
        ("  zero_stage: 4", "zero_stage: 4 must be at most 3"),
        ("  engine: ddp", "'ddp' is not one of deepspeed, fsdp"),
        ("  activation_checkpointing: block", "'block' is not one of none, blocks, operations, offload"),
        ("  text_tower:", "fixed.text_tower has no value"),
        ("  data_digest: abc", "fixed.data_digest is read from the files under data"),
        ("  image_tower: vit_tiny8", "image_tower is both under vary and under fixed"),
        ("  precision: [fp32]", "several values belong under vary"),
        ("evaluate: {tasks: [zero_shot_head]}", "Did you mean 'zero_shot'"),
        ("evaluate: {batch: 0}", "evaluate.batch: 0 must be above 0"),
        ("seeds: 3", "must be a list of whole numbers"),
        ("seeds: [a]", "seeds: 'a' is not a whole number"),
        ("also: {objective: clip}", "also: .* must be a list of mappings"),
        ("data: {labelled: [a]}", r"data.labelled: \['a'\] is not a path"),
        ("data: {train: ''}", "data.train: '' is not a path: write a folder"),
        ("data: {train: $PAIRS/train}", r"environment variables as \$\{NAME\}"),
        ("data: here", "data: 'here' must be a mapping"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(load: Load, addition: str, message: str) -> None:
    with pytest.raises(SweepError, match=message) as caught:
        load(MINIMAL + addition + "\n")
    assert "tiny.yaml: " in str(caught.value)
    assert not any(
        jargon in str(caught.value) for jargon in ("pydantic", "https://", "Input should", "validation")
    )


def test_an_unknown_objective_names_the_known_ones(load: Load) -> None:
    with pytest.raises(
        SweepError, match="vary.objective: unknown objective 'super'. Did you mean 'superclip'"
    ):
        load(MINIMAL.replace("superclass,", "super,"))


def test_an_unknown_tower_names_the_nearest(load: Load) -> None:
    with pytest.raises(
        SweepError, match="vary.image_tower: unknown image_tower 'vit_mikro8'. Did you mean 'vit_micro8'"
    ):
        load(MINIMAL.replace("vit_micro8", "vit_mikro8"))


def test_an_axis_must_be_a_list(load: Load) -> None:
    with pytest.raises(SweepError, match="vary.image_tower: 'vit_nano8' must be a list"):
        load(MINIMAL.replace("[vit_nano8, vit_micro8]", "vit_nano8"))


def test_placement_that_compares_nothing_is_no_axis(load: Load) -> None:
    with pytest.raises(
        SweepError, match="vary.num_workers is placement, which changes nothing that is learned"
    ):
        load(MINIMAL, "num_workers=[1, 2]")


def test_a_repeated_key_is_an_error_with_its_line(load: Load) -> None:
    with pytest.raises(SweepError, match="tiny.yaml: line 12: key 'image_size' is written twice"):
        load(MINIMAL + "  image_size: 32\n")


def test_a_seed_given_in_two_places_is_an_error(load: Load) -> None:
    with pytest.raises(SweepError, match="seed is given by seeds and by fixed.seed"):
        load(MINIMAL + "  seed: 1\nseeds: [0, 1]\n")


def test_a_seed_may_be_fixed_or_varied(load: Load) -> None:
    assert load(MINIMAL + "  seed: 3\n").seeds == (3,)
    assert load(MINIMAL.replace("vary:", "vary:\n  seed: [0, 1, 2]")).seeds == (0, 1, 2)


@pytest.mark.parametrize("name", ["name: ../elsewhere", "name: a/b", "name: ''", "name: 3", "name:"])
def test_a_name_that_is_no_folder_name_is_refused(load: Load, name: str) -> None:
    with pytest.raises(SweepError, match="name: .* it names a folder of runs"):
        load(MINIMAL.replace("name: tiny", name))


def test_a_sweep_without_a_question_is_refused(load: Load) -> None:
    with pytest.raises(SweepError, match="question: write in one sentence"):
        load(MINIMAL.replace("question: does it learn?", "question:"))


def test_text_that_is_not_yaml_is_reported_with_its_line(load: Load) -> None:
    with pytest.raises(SweepError, match=r"tiny.yaml: line \d+: not YAML"):
        load(MINIMAL + "also: [{objective: clip\n")


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_a_file_that_is_no_mapping_is_refused(load: Load, text: str) -> None:
    with pytest.raises(SweepError, match="a sweep is a mapping of keys"):
        load(text)


def test_a_missing_file_names_the_nearest_one(load: Load, tmp_path: Path) -> None:
    load(MINIMAL)
    with pytest.raises(SweepError, match="tinny.yaml: no such sweep file. Did you mean '.*/tiny.yaml'"):
        load_sweep(tmp_path / "tinny.yaml")


def test_paths_resolve_environment_home_and_current_directory(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAIRS", "/data/pairs")
    monkeypatch.setenv("HOME", "/home/someone")
    data = load(
        MINIMAL + 'data: {train: "${PAIRS}/train", validation: ~/val, labelled: data/labelled}\n'
    ).data
    assert [source.folder for source in data.train] == [Path("/data/pairs/train")]
    assert data.validation == Path("/home/someone/val")
    assert data.labelled == Path.cwd() / "data/labelled"


def test_an_unset_environment_variable_is_an_error_that_names_it(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PAIRS", raising=False)
    text = MINIMAL + 'data: {train: "${PAIRS}/train"}\n'
    with pytest.raises(
        SweepError, match="data.train: .*environment variable PAIRS, which is not set: export PAIRS=DIR"
    ):
        load(text)
    (source,) = load(text, "data.train=/elsewhere").data.train
    assert source.folder == Path("/elsewhere")


def test_a_mixture_is_a_list_of_places_with_proportions(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "pairs")
    text = MINIMAL + 'data: {cache: /scratch, train: [/a, {path: "s3://${BUCKET}/b", proportion: 3}]}\n'
    first, second = load(text).data.train
    assert (first.folder, first.remote, first.proportion) == (Path("/a"), None, 1)
    assert (second.remote, second.proportion, second.folder.parent) == ("s3://pairs/b", 3, Path("/scratch"))


def test_two_remotes_keep_their_shards_apart(load: Load) -> None:
    first, second = load(MINIMAL + "data: {cache: /scratch, train: [s3://a/x, s3://b/x]}\n").data.train
    assert first.folder != second.folder


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{train: s3://pairs/b}", "data.train: s3://pairs/b is remote, .* set data.cache=DIR"),
        ("{train: [{folder: /a}]}", r"data.train\[0\]: .* is not a path, a URL, or a mapping"),
        ("{train: [/a, {path: /b, proportion: 0}]}", "data.train.1.proportion: 0 must be above 0"),
        ("{train: [/a, 3]}", r"data.train\[1\]: 3 is not a path, a URL, or a mapping"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused_by_its_place(load: Load, data: str, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        load(MINIMAL + f"data: {data}\n")


def test_an_override_by_one_value_fixes_an_axis(load: Load) -> None:
    sweep = load(MINIMAL, "image_tower=vit_tiny8", "samples_seen=2K")
    assert "image_tower" not in sweep.vary
    assert sweep.fixed["image_tower"] == "vit_tiny8"
    assert sweep.fixed["samples_seen"] == 2_000


def test_an_override_by_a_list_makes_an_axis(load: Load) -> None:
    sweep = load(MINIMAL, "samples_seen=[4K, 8K]", "seeds=[0, 1]")
    assert sweep.vary["samples_seen"] == (4_000, 8_000)
    assert "samples_seen" not in sweep.fixed
    assert sweep.seeds == (0, 1)


def test_an_override_reaches_the_extra_points_too(load: Load) -> None:
    text = MINIMAL + "also: [{objective: clip, image_tower: vit_tiny8, samples_seen: 48K}]\n"
    assert load(text, "samples_seen=2K").also == ({"objective": "clip", "image_tower": "vit_tiny8"},)
    assert load(text, "samples_seen=[2K, 4K]").also == ()


def test_an_override_of_a_section_keeps_the_rest_of_it(load: Load) -> None:
    sweep = load(MINIMAL + "evaluate: {batch: 64}\n", "evaluate.held_out_every_samples=4K", "seed=7")
    assert (sweep.evaluate.batch, sweep.evaluate.held_out_every_samples, sweep.seeds) == (64, 4_000, (7,))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampels_seen=2K", "--set sampels_seen=2K: unknown key 'sampels_seen'. Did you mean 'samples_seen'"),
        ("samples_seen", "--set samples_seen: write key=value"),
        ("data.trian=x", "data: unknown key 'trian'. Did you mean 'train'"),
        ("samples_seen=[1K", "not YAML"),
        ("samples_seen=12X", "fixed.samples_seen: '12X' has the unknown unit"),
    ],
)
def test_a_wrong_override_is_told_like_a_wrong_line(load: Load, override: str, message: str) -> None:
    with pytest.raises(SweepError) as caught:
        load(MINIMAL, override)
    assert message in str(caught.value)


def test_a_sweep_cannot_be_changed_after_it_was_read(load: Load) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load(MINIMAL).name = "other"  # type: ignore[misc]
